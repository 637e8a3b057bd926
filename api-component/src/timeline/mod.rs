//! The timeline: incidents of all employees in the order of time, as many as a client asks for.
//!
//! - [`question`] reads what is asked ([`moment`]: a time; [`cursor`]: where a page goes on; [`format`]: in
//!   which form), and refuses what cannot be meant.
//! - [`plan`] says which lanes of the snapshot that concerns, and from where on; [`search`] asks for their
//!   rows and merges them ([`merge`]).
//! - [`rows`] reads the rows that were found, and writes them in the form that was asked for.
//!
//! Rows are ordered by time, then by the name of their type, then by priority, then by what they say, so that
//! a row's place does not depend on the snapshot, nor on how the types are configured.

pub(crate) mod cursor;
pub(crate) mod format;
mod merge;
mod moment;
pub(crate) mod plan;
pub(crate) mod question;
pub(crate) mod rows;
pub(crate) mod search;
