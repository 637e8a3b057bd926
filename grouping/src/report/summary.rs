//! The summary: the numbers of a report, as JSON.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use domain::contract::record::{Counts, EmployeeEntry};
use domain::contract::timeline::{ORDINAL_BYTES, RowEntry};
use domain::incident::{IncidentType, Priority};
use domain::item;
use foldhash::fast::RandomState;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::assign::AssignedRun;
use super::histogram::{ByPriority, Histogram, Lane};
use super::layout::Group;
use super::timeline::EntryBytes;
use crate::attribute::Key;
use crate::rows::Run;

/// How many employees and addresses are named.
const MOST: usize = 100;

/// What a summary is made of, besides the rows that are in no report.
pub(super) struct Parts<'a> {
    pub(super) types: &'a [IncidentType],
    pub(super) counts: &'a [Counts],
    /// Of each type, by priority.
    pub(super) priorities: &'a [[u64; 4]],
    /// Of each shard, the employees with most incidents.
    pub(super) standings: &'a [Standing],
    /// The addresses with most rows.
    pub(super) unattributed: &'a [UnattributedAddress],
    pub(super) json: &'a [u8],
    /// The index of employees.
    pub(super) employees: &'a [u8],
    pub(super) lanes: &'a [u8],
    pub(super) employee_rows: &'a [u8],
}

#[derive(Serialize)]
struct Summary<'a> {
    priorities: ByPriority<u64>,
    #[serde(serialize_with = "as_members")]
    types: Vec<(&'a str, TypeNumbers)>,
    histogram: Histogram,
    employees: Vec<Employee<'a>>,
    unattributed: &'a [UnattributedAddress],
}

#[derive(Serialize)]
struct TypeNumbers {
    #[serde(flatten)]
    reported: ByPriority<u64>,
    unattributed: u64,
    rejected: u64,
}

#[derive(Serialize)]
struct Employee<'a> {
    employee: u64,
    #[serde(flatten)]
    rows: ByPriority<u32>,
    /// The digits of its latest timestamp, as upstream has them.
    last: &'a RawValue,
}

/// An address that is nobody's, and how many rows there are of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct UnattributedAddress {
    address: IpAddr,
    count: u64,
}

/// How many incidents an employee has; orders as those with most come first: of the most urgent, then of
/// the next, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// From the most urgent on.
    rows: Reverse<[u32; 4]>,
    employee: u64,
}

/// Of a shard, the employees with most incidents.
pub(super) fn standings(employees: &[(u64, u32)], groups: &[[Group; 4]]) -> Vec<Standing> {
    let all = employees.iter().map(|(employee, index)| {
        let mut rows = groups[*index as usize].map(|group| group.rows);
        rows.reverse();
        Standing {
            rows: Reverse(rows),
            employee: *employee,
        }
    });
    first(all.collect())
}

/// The first of them, in order.
fn first<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    if all.len() > MOST {
        all.select_nth_unstable(MOST);
        all.truncate(MOST);
    }
    all.sort_unstable();
    all
}

/// The addresses with most rows among those that no employee was found for.
pub(super) fn unattributed(
    runs: &[Option<Run>],
    assigned: &[AssignedRun],
) -> Vec<UnattributedAddress> {
    // Keyed at random, since addresses come from outside: nobody can choose some that collide.
    let mut counts: HashMap<IpAddr, u64, RandomState> = HashMap::default();
    for (run, assigned) in runs.iter().zip(assigned) {
        let Some(run) = run else { continue };
        for row in &assigned.unknown {
            let identity = run.rows[*row as usize].identity();
            let address = match Key::new(run.address(identity).unwrap_or_default()) {
                Key::V4(address) => IpAddr::V4(Ipv4Addr::from(address)),
                Key::V6(address) => IpAddr::V6(address),
                // What is no address is rejected.
                Key::Name(_) => continue,
            };
            *counts.entry(address).or_default() += 1;
        }
    }
    let counts = counts.into_iter();
    first(
        counts
            .map(|(address, count)| (Reverse(count), address))
            .collect(),
    )
    .into_iter()
    .map(|(Reverse(count), address)| UnattributedAddress { address, count })
    .collect()
}

impl Parts<'_> {
    /// The summary as JSON, but for the generation, which is drawn later.
    pub(super) fn summary(&self) -> Vec<u8> {
        let standings = first(self.standings.to_vec());
        let kinds = self.types.iter().zip(self.counts).zip(self.priorities);
        let kinds = kinds.map(|((kind, counts), reported)| {
            let numbers = TypeNumbers {
                reported: (*reported).into(),
                unattributed: counts.unattributed,
                rejected: counts.rejected,
            };
            (kind.name.as_str(), numbers)
        });
        let mut priorities = [0; 4];
        for of_type in self.priorities {
            for (sum, count) in priorities.iter_mut().zip(of_type) {
                *sum += count;
            }
        }
        let employees = standings.iter().map(|standing| {
            let mut rows = standing.rows.0;
            rows.reverse();
            Employee {
                employee: standing.employee,
                rows: rows.into(),
                last: self.last(standing.employee),
            }
        });
        let summary = Summary {
            priorities: priorities.into(),
            types: kinds.collect(),
            histogram: Histogram::new(&self.lanes()),
            employees: employees.collect(),
            unattributed: self.unattributed,
        };
        // A struct of texts and numbers always serialises.
        serde_json::to_vec(&summary).unwrap_or_default()
    }

    /// The rows of each lane.
    fn lanes(&self) -> Vec<Lane<'_>> {
        let mut rest = entries(self.lanes);
        let of_types = self.priorities.iter();
        let counts = of_types.flat_map(|counts| Priority::ALL.into_iter().zip(counts));
        counts
            .map(|(priority, count)| {
                let (own, after) = rest.split_at(*count as usize);
                rest = after;
                (priority, own)
            })
            .collect()
    }

    /// The digits of an employee's latest timestamp.
    fn last(&self, employee: u64) -> &RawValue {
        let (index, _) = self.employees.as_chunks::<{ EmployeeEntry::BYTES }>();
        let place = index.partition_point(|entry| entry[..8] < employee.to_be_bytes()[..]);
        let first_row = |entry: &[u8; EmployeeEntry::BYTES]| {
            let [.., a, b, c, d] = *entry;
            u32::from_be_bytes([a, b, c, d]) as usize
        };
        let (ordinals, _) = self.employee_rows.as_chunks::<ORDINAL_BYTES>();
        let from = index.get(place).map_or(0, first_row);
        let upto = index.get(place + 1).map_or(ordinals.len(), first_row);
        let lanes = entries(self.lanes);
        let rows = ordinals[from..upto].iter().map(|ordinal| {
            let ordinal = u32::from_be_bytes(*ordinal);
            let entry = RowEntry::from_bytes(&lanes[ordinal as usize]);
            (entry.key.time, ordinal, entry.row)
        });
        let latest = rows.max_by_key(|(time, ordinal, _)| (*time, *ordinal));
        let row = latest.map_or(0..0, |(_, _, row)| row.start as usize..row.end as usize);
        let digits = item::timestamp(&self.json[row]).ok();
        let digits = digits.and_then(|digits| serde_json::from_slice(digits).ok());
        // It has a row, and each row has a timestamp.
        digits.unwrap_or(RawValue::NULL)
    }
}

fn entries(lanes: &[u8]) -> &[EntryBytes] {
    let (entries, _) = lanes.as_chunks();
    entries
}

fn as_members<S: Serializer>(
    types: &[(&str, TypeNumbers)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(types.iter().map(|(name, numbers)| (name, numbers)))
}
