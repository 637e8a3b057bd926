//! What the whole system agrees on: incidents and their types, settings, rate limits, credentials,
//! and the records and keys through which the refresher and the component meet in Redis.
//!
//! Nothing here does I/O, so the same code runs natively and in WebAssembly.

pub mod client_address;
pub mod commands;
pub mod credentials;
pub mod history;
pub mod incident;
pub mod keys;
pub mod node;
pub mod rate_limit;
pub mod record;
pub mod scripts;
pub mod settings;
