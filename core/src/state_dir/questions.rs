//! What a follower asks its leader: to register again, and to decide the requests of DDS that have reached the follower.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncWrite;

use super::frame::{Answer, Frame, Request as Sent};
use crate::state::registration::Acceptance;
use crate::state::requests::{Probe, Request};
use crate::state::store::Store;

const OLD_LEADER: &str = "the process that leads this node runs an older version of this library, which accepts no \
                          callbacks from other processes; restart it";

/// The questions to one leader. Dropping them leaves those without an answer to the next leader.
pub(super) struct Questions<'a> {
    store: &'a Store,
    asked: Mutex<Asked>,
}

/// The questions without an answer, by their numbers.
#[derive(Default)]
struct Asked {
    last_number: u64,
    secrets: BTreeMap<u64, Request>,
    probes: BTreeMap<u64, Vec<Probe>>,
}

impl Asked {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn rearm(&mut self, registration: u64) -> Option<Frame> {
        Sent::Rearm { registration }.encode(self.next_number())
    }

    fn secret(&mut self, request: Request) -> Option<Frame> {
        let number = self.next_number();
        let frame = Sent::Secret { policy: request.policy, secret: request.secret.expose() }.encode(number);
        self.secrets.insert(number, request);
        frame
    }

    fn probes(&mut self, probes: Vec<Probe>) -> Option<Frame> {
        let number = self.next_number();
        self.probes.insert(number, probes);
        Sent::Probe.encode(number)
    }
}

impl<'a> Questions<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, asked: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends every question. Never returns: the end of the connection shows when the leader has ended.
    pub(super) async fn send(&self, leader: &mut (impl AsyncWrite + Unpin)) {
        let mut observed = self.store.observe();
        let mut rearmed = None;
        loop {
            let frames = self.next_frames(&mut rearmed);
            for frame in frames {
                // If the leader has ended, the reader of the connection notices it.
                let _ = frame.write(leader).await;
            }
            tokio::select! {
                _ = observed.changed() => {}
                () = self.store.requests().added() => {}
            }
        }
    }

    /// The questions that were not sent yet. From now on they are those of this leader. `rearmed`: the last registration
    /// that it was asked to replace.
    fn next_frames(&self, rearmed: &mut Option<u64>) -> Vec<Frame> {
        let rearm = self.store.pending_rearm();
        let rearm = rearm.filter(|_| rearm != std::mem::replace(rearmed, rearm));
        let requests = self.store.requests();
        let probes = Some(requests.take_probes()).filter(|probes| !probes.is_empty());
        let mut asked = self.lock();
        let rearm = rearm.and_then(|registration| asked.rearm(registration));
        let probes = probes.and_then(|probes| asked.probes(probes));
        let secrets = requests.take().into_iter().filter_map(|request| asked.secret(request));
        rearm.into_iter().chain(probes).chain(secrets).collect()
    }

    /// The leader has answered the question with this number. Returns false if it did not know the question.
    pub(super) fn answered(&self, number: u64, answer: Answer) -> bool {
        if matches!(answer, Answer::Secret(Acceptance::Unavailable(_))) {
            // The leader is about to end. Its successor decides.
            return true;
        }
        let (secret, probes) = {
            let mut asked = self.lock();
            (asked.secrets.remove(&number), asked.probes.remove(&number))
        };
        if let Some(request) = secret {
            request.decide(match answer {
                Answer::Secret(acceptance) => acceptance,
                _ => Acceptance::Unavailable(OLD_LEADER),
            });
        }
        for probe in probes.into_iter().flatten() {
            probe.decide(match answer {
                Answer::Done => Acceptance::Same,
                _ => Acceptance::Unavailable(OLD_LEADER),
            });
        }
        answer != Answer::Unknown
    }
}

impl Drop for Questions<'_> {
    fn drop(&mut self) {
        let asked = std::mem::take(&mut *self.lock());
        let (secrets, probes) = (asked.secrets.into_values().collect(), asked.probes.into_values().flatten());
        self.store.requests().put_back_interrupted(secrets, probes.collect());
    }
}
