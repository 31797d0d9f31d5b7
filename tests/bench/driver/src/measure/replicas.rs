//! Replicas of one node that share a Redis: how soon one shows what another has received, and what it costs while nothing
//! happens.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::serve::callbacks;
use super::{OURS, Round};
use crate::cpu::of_process;
use crate::load;
use crate::program::Program::OursRust;
use crate::results::Thing;

pub static CALLBACK: Thing = Thing {
    title: "Replicas: from a callback at one to the secret at another, on the clock",
    unit: "ms",
    digits: 2,
    more_is_better: false,
};
pub static TAKEOVER: Thing = Thing {
    title: "Replicas: from the death of the leader to the next one, on the clock",
    unit: "s",
    digits: 2,
    more_is_better: false,
};
pub static RENEWAL: Thing = Thing {
    title: "Replicas: CPU of the leader per renewal, every 3 seconds",
    unit: "µs",
    digits: 0,
    more_is_better: false,
};
pub static TRAFFIC: Thing = Thing {
    title: "Replicas: bytes between each of three and Redis in an hour, without TCP's",
    unit: "kB",
    digits: 0,
    more_is_better: false,
};

/// The leader writes this often.
const RENEWAL_EVERY: f64 = 3.0;
/// Several renewals, in a full run.
const RENEWALS: u32 = 7;

pub fn measure(round: &mut Round) -> io::Result<()> {
    let Some(redis) = Redis::start()? else {
        eprintln!("no redis-server: skipped");
        return Ok(());
    };
    let relay = Relay::to(redis.port)?;
    let url = format!("redis://127.0.0.1:{}", relay.port);
    let mut replicas = Vec::new();
    for _ in 0..3 {
        let mut peer = round.start(OursRust)?;
        let address = peer.ask(&format!("share {url}"))?.word()?;
        replicas.push((peer, address));
    }
    replicas[0].0.ask("leads")?;

    for (version, callback) in (1..=round.effort.trials).zip(callbacks().iter().cycle()) {
        let began = Instant::now();
        load::in_turn(&replicas[version % 3].1, slice::from_ref(callback), 1)?;
        replicas[(version + 1) % 3].0.ask(&format!("holds {version}"))?;
        round.results.add(&CALLBACK, OURS, [began.elapsed().as_secs_f64() * 1e3]);
    }

    let watch = round.effort.watch * RENEWALS * 3 / 2;
    let (cpu, bytes, began) = (of_process(replicas[0].0.id())?, relay.bytes(), Instant::now());
    sleep(watch);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = of_process(replicas[0].0.id())?.saturating_sub(cpu).as_secs_f64();
    let bytes = (relay.bytes() - bytes) as f64;
    round.results.add(&RENEWAL, OURS, [cpu * 1e6 / (seconds / RENEWAL_EVERY)]);
    round.results.add(&TRAFFIC, OURS, [bytes / 3.0 / 1e3 * 3600.0 / seconds]);

    // With one that is left, it is clear which one takes over.
    replicas.pop().map_or(Ok(()), |(peer, _)| peer.end())?;
    let began = Instant::now();
    replicas.remove(0).0.kill()?;
    replicas[0].0.ask("leads")?;
    round.results.add(&TAKEOVER, OURS, [began.elapsed().as_secs_f64()]);
    replicas.into_iter().try_for_each(|(peer, _)| peer.end())
}

/// A server that keeps everything in memory. Killed when dropped.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    /// `None` if it is not installed.
    fn start() -> io::Result<Option<Self>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"];
        let started = Command::new("redis-server")
            .args(arguments)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let child = match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            started => started?,
        };
        let redis = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("redis-server does not listen"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(Some(redis))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forwards connections and counts their bytes. Its threads end with the connections, and the last one with the process.
struct Relay {
    port: u16,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    fn to(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self { port: listener.local_addr()?.port(), bytes: Arc::default() };
        let bytes = Arc::clone(&relay.bytes);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let _ = to.set_nodelay(true);
                    let bytes = Arc::clone(&bytes);
                    thread::spawn(move || forward(from, to, &bytes));
                }
            }
        });
        Ok(relay)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
    let _ = to.shutdown(Shutdown::Write);
}
