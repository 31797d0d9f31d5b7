//! The processes of one node that share its state: which one leads, and how the others follow it.
//!
//! | file | owns |
//! |---|---|
//! | `etcd` | a key of an etcd |
//! | `remote` | what a store on another machine must be able to do |

#[allow(dead_code, reason = "used by what comes next")]
mod etcd;
#[allow(dead_code, reason = "used by what comes next")]
mod remote;
