//! The encoding of a node's state: one line with a magic word, format version and checksum, then JSON.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::callback::HandIn;
use crate::credentials::ROBOT;
use crate::error::{Error, ErrorCode};
use crate::node_id::NodeId;
use crate::rfc3339;
use crate::secret::Secret;
use crate::status::State;

const MAGIC: &str = "posemesh-node-state";
/// Grows when an older version of the library would misread the record of a newer one. Optional fields are added without
/// a new version.
const VERSION: u32 = 1;

/// The node that a record belongs to. The record of another node is never used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The address of the wallet, or the name of a robot.
    pub(crate) wallet: String,
    pub(crate) dds: String,
    /// The node id in the registration credentials, if they hold one.
    pub(crate) node_id: Option<String>,
}

impl Owner {
    /// The wallet or robot, and the DDS, for a message.
    pub(crate) fn describe(&self) -> String {
        match self.wallet.strip_prefix(ROBOT) {
            Some(name) => format!("robot {name} and DDS {}", self.dds),
            None => format!("wallet {} and DDS {}", self.wallet, self.dds),
        }
    }

    pub(crate) fn is(&self, other: &Owner) -> bool {
        let same_node = match (&self.node_id, &other.node_id) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        self.wallet == other.wallet && self.dds == other.dds && same_node
    }
}

/// The state that outlives a process, and that followers show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Counts re-arms.
    pub(crate) registration: u64,
    pub(crate) state: State,
    pub(crate) registered_at: Option<u64>,
    pub(crate) last_healthcheck: Option<DateTime<Utc>>,
    pub(crate) attempts: u64,
    pub(crate) consecutive_failures: u32,
    pub(crate) last_error: Option<Error>,
    /// In milliseconds since 1970, because the monotonic clock differs between machines and boots.
    pub(crate) next_attempt_at: Option<u64>,
    pub(crate) callback_address: Option<SocketAddr>,
    pub(crate) secret: Option<Arc<Secret>>,
    pub(crate) secret_version: u64,
    /// The registration in which the secret was accepted.
    pub(crate) secret_registration: Option<u64>,
    /// The id that DDS gave a robot.
    pub(crate) robot_id: Option<NodeId>,
    /// What became of the last request that registers the node. In a state directory only its leader needs this.
    pub(crate) hand_in: Option<HandIn>,
}

impl Record {
    /// Whether this record is as new as the other one of the same node, or newer. Each of these fields only grows while
    /// the fields before it stay the same.
    pub(crate) fn is_as_new_as(&self, other: &Self) -> bool {
        let age = |record: &Self| {
            (
                record.registration,
                record.attempts,
                record.state == State::Registered,
                record.consecutive_failures,
                record.secret_version,
                record.last_healthcheck,
            )
        };
        age(self) >= age(other)
    }
}

/// Why a record cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is damaged in this way.
    Damaged(&'static str),
    /// A newer version of this library wrote it, in this format.
    Newer(u32),
}

impl Unusable {
    /// The word in the name of the file when it is set aside.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Newer(_) => "newer",
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => f.write_str(why),
            Self::Newer(format) => {
                write!(f, "a newer version of this library has written it, in format {format}")
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    wallet: Cow<'a, str>,
    #[serde(borrow)]
    dds: Cow<'a, str>,
    #[serde(borrow)]
    node_id: Option<Cow<'a, str>>,
    registration: u64,
    #[serde(borrow)]
    status: Cow<'a, str>,
    registered_at: Option<u64>,
    #[serde(default, deserialize_with = "healthcheck")]
    last_healthcheck: Option<DateTime<Utc>>,
    attempts: u64,
    consecutive_failures: u32,
    last_error_code: Option<i32>,
    #[serde(borrow)]
    last_error: Option<Cow<'a, str>>,
    next_attempt_at_ms: Option<u64>,
    callback_address: Option<SocketAddr>,
    /// In hex: text with escapes would leave copies in the parser's memory, where they are not wiped.
    secret_hex: Option<&'a str>,
    secret_version: u64,
    secret_registration: Option<u64>,
    /// Absent in the record of a node with a wallet.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    robot_id: Option<Cow<'a, str>>,
    /// The registration that was handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed_in: Option<u64>,
    /// The registration that DDS refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
}

/// With the parser that everything else uses, because a second one would make every artefact larger.
fn healthcheck<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<Cow<'_, str>>::deserialize(deserializer)? else { return Ok(None) };
    // Not by way of `SystemTime`, which has steps of 100 ns on Windows.
    let time = rfc3339::parse(&text).and_then(|since_1970| {
        DateTime::from_timestamp(since_1970.as_secs().try_into().ok()?, since_1970.subsec_nanos())
    });
    time.map(Some).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
}

/// The bytes of the file. They hold the secret.
pub(crate) fn encode(owner: &Owner, record: &Record) -> Zeroizing<Vec<u8>> {
    let secret = record.secret.as_ref().map(|secret| Zeroizing::new(hex::encode(secret.expose())));
    let error = record.last_error.as_ref();
    let fields = Fields {
        wallet: Cow::Borrowed(&owner.wallet),
        dds: Cow::Borrowed(&owner.dds),
        node_id: owner.node_id.as_deref().map(Cow::Borrowed),
        registration: record.registration,
        status: Cow::Borrowed(record.state.name()),
        registered_at: record.registered_at,
        last_healthcheck: record.last_healthcheck,
        attempts: record.attempts,
        consecutive_failures: record.consecutive_failures,
        last_error_code: error.map(|error| error.code().number()),
        last_error: error.map(|error| Cow::Borrowed(error.message())),
        next_attempt_at_ms: record.next_attempt_at,
        callback_address: record.callback_address,
        secret_hex: secret.as_deref().map(String::as_str),
        secret_version: record.secret_version,
        secret_registration: record.secret_registration,
        robot_id: record.robot_id.map(|id| Cow::Owned(id.to_string())),
        handed_in: match record.hand_in {
            Some(HandIn::Pending(registration)) => Some(registration),
            _ => None,
        },
        refused: match record.hand_in {
            Some(HandIn::Refused(registration)) => Some(registration),
            _ => None,
        },
    };
    // Allocated in one piece, because a buffer that grows leaves unwiped copies behind.
    let room = 4096 + secret.as_ref().map_or(0, |secret| secret.len());
    let texts = owner.dds.len() + error.map_or(0, |error| error.message().len());
    let mut body = Zeroizing::new(Vec::with_capacity(room + 6 * texts));
    serde_json::to_writer(&mut *body, &fields).expect("plain fields, written to memory");
    body.push(b'\n');
    let head = format!("{MAGIC} {VERSION} {}\n", checksum(&body));
    let mut bytes = Zeroizing::new(Vec::with_capacity(head.len() + body.len()));
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Decodes the bytes of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<(Owner, Record), Unusable> {
    let end_of_head =
        bytes.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Damaged("it is cut off"))?;
    let (head, body) = (&bytes[..end_of_head], &bytes[end_of_head + 1..]);
    let head = str::from_utf8(head).map_err(|_| Unusable::Damaged("it is not a state file"))?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(Unusable::Damaged("it is not a state file"));
    }
    match words.next().and_then(|version| version.parse().ok()) {
        Some(VERSION) => {}
        Some(version) if version > VERSION => return Err(Unusable::Newer(version)),
        _ => return Err(Unusable::Damaged("it has no format version")),
    }
    if words.next() != Some(&checksum(body)) {
        return Err(Unusable::Damaged("its checksum is wrong"));
    }
    parse(body).ok_or(Unusable::Damaged("its fields are not those of this format"))
}

fn parse(body: &[u8]) -> Option<(Owner, Record)> {
    let fields: Fields<'_> = serde_json::from_str(str::from_utf8(body).ok()?).ok()?;
    let secret = fields.secret_hex.map(parse_secret);
    let owner = Owner {
        wallet: fields.wallet.into_owned(),
        dds: fields.dds.into_owned(),
        node_id: fields.node_id.map(Cow::into_owned),
    };
    let code = fields.last_error_code.map(|code| ErrorCode::from_number(code).unwrap_or(ErrorCode::Internal));
    let record = Record {
        registration: fields.registration,
        state: State::from_name(&fields.status)?,
        registered_at: fields.registered_at,
        last_healthcheck: fields.last_healthcheck,
        attempts: fields.attempts,
        consecutive_failures: fields.consecutive_failures,
        last_error: code.map(|code| Error::new(code, fields.last_error.unwrap_or_default())),
        next_attempt_at: fields.next_attempt_at_ms,
        callback_address: fields.callback_address,
        secret: match secret {
            Some(secret) => Some(Arc::new(secret?)),
            None => None,
        },
        secret_version: fields.secret_version,
        secret_registration: fields.secret_registration,
        robot_id: match fields.robot_id {
            Some(id) => Some(id.parse().ok()?),
            None => None,
        },
        hand_in: fields.handed_in.map(HandIn::Pending).or(fields.refused.map(HandIn::Refused)),
    };
    Some((owner, record))
}

fn parse_secret(text: &str) -> Option<Secret> {
    let bytes = Zeroizing::new(hex::decode(text).ok()?);
    Some(Secret::new(str::from_utf8(&bytes).ok()?))
}

fn checksum(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    fn sample() -> (Owner, Record) {
        let owner = Owner {
            wallet: "0xfdbb6caf01414300c16ea14859fec7736d95355f".into(),
            dds: "https://dds.example/base".into(),
            node_id: Some("6a5be4e3-8ab1-4b38-a2ac-0d2a8f0a4ef0".into()),
        };
        let record = Record {
            registration: 3,
            state: State::Registered,
            registered_at: Some(1_800_000_000),
            last_healthcheck: Utc.timestamp_opt(1_800_000_001, 5).single(),
            attempts: 7,
            consecutive_failures: 2,
            last_error: Some(Error::new(ErrorCode::Rejected, "DDS said \"no\"\u{1b}")),
            next_attempt_at: Some(1_800_000_002_003),
            callback_address: Some(([127, 0, 0, 1], 8080).into()),
            secret: Some(Arc::new(Secret::new("é\u{1f511}\0\" secret"))),
            secret_version: 4,
            secret_registration: Some(3),
            robot_id: None,
            hand_in: Some(HandIn::Refused(3)),
        };
        (owner, record)
    }

    #[test]
    fn a_record_survives_encoding() {
        let (owner, mut robot) = sample();
        robot.robot_id = owner.node_id.as_deref().and_then(|id| id.parse().ok());
        for (owner, record) in [sample(), (owner, robot), Default::default()] {
            let bytes = encode(&owner, &record);
            assert_eq!(decode(&bytes), Ok((owner, record)));
        }
    }

    #[test]
    fn a_truncated_or_altered_record_is_refused() {
        let (owner, record) = sample();
        let bytes = encode(&owner, &record);
        for length in 0..bytes.len() {
            assert!(matches!(decode(&bytes[..length]), Err(Unusable::Damaged(_))), "{length} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        assert!(decode(&[&bytes[..], b" "].concat()).is_err(), "a byte more");
    }

    #[test]
    fn a_newer_format_is_distinguished_from_damage() {
        assert_eq!(decode(b"posemesh-node-state 2 whatever comes\n\0\xff"), Err(Unusable::Newer(2)));
        assert_eq!(
            decode(b"{\"status\":\"registered\"}\n"),
            Err(Unusable::Damaged("it is not a state file"))
        );
    }

    #[test]
    fn every_step_of_a_node_makes_its_record_newer() {
        let mut record = Record::default();
        let steps: [fn(&mut Record); 7] = [
            |record| (record.state, record.attempts) = (State::Registering, 1),
            |record| record.consecutive_failures = 1,
            |record| record.attempts = 2,
            |record| (record.state, record.consecutive_failures) = (State::Registered, 0),
            |record| record.secret_version = 1,
            |record| record.last_healthcheck = Utc.timestamp_opt(1_800_000_001, 5).single(),
            |record| (record.state, record.registration) = (State::Disconnected, 1),
        ];
        for step in steps {
            let before = record.clone();
            step(&mut record);
            assert!(record.is_as_new_as(&before) && record.is_as_new_as(&record));
            assert!(!before.is_as_new_as(&record), "{before:?} {record:?}");
        }
    }

    #[test]
    fn an_owner_is_a_wallet_a_dds_and_a_node() {
        let (owner, _) = sample();
        assert!(owner.is(&owner));
        assert!(owner.is(&Owner { node_id: None, ..owner.clone() }));
        assert!(!owner.is(&Owner { node_id: Some("another".into()), ..owner.clone() }));
        assert!(!owner.is(&Owner { dds: "https://other.example".into(), ..owner.clone() }));
        assert!(!owner.is(&Owner { wallet: "0x00".into(), ..owner.clone() }));
    }
}
