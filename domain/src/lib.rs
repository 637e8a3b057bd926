//! What the whole system agrees on.
//!
//! - [`address`]: IP addresses, one thing however they are spelled.
//! - [`incident`]: the words that both halves use: priorities, types of incidents.
//! - [`item`]: an incident of a list, as JSON and as a line of CSV.
//! - [`contract`]: how refresher and component meet in Redis.
//! - [`settings`]: what an operator may set, and how it is read.
//!
//! Invariant: nothing here does I/O, so the same code runs natively and in WebAssembly.

pub mod address;
pub mod contract;
pub mod incident;
pub mod item;
pub mod settings;
