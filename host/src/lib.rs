//! Runs this application's Spin component without the Spin CLI: under wasmtime, with the
//! interfaces that Spin offers and this application uses, and nothing else.

mod engine;
mod headers;
mod heartbeat;
mod instance;
mod interfaces;
pub mod manifest;
mod outbound;
mod redis;
mod server;
pub mod variables;

pub use engine::{Program, ProgramError};
pub use heartbeat::{Heartbeat, Reported};
pub use instance::Reuse;
pub use outbound::{AllowedHostError, AllowedHosts};
pub use server::{Limits, MAX_CONNECTIONS, MAX_REQUEST_BODY, Server, Work};
