//! The nodes of the service: each reports itself, or is reported by who runs it, and the leader watches
//! them all.

pub(crate) mod heartbeat;
pub(crate) mod monitor;
mod probe;
pub(crate) mod registry;
pub(crate) mod supervised;

use domain::contract::node;

/// The id of the process `pid` of this machine, for the list of nodes and the lease.
pub(crate) fn id(pid: u32) -> String {
    let machine = rustix::system::uname();
    node::id(&machine.nodename().to_string_lossy(), pid, rand::random())
}
