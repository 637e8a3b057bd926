//! Runs this application's Spin component without the Spin CLI: under wasmtime, with the
//! interfaces that Spin offers and this application uses, and nothing else.
//!
//! The way of a request: [`server`](Server) accepts its connection, `connections` decides who has a place and
//! whose turn it is (within [`limits`](Limits); `watched` tells it what a client does); in `respond`, `headers`
//! completes it as Spin does, and `instance` chooses or makes the instance that answers it. What an instance has is in
//! `state`: the variables (`interfaces`), connections to Redis (`redis`, which asks `outbound` whether it
//! may), WASI, bounded `memory`, and a log (`guest_log`, by way of `errors`). `metrics` counts what Prometheus
//! may want to know. [`manifest`] reads
//! `spin.toml`; `engine` compiles the component and links what it imports.
//!
//! What holds here:
//! - It knows no incident: it does not depend on `domain`, and runs any component with these imports.
//! - It offers nothing that Spin does not: a component that runs here runs there.
//! - What the manifest does not allow or this host does not understand is refused, never ignored.
//! - Every client is bounded: in time, in bytes and in number.

mod connections;
mod engine;
mod errors;
mod guest_log;
mod headers;
mod instance;
mod interfaces;
mod limits;
pub mod manifest;
mod memory;
mod metrics;
mod outbound;
mod redis;
mod respond;
mod server;
mod state;
pub mod variables;
mod watched;

pub use engine::{Program, ProgramError};
pub use instance::Reuse;
pub use limits::{Limits, connections_that_descriptors_allow};
pub use metrics::Scrape;
pub use respond::MAX_REQUEST_BODY;
pub use server::Server;
