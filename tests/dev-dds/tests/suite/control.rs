//! The control API, as a test in another language uses it.

use posemesh_dev_dds::{DevDds, Endpoint};
use serde_json::{Value, json};

use crate::client::{Answer, Node, OK, Wallet, post, request};

struct Remote(DevDds);

impl Remote {
    fn start() -> Self {
        Self(DevDds::start().expect("a server"))
    }

    fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        request(&self.0.authority(), method, &format!("/_dev/{path}"), body)
    }

    fn post(&self, path: &str, body: Value) {
        let answer = self.call("POST", path, &body.to_string());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    }
}

#[test]
fn help_names_every_command() {
    let remote = Remote::start();
    let help = remote.call("GET", "", "").text();
    for line in help.lines().filter(|line| line.contains(" /_dev/")) {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let answer = request(&remote.0.authority(), method, path, "");
        assert_ne!(answer.status, 404, "{line}");
    }
    let unknown = remote.call("POST", "no-such", "");
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().ends_with(&help));
}

#[test]
fn every_fault_of_the_help_can_be_injected() {
    let remote = Remote::start();
    let help = remote.call("GET", "", "").text();
    let (_, faults) = help.split_once("Faults").unwrap();
    let faults: Vec<_> = faults.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(faults.len(), 13);
    for fault in faults {
        // Each takes the parameters that it needs and ignores the others.
        remote.post(
            "faults",
            json!({ "endpoint": "verify", "fault": fault, "code": 307, "location": "/", "millis": 1, "fields": {} }),
        );
    }
}

#[test]
fn faults_come_and_go() {
    let remote = Remote::start();
    let ask = || post(&remote.0, Endpoint::Challenge, &json!({ "wallet": Wallet::new(1).address() }));
    remote.post(
        "faults",
        json!({
            "endpoint": "challenge", "fault": "status", "code": 429,
            "retry_after": "3", "body": "slower", "times": 2,
        }),
    );
    let answer = ask();
    assert_eq!((answer.status, answer.text().as_str()), (429, "slower"));
    assert!(answer.head.contains("retry-after: 3"), "{}", answer.head);
    assert_eq!(remote.call("DELETE", "faults", "").status, 200);
    assert_eq!(ask().status, 200);

    // The default of `times` is 1.
    remote.post("faults", json!({ "endpoint": "challenge", "fault": "garbage" }));
    assert_eq!(ask().text(), "<html>not JSON</html>");
    assert_eq!(ask().json()["version"], "1");
}

#[test]
fn requests_are_listed_and_cleared() {
    let remote = Remote::start();
    let body = json!({ "wallet": Wallet::new(1).address() });
    post(&remote.0, Endpoint::Challenge, &body);
    let requests = remote.call("GET", "requests", "").json();
    assert_eq!(requests.as_array().unwrap().len(), 1, "requests to the control API are not recorded");
    assert_eq!(requests[0]["number"], 1);
    assert_eq!(requests[0]["endpoint"], "challenge");
    assert_eq!(requests[0]["method"], "POST");
    assert_eq!(requests[0]["path"], Endpoint::Challenge.path());
    assert_eq!(requests[0]["body"], body.to_string());
    assert_eq!(requests[0]["status"], 200);
    assert!(requests[0]["headers"].as_array().unwrap().contains(&json!(["x-test", "yes"])));
    assert_eq!(remote.call("DELETE", "requests", "").status, 200);
    assert_eq!(remote.call("GET", "requests", "").json(), json!([]));
}

#[test]
fn nodes_are_listed_refused_and_forgotten() {
    let remote = Remote::start();
    let (one, two) = (Wallet::new(1), Wallet::new(2));
    remote.post("online-elsewhere", json!({ "wallet": one.address(), "online": true }));
    assert_eq!(one.register(&remote.0).status, 409);
    remote.post("online-elsewhere", json!({ "wallet": one.address(), "online": false }));
    for wallet in [&one, &two] {
        assert_eq!(wallet.register(&remote.0).status, 200);
    }
    remote.post("forget", json!({ "wallet": one.address() }));
    let nodes = remote.call("GET", "nodes", "").json();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!(nodes[0]["wallet"], two.address());
    assert_eq!(remote.call("POST", "forget", "").status, 200);
    assert_eq!(remote.call("GET", "nodes", "").json(), json!([]));
}

#[test]
fn tokens_are_checked() {
    let remote = Remote::start();
    let wallet = Wallet::new(1);
    wallet.register(&remote.0);
    let token = wallet.token(&remote.0).json()["access_token"].clone();
    let valid = |token: Value| remote.call("POST", "token", &json!({ "token": token }).to_string()).json();
    assert_eq!(valid(token), json!({ "good": true }));
    assert_eq!(valid(json!("made up")), json!({ "good": false }));
}

#[test]
fn challenges_are_changed_and_restored() {
    let remote = Remote::start();
    remote.post("challenge", json!({ "version": "2" }));
    assert_eq!(Wallet::new(1).challenge(&remote.0)["version"], "2");
    remote.post("challenge", Value::Null);
    assert_eq!(Wallet::new(1).challenge(&remote.0)["version"], "1");
}

#[test]
fn the_node_is_called() {
    let remote = Remote::start();
    assert_eq!(remote.call("POST", "callback", "").status, 502, "no node URL yet");
    let node = Node::start(&[OK, OK, OK]);
    remote.post("node-url", json!({ "url": node.url }));
    remote.post("secret", json!({ "secret": "open sesame" }));
    let answer = remote.call("POST", "callback", "").json();
    assert_eq!(answer, json!({ "status": 200, "body": "{\"ok\":true}" }));
    assert!(node.request().contains("\"secret\":\"open sesame\""));
    assert_eq!(remote.call("GET", "secret", "").json(), json!({ "secret": "open sesame" }));

    remote.post("callback", json!({ "body": "raw", "content_type": "text/plain" }));
    assert!(node.request().ends_with("\r\n\r\nraw"));
    assert_eq!(remote.call("POST", "probe", "").json(), json!({ "status": 200 }));
    assert!(node.request().starts_with("GET /health "));
}

#[test]
fn mistakes_are_explained() {
    let remote = Remote::start();
    for (path, body) in [
        ("faults", json!({ "endpoint": "challenge", "fault": "no_such" })),
        ("faults", json!({ "endpoint": "no_such", "fault": "reset" })),
        ("faults", json!({ "endpoint": "challenge", "fault": "status", "code": 99 })),
        ("challenge", json!(["no", "object"])),
        ("node-url", json!({ "url": "http://example.com" })),
        ("forget", json!({ "wallet": "0x12" })),
        ("online-elsewhere", json!({ "wallet": "0x12", "online": true })),
    ] {
        let answer = remote.call("POST", path, &body.to_string());
        assert_eq!(answer.status, 400, "{path} {body}");
        assert_ne!(answer.text(), "", "{path} {body}");
    }
}
