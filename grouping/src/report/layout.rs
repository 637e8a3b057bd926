//! Layout: how many bytes every employee's groups take, known before anything is written.

use std::collections::HashMap;

use domain::incident::{IncidentType, Priority};
use foldhash::fast::RandomState;

use super::assign::Entry;
use super::timeline::lane_of;
use crate::rows::Run;

/// How each priority's group begins, but for the number of its rows.
pub(super) const GROUP: [&[u8]; 4] = [
    br#"{"low":{"count":"#,
    br#","medium":{"count":"#,
    br#","high":{"count":"#,
    br#","critical":{"count":"#,
];
/// What follows the number.
pub(super) const INCIDENTS: &[u8] = br#","incidents":["#;

/// The beginning of a row in the report, for each type and priority.
pub(super) struct RowPrefixes(Vec<[Box<[u8]>; 4]>);

impl RowPrefixes {
    pub(super) fn new(types: &[IncidentType]) -> Self {
        let prefix = |kind: &IncidentType, priority: Priority| {
            // Neither name needs escapes: the settings see to it.
            format!(r#"{{"type":"{}","priority":"{priority}","#, kind.name)
                .into_bytes()
                .into()
        };
        Self(
            types
                .iter()
                .map(|kind| Priority::ALL.map(|priority| prefix(kind, priority)))
                .collect(),
        )
    }

    #[inline]
    pub(super) fn get(&self, run: usize, priority: Priority) -> &[u8] {
        &self.0[run][priority as usize]
    }
}

/// An employee's incidents of one priority.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    /// How many bytes the rows take, each with the comma or bracket that follows it; when writing,
    /// where the next row goes.
    pub(super) at: usize,
    /// How many rows there are; when writing, how many are still to come.
    pub(super) rows: u32,
}

impl Group {
    /// The bytes of the rows and the bracket behind them.
    pub(super) fn bytes(self) -> usize {
        self.at.max(1)
    }
}

/// A range of employees: what one thread merges and writes.
pub(super) struct Shard {
    /// For each run, its entries of this shard, `employee` being an index of `groups`.
    pub(super) entries: Vec<Vec<Entry>>,
    /// The employees' ids and indexes in `groups`, ascending by id.
    pub(super) employees: Vec<(u64, u32)>,
    /// The employees' ids, by those indexes.
    pub(super) ids: Vec<u64>,
    /// Each employee's.
    pub(super) groups: Vec<[Group; 4]>,
    /// How many bytes of the report the shard takes.
    pub(super) bytes: usize,
    /// How many rows it has of each lane of the timeline.
    pub(super) lanes: Vec<u32>,
}

impl Shard {
    /// Finds out who the employees are and how large each group is.
    pub(super) fn new(
        mut entries: Vec<Vec<Entry>>,
        runs: &[Option<Run>],
        prefixes: &RowPrefixes,
    ) -> Self {
        // Keyed at random, since ids come from outside: nobody can choose ids that collide.
        let mut indexes: HashMap<u64, u32, RandomState> = HashMap::default();
        let mut employees: Vec<(u64, u32)> = Vec::new();
        let mut ids = Vec::new();
        let mut groups: Vec<[Group; 4]> = Vec::new();
        let mut lanes = vec![0; lane_of(runs.len(), Priority::Low)];
        for (of_run, (entries, run)) in entries.iter_mut().zip(runs).enumerate() {
            let Some(run) = run else { continue };
            for entry in entries {
                let index = *indexes.entry(entry.employee).or_insert_with(|| {
                    let index = groups.len() as u32;
                    ids.push(entry.employee);
                    employees.push((entry.employee, index));
                    groups.push(Default::default());
                    index
                });
                entry.employee = u64::from(index);
                let group = &mut groups[index as usize][entry.priority as usize];
                group.rows += 1;
                lanes[lane_of(of_run, entry.priority)] += 1;
                group.at += prefixes.get(of_run, entry.priority).len()
                    + run.rest(&run.rows[entry.row as usize]).len()
                    + 1;
            }
        }
        employees.sort_unstable();
        Self {
            bytes: employees
                .iter()
                .map(|(id, index)| employee_bytes(*id, &groups[*index as usize]))
                .sum(),
            entries,
            employees,
            ids,
            groups,
            lanes,
        }
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> u64 {
        self.lanes.iter().map(|rows| u64::from(*rows)).sum()
    }
}

/// How many bytes of the report an employee takes.
fn employee_bytes(id: u64, groups: &[Group; 4]) -> usize {
    let groups = groups.iter().zip(GROUP).map(|(group, opening)| {
        let count = decimal_len(u64::from(group.rows));
        opening.len() + count + INCIDENTS.len() + group.bytes() + 1
    });
    // The id in quotes, a colon, the groups, a brace and a comma.
    decimal_len(id) + 3 + groups.sum::<usize>() + 2
}

/// How many digits `number` has.
fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}
