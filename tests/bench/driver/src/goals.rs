//! The goals of this library, each relative to another measurement of the same run.

use crate::measure::register::{FLOOR_NODE, FLOOR_THREAD, OURS_ONCE, REGISTER, REGISTER_AWAKE};
use crate::measure::serve::{CALLBACKS, HEALTH};
use crate::measure::start::{HANDSHAKE, REARM, START};
use crate::measure::{
    FLOOR_HYPER, OURS, OURS_C, OURS_NODE, OURS_PYTHON, REFERENCE, artefacts, cold, first, many, parked, read,
    replicas, token,
};
use crate::results::{Results, Thing};

/// The median of one peer.
type Median = (&'static Thing, &'static str);

pub struct Goal {
    pub ours: Median,
    /// The limit, in words.
    pub says: &'static str,
    /// It is the sum of these, each times a factor, and of a constant.
    terms: &'static [(f64, Median)],
    constant: f64,
}

impl Goal {
    /// Our value and its limit; none when something of it was not measured.
    pub fn values(&self, results: &Results) -> Option<(f64, f64)> {
        let ours = results.median(self.ours.0, self.ours.1)?;
        let mut limit = self.constant;
        for (factor, (thing, peer)) in self.terms {
            limit += factor * results.median(thing, peer)?;
        }
        Some((ours, limit))
    }

    /// Whether a value keeps to the limit.
    pub fn is_met(&self, ours: f64, limit: f64) -> bool {
        if self.ours.0.more_is_better { ours >= limit } else { ours <= limit }
    }
}

const fn ratio(ours: Median, says: &'static str, terms: &'static [(f64, Median)]) -> Goal {
    Goal { ours, says, terms, constant: 0.0 }
}

const fn at_most(ours: Median, says: &'static str, constant: f64) -> Goal {
    Goal { ours, says, terms: &[], constant }
}

pub static GOALS: &[Goal] = &[
    ratio((&REGISTER, OURS), "1.1 × 0.2.1", &[(1.1, (&REGISTER, REFERENCE))]),
    ratio((&REGISTER, OURS_ONCE), "0.8 × 0.2.1", &[(0.8, (&REGISTER, REFERENCE))]),
    ratio(
        (&REGISTER, OURS),
        "1.1 × (hyper and one signature, on a thread that is woken)",
        &[(1.1, (&REGISTER, FLOOR_THREAD))],
    ),
    ratio((&REGISTER, OURS_C), "1.1 × ours in Rust", &[(1.1, (&REGISTER, OURS))]),
    ratio((&REGISTER, OURS_PYTHON), "1.1 × ours in Rust", &[(1.1, (&REGISTER, OURS))]),
    ratio((&REGISTER_AWAKE, OURS), "1.1 × 0.2.1", &[(1.1, (&REGISTER_AWAKE, REFERENCE))]),
    ratio((&REGISTER_AWAKE, OURS_ONCE), "0.8 × 0.2.1", &[(0.8, (&REGISTER_AWAKE, REFERENCE))]),
    ratio(
        (&REGISTER_AWAKE, OURS),
        "1.1 × (hyper and one signature, on a thread that is woken)",
        &[(1.1, (&REGISTER_AWAKE, FLOOR_THREAD))],
    ),
    ratio((&REGISTER_AWAKE, OURS_C), "1.1 × ours in Rust", &[(1.1, (&REGISTER_AWAKE, OURS))]),
    ratio((&REGISTER_AWAKE, OURS_PYTHON), "1.1 × ours in Rust", &[(1.1, (&REGISTER_AWAKE, OURS))]),
    ratio(
        (&REGISTER_AWAKE, OURS_NODE),
        "1.15 × (hyper and one signature, on a thread that Node.js wakes)",
        &[(1.15, (&REGISTER_AWAKE, FLOOR_NODE))],
    ),
    ratio((&START, OURS), "0.6 × 0.2.1", &[(0.6, (&START, REFERENCE))]),
    Goal {
        ours: (&REARM, OURS),
        says: "one handshake + 0.2 ms",
        terms: &[(1.0, (&REARM, HANDSHAKE))],
        constant: 0.2,
    },
    ratio((&CALLBACKS, OURS), "1.35 × 0.2.1", &[(1.35, (&CALLBACKS, REFERENCE))]),
    ratio((&CALLBACKS, OURS), "0.85 × hyper's constant answer", &[(0.85, (&CALLBACKS, FLOOR_HYPER))]),
    ratio((&HEALTH, OURS), "0.92 × hyper's constant answer", &[(0.92, (&HEALTH, FLOOR_HYPER))]),
    at_most((&parked::SWITCHES, OURS), "0", 0.0),
    at_most((&parked::CPU, OURS), "0", 0.0),
    at_most((&parked::THREADS, OURS), "2", 2.0),
    at_most((&parked::RESIDENT, OURS), "4.5 MB", 4.5),
    at_most((&read::STATUS, OURS), "5 ns", 5.0),
    at_most((&read::STATUS_CONTENDED, OURS), "5 ns", 5.0),
    at_most((&read::STATUS, OURS_C), "10 ns", 10.0),
    at_most((&read::STATUS_CONTENDED, OURS_C), "10 ns", 10.0),
    ratio(
        (&read::STATUS, OURS_PYTHON),
        "1.5 × an empty method",
        &[(1.5, (&read::STATUS, read::EMPTY_PYTHON))],
    ),
    ratio((&read::STATUS, OURS_NODE), "1.5 × an empty function", &[(1.5, (&read::STATUS, read::EMPTY_NODE))]),
    at_most((&read::SECRET, OURS_C), "25 ns", 25.0),
    at_most((&read::SECRET_CONTENDED, OURS_C), "30 ns", 30.0),
    at_most((&token::TOKEN, OURS_C), "100 ns", 100.0),
    ratio((&token::CONTENDED, OURS_C), "1.2 × one thread", &[(1.2, (&token::TOKEN, OURS_C))]),
    ratio((&token::TOKEN, OURS_PYTHON), "2 × status()", &[(2.0, (&token::TOKEN, token::STATUS_PYTHON))]),
    ratio(
        (&token::AWAITED, OURS_PYTHON),
        "3 × an empty coroutine",
        &[(3.0, (&token::AWAITED, token::EMPTY_PYTHON))],
    ),
    ratio(
        (&token::AWAITED, OURS_NODE),
        "3 × an empty async function",
        &[(3.0, (&token::AWAITED, token::EMPTY_NODE))],
    ),
    Goal {
        ours: (&cold::PYTHON, OURS_PYTHON),
        says: "interpreter + 15 ms",
        terms: &[(1.0, (&cold::PYTHON, cold::PYTHON_ALONE))],
        constant: 15.0,
    },
    Goal {
        ours: (&cold::NODE, OURS_NODE),
        says: "node + 15 ms",
        terms: &[(1.0, (&cold::NODE, cold::NODE_ALONE))],
        constant: 15.0,
    },
    ratio((&first::PYTHON, OURS_PYTHON), "httpx", &[(1.0, (&first::PYTHON, first::HTTPX))]),
    ratio((&first::NODE, OURS_NODE), "viem", &[(1.0, (&first::NODE, first::VIEM))]),
    at_most((&many::MEMORY, OURS), "16 KiB", 16.0),
    at_most((&many::THREADS, OURS), "as with one", 2.0),
    ratio((&many::CPU, OURS), "1.2 × one registration", &[(1.2, (&REGISTER, OURS))]),
    at_most((&many::STOP, OURS), "2 s", 2000.0),
    at_most((&replicas::CALLBACK, OURS), "10 ms", 10.0),
    at_most((&replicas::TAKEOVER, OURS), "10.5 s", 10.5),
    at_most((&artefacts::SIZE, artefacts::LIBRARY), "3.8 MB", 3.8),
    at_most((&artefacts::SIZE, artefacts::WHEEL), "2.5 MB", 2.5),
    at_most((&artefacts::SIZE, artefacts::PACKAGE), "2.4 MB", 2.4),
];

/// Everything that a full run measures, in the order of the report; and against which peer it is compared.
pub static THINGS: &[(&Thing, Option<&str>)] = &[
    (&REGISTER, Some(REFERENCE)),
    (&REGISTER_AWAKE, Some(REFERENCE)),
    (&START, Some(REFERENCE)),
    (&REARM, Some(REFERENCE)),
    (&CALLBACKS, Some(REFERENCE)),
    (&HEALTH, Some(REFERENCE)),
    (&parked::SWITCHES, Some(REFERENCE)),
    (&parked::CPU, Some(REFERENCE)),
    (&parked::THREADS, Some(REFERENCE)),
    (&parked::RESIDENT, Some(REFERENCE)),
    (&parked::PRIVATE, Some(REFERENCE)),
    (&read::STATUS, Some(REFERENCE)),
    (&read::STATUS_CONTENDED, Some(REFERENCE)),
    (&read::SECRET, Some(REFERENCE)),
    (&read::SECRET_CONTENDED, Some(REFERENCE)),
    (&read::METRICS, None),
    (&token::TOKEN, None),
    (&token::CONTENDED, None),
    (&token::AWAITED, None),
    (&cold::PYTHON, Some(cold::PYTHON_ALONE)),
    (&cold::NODE, Some(cold::NODE_ALONE)),
    (&first::NATIVE, None),
    (&first::PYTHON, Some(first::HTTPX)),
    (&first::NODE, Some(first::VIEM)),
    (&many::MEMORY, None),
    (&many::THREADS, None),
    (&many::CPU, None),
    (&many::STOP, None),
    (&replicas::CALLBACK, None),
    (&replicas::TAKEOVER, None),
    (&replicas::RENEWAL, None),
    (&replicas::TRAFFIC, None),
    (&artefacts::SIZE, None),
];
