//! From upstream's answers to the bytes of the report. Nothing here does I/O: no sockets, no files, no
//! clock.
//!
//! The way of a row: [`scan`] finds a body's values, [`rows`] makes a run of rows of them,
//! [`attribute`] finds each row's employee, [`merge`] puts the runs in the order of time, [`report`]
//! writes the documents, [`encode`] compresses them. [`explain`] tells of given rows where they went.

pub mod attribute;
pub mod compress;
pub mod encode;
pub mod explain;
mod huge_pages;
mod merge;
pub mod parallel;
pub mod report;
pub mod rows;
mod scan;
