//! A snapshot that a test makes row by row, and puts into Redis without a refresher: so it may have what no
//! upstream sends on demand, such as rows that nothing but their place tells apart.

use std::collections::BTreeMap;

use domain::contract::document::{Document, Encoding};
use domain::contract::keys::Keys;
use domain::contract::record::{BLOCK_BYTES, Current, EmployeeEntry, VERSION};
use domain::contract::timeline::{Lane, RowEntry, RowKey, TimeKey, lanes};
use domain::incident::Priority;
use redis::{AsyncCommands as _, Pipeline};
use serde_json::json;

use crate::redis::Redis;

/// A row to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct MadeRow {
    /// The index of its type.
    pub kind: usize,
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub employee: u64,
    /// When it happened.
    pub time: f64,
    /// What orders it among rows of the same time, type and priority.
    pub tie: u64,
    /// Its JSON.
    pub text: String,
}

impl MadeRow {
    /// Its place within its lane.
    ///
    /// # Panics
    /// When its time is none.
    #[must_use]
    pub fn key(&self) -> RowKey {
        RowKey {
            time: TimeKey::new(self.time).expect("a time"),
            tie: self.tie,
        }
    }
}

/// A snapshot of such rows.
#[derive(Debug, Clone)]
pub struct MadeSnapshot {
    /// The names of the types, in their order.
    pub types: Vec<String>,
    /// The rows by their ordinals.
    pub rows: Vec<MadeRow>,
    /// What the timeline says of each.
    pub entries: Vec<RowEntry>,
    /// The record, of generation 1.
    pub record: Current,
    report: String,
    index: Vec<u8>,
    employee_rows: Vec<u8>,
}

impl MadeSnapshot {
    /// Makes one. The report's entity tag is `etag`.
    ///
    /// # Panics
    /// When a row is of no type.
    #[must_use]
    pub fn new(types: &[&str], mut rows: Vec<MadeRow>, etag: &str) -> Self {
        rows.sort_by_key(|row| (row.kind, row.priority, row.key(), row.employee));
        let mut of_employees: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (ordinal, row) in rows.iter().enumerate() {
            assert!(row.kind < types.len(), "{row:?}");
            let ordinals = of_employees.entry(row.employee).or_default();
            ordinals.push(u32::try_from(ordinal).expect("few rows"));
        }
        let mut entries = vec![None; rows.len()];
        let (mut report, mut index, mut employee_rows) =
            (String::from("{"), Vec::new(), Vec::new());
        for (employee, ordinals) in &of_employees {
            if report.len() > 1 {
                report.push(',');
            }
            report.push_str(&format!("\"{employee}\":"));
            let start = report.len() as u64;
            write_groups(&mut report, &rows, ordinals, &mut entries);
            let entry = EmployeeEntry {
                employee: *employee,
                part: start..report.len() as u64,
                first_row: u32::try_from(employee_rows.len() / 4).expect("few rows"),
            };
            index.extend(entry.to_bytes().expect("an entry"));
            employee_rows.extend(ordinals.iter().flat_map(|ordinal| ordinal.to_be_bytes()));
        }
        report.push('}');
        Self {
            types: types.iter().map(|&name| name.to_owned()).collect(),
            record: record(types, &rows, etag, of_employees.len(), report.len()),
            entries: entries
                .into_iter()
                .map(|entry| entry.expect("each has one"))
                .collect(),
            rows,
            report,
            index,
            employee_rows,
        }
    }

    /// The lanes of its rows.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        lanes(self.record.types.iter().map(|kind| kind.priorities)).collect()
    }

    /// Makes it the generation `generation`.
    #[must_use]
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.record.generation = generation;
        self.record.published_at_ms += generation;
        self
    }

    /// Puts it into `redis` and makes it the current one there.
    ///
    /// # Panics
    /// When Redis does not take it.
    pub async fn publish(&self, redis: &Redis, keys: &Keys) {
        let mut connection = redis.connection().await;
        let generation = self.record.generation;
        let lanes: Vec<u8> = self
            .entries
            .iter()
            .flat_map(|entry| entry.to_bytes().expect("an entry"))
            .collect();
        let mut pipeline = Pipeline::new();
        let (report, identity) = (Document::Report, Encoding::Identity);
        for (number, block) in (0..).zip(self.report.as_bytes().chunks(BLOCK_BYTES)) {
            pipeline.set(keys.block(generation, report, identity, number), block);
        }
        for (number, block) in (0..).zip(lanes.chunks(BLOCK_BYTES)) {
            pipeline.set(keys.lanes(generation, number), block);
        }
        for (number, block) in (0..).zip(self.employee_rows.chunks(BLOCK_BYTES)) {
            pipeline.set(keys.employee_rows(generation, number), block);
        }
        pipeline.set(keys.employees(generation), &self.index);
        let () = pipeline
            .query_async(&mut connection)
            .await
            .expect("it is set");
        let record = serde_json::to_vec(&self.record).expect("JSON");
        let () = connection
            .set(keys.current(), record)
            .await
            .expect("it is set");
    }
}

/// Appends an employee's groups, and notes where its rows lie.
fn write_groups(
    report: &mut String,
    rows: &[MadeRow],
    ordinals: &[u32],
    entries: &mut [Option<RowEntry>],
) {
    for (priority, opening) in Priority::ALL.into_iter().zip(["{", ",", ",", ","]) {
        let of_group: Vec<usize> = ordinals.iter().map(|ordinal| *ordinal as usize).collect();
        let of_group = of_group
            .into_iter()
            .filter(|row| rows[*row].priority == priority);
        let of_group: Vec<usize> = of_group.collect();
        let count = of_group.len();
        report.push_str(&format!(
            "{opening}\"{priority}\":{{\"count\":{count},\"incidents\":["
        ));
        for (place, row) in of_group.into_iter().enumerate() {
            if place > 0 {
                report.push(',');
            }
            let start = report.len() as u64;
            report.push_str(&rows[row].text);
            entries[row] = Some(RowEntry {
                key: rows[row].key(),
                employee: rows[row].employee,
                row: start..report.len() as u64,
            });
        }
        report.push_str("]}");
    }
    report.push('}');
}

fn record(
    types: &[&str],
    rows: &[MadeRow],
    etag: &str,
    employees: usize,
    report_bytes: usize,
) -> Current {
    let types = types.iter().enumerate().map(|(kind, name)| {
        let count = |priority| {
            let is_counted = |row: &&MadeRow| row.kind == kind && row.priority == priority;
            rows.iter().filter(is_counted).count()
        };
        let priorities = Priority::ALL.map(count);
        let reported: usize = priorities.iter().sum();
        json!({
            "name": name, "fetched": reported, "reported": reported, "unattributed": 0,
            "rejected": 0, "priorities": priorities, "stale": false
        })
    });
    let record = json!({
        "version": VERSION, "generation": 1, "etag": etag, "published_at_ms": 1_700_000_000_000_u64,
        "checked_at_ms": 1_700_000_000_000_u64, "employees": employees,
        "report": {"identity": {"bytes": report_bytes}}, "unattributed": {}, "rejected": {},
        "types": types.collect::<Vec<_>>(),
        "identities": {"entries": 0, "rejected": 0, "stale": false}
    });
    Current::parse(record.to_string().as_bytes()).expect("a record")
}
