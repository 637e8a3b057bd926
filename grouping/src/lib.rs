//! From upstream's answers to the bytes of the report.
//!
//! The way of a row, a module a stage:
//!
//! | | |
//! |---|---|
//! | `scan` | checks that an answer is JSON and finds its values without building any |
//! | [`rows`] | makes a run of small rows of a type's answer, in the order of time |
//! | [`attribute`] | reads the identity map; finds each row's employee |
//! | `merge` | puts several runs in the order of time |
//! | [`report`] | assigns rows to employees, lays their groups out, writes them |
//! | [`encode`] | compresses the documents |
//!
//! [`group()`] is all of that but the last, in one call. Beside it: [`endpoint`] pairs what there is of
//! the identity map and of each type, [`pack`] is how answers are kept, [`explain`] tells where given
//! rows went.
//!
//! What holds here:
//! - Nothing does I/O: no sockets, no files, no clock.
//! - The same answers and types give the same bytes, on any number of threads.
//! - `fetched = reported + unattributed + rejected` for every type: no row is dropped silently.
//! - A row's text is copied, never parsed and printed again: upstream's digits survive.
//! - Work is spread over rayon's current pool; who wants fewer threads installs another one.

pub mod attribute;
pub mod encode;
pub mod endpoint;
pub mod explain;
mod group;
mod huge_pages;
mod merge;
pub mod pack;
pub mod report;
pub mod rows;
mod sample;
mod scan;

pub use group::{Grouped, group};
