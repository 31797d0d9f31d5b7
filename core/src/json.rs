//! JSON from outside the library.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` that must be an object in JSON. By itself, serde also accepts an array for a struct: its fields in
/// order.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Pair<'a> {
        text: &'a str,
        number: Option<u8>,
    }

    #[test]
    fn an_object_is_accepted_and_an_array_is_rejected() {
        let Object(pair) = serde_json::from_str::<Object<Pair<'_>>>(r#" {"text":"a"} "#).expect("an object");
        assert_eq!((pair.text, pair.number), ("a", None));
        serde_json::from_str::<Pair<'_>>(r#"["a",1]"#).expect("serde by itself accepts an array");
        for other in [r#"["a",1]"#, "[]", r#""a""#, "1", "null", "true"] {
            let error = serde_json::from_str::<Object<Pair<'_>>>(other)
                .err()
                .expect("it is not an object")
                .to_string();
            assert!(error.contains("expected an object"), "{other}: {error}");
        }
    }
}
