//! Changes to a JSON object, for tests that need it to be different.

use serde_json::{Map, Value};

/// Replaces and adds fields; one that is `null` in `patch` is removed.
pub(crate) fn apply(patch: &Map<String, Value>, object: &mut Map<String, Value>) {
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}
