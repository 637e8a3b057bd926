//! The fate of single rows, found by the stages that make the report.

use std::collections::{HashMap, HashSet};

use domain::incident::{IncidentType, Priority};

use super::assign::{Assigned, AssignedRun};
use super::layout::{RowPrefixes, Shard};
use super::write::merged;
use crate::rows::{Reason, RowAt, Run};

/// Where a row went; positions count from 1, in lists of `of` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Into the report.
    Reported {
        /// Under this employee.
        employee: u64,
        /// In the group of this priority.
        priority: Priority,
        /// Its position in that group.
        position: u64,
        /// How many rows that group has.
        of: u64,
    },
    /// The identity map lacks its address.
    Unattributed {
        /// Its position among the unattributed rows of its type.
        position: u64,
        /// How many of those there are.
        of: u64,
    },
    /// It could not be used.
    Rejected {
        /// Why.
        reason: Reason,
        /// Its position among the rejected rows of its type.
        position: u64,
        /// How many of those there are.
        of: u64,
    },
}

impl Assigned {
    /// Where [`Self::write`] puts the `wanted` rows of the same `runs`, each named by the index of its
    /// run and where it is there.
    pub(crate) fn fates(
        &self,
        types: &[IncidentType],
        runs: &[Option<Run>],
        wanted: &HashSet<(usize, RowAt)>,
    ) -> HashMap<(usize, RowAt), Fate> {
        let mut fates = HashMap::with_capacity(wanted.len());
        let mut note = |run, at, fate| {
            if wanted.contains(&(run, at)) {
                fates.insert((run, at), fate);
            }
        };
        let prefixes = RowPrefixes::new(types);
        for shard in 0..self.shards {
            let entries = self.runs.iter().map(|assigned| assigned.shards.get(shard));
            let entries = entries.map(|entries| entries.cloned().unwrap_or_default());
            Shard::new(entries.collect(), runs, &prefixes).fates(runs, &mut note);
        }
        for (index, (assigned, run)) in self.runs.iter().zip(runs).enumerate() {
            if let Some(run) = run {
                assigned.fates(run, |at, fate| note(index, at, fate));
            }
        }
        fates
    }
}

impl Shard {
    /// Tells `note` the fate of each row, as [`Self::write`] has it.
    fn fates(&self, runs: &[Option<Run>], note: &mut impl FnMut(usize, RowAt, Fate)) {
        let mut seen = vec![[0_u64; 4]; self.employees.len()];
        for (run, entry) in merged(&self.entries, runs) {
            let (index, priority) = (entry.employee as usize, entry.priority);
            let position = &mut seen[index][priority as usize];
            *position += 1;
            let reported = Fate::Reported {
                employee: self.ids[index],
                priority,
                position: *position,
                of: u64::from(self.groups[index][priority as usize].rows),
            };
            note(run, RowAt::Usable(entry.row), reported);
        }
    }
}

impl AssignedRun {
    /// Tells `note` the fate of each row that is not in the report, as the lists of them have it.
    fn fates(&self, run: &Run, mut note: impl FnMut(RowAt, Fate)) {
        let of = self.unknown.len() as u64;
        for (row, position) in self.unknown.iter().zip(1..) {
            note(RowAt::Usable(*row), Fate::Unattributed { position, of });
        }
        let of = (run.rejections.len() + self.not_addresses.len()) as u64;
        for ((at, reason), position) in self.rejected(run).zip(1..) {
            let fate = Fate::Rejected {
                reason,
                position,
                of,
            };
            note(at, fate);
        }
    }
}
