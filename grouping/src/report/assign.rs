//! Assigning: each row gets its employee, and with that its shard.

use domain::contract::record::Counts;
use domain::incident::Priority;
use rayon::prelude::*;

use crate::attribute::{Attribution, Identities};
use crate::rows::{Reason, RowAt, Run};

/// A report of fewer rows is made on one thread: handing the work over would take longer.
const SMALL: usize = 10_000;

/// The rows of all runs, each with its employee: what is left is to put them in order.
#[derive(Debug)]
pub struct Assigned {
    /// For each run.
    pub(super) runs: Vec<AssignedRun>,
    /// How many ranges of employees they are split into.
    pub(super) shards: usize,
}

impl Assigned {
    /// Attributes the rows of `runs`.
    #[must_use]
    pub fn new(runs: &[Option<Run>], identities: &Identities) -> Self {
        let rows: usize = runs.iter().flatten().map(|run| run.rows.len()).sum();
        let shards = if rows < SMALL {
            1
        } else {
            rayon::current_num_threads()
        };
        Self::in_shards(runs, identities, shards)
    }

    /// As [`Self::new`], but in this many ranges of employees, however few rows there are: what comes
    /// out is the same.
    #[must_use]
    pub fn in_shards(runs: &[Option<Run>], identities: &Identities, shards: usize) -> Self {
        let pivots = pivots(runs, identities, shards);
        let assigned = |run: &Option<Run>| {
            run.as_ref().map_or_else(AssignedRun::default, |run| {
                AssignedRun::new(run, identities, &pivots)
            })
        };
        Self {
            runs: for_each_of(shards, runs.par_iter(), assigned),
            shards: pivots.len() + 1,
        }
    }
}

/// What `work` gives for each item, in order; on several threads if there are several `shards`.
pub(super) fn for_each_of<I, R>(
    shards: usize,
    items: I,
    work: impl Fn(I::Item) -> R + Sync + Send,
) -> Vec<R>
where
    I: IndexedParallelIterator,
    R: Send,
{
    let (least, most) = if shards > 1 {
        (1, 1)
    } else {
        (usize::MAX, usize::MAX)
    };
    items
        .with_min_len(least)
        .with_max_len(most)
        .map(work)
        .collect()
}

/// A row with its employee, in one of the runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The employee's id; once its shard is laid out, the index of the employee's groups there.
    pub(super) employee: u64,
    /// The row's index in its run.
    pub(super) row: u32,
    pub(super) priority: Priority,
}

/// Where the rows of one run go.
#[derive(Debug, Default)]
pub(super) struct AssignedRun {
    /// The rows of each shard, in the order of time.
    pub(super) shards: Vec<Vec<Entry>>,
    /// Rows whose address the identity map lacks.
    pub(super) unknown: Vec<u32>,
    /// Rows whose address is none.
    pub(super) not_addresses: Vec<u32>,
}

impl AssignedRun {
    fn new(run: &Run, identities: &Identities, pivots: &[u64]) -> Self {
        let expected = run.rows.len() / (pivots.len() + 1);
        let mut found = Self {
            shards: (0..=pivots.len())
                .map(|_| Vec::with_capacity(expected + expected / 8))
                .collect(),
            ..Self::default()
        };
        for (row, index) in run.rows.iter().zip(0..) {
            match identities.attribute(run, row) {
                Attribution::Employee(employee) => {
                    let shard = pivots
                        .iter()
                        .take_while(|pivot| employee >= **pivot)
                        .count();
                    found.shards[shard].push(Entry {
                        employee,
                        row: index,
                        priority: row.priority,
                    });
                }
                Attribution::Unknown => found.unknown.push(index),
                Attribution::NotAnAddress => found.not_addresses.push(index),
            }
        }
        found
    }

    pub(super) fn counts(&self, run: Option<&Run>) -> Counts {
        let Some(run) = run else {
            return Counts::default();
        };
        Counts {
            fetched: run.fetched(),
            reported: self.shards.iter().map(|entries| entries.len() as u64).sum(),
            unattributed: self.unknown.len() as u64,
            rejected: (run.rejections.len() + self.not_addresses.len()) as u64,
        }
    }

    /// The rows that could not be used, and why.
    pub(super) fn rejected<'a>(
        &'a self,
        run: &'a Run,
    ) -> impl Iterator<Item = (RowAt, Reason)> + 'a {
        let rejections = run.rejections.iter().zip(0..);
        let rejections = rejections.map(|(found, index)| (RowAt::Rejected(index), found.reason));
        let not_addresses = self.not_addresses.iter();
        let not_addresses = not_addresses.map(|row| (RowAt::Usable(*row), Reason::Identity));
        rejections.chain(not_addresses)
    }
}

/// Ids at which the employees are split so that each of `shards` shards gets about as many rows.
/// A sample decides; how well it does affects the speed only.
fn pivots(runs: &[Option<Run>], identities: &Identities, shards: usize) -> Vec<u64> {
    const SAMPLES: usize = 4096;
    if shards < 2 {
        return Vec::new();
    }
    // Of each run as many as it has of all rows.
    let rows: usize = runs.iter().flatten().map(|run| run.rows.len()).sum();
    let step = (rows / SAMPLES).max(1);
    let mut sample: Vec<u64> = Vec::new();
    for run in runs.iter().flatten() {
        sample.extend(run.rows.iter().step_by(step).filter_map(|row| {
            match identities.attribute(run, row) {
                Attribution::Employee(employee) => Some(employee),
                _ => None,
            }
        }));
    }
    sample.sort_unstable();
    if sample.is_empty() {
        return Vec::new();
    }
    (1..shards)
        .map(|shard| sample[shard * sample.len() / shards])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use domain::incident::IncidentType;

    /// A run of rows of these employees.
    fn run(employees: impl Iterator<Item = u64>) -> Option<Run> {
        let row = |id| format!(r#"{{"priority":"low","reported_by":{id},"timestamp":1}}"#);
        let rows: Vec<String> = employees.map(row).collect();
        let body = format!(r#"{{"results":[{}]}}"#, rows.join(","));
        let kind = &IncidentType::defaults()[0];
        Some(Run::parse(kind, Bytes::from(body)).unwrap())
    }

    /// How many rows each shard has.
    fn sizes(assigned: &Assigned) -> Vec<usize> {
        // A run that is not there has no shards.
        let of_run = |run: &AssignedRun, shard: usize| run.shards.get(shard).map_or(0, Vec::len);
        let size = |shard: usize| assigned.runs.iter().map(|run| of_run(run, shard)).sum();
        (0..assigned.shards).map(size).collect()
    }

    #[test]
    fn shards_have_about_as_many_rows_each() {
        // Most rows are of few employees, with small ids; in one run ids ascend.
        let skewed = (0..8000_u64).map(|row| (row * 7919 % 1000).pow(3));
        let runs = [run(skewed), None, run(0..4000)];
        for shards in [2, 3, 4, 7] {
            let assigned = Assigned::in_shards(&runs, &Identities::default(), shards);
            let sizes = sizes(&assigned);
            assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (shards, 12_000));
            let fair = 12_000 / shards;
            let is_fair = |size: &usize| (fair * 7 / 10..fair * 13 / 10).contains(size);
            assert!(sizes.iter().all(is_fair), "{sizes:?}");
        }
    }

    #[test]
    fn the_shards_are_ranges_of_ids_in_order() {
        let runs = [run((0..3000).rev())];
        let assigned = Assigned::in_shards(&runs, &Identities::default(), 3);
        let mut last = None;
        for entries in &assigned.runs[0].shards {
            let ids = || entries.iter().map(|entry| entry.employee);
            assert!(ids().min() > last);
            last = ids().max();
        }
        assert_eq!(last, Some(2999));
    }

    #[test]
    fn only_many_rows_are_split() {
        let shards = |rows| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
            let assign = || Assigned::new(&[run(0..rows), None], &Identities::default()).shards;
            pool.unwrap().install(assign)
        };
        assert_eq!(shards(0), 1);
        assert_eq!(shards(SMALL as u64 - 1), 1);
        assert_eq!(shards(SMALL as u64), 3);
    }
}
