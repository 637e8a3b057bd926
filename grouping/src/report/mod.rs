//! The report: every row in its place, written into one buffer of exactly the right size.
//!
//! Employees are split into shards by id, one shard a thread. [`assign`] finds each row's employee and
//! shard, [`layout`] how many bytes each employee's groups take, [`write`] puts the rows there: each
//! shard merges the runs by time, so that every group fills in order, within its own part of the
//! buffer. Meanwhile [`timeline`] notes where each row comes to lie; of that and of the counts, [`summary`]
//! makes the report's numbers, with the [`histogram`]. [`left_out`] lists the rows that are not in the
//! report, [`fate`] tells of single rows where they went.

mod assign;
mod fate;
mod histogram;
mod layout;
mod left_out;
mod summary;
mod timeline;
mod write;

use bytes::Bytes;
use domain::contract::record::Counts;
use domain::incident::IncidentType;

pub use self::assign::Assigned;
pub use self::fate::Fate;
pub use self::left_out::Samples;
pub use self::timeline::TooLarge;
use crate::attribute::Identities;
use crate::rows::Run;

/// What a refresh publishes, uncompressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The report as JSON.
    pub json: Bytes,
    /// Where each employee's part of it lies: a run of
    /// [`EmployeeEntry`](domain::contract::record::EmployeeEntry)s.
    pub employees: Bytes,
    /// Where every row lies, by type and priority, in the order of time: a run of
    /// [`RowEntry`](domain::contract::timeline::RowEntry)s, lane by lane.
    pub lanes: Bytes,
    /// For each employee, the ordinals of its rows in the lanes, ascending.
    pub employee_rows: Bytes,
    /// How many employees there are.
    pub employee_count: u64,
    /// The rows that no employee was found for, by type, as JSON.
    pub unattributed: Bytes,
    /// The rows that could not be used, by type, each with the reason, as JSON.
    pub rejected: Bytes,
    /// The report's numbers as JSON: all but the generation, which is drawn when it is published.
    pub summary: Bytes,
    /// Where the rows of each type went, in the order of the types.
    pub counts: Vec<Counts>,
    /// How many rows of each type are in the report, by priority.
    pub priorities: Vec<[u64; 4]>,
    /// For each type, one row of those that are not in the report.
    pub samples: Vec<Samples>,
}

impl Report {
    /// Attributes, merges and writes the rows of `runs`, which stand in the order of `types`; a
    /// type that has none yet has no rows. They are let go as soon as all rows are written. The bytes are the same
    /// on any number of threads.
    ///
    /// # Errors
    /// There are more rows than can be numbered, or one is too long.
    pub fn build(
        types: &[IncidentType],
        runs: Vec<Option<Run>>,
        identities: &Identities,
    ) -> Result<Self, TooLarge> {
        Assigned::new(&runs, identities).write(types, runs)
    }
}
