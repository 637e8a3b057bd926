//! The report: every row in its place, written into one buffer of exactly the right size.
//!
//! Employees are split into shards by id, one shard a thread. Each shard merges the runs by time,
//! so that every bucket (an employee's incidents of one priority) fills in order, and writes into
//! its own part of the buffer.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use domain::contract::record::{Counts, EmployeeEntry};
use domain::incident::{IncidentType, Priority};
use rustc_hash::FxHashMap;

use crate::attribute::{Attribution, Identities};
use crate::huge_pages;
use crate::merge::Merge;
use crate::parallel::in_parallel;
use crate::rows::{Reason, RowAt, Run};

/// What a refresh publishes, uncompressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The report as JSON.
    pub json: Vec<u8>,
    /// Where each employee's part of it lies: a run of [`EmployeeEntry`]s.
    pub employees: Vec<u8>,
    /// How many employees there are.
    pub employee_count: u64,
    /// The rows that no employee was found for, by type, as JSON.
    pub unattributed: Vec<u8>,
    /// The rows that could not be used, by type, each with the reason, as JSON.
    pub rejected: Vec<u8>,
    /// Where the rows of each type went, in the order of the types.
    pub counts: Vec<Counts>,
    /// For each type, one row of those that are not in the report.
    pub samples: Vec<Samples>,
}

/// Of one type's rows that are not in the report, the first of each kind, for the log; cut off
/// where they are long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// A row that no employee was found for.
    pub unattributed: Option<String>,
    /// A row that could not be used, and why.
    pub rejected: Option<(Reason, String)>,
}

impl Report {
    /// Attributes, merges and writes the rows of `runs`, which stand in the order of `types`; a
    /// type that has none yet has no rows. Uses up to `threads` threads.
    #[must_use]
    pub fn build(
        types: &[IncidentType],
        runs: &[Option<Arc<Run>>],
        identities: &Identities,
        threads: usize,
    ) -> Self {
        Assigned::new(runs, identities, threads).write(types, runs, threads)
    }
}

/// The rows of all runs, each with its employee: what is left is to put them in order.
#[derive(Debug)]
pub struct Assigned {
    /// For each run.
    runs: Vec<Attributed>,
    /// How many ranges of employees they are split into.
    shards: usize,
}

impl Assigned {
    /// Attributes the rows of `runs`, on up to `threads` threads.
    #[must_use]
    pub fn new(runs: &[Option<Arc<Run>>], identities: &Identities, threads: usize) -> Self {
        let pivots = pivots(runs, identities, threads.max(1));
        Self {
            runs: in_parallel(threads, runs.iter().collect(), |run| {
                run.as_deref().map_or_else(Attributed::default, |run| {
                    Attributed::new(run, identities, &pivots)
                })
            }),
            shards: pivots.len() + 1,
        }
    }

    /// Merges and writes the rows of the same `runs`, which stand in the order of `types`, on up to
    /// `threads` threads.
    #[must_use]
    pub fn write(
        self,
        types: &[IncidentType],
        runs: &[Option<Arc<Run>>],
        threads: usize,
    ) -> Report {
        let attributed = self.runs;
        let counts = attributed
            .iter()
            .zip(runs)
            .map(|(found, run)| found.counts(run.as_deref()))
            .collect();
        let unattributed = list_by_type(types, runs, &attributed, |run, found, list| {
            found
                .unknown
                .iter()
                .for_each(|row| list.push(run.original(&run.rows[*row as usize])));
        });
        let rejected = list_by_type(types, runs, &attributed, list_rejected);
        let samples = attributed
            .iter()
            .zip(runs)
            .map(|(found, run)| found.samples(run.as_deref()))
            .collect();

        let mut shards: Vec<Vec<Vec<Entry>>> = (0..self.shards)
            .map(|_| Vec::with_capacity(runs.len()))
            .collect();
        for found in attributed {
            let mut entries = found.shards.into_iter();
            for shard in &mut shards {
                shard.push(entries.next().unwrap_or_default());
            }
        }
        let openings = Openings::new(types);
        let shards = in_parallel(threads, shards, |entries| {
            Shard::plan(entries, runs, &openings)
        });

        // One brace, then each employee followed by a comma, the last of which becomes the brace
        // that closes the report.
        let total = 1 + shards.iter().map(|shard| shard.bytes).sum::<usize>();
        let mut json = huge_pages::zeroed(total.max(2));
        let mut rest = &mut json[1..];
        let mut work = Vec::with_capacity(shards.len());
        let mut offset = 1;
        for shard in shards {
            let (own, after) = rest.split_at_mut(shard.bytes);
            rest = after;
            let bytes = own.len();
            work.push((own, offset, shard));
            offset += bytes;
        }
        let indexes = in_parallel(threads, work, |(out, offset, shard)| {
            shard.write(out, offset, runs, &openings)
        });
        json[0] = b'{';
        if let Some(last) = json.last_mut() {
            *last = b'}';
        }
        let employees = indexes.concat();
        Report {
            employee_count: (employees.len() / EmployeeEntry::BYTES) as u64,
            json,
            employees,
            unattributed,
            rejected,
            counts,
            samples,
        }
    }
}

/// Where a usable or rejected row went; positions count from 1, in documents of `of` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
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
    /// run and where it is there; found by the same stages.
    pub(crate) fn places(
        &self,
        types: &[IncidentType],
        runs: &[Option<Arc<Run>>],
        wanted: &HashSet<(usize, RowAt)>,
    ) -> HashMap<(usize, RowAt), Place> {
        let mut places = HashMap::with_capacity(wanted.len());
        let mut note = |run, at, place| {
            if wanted.contains(&(run, at)) {
                places.insert((run, at), place);
            }
        };
        let openings = Openings::new(types);
        for shard in 0..self.shards {
            let entries = self.runs.iter().map(|found| found.shards.get(shard));
            let entries = entries.map(|entries| entries.cloned().unwrap_or_default());
            Shard::plan(entries.collect(), runs, &openings).places(runs, &mut note);
        }
        for (index, (found, run)) in self.runs.iter().zip(runs).enumerate() {
            if let Some(run) = run.as_deref() {
                found.places(run, |at, place| note(index, at, place));
            }
        }
        places
    }
}

/// A row with its employee, in one of the runs.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The employee's id; later the employee's place within its shard.
    employee: u64,
    /// The row's index in its run.
    row: u32,
    priority: Priority,
}

/// Where the rows of one run went.
#[derive(Debug, Default)]
struct Attributed {
    /// The rows of each shard, in the order of time.
    shards: Vec<Vec<Entry>>,
    /// Rows whose address the identity map lacks.
    unknown: Vec<u32>,
    /// Rows whose address is none.
    not_addresses: Vec<u32>,
}

impl Attributed {
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

    fn counts(&self, run: Option<&Run>) -> Counts {
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

    /// Tells `note` the place of each row that is not in the report, as the lists of them have it.
    fn places(&self, run: &Run, mut note: impl FnMut(RowAt, Place)) {
        let of = self.unknown.len() as u64;
        for (row, position) in self.unknown.iter().zip(1..) {
            note(RowAt::Usable(*row), Place::Unattributed { position, of });
        }
        let of = (run.rejections.len() + self.not_addresses.len()) as u64;
        for ((at, reason), position) in self.rejected(run).zip(1..) {
            let place = Place::Rejected {
                reason,
                position,
                of,
            };
            note(at, place);
        }
    }

    /// The rows that could not be used, and why.
    fn rejected<'a>(&'a self, run: &'a Run) -> impl Iterator<Item = (RowAt, Reason)> {
        let rejections = run.rejections.iter().zip(0..);
        let rejections = rejections.map(|(found, index)| (RowAt::Rejected(index), found.reason));
        let not_addresses = self.not_addresses.iter();
        let not_addresses = not_addresses.map(|row| (RowAt::Usable(*row), Reason::Identity));
        rejections.chain(not_addresses)
    }

    fn samples(&self, run: Option<&Run>) -> Samples {
        let Some(run) = run else {
            return Samples::default();
        };
        let row = |index: &u32| sample(run.original(&run.rows[*index as usize]));
        let rejection = run.rejections.first();
        let rejection = rejection.map(|first| (first.reason, sample(run.rejected(first))));
        let not_address = || {
            let first = self.not_addresses.first()?;
            Some((Reason::Identity, row(first)))
        };
        Samples {
            unattributed: self.unknown.first().map(row),
            rejected: rejection.or_else(not_address),
        }
    }
}

/// The beginning of a row, for the log.
fn sample(row: &[u8]) -> String {
    const MOST: usize = 200;
    let cut = row.get(..MOST).unwrap_or(row);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < row.len() {
        text.push('…');
    }
    text
}

/// Ids at which the employees are split so that each of `shards` shards gets about as many rows.
/// A sample decides; how well it does affects the speed only.
fn pivots(runs: &[Option<Arc<Run>>], identities: &Identities, shards: usize) -> Vec<u64> {
    const SAMPLES: usize = 512;
    let mut sample: Vec<u64> = Vec::new();
    for run in runs.iter().flatten() {
        let step = (run.rows.len() / SAMPLES).max(1);
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

/// The beginning of a row in the report, for each type and priority.
struct Openings(Vec<[Box<[u8]>; 4]>);

impl Openings {
    fn new(types: &[IncidentType]) -> Self {
        let opening = |kind: &IncidentType, priority: Priority| {
            // Neither name needs escapes: the settings see to it.
            format!(r#"{{"type":"{}","priority":"{priority}","#, kind.name)
                .into_bytes()
                .into()
        };
        Self(
            types
                .iter()
                .map(|kind| Priority::ALL.map(|priority| opening(kind, priority)))
                .collect(),
        )
    }

    #[inline]
    fn get(&self, run: usize, priority: Priority) -> &[u8] {
        &self.0[run][priority as usize]
    }
}

/// An employee's incidents of one priority.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// How many bytes the rows take, each with the comma or bracket that follows it; when writing,
    /// where the next row goes.
    at: usize,
    /// How many rows there are; when writing, how many are still to come.
    rows: u32,
}

impl Bucket {
    /// The bytes of the rows and the bracket behind them.
    fn bytes(self) -> usize {
        self.at.max(1)
    }
}

/// A range of employees: what one thread merges and writes.
struct Shard {
    /// For each run, its entries of this shard, `employee` being a place in `buckets`.
    entries: Vec<Vec<Entry>>,
    /// The employees' ids and places in `buckets`, ascending by id.
    employees: Vec<(u64, u32)>,
    buckets: Vec<[Bucket; 4]>,
    /// How many bytes of the report the shard takes.
    bytes: usize,
}

const GROUP: [&[u8]; 4] = [
    br#"{"low":{"count":"#,
    br#","medium":{"count":"#,
    br#","high":{"count":"#,
    br#","critical":{"count":"#,
];
const INCIDENTS: &[u8] = br#","incidents":["#;

impl Shard {
    /// Finds out who the employees are and how large each bucket is.
    fn plan(mut entries: Vec<Vec<Entry>>, runs: &[Option<Arc<Run>>], openings: &Openings) -> Self {
        let mut places: FxHashMap<u64, u32> = FxHashMap::default();
        let mut employees: Vec<(u64, u32)> = Vec::new();
        let mut buckets: Vec<[Bucket; 4]> = Vec::new();
        for (index, (entries, run)) in entries.iter_mut().zip(runs).enumerate() {
            let Some(run) = run.as_deref() else { continue };
            for entry in entries {
                let place = *places.entry(entry.employee).or_insert_with(|| {
                    let place = buckets.len() as u32;
                    employees.push((entry.employee, place));
                    buckets.push(Default::default());
                    place
                });
                entry.employee = u64::from(place);
                let bucket = &mut buckets[place as usize][entry.priority as usize];
                bucket.rows += 1;
                bucket.at += openings.get(index, entry.priority).len()
                    + run.rest(&run.rows[entry.row as usize]).len()
                    + 1;
            }
        }
        employees.sort_unstable();
        let group_bytes: usize = GROUP
            .iter()
            .map(|opening| opening.len() + INCIDENTS.len() + 1)
            .sum();
        let bytes = employees
            .iter()
            .map(|(id, place)| {
                let groups: usize = buckets[*place as usize]
                    .iter()
                    .map(|bucket| decimal_len(u64::from(bucket.rows)) + bucket.bytes())
                    .sum();
                // The id in quotes, a colon, the groups, a brace and a comma.
                decimal_len(*id) + 3 + group_bytes + groups + 2
            })
            .sum();
        Self {
            entries,
            employees,
            buckets,
            bytes,
        }
    }

    /// Writes the shard into `out`, which begins at `offset` of the report. Returns the index of
    /// its employees.
    fn write(
        mut self,
        out: &mut [u8],
        offset: usize,
        runs: &[Option<Arc<Run>>],
        openings: &Openings,
    ) -> Vec<u8> {
        let index = self.write_frame(out, offset);
        let merged = merged(&self.entries, runs);
        for (place, entry) in merged {
            let Some(run) = runs[place].as_deref() else {
                continue;
            };
            let bucket = &mut self.buckets[entry.employee as usize][entry.priority as usize];
            bucket.rows -= 1;
            let at = put(out, bucket.at, openings.get(place, entry.priority));
            let at = put(out, at, run.rest(&run.rows[entry.row as usize]));
            out[at] = if bucket.rows == 0 { b']' } else { b',' };
            bucket.at = at + 1;
        }
        index
    }

    /// Tells `note` the place of each row.
    fn places(&self, runs: &[Option<Arc<Run>>], note: &mut impl FnMut(usize, RowAt, Place)) {
        let mut ids = vec![0; self.employees.len()];
        for (id, place) in &self.employees {
            ids[*place as usize] = *id;
        }
        let mut seen = vec![[0_u64; 4]; self.employees.len()];
        for (run, entry) in merged(&self.entries, runs) {
            let (place, priority) = (entry.employee as usize, entry.priority);
            let position = &mut seen[place][priority as usize];
            *position += 1;
            let reported = Place::Reported {
                employee: ids[place],
                priority,
                position: *position,
                of: u64::from(self.buckets[place][priority as usize].rows),
            };
            note(run, RowAt::Usable(entry.row), reported);
        }
    }

    /// Writes everything but the rows, and lets each bucket point to where its rows go.
    fn write_frame(&mut self, out: &mut [u8], offset: usize) -> Vec<u8> {
        let mut index = Vec::with_capacity(self.employees.len() * EmployeeEntry::BYTES);
        let mut at = 0;
        for (id, place) in &self.employees {
            at = put(out, at, b"\"");
            at = put_decimal(out, at, *id);
            at = put(out, at, b"\":");
            let start = at;
            for (bucket, opening) in self.buckets[*place as usize].iter_mut().zip(GROUP) {
                at = put(out, at, opening);
                at = put_decimal(out, at, u64::from(bucket.rows));
                at = put(out, at, INCIDENTS);
                let bytes = bucket.bytes();
                if bucket.rows == 0 {
                    put(out, at, b"]");
                }
                bucket.at = at;
                at = put(out, at + bytes, b"}");
            }
            at = put(out, at, b"}");
            index.extend_from_slice(&index_entry(*id, offset + start..offset + at));
            at = put(out, at, b",");
        }
        index
    }
}

/// The entries of a shard in the order of time, each with the index of its run: within every group,
/// the order of the report.
fn merged<'a>(
    entries: &'a [Vec<Entry>],
    runs: &'a [Option<Arc<Run>>],
) -> impl Iterator<Item = (usize, &'a Entry)> {
    // A run that is not there has no entries.
    let rows = |run: usize| runs[run].as_deref().map_or(&[][..], |run| &run.rows);
    Merge::new(
        entries.iter().map(Vec::as_slice),
        move |run, entry: &Entry| rows(run)[entry.row as usize].time,
    )
}

fn index_entry(employee: u64, part: Range<usize>) -> [u8; EmployeeEntry::BYTES] {
    let part = part.start as u64..part.end as u64;
    // An employee with more than 4 GiB of incidents is served with the whole report only.
    EmployeeEntry { employee, part }
        .to_bytes()
        .unwrap_or_else(|| {
            EmployeeEntry {
                employee,
                part: 0..0,
            }
            .to_bytes()
            .unwrap_or_default()
        })
}

/// Copies `bytes` to `out[at..]` and returns where they end.
#[inline]
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let end = at + bytes.len();
    out[at..end].copy_from_slice(bytes);
    end
}

fn put_decimal(out: &mut [u8], at: usize, number: u64) -> usize {
    put(out, at, itoa::Buffer::new().format(number).as_bytes())
}

/// How many digits `number` has.
fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// `{"<type>":[...], ...}` with what `list` finds for each type.
fn list_by_type<'a>(
    types: &[IncidentType],
    runs: &'a [Option<Arc<Run>>],
    attributed: &'a [Attributed],
    list: impl Fn(&'a Run, &'a Attributed, &mut List),
) -> Vec<u8> {
    let mut json = b"{".to_vec();
    for (kind, (run, found)) in types.iter().zip(runs.iter().zip(attributed)) {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(format!("\"{}\":[", kind.name).as_bytes());
        let mut items = List {
            json,
            is_empty: true,
        };
        if let Some(run) = run {
            list(run, found, &mut items);
        }
        json = items.json;
        json.push(b']');
    }
    json.push(b'}');
    json
}

/// A JSON array that is being written.
struct List {
    json: Vec<u8>,
    is_empty: bool,
}

impl List {
    fn push(&mut self, item: &[u8]) {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        self.json.extend_from_slice(item);
    }
}

fn list_rejected(run: &Run, found: &Attributed, list: &mut List) {
    for (at, reason) in found.rejected(run) {
        // The row as a text: it may not be JSON.
        let row = String::from_utf8_lossy(run.text(at));
        let item = serde_json::json!({ "reason": reason.text(), "row": row });
        list.push(item.to_string().as_bytes());
    }
}
