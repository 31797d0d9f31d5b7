//! The processes of one node that share its state: which one leads, and how the others follow it.
//!
//! There are two kinds. Processes of one machine share a [state directory](crate::state_dir): the kernel's lock says who
//! leads, and each follower holds a connection to the leader. Replicas on several machines share a store that all of them
//! reach, where nothing but an atomic swap and their own clocks say who leads, and where each of them writes. The two have
//! little more in common than what this file shows: a lock that the kernel releases needs no term, and a term that must be
//! renewed cannot be as fast.
//!
//! | file | owns |
//! |---|---|
//! | `store` | the store that a node's options name |
//! | `remote` | what a store on another machine must be able to do |
//! | `redis`, `etcd` | the stores that can |
//! | `value`, `seal` | what is in such a store |
//! | `term` | how long a leader may act |
//! | `exchange` | what a process and the store tell each other |
//! | `election` | which process leads |

#[cfg(feature = "state-url")]
mod election;
#[cfg(feature = "state-url")]
mod etcd;
#[cfg(feature = "state-url")]
mod exchange;
#[cfg(feature = "state-url")]
mod redis;
#[cfg(feature = "state-url")]
mod remote;
#[cfg(feature = "state-url")]
mod seal;
#[cfg(feature = "state-url")]
mod store;
#[cfg(feature = "state-url")]
mod term;
#[cfg(feature = "state-url")]
mod value;

use std::sync::Arc;

use crate::config::Settings;
use crate::error::Result;
use crate::state::store::Store;
use crate::state_dir::Leadership;
use crate::status::Role;

/// The part of this process among those of its node.
///
/// What the processes of a node do to share their state is boxed, because most nodes have one process, and would hold
/// memory for it all the same.
pub(crate) enum Share {
    /// The node has one process.
    Alone,
    /// The processes of one machine.
    StateDir(Leadership),
    /// Replicas on several machines.
    #[cfg(feature = "state-url")]
    Store(Box<election::Membership>),
}

impl Share {
    /// Joins the other processes, and restores the state that they share. Call it within the runtime. `name` is the
    /// address of the wallet, or the name of the robot.
    pub(crate) fn join(name: &str, settings: &Settings, store: &Arc<Store>) -> Result<(Self, Role)> {
        #[cfg(feature = "state-url")]
        if let Some(url) = &settings.state_url {
            let membership = store::join(url, name, settings, store)?;
            return Ok((Self::Store(Box::new(membership)), Role::Follower));
        }
        if let Some(path) = &settings.state_dir {
            let (leadership, role) = Leadership::join(path, name, settings, store)?;
            return Ok((Self::StateDir(leadership), role));
        }
        Ok((Self::Alone, Role::Leader))
    }

    /// Whether DDS may call every process, and not the leader alone.
    pub(crate) fn has_servers_everywhere(&self) -> bool {
        match self {
            Self::Alone | Self::StateDir(_) => false,
            #[cfg(feature = "state-url")]
            Self::Store(_) => true,
        }
    }

    /// Writes the state once, before the node does anything.
    pub(crate) fn announce(&mut self) {
        if let Self::StateDir(leadership) = self {
            leadership.announce();
        }
    }

    /// Shows the state of the leader. Returns when this process leads.
    pub(crate) async fn follow(&mut self) {
        match self {
            Self::Alone => {}
            Self::StateDir(leadership) => Box::pin(leadership.follow()).await,
            #[cfg(feature = "state-url")]
            Self::Store(membership) => Box::pin(membership.follow()).await,
        }
    }

    /// What this process may do while it leads.
    pub(crate) fn mandate(&self) -> Mandate {
        match self {
            Self::Alone | Self::StateDir(_) => Mandate::Unlimited,
            #[cfg(feature = "state-url")]
            Self::Store(membership) => Mandate::Term(membership.term()),
        }
    }

    /// Shares the state of this process as the leader. Returns when another process may lead.
    pub(crate) async fn lead(&mut self) {
        match self {
            Self::Alone => std::future::pending().await,
            Self::StateDir(leadership) => Box::pin(leadership.lead()).await,
            #[cfg(feature = "state-url")]
            Self::Store(membership) => Box::pin(membership.lead()).await,
        }
    }

    /// Shares what is not shared yet, after a stop, and hands over to another process.
    pub(crate) async fn close(self) {
        match self {
            Self::Alone => {}
            Self::StateDir(leadership) => Box::pin(leadership.close()).await,
            #[cfg(feature = "state-url")]
            Self::Store(membership) => Box::pin(membership.close()).await,
        }
    }
}

/// How long a process may do what only the leader does.
pub(crate) enum Mandate {
    /// As long as it runs.
    Unlimited,
    /// As long as it can write to the store.
    #[cfg(feature = "state-url")]
    Term(election::LeaderTerm),
}

impl Mandate {
    /// Does this work while the process leads. What is under way when that ends is dropped.
    pub(crate) async fn within(&self, work: impl Future<Output = ()>) {
        match self {
            Self::Unlimited => work.await,
            #[cfg(feature = "state-url")]
            Self::Term(term) => term.within(work).await,
        }
    }
}
