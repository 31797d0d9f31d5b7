//! The store that the option `state_url` names.

use std::sync::Arc;

use super::election::Membership;
use super::etcd::EtcdKey;
use super::exchange::Exchange;
use super::redis::RedisKey;
use super::remote::RemoteKey;
use super::seal::Seal;
use super::term::Clock;
use crate::config::{Settings, StateUrl, StoreKind};
use crate::error::Result;
use crate::state::record::Owner;
use crate::state::store::Store;

/// Joins the replicas that share this store. Waits for the state there, but not for long.
pub(super) fn join(
    url: &StateUrl,
    name: &str,
    settings: &Settings,
    store: &Arc<Store>,
) -> Result<Membership> {
    let dds = settings.dds_base_url.as_str().trim_end_matches('/').to_owned();
    let node_id = settings.reg_secret.node_id().map(|id| id.to_string());
    let key_name = format!("posemesh-node/{name}/{dds}");
    let ca_file = settings.ca_file.as_deref();
    let key: Box<dyn RemoteKey> = match url.kind {
        StoreKind::Redis => Box::new(RedisKey::new(url, &key_name, ca_file)?),
        StoreKind::Etcd => Box::new(EtcdKey::new(url, &key_name, ca_file)?),
    };
    let exchange = Exchange::new(
        key,
        url.to_string(),
        Seal::new(settings, &key_name),
        Owner { wallet: name.to_owned(), dds, node_id },
        Arc::clone(store),
        Clock::System,
    );
    Membership::new(exchange).begin()
}
