//! Who leads, what it is asked to do, and when it refreshes.

pub(crate) mod commands;
pub mod lease;
pub(crate) mod schedule;
