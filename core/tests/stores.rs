//! Replicas that share a store, when the store or the network to it fails: real servers, real processes, and a network that
//! loses, delays and cuts.
//!
//! `POSEMESH_LONG_TESTS=1` repeats and prolongs what is short here.
#![cfg(target_os = "linux")]

#[path = "support/certificate.rs"]
mod certificate;
#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/place.rs"]
mod place;
#[path = "support/redis.rs"]
mod redis;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/server_process.rs"]
mod server_process;
mod support;
#[path = "support/worker.rs"]
mod worker;

#[path = "stores/contents.rs"]
mod contents;
#[path = "stores/cut.rs"]
mod cut;
#[path = "stores/failover.rs"]
mod failover;
#[path = "stores/start.rs"]
mod start;

/// Not a test: the body of a worker process.
#[test]
fn worker() {
    if support::child_case().is_some() {
        worker::work();
    }
}

/// How often or how long, in short and in long tests.
fn scale(short: u32, long: u32) -> u32 {
    if std::env::var_os("POSEMESH_LONG_TESTS").is_some() { long } else { short }
}
