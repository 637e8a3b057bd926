//! The refresher: fetches what upstream knows, groups it by employee and priority, and publishes
//! the snapshot that the component serves.
//!
//! The way of a row: [`schedule`] begins a [`refresh`], which [`fetch`]es, parses ([`rows`]),
//! [`attribute`]s, merges, writes the [`report`], [`compress`]es and [`publish`]es it.

pub mod attribute;
pub mod build;
pub mod commands;
pub mod compress;
pub mod configuration;
pub mod explain;
pub mod fetch;
pub mod heartbeat;
pub mod history;
mod huge_pages;
pub mod lease;
mod merge;
pub mod parallel;
pub mod publish;
pub mod refresh;
pub mod report;
pub mod restore;
pub mod rows;
mod scan;
pub mod schedule;
pub mod server;
pub mod shutdown;
pub mod sources;
pub mod store;
pub mod tls;
pub mod watch;
