//! The nodes that are registered.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha3::{Digest, Keccak256};

use crate::wallet::Wallet;

/// A node that has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegisteredNode {
    /// Its wallet, with the EIP-55 checksum.
    pub wallet: String,
    /// The UUID in its credentials, or one made up from the wallet when they hold none.
    pub node_id: String,
    /// The version it sent, as it sent it.
    pub version: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// How many jobs it takes at once, when it said so.
    pub max_concurrency: Option<u64>,
    /// How often it has registered since it was last forgotten.
    pub registrations: u64,
    /// Whether it answered the last health probe. A node that has just registered counts as online.
    pub online: bool,
}

#[derive(Default)]
pub(crate) struct Registry {
    nodes: BTreeMap<Wallet, Entry>,
    online_elsewhere: BTreeSet<Wallet>,
    /// The node that a callback is for.
    latest: Option<Wallet>,
}

struct Entry {
    node: RegisteredNode,
    /// The callback that follows the registration is still to be made.
    uncalled: bool,
    /// The secret that belongs to the registration, once one was made up.
    secret: Option<String>,
}

/// What a node says about itself.
pub(crate) struct Registration {
    pub(crate) credentials: String,
    pub(crate) version: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) max_concurrency: Option<u64>,
}

impl Registry {
    pub(crate) fn register(&mut self, wallet: Wallet, registration: Registration) -> RegisteredNode {
        let before = self.nodes.get(&wallet).map_or(0, |entry| entry.node.registrations);
        let node = RegisteredNode {
            wallet: wallet.to_string(),
            node_id: node_id(&registration.credentials).unwrap_or_else(|| made_up_id(wallet)),
            version: registration.version,
            capabilities: registration.capabilities,
            max_concurrency: registration.max_concurrency,
            registrations: before + 1,
            online: true,
        };
        self.nodes.insert(wallet, Entry { node: node.clone(), uncalled: true, secret: None });
        self.latest = Some(wallet);
        node
    }

    /// Whether the callback that belongs to the node's registration is still to be made. True once: the caller
    /// makes it.
    pub(crate) fn claim_callback(&mut self, wallet: Wallet) -> bool {
        self.nodes.get_mut(&wallet).is_some_and(|entry| std::mem::take(&mut entry.uncalled))
    }

    /// The callback did not reach the node.
    pub(crate) fn callback_failed(&mut self, wallet: Wallet) {
        if let Some(entry) = self.nodes.get_mut(&wallet) {
            entry.uncalled = true;
        }
    }

    /// The secret that belongs to the node's registration: `make` makes one up, once.
    pub(crate) fn secret(&mut self, wallet: Wallet, make: impl FnOnce() -> String) -> Option<String> {
        Some(self.nodes.get_mut(&wallet)?.secret.get_or_insert_with(make).clone())
    }

    /// Secrets are made up anew.
    pub(crate) fn forget_secrets(&mut self) {
        self.nodes.values_mut().for_each(|entry| entry.secret = None);
    }

    pub(crate) fn get(&self, wallet: Wallet) -> Option<&RegisteredNode> {
        self.nodes.get(&wallet).map(|entry| &entry.node)
    }

    /// The node that registered last, if it has not been forgotten.
    pub(crate) fn latest_wallet(&self) -> Option<Wallet> {
        self.latest.filter(|wallet| self.nodes.contains_key(wallet))
    }

    pub(crate) fn all(&self) -> Vec<RegisteredNode> {
        self.nodes.values().map(|entry| entry.node.clone()).collect()
    }

    pub(crate) fn forget(&mut self, wallet: Wallet) {
        self.nodes.remove(&wallet);
    }

    pub(crate) fn forget_all(&mut self) {
        self.nodes.clear();
    }

    /// There is one node URL, so a health probe speaks for the node that registered last.
    pub(crate) fn probed(&mut self, online: bool) {
        if let Some(entry) = self.latest.and_then(|wallet| self.nodes.get_mut(&wallet)) {
            entry.node.online = online;
        }
    }

    pub(crate) fn set_online_elsewhere(&mut self, wallet: Wallet, elsewhere: bool) {
        if elsewhere {
            self.online_elsewhere.insert(wallet);
        } else {
            self.online_elsewhere.remove(&wallet);
        }
    }

    pub(crate) fn is_online_elsewhere(&self, wallet: Wallet) -> bool {
        self.online_elsewhere.contains(&wallet)
    }
}

/// Credentials from the console are base64 of `<node UUID>:<secret>`.
fn node_id(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (id, _secret) = decoded.split_once(':')?;
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    is_uuid.then(|| id.to_owned())
}

/// Always the same for a wallet; the 8 marks a UUID of a custom kind (RFC 9562).
fn made_up_id(wallet: Wallet) -> String {
    let hash = hex::encode(Keccak256::digest(wallet.0));
    format!("{}-{}-8{}-8{}-{}", &hash[..8], &hash[8..12], &hash[12..15], &hash[15..18], &hash[18..30])
}
