//! The status of a node, and the cell from which any thread reads it without a lock.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::ErrorCode;
use crate::node_id::NodeId;
use crate::seqlock::SeqLock;

/// Whether a node is registered with DDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Not registered, and no attempt has been made since the start or the last re-arm.
    #[default]
    Disconnected = 0,
    /// Trying to register.
    Registering = 1,
    /// Registered; the registrar is parked.
    Registered = 2,
}

impl State {
    /// Every state.
    pub const ALL: [State; 3] = [State::Disconnected, State::Registering, State::Registered];

    /// `disconnected`, `registering` or `registered`.
    pub const fn name(self) -> &'static str {
        match self {
            State::Disconnected => "disconnected",
            State::Registering => "registering",
            State::Registered => "registered",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The role of a node among the processes that share its `state_dir` or `state_url`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// It runs the registrar and the callback server. Without a `state_dir` or `state_url`, every node is a leader.
    #[default]
    Leader = 0,
    /// Another process runs them, and this node shows that process's state. It takes over when that process ends.
    Follower = 1,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 2] = [Role::Leader, Role::Follower];

    /// `leader` or `follower`.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A consistent snapshot of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the node is registered.
    pub state: State,
    /// False once the node has been stopped.
    pub running: bool,
    /// Whether the node holds a secret.
    pub has_secret: bool,
    /// 0 = no secret so far; each new secret adds one.
    pub secret_version: u64,
    /// When DDS last probed `/health`, in seconds since 1970 (UTC).
    pub last_healthcheck: Option<u64>,
    /// When DDS last confirmed a registration, in seconds since 1970 (UTC).
    pub registered_at: Option<u64>,
    /// Registration attempts since the start.
    pub attempts: u64,
    /// Attempts that failed since the last success.
    pub consecutive_failures: u32,
    /// What the last attempt failed with; none after a success.
    pub last_error: Option<ErrorCode>,
    /// When the next attempt is due, in milliseconds since the library's first use; see
    /// [`Status::next_attempt_in`].
    pub(crate) next_attempt_at: Option<u64>,
    /// The role of this node among those that share its `state_dir` or `state_url`.
    pub role: Role,
    /// Why the state cannot be written to `state_dir`, or shared through `state_url`, at present. Meanwhile the node keeps
    /// it in memory.
    pub persistence_error: Option<ErrorCode>,
    /// When the access token that the node holds expires, in seconds since 1970 (UTC); none before the first one.
    pub token_expires_at: Option<u64>,
    /// Sign-ins for an access token that have failed since the last success.
    pub sign_in_failures: u32,
    /// How far the clock of DDS is ahead of this machine's, in milliseconds; negative when it is behind.
    ///
    /// From the `Date` of its responses, which has whole seconds: 0 unless a response contradicts that.
    pub clock_skew_ms: i64,
    /// Whether DDS has neither called nor probed this node within a minute of its registration, although it has a
    /// callback server. DDS calls only a node whose URL it knows and can reach.
    pub callback_overdue: bool,
    /// The id that DDS knows this node by: the one in the registration credentials or, if they hold none, the one that
    /// came with the last access token. A robot has the id that its registration brought. `None` as long as it is not
    /// known.
    pub node_id: Option<NodeId>,
}

impl Status {
    /// The time until the next attempt, while the registrar waits for one.
    #[inline]
    pub fn next_attempt_in(&self) -> Option<Duration> {
        let at = self.next_attempt_at?;
        Some(Duration::from_millis(at.saturating_sub(uptime_ms(Instant::now()))))
    }

    /// This status without the fields that are not the same in every process of a node.
    pub(crate) fn replicated(self) -> Self {
        Self {
            running: false,
            role: Role::Leader,
            persistence_error: None,
            token_expires_at: None,
            sign_in_failures: 0,
            clock_skew_ms: 0,
            callback_overdue: false,
            node_id: None,
            ..self
        }
    }

    pub(crate) fn set_next_attempt(&mut self, at: Option<Instant>) {
        self.next_attempt_at = at.map(uptime_ms);
    }
}

/// Milliseconds on the monotonic clock since the first call.
fn uptime_ms(at: Instant) -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    u64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

/// Holds the current [`Status`]. Readers may be on any thread. The caller ensures that there is one writer at a time.
#[derive(Default)]
pub(crate) struct StatusCell {
    words: SeqLock<WORDS>,
    /// Counts the writes. Apart from the words, so that a host can keep a reference to it.
    changes: Arc<AtomicU32>,
}

const WORDS: usize = 11;

impl StatusCell {
    #[inline]
    pub(crate) fn read(&self) -> Status {
        unpack(self.words.read())
    }

    pub(crate) fn changes(&self) -> &Arc<AtomicU32> {
        &self.changes
    }

    /// Must not be called by two threads at once.
    pub(crate) fn write(&self, status: &Status) {
        self.words.write(pack(status));
        self.changes.fetch_add(1, Ordering::Release);
    }
}

// Word 0: bits 0-7 state, 8 running, 9 has_secret, 10 role, 11 callback overdue, 16-31 error code, 32-63 consecutive failures.
// Word 6: bits 0-31 sign-in failures, 32-47 persistence error.
// Optional times are stored plus one, so that 0 is "none".
fn pack(status: &Status) -> [u64; WORDS] {
    let error = |code: Option<ErrorCode>| code.map_or(0, |code| code.number() as u64) & 0xffff;
    let flags = status.state as u64
        | u64::from(status.running) << 8
        | u64::from(status.has_secret) << 9
        | (status.role as u64) << 10
        | u64::from(status.callback_overdue) << 11
        | error(status.last_error) << 16
        | u64::from(status.consecutive_failures) << 32;
    let [upper_id, lower_id] = NodeId::to_words(status.node_id);
    let optional = |value: Option<u64>| value.map_or(0, |value| value.saturating_add(1));
    [
        flags,
        status.secret_version,
        optional(status.last_healthcheck),
        optional(status.registered_at),
        status.attempts,
        optional(status.next_attempt_at),
        u64::from(status.sign_in_failures) | error(status.persistence_error) << 32,
        optional(status.token_expires_at),
        status.clock_skew_ms.cast_unsigned(),
        upper_id,
        lower_id,
    ]
}

#[inline]
fn unpack(words: [u64; WORDS]) -> Status {
    let [
        flags,
        secret_version,
        healthcheck,
        registered_at,
        attempts,
        next_attempt,
        faults,
        token,
        skew,
        upper_id,
        lower_id,
    ] = words;
    // Usually there is none, and the status is read often: avoid the search.
    let error = |bits: u64| match bits & 0xffff {
        0 => None,
        number => ErrorCode::from_number(number as i32),
    };
    let state = match flags & 0xff {
        1 => State::Registering,
        2 => State::Registered,
        _ => State::Disconnected,
    };
    Status {
        state,
        running: flags >> 8 & 1 == 1,
        has_secret: flags >> 9 & 1 == 1,
        secret_version,
        last_healthcheck: healthcheck.checked_sub(1),
        registered_at: registered_at.checked_sub(1),
        attempts,
        consecutive_failures: (flags >> 32) as u32,
        last_error: error(flags >> 16),
        next_attempt_at: next_attempt.checked_sub(1),
        role: if flags >> 10 & 1 == 1 { Role::Follower } else { Role::Leader },
        persistence_error: error(faults >> 32),
        token_expires_at: token.checked_sub(1),
        sign_in_failures: faults as u32,
        clock_skew_ms: skew.cast_signed(),
        callback_overdue: flags >> 11 & 1 == 1,
        node_id: NodeId::from_words([upper_id, lower_id]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn every_field_survives_the_cell() {
        let cell = StatusCell::default();
        assert_eq!(cell.read(), Status::default());
        let status = Status {
            state: State::Registered,
            running: true,
            has_secret: true,
            secret_version: u64::MAX,
            last_healthcheck: Some(0),
            registered_at: Some(1_800_000_000),
            attempts: 7,
            consecutive_failures: u32::MAX,
            last_error: Some(ErrorCode::Internal),
            next_attempt_at: Some(0),
            role: Role::Follower,
            persistence_error: Some(ErrorCode::Io),
            token_expires_at: Some(1_800_003_600),
            sign_in_failures: u32::MAX,
            clock_skew_ms: -61_000,
            callback_overdue: true,
            node_id: NodeId::from_bytes([0xa5; 16]),
        };
        cell.write(&status);
        assert_eq!(cell.read(), status);
        assert_eq!(cell.changes().load(Ordering::Acquire), 1);
    }

    #[test]
    fn readers_never_see_half_a_write() {
        let cell = StatusCell::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut reads = 0_u64;
                        while !done.load(Ordering::Relaxed) {
                            let status = cell.read();
                            assert_eq!(status.attempts, status.secret_version);
                            assert_eq!(status.registered_at.unwrap_or(0), status.attempts);
                            reads += 1;
                        }
                        reads
                    })
                })
                .collect();
            for n in 1..200_000 {
                let status =
                    Status { attempts: n, secret_version: n, registered_at: Some(n), ..Status::default() };
                cell.write(&status);
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().expect("reader saw a torn status");
            }
        });
    }
}
