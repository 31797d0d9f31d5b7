//! The main job, from start to stop, against a local DDS in the same process.
//!
//! ```text
//! cargo run -p posemesh-node-registration --example quickstart [-- --parked SECONDS]
//! ```
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use std::error::Error;
use std::time::{Duration, Instant};

use posemesh_dev_dds::DevDds;
use posemesh_node_registration::config::Config;
use posemesh_node_registration::log::{self, Level};
use posemesh_node_registration::node::{Node, Wait};
use posemesh_node_registration::token::AccessToken;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A key for examples. Never send anything of value to its wallet.
const EXAMPLE_KEY: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082798ce3f4fdf2548b6f90";
/// base64 of `c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11:example-secret`: a node id and a registration secret.
const EXAMPLE_CREDENTIALS: &str = "YzNmMWQ3YzItMGE1NC00YjUyLTliOGUtNmYwYThhMmY3ZDExOmV4YW1wbGUtc2VjcmV0";

fn main() -> Result<(), Box<dyn Error>> {
    let parked = parked_argument()?;
    let began = Instant::now();
    let say = move |who: &str, what: &str| {
        println!("{:>9.3} ms  {who:<5} {what}", began.elapsed().as_secs_f64() * 1e3);
    };

    let dds = DevDds::builder().on_event(move |event| say("dds", &event.to_string())).start()?;
    say("dds", &format!("listening at {}", dds.url()));

    log::set_callback(Level::Debug, move |record| say("node", &record.message));
    let mut config = Config::new();
    config
        .set("dds_base_url", &dds.url())?
        .set("reg_secret", EXAMPLE_CREDENTIALS)?
        .set("secp256k1_privhex", EXAMPLE_KEY)?
        .set("node_version", "1.0.0")?
        .set("capabilities", "/example/v1")?;
    let node = Node::start(&config)?;
    node.wait(Wait::Registered, Some(TIMEOUT))?;
    say("you", &format!("registered as {}", node.wallet_address()?));

    // Stands for a service of the posemesh: it accepts a token that DDS has issued, and answers 401 to any other.
    let service = |token: &AccessToken| if dds.token_is_good(token.value()) { 200 } else { 401 };
    let token = node.access_token(Some(TIMEOUT))?;
    say("you", &format!("a request to a service with the access token: {}", service(&token)));
    if let Some(seconds) = parked {
        show_parked(seconds, say)?;
    }

    dds.forget_all();
    say("you", &format!("DDS has lost the node; the same request: {}", service(&token)));
    node.invalidate_token_if(token.value())?;
    let token = node.access_token(Some(TIMEOUT))?;
    say("you", &format!("registered again, with a new token: {}", service(&token)));

    node.stop(TIMEOUT)?;
    // A thread that was joined is listed for a moment longer: the kernel tells its end before it clears up.
    let patience = Instant::now() + Duration::from_secs(1);
    while !library_threads()?.is_empty() && Instant::now() < patience {
        std::thread::yield_now();
    }
    say("you", &format!("stopped; threads of the library left: {}", library_threads()?.len()));
    Ok(())
}

fn parked_argument() -> Result<Option<u64>, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => Ok(None),
        [flag, seconds] if flag == "--parked" => Ok(Some(seconds.parse()?)),
        _ => Err("usage: quickstart [--parked SECONDS]".into()),
    }
}

/// Watches the library do nothing: how often its threads ran, by the kernel's own count.
fn show_parked(seconds: u64, say: impl Fn(&str, &str)) -> Result<(), Box<dyn Error>> {
    // The connection to DDS is closed a second after its last use; after that, nothing is left to do.
    std::thread::sleep(Duration::from_secs(3));
    let before = context_switches()?;
    std::thread::sleep(Duration::from_secs(seconds));
    let after = context_switches()?;
    let names = library_threads()?.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ");
    say("you", &format!("parked for {seconds} s: {} context switches in {names}", after - before));
    Ok(())
}

fn context_switches() -> Result<u64, Box<dyn Error>> {
    let mut switches = 0;
    for (thread, _) in library_threads()? {
        let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"))?;
        for line in status.lines().filter(|line| line.contains("ctxt_switches")) {
            switches += line.split_whitespace().last().ok_or("no count")?.parse::<u64>()?;
        }
    }
    Ok(switches)
}

/// Id and name of each thread that the library runs in this process (Linux; none elsewhere).
fn library_threads() -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut threads = Vec::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Ok(threads) };
    for task in tasks {
        let task = task?;
        // A thread may end between the listing and the reading.
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
        if name.starts_with("posemesh-") {
            threads.push((task.file_name().to_string_lossy().into_owned(), name.trim().to_owned()));
        }
    }
    Ok(threads)
}
