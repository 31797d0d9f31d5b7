//! The running nodes of this process: at most one for each wallet, or robot, and DDS.

use std::collections::btree_map::{BTreeMap, Entry};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::{CallbackPath, Settings};
use crate::error::{Error, ErrorCode, Result};
use crate::fork::PerProcess;
use crate::node_id::NodeId;
use crate::state::store::Store;

/// The address of a wallet, or the name of a robot; and the DDS that it registers with.
type Identity = (String, String);

/// The state of a node that has started, and the path under which its callback server has the routes.
#[derive(Default)]
struct Running {
    store: Weak<Store>,
    callback_path: CallbackPath,
}

/// The running nodes. A `BTreeMap`, because memory checkers report the pointer that a `HashMap` keeps into its table as a
/// leak.
static RUNNING: PerProcess<Mutex<BTreeMap<Identity, Running>>> = PerProcess::new();

/// The claim of a node on its identity. No other node of this process can have the same until it is dropped.
pub(super) struct Claim(Identity);

impl Claim {
    /// `name` is the address of the wallet, or the name of the robot.
    pub(super) fn new(name: &str, settings: &Settings) -> Result<Self> {
        // A trailing slash does not make a different DDS.
        let dds = settings.dds_base_url.as_str().trim_end_matches('/');
        let identity = (name.to_owned(), dds.to_owned());
        let mut running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(identity.clone()) {
            Entry::Vacant(vacant) => vacant.insert(Running::default()),
            Entry::Occupied(_) => {
                let node = match &settings.signer {
                    Some(_) => format!("node with wallet {name}"),
                    None => "robot with these registration credentials".into(),
                };
                return Err(Error::new(
                    ErrorCode::AlreadyRunning,
                    format!(
                        "a {node} and DDS {} already runs in this process; use or stop that one",
                        settings.dds_base_url
                    ),
                ));
            }
        };
        Ok(Self(identity))
    }

    /// Makes the node visible to [`callback_url`], unless it expects TLS: a local DDS calls without.
    pub(super) fn publish(&self, store: &Arc<Store>, settings: &Settings) {
        if settings.callback_tls_cert.is_some() {
            return;
        }
        let mut running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = running.get_mut(&self.0) {
            node.store = Arc::downgrade(store);
            node.callback_path = settings.callback_path.clone();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The URL of the callback server of the node of this process with this wallet, or robot id, and DDS, for a local DDS in
/// the same process. A server that listens on all interfaces is named by its loopback address.
pub fn callback_url(node: &str, dds_base_url: &str) -> Option<String> {
    let identity = (node.to_ascii_lowercase(), dds_base_url.trim_end_matches('/').to_owned());
    let running = RUNNING.get().lock().unwrap_or_else(PoisonError::into_inner);
    let found = match node.parse::<NodeId>() {
        Err(_) => running.get(&identity),
        Ok(robot) => running
            .iter()
            .filter(|((_, dds), _)| *dds == identity.1)
            .map(|(_, node)| node)
            .find(|node| node.store.upgrade().is_some_and(|store| store.status().node_id == Some(robot))),
    };
    let found = found.map(|node| (node.store.upgrade(), node.callback_path.clone()));
    drop(running);
    let (store, path) = found?;
    let mut address = store?.callback_address()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(format!("http://{address}{}", path.as_str()))
}
