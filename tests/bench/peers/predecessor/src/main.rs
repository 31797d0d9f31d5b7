//! The published predecessor (0.2.1), as its README runs it; with the argument `current-thread`, on that
//! scheduler of tokio.

use std::hint::black_box;
use std::time::{Duration, Instant};

use peer_commands::{answer, microseconds, number, on_threads, setting};
use reference::crypto::load_secp256k1_privhex;
use reference::http::{DdsState, router_dds};
use reference::register::{RegistrationConfig, register_once, run_registration_loop};
use reference::state::{read_node_secret, read_state, set_status};
use reqwest_0_12::Client;
use tokio::runtime::Runtime;

fn main() {
    let runtime: &'static Runtime = Box::leak(Box::new(runtime()));
    let client = client();
    answer(|words| match *words {
        // Spawned, as the README spawns the loop.
        ["once", times] => {
            runtime.block_on(runtime.spawn(register(client.clone(), number(times)))).expect("it registers");
            String::new()
        }
        ["awaited", times] => {
            runtime.block_on(register(client.clone(), number(times)));
            String::new()
        }
        // On a runtime and with a client that are there already: only the loop is on the clock.
        ["start", times] => microseconds(number(times), || start(runtime, &client)),
        ["rearm", times] => {
            let _running = start(runtime, &client);
            microseconds(number(times), || {
                set_status("disconnected").expect("it is set");
                wait_registered();
            })
        }
        ["park"] => {
            std::mem::forget(start(runtime, &client));
            String::new()
        }
        ["serve"] => serve(runtime),
        ["status", threads, times] => {
            on_threads(number(threads), number(times), || drop(black_box(read_state())));
            String::new()
        }
        ["secret", threads, times] => {
            assert!(matches!(read_node_secret(), Ok(Some(_))), "there is a secret");
            on_threads(number(threads), number(times), || drop(black_box(read_node_secret())));
            String::new()
        }
        _ => panic!("unknown command {words:?}"),
    });
}

fn runtime() -> Runtime {
    let mut builder = match std::env::args().nth(1).as_deref() {
        Some("current-thread") => tokio::runtime::Builder::new_current_thread(),
        // As `#[tokio::main]`.
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build().expect("a runtime")
}

fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(10)).build().expect("a client")
}

async fn register(client: Client, times: usize) {
    let key = load_secp256k1_privhex(&setting("SECP256K1_PRIVHEX")).expect("a good key");
    let (url, version, secret) = (setting("DDS_BASE_URL"), setting("NODE_VERSION"), setting("REG_SECRET"));
    for _ in 0..times {
        let attempt = register_once(&url, &version, &secret, &key, &client, &capabilities()).await;
        // The predecessor keeps the kind to itself; its debug text does not.
        let shown = format!("{attempt:?}");
        assert!(shown.contains("kind: Registered"), "{shown}");
    }
}

fn capabilities() -> Vec<String> {
    setting("CAPABILITIES").split(',').map(str::to_owned).collect()
}

/// Ends the loop when it is dropped.
struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
        set_status("disconnected").expect("it is set");
    }
}

fn start(runtime: &Runtime, client: &Client) -> Running {
    let config = RegistrationConfig {
        dds_base_url: setting("DDS_BASE_URL"),
        node_version: setting("NODE_VERSION"),
        reg_secret: setting("REG_SECRET"),
        secp256k1_privhex: setting("SECP256K1_PRIVHEX"),
        client: client.clone(),
        register_interval_secs: 60,
        max_retry: -1,
        capabilities: capabilities(),
    };
    let running = Running(runtime.spawn(run_registration_loop(config)));
    wait_registered();
    running
}

/// There is nothing to wait on but the state itself.
fn wait_registered() {
    let began = Instant::now();
    while read_state().expect("it is read").status != "registered" {
        assert!(began.elapsed() < Duration::from_secs(60), "not registered");
        std::thread::sleep(Duration::from_micros(20));
    }
}

fn serve(runtime: &'static Runtime) -> String {
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("it binds");
    let address = listener.local_addr().expect("it is bound").to_string();
    let server = async move { axum::serve(listener, router_dds(DdsState)).await };
    if std::env::args().nth(1).as_deref() == Some("current-thread") {
        // The scheduler runs only while a thread is in it.
        std::thread::spawn(|| runtime.block_on(std::future::pending::<()>()));
    }
    runtime.spawn(server);
    address
}
