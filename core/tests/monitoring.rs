//! The monitoring examples: a real Prometheus scrapes a node and evaluates the alerts, and every metric that a file or
//! the README names is one of the node's.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Instant;

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::bindings::metric_families;
use posemesh_node_registration::config::OPTIONS;
use posemesh_node_registration::node::{Node, Wait};
use serde_json::Value;
use support::{GUARD, start};

const README: &str = include_str!("../../README.md");
const KUBERNETES: &str = include_str!("../examples/monitoring/kubernetes.yaml");
const ALERTS: &str = include_str!("../examples/monitoring/alerts.yml");
const DASHBOARD: &str = include_str!("../examples/monitoring/dashboard.json");
const PREFIX: &str = "posemesh_node_";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring")
}

fn registered(dds: &DevDds, options: &[(&str, &str)]) -> Node {
    let node = start(dds, options);
    node.wait(Wait::Registered, Some(GUARD)).expect("registers");
    node
}

/// The names of all metrics.
fn metrics(node: &Node) -> BTreeSet<&'static str> {
    let metrics = node.metrics().expect("this process");
    metric_families(&metrics).iter().map(|family| family.name).collect()
}

/// The expressions of the dashboard. Their variables are those of Grafana.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

fn is_installed(program: &str) -> bool {
    let installed =
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        // Also if the test's output is captured.
        let _ = writeln!(
            io::stderr(),
            "SKIPPED: {program} is not installed; it is in Debian's package prometheus"
        );
    }
    installed
}

fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(examples())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stdout}\n{stderr}");
}

#[test]
fn every_metric_that_is_named_is_one_of_the_node() {
    let dds = DevDds::start().expect("a DDS");
    let metrics = metrics(&registered(&dds, &[]));
    for (file, text) in [("alerts.yml", ALERTS), ("dashboard.json", DASHBOARD), ("the README", README)] {
        let is_part = |symbol: char| symbol.is_ascii_alphanumeric() || symbol == '_';
        let named = text.split(|symbol| !is_part(symbol)).filter(|word| word.len() > PREFIX.len());
        for name in named.filter(|word| word.starts_with(PREFIX)) {
            // The crate, and the library of the C ABI.
            let is_metric = !["posemesh_node_registration", "posemesh_node_ffi"].contains(&name);
            assert!(!is_metric || metrics.contains(name), "{file} names {name}");
        }
    }
    for metric in &metrics {
        assert!(DASHBOARD.contains(metric), "the dashboard does not show {metric}");
        let name = metric.strip_prefix(PREFIX).expect("the prefix");
        assert!(README.contains(&format!("`{name}`")), "the README does not list {metric}");
    }
}

#[test]
fn the_readme_shows_the_service_of_the_example() {
    let service = KUBERNETES.split("---\n").nth(1).expect("a second object");
    assert!(README.contains(&format!("```yaml\n{service}```\n")), "not in the README as it is:\n{service}");
    assert!(service.contains("publishNotReadyAddresses: true"));
}

/// The environment and the probes of the Kubernetes example, on a node of this machine.
#[test]
fn the_kubernetes_example_starts_a_node_whose_probes_succeed() {
    let value = |name: &str| {
        let (_, rest) = KUBERNETES.split_once(&format!("- name: {name}\n")).expect(name);
        let value =
            rest.lines().next().and_then(|line| line.trim().strip_prefix("value: ")).expect("a value");
        value.trim_matches('"').to_owned()
    };
    let dds = DevDds::start().expect("a DDS");
    let variables = ["NODE_VERSION", "CAPABILITIES", "CALLBACK_BIND", "ADMIN_BIND"];
    let options = variables.map(|variable| {
        let option = OPTIONS.iter().find(|option| option.env == variable).expect("an option");
        (option.name, value(variable))
    });
    for (name, _) in options.iter().filter(|(name, _)| name.ends_with("_bind")) {
        let port = value(if *name == "callback_bind" { "CALLBACK_BIND" } else { "ADMIN_BIND" });
        let container_port = format!("containerPort: {}", port.trim_start_matches(':'));
        assert!(KUBERNETES.contains(&container_port), "{container_port}");
    }
    // The ports may be taken on this machine.
    let local =
        |name: &str, value: &str| if name.ends_with("_bind") { ":0".into() } else { value.to_owned() };
    let options = options.map(|(name, value)| (name, local(name, &value)));
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    let node = registered(&dds, &options);
    let port = node.admin_address().expect("this process").expect("a server").port();
    for path in KUBERNETES.lines().filter_map(|line| line.trim().strip_prefix("path: ")) {
        assert_eq!(get(&format!("http://127.0.0.1:{port}{path}")).0, 200, "{path}");
    }
}

#[test]
fn promtool_accepts_the_metrics_the_alerts_and_the_dashboard() {
    if !is_installed("promtool") {
        return;
    }
    let dds = DevDds::start().expect("a DDS");
    let node = registered(&dds, &[]);
    promtool(&["check", "metrics"], &node.metrics_text().expect("this process"));
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["test", "rules", "../../tests/monitoring/alerts.test.yml"], "");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("monitoring-rules");
    fs::create_dir_all(&directory).expect("ours");
    let rules = expressions().into_iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "5m");
        format!("  - record: dashboard:{number}\n    expr: {}\n", Value::from(expression))
    });
    let file = directory.join("dashboard.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{}", rules.collect::<String>()))
        .expect("ours");
    promtool(&["check", "rules", file.to_str().expect("UTF-8")], "");
}

fn get(url: &str) -> (u16, String) {
    support::runtime().block_on(async {
        let response = support::client(GUARD).get(url).send().await.expect("a response");
        (response.status().as_u16(), response.text().await.expect("text"))
    })
}

/// A running Prometheus, with its URL. It ends when it is dropped.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(configuration: &Path, data: &Path) -> Self {
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, addresses) = channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let record: Value = serde_json::from_str(&line).unwrap_or_default();
                if record["msg"] == "Listening on" {
                    let _ = sender.send(record["address"].as_str().expect("an address").to_owned());
                }
            }
        });
        let address = addresses.recv_timeout(GUARD).expect("it listens");
        Self { child, url: format!("http://{address}") }
    }

    /// The value of the only sample that the expression has, if it has one.
    fn query(&self, expression: &str) -> Option<f64> {
        let url =
            reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)]);
        let answer: Value = serde_json::from_str(&get(url.expect("a URL").as_str()).1).unwrap_or_default();
        match answer["data"]["result"].as_array()?.as_slice() {
            [sample] => sample["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    fn until(&self, expression: &str, condition: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + GUARD;
        loop {
            let value = self.query(expression);
            if value.is_some_and(&condition) {
                return;
            }
            assert!(Instant::now() < deadline, "{expression} is {value:?}");
            // It scrapes once a second.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_a_node_twice_and_shows_what_has_changed() {
    if !is_installed("prometheus") {
        return;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("ours");
    let dds = DevDds::start().expect("a DDS");
    let node = registered(&dds, &[("admin_bind", "127.0.0.1:0"), ("callback_bind", "127.0.0.1:0")]);
    let [admin, callback] = [node.admin_address(), node.callback_address()]
        .map(|address| address.expect("this process").expect("a server").to_string());
    dds.set_node_url(Some(format!("http://{callback}"))).expect("loopback");
    node.wait(Wait::Secret, Some(GUARD)).expect("called back");

    let configuration = fs::read_to_string(examples().join("prometheus.yml")).expect("an example");
    let configuration = configuration
        .replace("127.0.0.1:9464", &admin)
        .replace("15s", "1s")
        .replace("alerts.yml", examples().join("alerts.yml").to_str().expect("UTF-8"));
    let file = directory.join("prometheus.yml");
    fs::write(&file, configuration).expect("ours");
    let prometheus = Prometheus::start(&file, &directory.join("data"));

    prometheus.until("count_over_time(posemesh_node_leader[1m])", |scrapes| scrapes >= 2.0);
    for (expression, value) in [
        ("posemesh_node_state{state=\"registered\"}", 1.0),
        ("posemesh_node_callbacks_total{outcome=\"accepted\"}", 1.0),
        ("posemesh_node_health_probes_total", 0.0),
        ("up{job=\"posemesh-node\"}", 1.0),
    ] {
        assert_eq!(prometheus.query(expression), Some(value), "{expression}");
    }
    assert_eq!(dds.probe_health().expect("an answer"), 200);
    prometheus.until("posemesh_node_health_probes_total", |probes| probes == 1.0);
    let alerts: Value =
        serde_json::from_str(&get(&format!("{}/api/v1/rules", prometheus.url)).1).expect("JSON");
    let rules = alerts["data"]["groups"][0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), ALERTS.matches("- alert: ").count());
    assert!(rules.iter().all(|rule| rule["state"] == "inactive"), "a healthy node alerts nobody: {rules:?}");
    node.stop(GUARD).expect("stops");
    prometheus.until("up{job=\"posemesh-node\"}", |up| up == 0.0);
}
