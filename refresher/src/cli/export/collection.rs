//! The incidents of one or more reports, each once.

use std::collections::{HashMap, HashSet};
use std::ops::{Range, RangeInclusive};

use anyhow::{Context as _, Result};
use blake3::Hash;
use domain::contract::timeline::{RowEntry, RowKey, TimeKey};
use domain::incident::{IncidentType, Priority};
use domain::item::Item;
use grouping::report::Report;

use crate::cli::arguments::Order;

/// What does not happen.
const DAMAGED: &str = "the timeline of a report does not fit the report";

/// Which incidents are meant: where a list is empty, all.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) priorities: Vec<Priority>,
    /// Types by their names.
    pub(super) kinds: Vec<String>,
    pub(super) employees: HashSet<u64>,
    /// Not before this.
    pub(super) since: Option<TimeKey>,
    /// Before this.
    pub(super) until: Option<TimeKey>,
}

impl Filter {
    fn has_lane(&self, kind: &IncidentType, priority: Priority) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind.name))
            && (self.priorities.is_empty() || self.priorities.contains(&priority))
    }

    /// Those of a lane's entries that happened when they should.
    fn within<'a>(&self, lane: &'a [[u8; RowEntry::BYTES]]) -> &'a [[u8; RowEntry::BYTES]] {
        let before = |bound: TimeKey| {
            lane.partition_point(|entry| RowEntry::from_bytes(entry).key.time < bound)
        };
        let start = self.since.map_or(0, before);
        let end = self.until.map_or(lane.len(), before);
        lane.get(start..end).unwrap_or_default()
    }

    fn has_employee(&self, employee: u64) -> bool {
        self.employees.is_empty() || self.employees.contains(&employee)
    }
}

/// An incident.
#[derive(Debug)]
pub(super) struct Found {
    key: RowKey,
    kind: usize,
    priority: Priority,
    employee: u64,
    row: Range<usize>,
    /// When it was first reported, within what was looked at, and when last.
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
}

/// The incidents that say the same and are of the same employee: upstream may have a row several times.
#[derive(Debug, Default)]
struct Same {
    /// Their places among those found.
    found: Vec<usize>,
    /// How many of them there are in the report that was looked at last, and which that was.
    count: usize,
    report: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Collection {
    filter: Filter,
    /// The types, in the order in which they were met.
    kinds: Vec<IncidentType>,
    /// The rows of all that was found.
    rows: Vec<u8>,
    found: Vec<Found>,
    known: HashMap<Hash, Same>,
    reports: usize,
}

impl Collection {
    /// Of what `filter` lets pass.
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// Adds the incidents of a report that was served at those times, of these types and with so many rows of
    /// each by priority.
    ///
    /// # Errors
    /// The report is not what it should be.
    pub(super) fn add(
        &mut self,
        types: &[IncidentType],
        report: &Report,
        priorities: &[[u64; 4]],
        times: RangeInclusive<u64>,
    ) -> Result<()> {
        self.reports += 1;
        let (mut rest, _) = report.lanes.as_chunks();
        for (kind, rows) in types.iter().zip(priorities) {
            let number = self.kind(kind);
            for (priority, rows) in Priority::ALL.into_iter().zip(rows) {
                let (lane, after) = rest.split_at_checked(*rows as usize).context(DAMAGED)?;
                rest = after;
                if !self.filter.has_lane(kind, priority) {
                    continue;
                }
                for entry in self.filter.within(lane) {
                    let entry = RowEntry::from_bytes(entry);
                    if self.filter.has_employee(entry.employee) {
                        let row = entry.row.start as usize..entry.row.end as usize;
                        let row = report.json.get(row).context(DAMAGED)?;
                        self.note(&entry, (number, priority), row, &times);
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of a type.
    fn kind(&mut self, kind: &IncidentType) -> usize {
        let known = self.kinds.iter().position(|known| known == kind);
        known.unwrap_or_else(|| {
            self.kinds.push(kind.clone());
            self.kinds.len() - 1
        })
    }

    /// Notes an incident, or that it was reported again.
    fn note(
        &mut self,
        entry: &RowEntry,
        (kind, priority): (usize, Priority),
        row: &[u8],
        times: &RangeInclusive<u64>,
    ) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&entry.employee.to_be_bytes()).update(row);
        let same = self.known.entry(hasher.finalize()).or_default();
        if same.report != self.reports {
            (same.report, same.count) = (self.reports, 0);
        }
        same.count += 1;
        if let Some(place) = same.found.get(same.count - 1) {
            self.found[*place].last_ms = *times.end();
            return;
        }
        same.found.push(self.found.len());
        let start = self.rows.len();
        self.rows.extend_from_slice(row);
        self.found.push(Found {
            key: entry.key,
            kind,
            priority,
            employee: entry.employee,
            row: start..self.rows.len(),
            first_ms: *times.start(),
            last_ms: *times.end(),
        });
    }

    /// Puts all that was found in the order of time, and at the same time in that of the timeline: by type, by
    /// priority, and by what the rows say.
    pub(super) fn sort(&mut self, order: Order) {
        // Their places change.
        self.known.clear();
        let key = |found: &Found| (found.key.time, found.kind, found.priority, found.key.tie);
        self.found.sort_by_key(key);
        if order == Order::Desc {
            self.found.reverse();
        }
    }

    /// All that was found.
    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }

    /// An incident as it is written.
    pub(super) fn item(&self, found: &Found) -> Item<'_> {
        Item {
            employee: found.employee,
            row: &self.rows[found.row.clone()],
        }
    }

    /// The member of its row that says whom it concerns.
    pub(super) fn identity_field(&self, found: &Found) -> &str {
        &self.kinds[found.kind].field
    }
}
