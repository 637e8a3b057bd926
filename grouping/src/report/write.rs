//! Writing: the shards' rows, in the order of time, into the report.

use std::ops::Range;

use domain::contract::record::EmployeeEntry;
use domain::contract::timeline::RowEntry;
use domain::incident::{IncidentType, Priority};
use rayon::prelude::*;

use super::Report;
use super::assign::{Assigned, Entry, for_each_of};
use super::layout::{GROUP, INCIDENTS, RowPrefixes, Shard};
use super::left_out;
use super::summary::{self, Standing};
use super::timeline::{self, ShardRows, Timeline, TooLarge, lane_of};
use crate::huge_pages;
use crate::merge::Merge;
use crate::rows::Run;

impl Assigned {
    /// Merges and writes the rows of the same `runs`, which stand in the order of `types`.
    ///
    /// # Errors
    /// There are more rows than can be numbered, or one is too long.
    pub fn write(self, types: &[IncidentType], runs: Vec<Option<Run>>) -> Result<Report, TooLarge> {
        let both = || self.runs.iter().zip(&runs);
        let counts = both().map(|(assigned, run)| assigned.counts(run.as_ref()));
        let samples = both().map(|(assigned, run)| left_out::samples(assigned, run.as_ref()));
        let (counts, samples): (Vec<_>, _) = (counts.collect(), samples.collect());
        let unattributed = left_out::unattributed(types, &runs, &self.runs).into();
        let addresses = summary::unattributed(&runs, &self.runs);
        let rejected = left_out::rejected(types, &runs, &self.runs).into();
        let written = self.write_report(types, &runs)?;
        // The rest is made of the report: the answers give back their memory before more is taken.
        drop(runs);
        let timeline = Timeline::new(written.rows);
        let summary = summary::Parts {
            types,
            counts: &counts,
            priorities: &written.priorities,
            standings: &written.standings,
            unattributed: &addresses,
            json: &written.json,
            employees: &written.employees,
            lanes: &timeline.lanes,
            employee_rows: &timeline.employee_rows,
        };
        Ok(Report {
            summary: summary.summary().into(),
            employee_count: (written.employees.len() / EmployeeEntry::BYTES) as u64,
            json: written.json.into(),
            employees: written.employees.into(),
            lanes: timeline.lanes.into(),
            employee_rows: timeline.employee_rows.into(),
            unattributed,
            rejected,
            counts,
            priorities: written.priorities,
            samples,
        })
    }

    /// The report, the index of its employees, and what was noted meanwhile.
    fn write_report(
        self,
        types: &[IncidentType],
        runs: &[Option<Run>],
    ) -> Result<Written, TooLarge> {
        let prefixes = RowPrefixes::new(types);
        let count = self.shards;
        let shards = for_each_of(count, self.into_shards().into_par_iter(), |entries| {
            Shard::new(entries, runs, &prefixes)
        });
        let rows = shards.iter().map(Shard::rows).sum::<u64>();
        u32::try_from(rows).map_err(|_| TooLarge)?;
        let priorities = priorities(runs.len(), &shards);
        // One brace, then each employee followed by a comma, the last of which becomes the brace
        // that closes the report.
        let total = 1 + shards.iter().map(|shard| shard.bytes).sum::<usize>();
        let mut json = huge_pages::zeroed(total.max(2));
        let mut rest = &mut json[1..];
        let mut work = Vec::with_capacity(shards.len());
        let mut place = Place {
            offset: 1,
            first_row: 0,
        };
        for shard in shards {
            let (own, after) = rest.split_at_mut(shard.bytes);
            rest = after;
            let own_place = place;
            place.offset += own.len();
            place.first_row += shard.rows() as u32;
            work.push((own, own_place, shard));
        }
        let parts = for_each_of(count, work.into_par_iter(), |(out, place, shard)| {
            shard.write(out, place, runs, &prefixes)
        });
        json[0] = b'{';
        if let Some(last) = json.last_mut() {
            *last = b'}';
        }
        let mut written = Written {
            json,
            priorities,
            employees: Vec::new(),
            rows: Vec::with_capacity(count),
            standings: Vec::new(),
        };
        for part in parts {
            let part = part?;
            written.employees.extend(part.index);
            written.rows.push(part.rows);
            written.standings.extend(part.standings);
        }
        Ok(written)
    }

    /// The entries of each shard, for each run.
    fn into_shards(self) -> Vec<Vec<Vec<Entry>>> {
        let mut shards: Vec<Vec<Vec<Entry>>> = (0..self.shards)
            .map(|_| Vec::with_capacity(self.runs.len()))
            .collect();
        for assigned in self.runs {
            let mut entries = assigned.shards.into_iter();
            for shard in &mut shards {
                shard.push(entries.next().unwrap_or_default());
            }
        }
        shards
    }
}

/// How many rows each of so many runs has in the report, by priority.
fn priorities(runs: usize, shards: &[Shard]) -> Vec<[u64; 4]> {
    let rows = |run, priority| {
        let of_shard = |shard: &Shard| u64::from(shard.lanes[lane_of(run, priority)]);
        shards.iter().map(of_shard).sum()
    };
    let runs = 0..runs;
    runs.map(|run| Priority::ALL.map(|priority| rows(run, priority)))
        .collect()
}

/// What all shards have written.
struct Written {
    json: Vec<u8>,
    /// The index of the employees.
    employees: Vec<u8>,
    /// Of each run.
    priorities: Vec<[u64; 4]>,
    /// Of each shard.
    rows: Vec<ShardRows>,
    standings: Vec<Standing>,
}

/// Where a shard begins: its bytes in the report, and its rows in the list of the employees' rows.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    first_row: u32,
}

/// What one shard has written, besides its part of the report.
struct Part {
    /// The index of its employees.
    index: Vec<u8>,
    rows: ShardRows,
    standings: Vec<Standing>,
}

impl Shard {
    /// Writes the shard into `out`, which is its place in the report.
    fn write(
        mut self,
        out: &mut [u8],
        place: Place,
        runs: &[Option<Run>],
        prefixes: &RowPrefixes,
    ) -> Result<Part, TooLarge> {
        let standings = summary::standings(&self.employees, &self.groups);
        let (index, first_rows) = self.write_frame(out, place);
        let mut rows = ShardRows::new(&self.lanes, first_rows);
        for (of_run, entry) in merged(&self.entries, runs) {
            let Some(run) = &runs[of_run] else { continue };
            let row = &run.rows[entry.row as usize];
            let rest = run.rest(row);
            let group = &mut self.groups[entry.employee as usize][entry.priority as usize];
            group.rows -= 1;
            let start = group.at;
            let at = put(out, start, prefixes.get(of_run, entry.priority));
            let at = put(out, at, rest);
            out[at] = if group.rows == 0 { b']' } else { b',' };
            group.at = at + 1;
            let noted = RowEntry {
                key: timeline::key(row.time, rest),
                employee: self.ids[entry.employee as usize],
                row: (place.offset + start) as u64..(place.offset + at) as u64,
            };
            let lane = lane_of(of_run, entry.priority);
            rows.push(lane, entry.employee as u32, &noted)?;
        }
        rows.order_ties();
        Ok(Part {
            index,
            rows,
            standings,
        })
    }

    /// Writes everything but the rows, and lets each group point to where its rows go. Returns the index of
    /// the employees, and for each where its rows begin in the shard's list of them.
    fn write_frame(&mut self, out: &mut [u8], place: Place) -> (Vec<u8>, Vec<u32>) {
        let Place { offset, first_row } = place;
        let mut employees = Vec::with_capacity(self.employees.len() * EmployeeEntry::BYTES);
        let mut first_rows = vec![0; self.employees.len()];
        let (mut at, mut row) = (0, 0);
        for (id, index) in &self.employees {
            first_rows[*index as usize] = row;
            let first_row = first_row + row;
            at = put(out, at, b"\"");
            at = put_decimal(out, at, *id);
            at = put(out, at, b"\":");
            let start = at;
            for (group, opening) in self.groups[*index as usize].iter_mut().zip(GROUP) {
                row += group.rows;
                at = put(out, at, opening);
                at = put_decimal(out, at, u64::from(group.rows));
                at = put(out, at, INCIDENTS);
                let bytes = group.bytes();
                if group.rows == 0 {
                    put(out, at, b"]");
                }
                group.at = at;
                at = put(out, at + bytes, b"}");
            }
            at = put(out, at, b"}");
            let part = offset + start..offset + at;
            employees.extend_from_slice(&employee_entry(*id, part, first_row));
            at = put(out, at, b",");
        }
        (employees, first_rows)
    }
}

/// The entries of a shard in the order of time, each with the index of its run: within every group,
/// the order of the report.
pub(super) fn merged<'a>(
    entries: &'a [Vec<Entry>],
    runs: &'a [Option<Run>],
) -> impl Iterator<Item = (usize, &'a Entry)> {
    // A run that is not there has no entries.
    let rows = |run: usize| runs[run].as_ref().map_or(&[][..], |run| &run.rows);
    Merge::new(
        entries.iter().map(Vec::as_slice),
        move |run, entry: &Entry| rows(run)[entry.row as usize].time,
    )
}

fn employee_entry(employee: u64, part: Range<usize>, first_row: u32) -> [u8; EmployeeEntry::BYTES] {
    let entry = |part| {
        let entry = EmployeeEntry {
            employee,
            part,
            first_row,
        };
        entry.to_bytes()
    };
    // An employee with more than 4 GiB of incidents is served with the whole report only.
    entry(part.start as u64..part.end as u64)
        .or_else(|| entry(0..0))
        .unwrap_or_default()
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
