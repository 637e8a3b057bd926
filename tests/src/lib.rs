//! Starts the parts of the system as processes of their own, each test with its own set, and ends
//! them with it.

mod alertmanager;
mod balancer;
mod browser;
mod certificates;
mod client;
mod clock;
mod made;
mod metrics;
mod names;
mod process;
mod proxy;
mod readers;
mod redis;
mod sentinel;
mod service;
mod snapshot;
mod system;
mod upstream;

pub use alertmanager::{Alertmanager, FakeAlertmanager};
pub use balancer::{Balancer, haproxy};
pub use browser::{Browser, Key, driver};
pub use certificates::Certificates;
pub use client::{Answer, Client, HASH, HASHED_PASSWORD, ID, PASSWORD};
pub use clock::Clock;
pub use made::{MadeRow, MadeSnapshot};
pub use metrics::Metrics;
pub use names::Names;
pub use process::{
    Process, Signal, TempDir, manifest, on_a_small_disk, optional, program, until, with_ignored,
};
pub use proxy::{Mode, Proxy};
pub use readers::Readers;
pub use redis::{Redis, free_port};
pub use sentinel::Sentinel;
pub use service::Service;
pub use snapshot::{FIRST_VERSION, PREFIX, incidents_in, keys, mark, stored_snapshot, version_in};
pub use system::{Host, System, host, host_at, host_with, refresher, server_command};
pub use upstream::{Sample, TYPES, Upstream};
