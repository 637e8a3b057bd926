//! Who leads, what it is asked to do, and when it refreshes.

pub mod commands;
pub mod lease;
pub mod schedule;
