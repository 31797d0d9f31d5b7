//! The callback server under load: callbacks with a secret, and health probes.

use std::io;

use super::{Contender, FLOOR_HYPER, OURS, REFERENCE, REFERENCE_CURRENT_THREAD, Round};
use crate::load;
use crate::program::Program::*;
use crate::results::Thing;

pub static CALLBACKS: Thing = Thing {
    title: "Callbacks per server CPU second (each with another secret than the one before)",
    unit: "1/s",
    digits: 0,
    more_is_better: true,
};
pub static HEALTH: Thing =
    Thing { title: "Health probes per server CPU second", unit: "1/s", digits: 0, more_is_better: true };

/// The routes of a node in an axum server of the host, and an axum server that does nothing with the same requests.
pub const MOUNTED: &str = "**ours**, in the host's axum server";
pub const FLOOR_AXUM: &str = "floor: an empty route in the same axum server";

const CONTENDERS: &[Contender] = &[
    (OURS, OursRust, "serve"),
    (MOUNTED, OursRust, "mounted"),
    (FLOOR_AXUM, OursRust, "empty-route"),
    (REFERENCE, Reference, "serve"),
    (REFERENCE_CURRENT_THREAD, ReferenceCurrentThread, "serve"),
    (FLOOR_HYPER, Floors, "serve"),
    ("FastAPI on uvicorn", FastApi, "serve"),
    ("Fastify", Fastify, "serve"),
];

pub fn measure(round: &mut Round) -> io::Result<()> {
    for (thing, requests) in [(&CALLBACKS, callbacks()), (&HEALTH, vec![health()])] {
        for (name, program, command) in round.order(CONTENDERS) {
            let mut peer = round.start(program)?;
            let address = peer.ask(command)?.word()?;
            let load = load::run(&address, peer.id(), &requests, round.effort.watch)?;
            peer.end()?;
            round.results.add(thing, name, [load.per_cpu_second()]);
        }
    }
    Ok(())
}

/// Callbacks of DDS with two secrets in turn, so that there is always something to store.
pub fn callbacks() -> Vec<String> {
    ["1f0c6c1b5a9d4f4c8f0e2a7b3d5e9c81", "9b7d4e2c6a1f4b3d8c5e0f9a2d7b4c6e"]
        .iter()
        .map(|secret| {
            let body = format!(
                r#"{{"id":"01234567-89ab-cdef-0123-456789abcdef","secret":"{secret}","organization_id":"76543210-ba98-fedc-3210-fedcba987654","lighthouses_in_domains":[],"domains":[]}}"#
            );
            format!(
                "POST /internal/v1/registrations HTTP/1.1\r\nHost: node\r\nUser-Agent: DDS v1.0.0\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
        })
        .collect()
}

pub fn health() -> String {
    "GET /health HTTP/1.1\r\nHost: node\r\nUser-Agent: DDS v1.0.0\r\n\r\n".into()
}
