//! The refresher: fetches what upstream knows, groups it by employee and priority, and publishes
//! the snapshot that the component serves.

pub mod attribute;
pub mod compress;
mod merge;
mod parallel;
pub mod report;
pub mod rows;
mod scan;
