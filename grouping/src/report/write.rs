//! Writing: the shards' rows, in the order of time, into the report.

use std::ops::Range;

use domain::contract::record::EmployeeEntry;
use domain::incident::IncidentType;
use rayon::prelude::*;

use super::Report;
use super::assign::{Assigned, Entry, for_each_of};
use super::layout::{GROUP, INCIDENTS, RowPrefixes, Shard};
use super::left_out;
use crate::huge_pages;
use crate::merge::Merge;
use crate::rows::Run;

impl Assigned {
    /// Merges and writes the rows of the same `runs`, which stand in the order of `types`.
    #[must_use]
    pub fn write(self, types: &[IncidentType], runs: &[Option<Run>]) -> Report {
        let both = || self.runs.iter().zip(runs);
        let counts = both().map(|(assigned, run)| assigned.counts(run.as_ref()));
        let samples = both().map(|(assigned, run)| left_out::samples(assigned, run.as_ref()));
        let (counts, samples) = (counts.collect(), samples.collect());
        let unattributed = left_out::unattributed(types, runs, &self.runs).into();
        let rejected = left_out::rejected(types, runs, &self.runs).into();
        let (json, employees) = self.write_report(types, runs);
        Report {
            employee_count: (employees.len() / EmployeeEntry::BYTES) as u64,
            json: json.into(),
            employees: employees.into(),
            unattributed,
            rejected,
            counts,
            samples,
        }
    }

    /// The report and the index of its employees.
    fn write_report(self, types: &[IncidentType], runs: &[Option<Run>]) -> (Vec<u8>, Vec<u8>) {
        let prefixes = RowPrefixes::new(types);
        let count = self.shards;
        let shards = for_each_of(count, self.into_shards().into_par_iter(), |entries| {
            Shard::new(entries, runs, &prefixes)
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
        let indexes = for_each_of(count, work.into_par_iter(), |(out, offset, shard)| {
            shard.write(out, offset, runs, &prefixes)
        });
        json[0] = b'{';
        if let Some(last) = json.last_mut() {
            *last = b'}';
        }
        (json, indexes.concat())
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

impl Shard {
    /// Writes the shard into `out`, which begins at `offset` of the report. Returns the index of
    /// its employees.
    fn write(
        mut self,
        out: &mut [u8],
        offset: usize,
        runs: &[Option<Run>],
        prefixes: &RowPrefixes,
    ) -> Vec<u8> {
        let index = self.write_frame(out, offset);
        for (of_run, entry) in merged(&self.entries, runs) {
            let Some(run) = &runs[of_run] else { continue };
            let group = &mut self.groups[entry.employee as usize][entry.priority as usize];
            group.rows -= 1;
            let at = put(out, group.at, prefixes.get(of_run, entry.priority));
            let at = put(out, at, run.rest(&run.rows[entry.row as usize]));
            out[at] = if group.rows == 0 { b']' } else { b',' };
            group.at = at + 1;
        }
        index
    }

    /// Writes everything but the rows, and lets each group point to where its rows go.
    fn write_frame(&mut self, out: &mut [u8], offset: usize) -> Vec<u8> {
        let mut employees = Vec::with_capacity(self.employees.len() * EmployeeEntry::BYTES);
        let mut at = 0;
        for (id, index) in &self.employees {
            at = put(out, at, b"\"");
            at = put_decimal(out, at, *id);
            at = put(out, at, b"\":");
            let start = at;
            for (group, opening) in self.groups[*index as usize].iter_mut().zip(GROUP) {
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
            employees.extend_from_slice(&employee_entry(*id, offset + start..offset + at));
            at = put(out, at, b",");
        }
        employees
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

fn employee_entry(employee: u64, part: Range<usize>) -> [u8; EmployeeEntry::BYTES] {
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
