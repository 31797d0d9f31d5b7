//! The registration credentials: the node id in them, and which texts must not appear in an error.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::node_id::NodeId;
use crate::secret::Secret;

/// Base64, with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the name of a robot begins with.
pub(crate) const ROBOT: &str = "robot:";

/// Registration credentials. They are sent unchanged.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    text: Secret,
    node_id: Option<NodeId>,
}

impl Credentials {
    pub(crate) fn new(text: Secret) -> Self {
        let decoded = decode(text.expose());
        let decoded = decoded.as_ref().and_then(|decoded| std::str::from_utf8(decoded).ok());
        let node_id = decoded.and_then(split).map(|(id, _)| id);
        Self { text, node_id }
    }

    pub(crate) fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The id in credentials from the console, which are base64(`<node UUID>:<registration secret>`). `None` for any
    /// other credentials; those are valid, too.
    pub(crate) fn node_id(&self) -> Option<NodeId> {
        self.node_id
    }

    /// The texts that must never be shown: the credentials and the secret in them. The node id is not one of them.
    pub(crate) fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let secret = |text: &[u8]| {
            let secret =
                std::str::from_utf8(text).ok().and_then(split).map_or(text, |(_, secret)| secret.as_bytes());
            Zeroizing::new(secret.to_vec())
        };
        let text = self.expose();
        let decoded = decode(text).map(|decoded| secret(&decoded));
        std::iter::once(secret(text.trim().as_bytes())).chain(decoded).collect()
    }

    /// The name of a robot before DDS has given it an id: the id in its credentials, or a hash of credentials that hold
    /// none. It takes the place of a wallet's address.
    pub(crate) fn robot_name(&self) -> String {
        if let Some(id) = self.node_id {
            return format!("{ROBOT}{id}");
        }
        let text = self.expose().trim();
        let hash = Sha256::new().chain_update("posemesh robot\n").chain_update(text).finalize();
        format!("{ROBOT}{}", hex::encode(&hash[..16]))
    }
}

fn decode(credentials: &str) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(credentials.trim()).ok().map(Zeroizing::new)
}

fn split(text: &str) -> Option<(NodeId, &str)> {
    let (id, secret) = text.split_once(':')?;
    Some((id.parse().ok()?, secret))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::*;

    #[test]
    fn credentials_of_the_console_hold_the_node_id() {
        let text = "C3F1D7C2-0a54-4b52-9b8e-6f0a8a2f7d11:se:cret";
        for text in
            [STANDARD.encode(text), STANDARD_NO_PAD.encode(text), format!(" {}\n", STANDARD.encode(text))]
        {
            let credentials = Credentials::new(Secret::new(text.as_str()));
            let id = credentials.node_id().expect("an id");
            assert_eq!(id.to_string(), "c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11");
            assert_eq!(credentials.expose(), text);
            let secrets = credentials.secrets();
            assert_eq!([&secrets[0][..], &secrets[1][..]], [text.trim().as_bytes(), b"se:cret"]);
        }
        for other in [
            "",
            "token",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            &STANDARD.encode("node:secret"),
            &STANDARD.encode([0xff]),
        ] {
            assert_eq!(Credentials::new(Secret::new(other)).node_id(), None, "{other}");
        }
    }

    #[test]
    fn a_robot_is_named_by_the_id_in_its_credentials_or_by_their_hash() {
        let credentials = STANDARD.encode("C3F1D7C2-0a54-4b52-9b8e-6f0a8a2f7d11:secret of the robot");
        let name = |text: &str| Credentials::new(Secret::new(text)).robot_name();
        assert_eq!(name(&credentials), "robot:c3f1d7c2-0a54-4b52-9b8e-6f0a8a2f7d11");
        let opaque = name("opaque credentials");
        assert_eq!(opaque, name("opaque credentials\n"));
        assert_ne!(opaque, name("other credentials"));
        assert_eq!(opaque.len(), "robot:".len() + 32);
        assert!(!opaque.contains("opaque"), "{opaque}");
    }
}
