//! Starts the parts of the system as processes of their own, each test with its own set, and ends
//! them with it.

mod client;
mod gate;
mod process;
mod redis;
mod snapshot;
mod system;
mod upstream;

pub use client::{Answer, Client};
pub use gate::Gate;
pub use process::{Process, Signal, TempDir, manifest, program, until};
pub use redis::Redis;
pub use snapshot::{incidents_in, keys, stored_snapshot};
pub use system::{Host, ID, PASSWORD, System, host, host_with, refresher, server_command};
pub use upstream::{Sample, TYPES, Upstream};
