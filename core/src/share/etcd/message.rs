//! The messages of etcd's JSON gateway. Keys and values are base64, numbers are texts, and what is empty, zero or false
//! is left out.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| D::Error::custom("no base64"))
    }
}

fn number<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

#[derive(Serialize)]
pub(super) struct Authenticate<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Authenticated {
    pub(super) token: String,
}

#[derive(Serialize)]
pub(super) struct Range<'a> {
    pub(super) key: &'a Blob,
}

#[derive(Deserialize)]
pub(super) struct Ranged {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
}

/// In the header of every response: how often the store has changed.
#[derive(Default, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: i64,
}

#[derive(Deserialize)]
pub(super) struct KeyValue {
    #[serde(default)]
    pub(super) value: Blob,
}

#[derive(Serialize)]
pub(super) struct Transaction<'a> {
    compare: [Compare<'a>; 1],
    success: [Put<'a>; 1],
    failure: [Get<'a>; 1],
}

#[derive(Serialize)]
#[serde(tag = "target", rename_all = "UPPERCASE")]
enum Compare<'a> {
    Value {
        key: &'a Blob,
        result: &'static str,
        value: &'a Blob,
    },
    /// With 0, it succeeds when there is no such key.
    Create {
        key: &'a Blob,
        result: &'static str,
        create_revision: &'static str,
    },
}

#[derive(Serialize)]
struct Put<'a> {
    request_put: PutRequest<'a>,
}

#[derive(Serialize)]
struct PutRequest<'a> {
    key: &'a Blob,
    value: &'a Blob,
}

#[derive(Serialize)]
struct Get<'a> {
    request_range: Range<'a>,
}

impl<'a> Transaction<'a> {
    /// Puts the value if the present one is `expected`, otherwise gets the present one.
    pub(super) fn swap(key: &'a Blob, expected: Option<&'a Blob>, value: &'a Blob) -> Self {
        let result = "EQUAL";
        let compare = match expected {
            Some(value) => Compare::Value { key, result, value },
            None => Compare::Create { key, result, create_revision: "0" },
        };
        Self {
            compare: [compare],
            success: [Put { request_put: PutRequest { key, value } }],
            failure: [Get { request_range: Range { key } }],
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Swapped {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    pub(super) responses: Vec<OperationResponse>,
}

#[derive(Deserialize)]
pub(super) struct OperationResponse {
    pub(super) response_range: Option<Kvs>,
}

#[derive(Deserialize)]
pub(super) struct Kvs {
    #[serde(default)]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Serialize)]
pub(super) struct Watch<'a> {
    pub(super) create_request: CreateWatch<'a>,
}

#[derive(Serialize)]
pub(super) struct CreateWatch<'a> {
    pub(super) key: &'a Blob,
    pub(super) start_revision: String,
}

/// One line of the response to [`Watch`].
#[derive(Deserialize)]
pub(super) struct WatchLine {
    /// Absent in a line that reports an error.
    pub(super) result: Option<Watched>,
}

#[derive(Deserialize)]
pub(super) struct Watched {
    #[serde(default)]
    pub(super) created: bool,
    #[serde(default)]
    pub(super) canceled: bool,
    #[serde(default)]
    pub(super) cancel_reason: String,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

#[derive(Deserialize)]
pub(super) struct Event {
    /// Without a value when the key was deleted.
    pub(super) kv: KeyValue,
}

/// Why etcd does not carry out a request.
#[derive(Deserialize)]
pub(super) struct Refusal {
    /// Of gRPC.
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_compares_the_value_or_that_there_is_none() {
        let [key, old, new] = ["key", "old", "new"].map(|text| Blob(text.into()));
        let json = |expected| serde_json::to_value(Transaction::swap(&key, expected, &new)).expect("JSON");
        let swap = json(Some(&old));
        assert_eq!(
            swap["compare"][0],
            serde_json::json!({"target": "VALUE", "key": "a2V5", "result": "EQUAL", "value": "b2xk"})
        );
        assert_eq!(swap["success"][0], serde_json::json!({"request_put": {"key": "a2V5", "value": "bmV3"}}));
        assert_eq!(json(None)["compare"][0]["target"], "CREATE");
        assert_eq!(json(None)["compare"][0]["create_revision"], "0");
    }

    #[test]
    fn what_is_left_out_is_empty() {
        let ranged: Ranged = serde_json::from_str(r#"{"header":{"revision":"7"}}"#).expect("no key");
        assert_eq!((ranged.header.revision, ranged.kvs.len()), (7, 0));
        let ranged: Ranged = serde_json::from_str(r#"{"header":{},"kvs":[{"key":"a2V5"}]}"#).expect("a key");
        assert_eq!((ranged.header.revision, &ranged.kvs[0].value), (0, &Blob::default()));
        assert!(serde_json::from_str::<Ranged>(r#"{"header":{},"kvs":[{"value":"?"}]}"#).is_err());
    }
}
