//! Registration credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::uuid::Uuid;

/// The node id in credentials from the console, which are base64 of `<node UUID>:<secret>`. Other credentials have none.
pub(crate) fn node_id(credentials: &str) -> Option<Uuid> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (id, _secret) = decoded.split_once(':')?;
    id.parse().ok()
}
