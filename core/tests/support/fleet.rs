//! Replicas of one node, each in a process of its own, and the DDS that they register with.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use posemesh_dev_dds::{DevDds, Endpoint};
use serde_json::json;

use super::support::{GUARD, WALLET, dds_that_calls_when_told};
use super::worker::Worker;

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Fleet {
    pub(crate) dds: DevDds,
    /// The URL by which the replicas know it, which is part of the name of their key.
    dds_url: String,
    pub(crate) replicas: Vec<Replica>,
}

pub(crate) struct Replica {
    pub(crate) worker: Worker,
    /// What it registers as, which shows DDS which replica a request is from.
    version: String,
}

impl Fleet {
    /// Starts a replica for each of these URLs of the store, with these options in addition.
    pub(crate) fn start(urls: &[&str], options: &[(&str, &str)]) -> Self {
        let dds = dds_that_calls_when_told();
        let mut fleet = Self { dds_url: dds.url(), dds, replicas: Vec::new() };
        for url in urls {
            fleet.add(url, options);
        }
        fleet
    }

    /// From now on, replicas reach DDS at this address.
    pub(crate) fn move_dds_to(&mut self, authority: &str) {
        self.dds_url = format!("http://{authority}");
        self.dds.set_challenge(Some(json!({ "domain": authority, "uri": self.dds_url })));
    }

    /// Starts one more replica.
    pub(crate) fn add(&mut self, url: &str, options: &[(&str, &str)]) {
        self.add_by(Worker::start, url, options);
    }

    /// As [`Fleet::add`], for another way to start a worker.
    pub(crate) fn add_by(
        &mut self,
        start: impl FnOnce(&str, &[(&str, &str)]) -> Worker,
        url: &str,
        options: &[(&str, &str)],
    ) {
        let version = format!("1.0.{}", self.replicas.len());
        let own = [("STATE_URL", url), ("CALLBACK_BIND", "127.0.0.1:0"), ("NODE_VERSION", &version)];
        let worker = start(&self.dds_url, &[&own, options].concat());
        self.replicas.push(Replica { worker, version });
    }

    /// Waits until exactly one replica leads and all others follow it, and returns which one leads.
    pub(crate) fn leader(&mut self) -> usize {
        let all: Vec<_> = (0..self.replicas.len()).collect();
        self.leader_of(&all)
    }

    /// As [`Fleet::leader`], for some of the replicas.
    pub(crate) fn leader_of(&mut self, some: &[usize]) -> usize {
        let deadline = Instant::now() + GUARD;
        loop {
            let statuses: Vec<_> = some.iter().map(|nth| self.status(*nth)).collect();
            let leaders: Vec<_> =
                some.iter().zip(&statuses).filter(|(_, status)| status.starts_with("leader")).collect();
            if let [(leader, status)] = leaders[..]
                && status.contains("persistence=fine")
            {
                return *leader;
            }
            assert!(Instant::now() < deadline, "{statuses:?}");
            thread::sleep(PAUSE);
        }
    }

    pub(crate) fn status(&mut self, nth: usize) -> String {
        self.replicas[nth].worker.ask("status")
    }

    /// Waits until the status of a replica is as wanted.
    pub(crate) fn until(&mut self, nth: usize, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + GUARD;
        loop {
            let status = self.status(nth);
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "replica {nth}: {what}: {status}");
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the whole node is registered.
    pub(crate) fn until_registered(&mut self) {
        for nth in 0..self.replicas.len() {
            self.until(nth, "registered", |status| status.contains(" registered "));
        }
    }

    /// Has every attempt to register fail, and the next one come after a second. With the option `REGISTER_INTERVAL_SECS`
    /// of 1.
    pub(crate) fn keep_registering(&self) {
        self.dds.set_online_elsewhere(WALLET, true);
    }

    /// Waits for this many attempts to register.
    pub(crate) fn until_registering(&self, times: usize) {
        let wanted = self.registrations().len() + times;
        assert!(self.dds.wait_for(GUARD, |_| self.registrations().len() >= wanted));
    }

    /// Where the callback server of a replica listens. The system has picked the port.
    pub(crate) fn address(&mut self, nth: usize) -> String {
        let address = self.replicas[nth].worker.ask("address");
        address.trim_start_matches("Some(").trim_end_matches(')').to_owned()
    }

    /// Has DDS call this replica back with a secret. The status of the response, or an error of the connection.
    pub(crate) fn call_back(&mut self, nth: usize, secret: &str) -> std::io::Result<u16> {
        let url = format!("http://{}", self.address(nth));
        self.dds.set_node_url(Some(url)).expect("loopback");
        self.dds.set_secret(Some(secret.into()));
        Ok(self.dds.call_back()?.status)
    }

    /// Waits until these replicas hold this secret.
    pub(crate) fn until_held(&mut self, some: &[usize], secret: &str) {
        let deadline = Instant::now() + GUARD;
        for nth in some {
            loop {
                let held = self.replicas[*nth].worker.ask("secret");
                if held == secret {
                    break;
                }
                assert!(Instant::now() < deadline, "replica {nth} holds {held}, not {secret}");
                thread::sleep(PAUSE);
            }
        }
    }

    pub(crate) fn version_of_secret(&mut self, nth: usize) -> u64 {
        let status = self.status(nth);
        let version = status.split(' ').find_map(|word| word.strip_prefix("version="));
        version.and_then(|version| version.parse().ok()).expect("in every status")
    }

    /// Which replica has handed in a registration, and when, in the order of their arrival.
    pub(crate) fn registrations(&self) -> Vec<(SystemTime, usize)> {
        let requests = self.dds.requests_to(Endpoint::Register);
        let replica_of = |version: &str| {
            let nth = self.replicas.iter().position(|replica| replica.version == version);
            nth.unwrap_or_else(|| panic!("{version} is none of ours"))
        };
        let registrations = requests.iter().map(|request| {
            let json = request.json().expect("JSON");
            (request.at, replica_of(json["version"].as_str().expect("a version")))
        });
        registrations.collect()
    }

    /// The replicas that have registered, in turn. With two registrars at a time, one would appear again.
    pub(crate) fn registrars(&self) -> Vec<usize> {
        let mut registrars: Vec<_> = self.registrations().into_iter().map(|(_, nth)| nth).collect();
        registrars.dedup();
        registrars
    }

    /// Everything that the replicas have printed: their logs and events.
    pub(crate) fn told(&self) -> Vec<String> {
        self.replicas.iter().flat_map(|replica| replica.worker.told()).collect()
    }
}
