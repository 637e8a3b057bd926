//! The nodes of the service: each reports itself, and the leader watches them all.

pub mod heartbeat;
pub(crate) mod monitor;
pub(crate) mod registry;
