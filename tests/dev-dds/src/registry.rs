//! The nodes that are registered.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::callback::NodeUrl;
use crate::credentials;
use crate::identity::Identity;
use crate::uuid::Uuid;
use crate::wallet::Wallet;

/// A node that has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RegisteredNode {
    /// Its wallet, with the EIP-55 checksum. `None` for a robot.
    pub wallet: Option<String>,
    /// The UUID in its credentials, or, if they have none, one derived from its wallet or its credentials. For a robot,
    /// this is the `robot_id`.
    pub node_id: String,
    /// The version it sent, unchanged.
    pub version: String,
    /// The capabilities it sent.
    pub capabilities: Vec<String>,
    /// How many jobs it takes at once, if it sent that.
    pub max_concurrency: Option<u64>,
    /// The URL of its callback server, if it registered with one (the legacy registration).
    pub url: Option<String>,
    /// How often it has registered since it was last forgotten.
    pub registrations: u64,
    /// Whether it answered the last health probe. A node that has just registered counts as online.
    pub online: bool,
}

#[derive(Default)]
pub(crate) struct Registry {
    nodes: BTreeMap<Identity, Entry>,
    online_elsewhere: BTreeSet<Wallet>,
    latest: Option<Identity>,
}

struct Entry {
    node: RegisteredNode,
    /// From [`RegisteredNode::url`], if it is on loopback.
    url: Option<NodeUrl>,
    credentials: String,
    /// The callback that follows the registration has not been made.
    needs_callback: bool,
    /// The secret of this registration, once it has been generated.
    secret: Option<String>,
}

/// What a node sends to register.
pub(crate) struct Registration {
    pub(crate) credentials: String,
    pub(crate) version: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) max_concurrency: Option<u64>,
    pub(crate) url: Option<(String, Option<NodeUrl>)>,
}

impl Registry {
    pub(crate) fn register(&mut self, identity: Identity, registration: Registration) -> RegisteredNode {
        let before = self.nodes.remove(&identity);
        let registrations = before.as_ref().map_or(0, |entry| entry.node.registrations) + 1;
        // A registration without a URL does not make DDS forget the URL.
        let known_url = || before.and_then(|entry| Some((entry.node.url?, entry.url)));
        let (url, parsed_url) = registration.url.or_else(known_url).unzip();
        let node_id = match identity {
            Identity::Wallet(wallet) => credentials::node_id(&registration.credentials)
                .unwrap_or_else(|| Uuid::derived_from(&wallet.0)),
            Identity::Robot(id) => id,
        };
        let node = RegisteredNode {
            wallet: identity.wallet().map(|wallet| wallet.to_string()),
            node_id: node_id.to_string(),
            version: registration.version,
            capabilities: registration.capabilities,
            max_concurrency: registration.max_concurrency,
            url,
            registrations,
            online: true,
        };
        let entry = Entry {
            node: node.clone(),
            url: parsed_url.flatten(),
            credentials: registration.credentials,
            needs_callback: true,
            secret: None,
        };
        self.nodes.insert(identity, entry);
        self.latest = Some(identity);
        node
    }

    /// Returns true once for each registration: the caller then makes its callback.
    pub(crate) fn claim_callback(&mut self, identity: Identity) -> bool {
        self.nodes.get_mut(&identity).is_some_and(|entry| std::mem::take(&mut entry.needs_callback))
    }

    /// The callback did not reach the node, so it can be claimed again.
    pub(crate) fn callback_failed(&mut self, identity: Identity) {
        if let Some(entry) = self.nodes.get_mut(&identity) {
            entry.needs_callback = true;
        }
    }

    /// The secret of the node's registration, generated on first use.
    pub(crate) fn secret(&mut self, identity: Identity, generate: impl FnOnce() -> String) -> Option<String> {
        Some(self.nodes.get_mut(&identity)?.secret.get_or_insert_with(generate).clone())
    }

    pub(crate) fn forget_secrets(&mut self) {
        self.nodes.values_mut().for_each(|entry| entry.secret = None);
    }

    pub(crate) fn get(&self, identity: Identity) -> Option<&RegisteredNode> {
        self.nodes.get(&identity).map(|entry| &entry.node)
    }

    /// The node, if it registered with these credentials.
    pub(crate) fn get_with_credentials(
        &self,
        identity: Identity,
        credentials: &str,
    ) -> Option<RegisteredNode> {
        let entry = self.nodes.get(&identity).filter(|entry| entry.credentials == credentials);
        entry.map(|entry| entry.node.clone())
    }

    /// The URL that the node registered with.
    pub(crate) fn url(&self, identity: Identity) -> Option<&NodeUrl> {
        self.nodes.get(&identity)?.url.as_ref()
    }

    /// The node that registered last, unless it has been forgotten.
    pub(crate) fn latest(&self) -> Option<Identity> {
        self.latest.filter(|identity| self.nodes.contains_key(identity))
    }

    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.nodes.keys().copied().collect()
    }

    /// Ordered by wallet, then robots by id.
    pub(crate) fn all(&self) -> Vec<RegisteredNode> {
        self.nodes.values().map(|entry| entry.node.clone()).collect()
    }

    pub(crate) fn forget(&mut self, identity: Identity) {
        self.nodes.remove(&identity);
    }

    pub(crate) fn forget_all(&mut self) {
        self.nodes.clear();
    }

    pub(crate) fn probed(&mut self, identity: Identity, online: bool) {
        if let Some(entry) = self.nodes.get_mut(&identity) {
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
