//! The contract in Redis, through which refresher and component meet.
//!
//! - [`keys`]: the names of all keys; [`document`]: what a snapshot consists of.
//! - [`timeline`]: where every row lies, in the order of time.
//! - [`record`], [`node`], [`history`], [`commands`], [`counters`], [`alerts`]: the
//!   formats of what they hold.
//! - [`scripts`]: what changes or reads several of them at once, a type each.
//!
//! Invariants: every key carries the hash tag, so that all are in one slot of a cluster; all times are of
//! Redis's clock, in milliseconds since the Unix epoch; formats carry a version, and a reader that meets
//! another one says so.

pub mod alerts;
pub mod commands;
pub mod counters;
pub mod document;
pub mod history;
pub mod keys;
pub mod node;
pub mod record;
pub mod scripts;
pub mod timeline;
