//! The timeline: where each row lies in the report, in lanes by type and priority.
//!
//! A shard notes its rows while it writes them, lane by lane; within a lane they come in the order of
//! time, since the shard merges its runs by time. Then the shards' lanes are merged, which tells each row's
//! ordinal, and each shard lists the ordinals of its employees.

use std::mem::take;
use std::ops::Range;

use domain::contract::timeline::{ORDINAL_BYTES, RowEntry, RowKey, TimeKey};
use domain::incident::Priority;
use rayon::prelude::*;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::assign::for_each_of;
use crate::huge_pages;
use crate::merge::Merge;

/// More rows than can be numbered, or one that is too long: there is no report of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "the report would have more than {} rows, or a row of 4 GiB: have upstream send fewer, or lower API_MAX_BODY_BYTES",
    u32::MAX
)]
pub struct TooLarge;

/// A row's entry as it is written.
pub(super) type EntryBytes = [u8; RowEntry::BYTES];

/// The lanes of a report, and the list of its employees' rows.
#[derive(Debug)]
pub(super) struct Timeline {
    /// The entries of all lanes.
    pub(super) lanes: Vec<u8>,
    /// For each employee in the report's order, the ordinals of its rows.
    pub(super) employee_rows: Vec<u8>,
}

/// The number of the lane of a run's rows of this priority.
#[inline]
pub(super) fn lane_of(run: usize, priority: Priority) -> usize {
    run * Priority::ALL.len() + priority as usize
}

/// A row's place in its lane: its time, then a hash of what it says, which must never change, since places
/// are kept by clients.
#[inline]
pub(super) fn key(time: TimeKey, rest: &[u8]) -> RowKey {
    RowKey {
        time,
        tie: xxh3_64(rest) % RowKey::TIES,
    }
}

/// Where the next row of a lane goes.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    at: usize,
    /// The time of the row before it.
    last: Option<TimeKey>,
}

/// The rows of one shard, lane by lane.
#[derive(Debug)]
pub(super) struct ShardRows {
    /// The entries.
    entries: Vec<u8>,
    /// Whose they are: the index of the employee's groups in the shard.
    employees: Vec<u32>,
    /// Where each lane's rows are.
    lanes: Vec<Range<usize>>,
    cursors: Vec<Cursor>,
    /// Whether a lane has rows of the same time.
    has_ties: Vec<bool>,
    /// Where the rows of each employee begin in the shard's part of the list.
    first_rows: Vec<u32>,
}

impl ShardRows {
    /// Room for so many rows of each lane, of employees whose rows begin there in the shard's list.
    pub(super) fn new(lanes: &[u32], first_rows: Vec<u32>) -> Self {
        let mut end = 0;
        let lanes: Vec<Range<usize>> = lanes
            .iter()
            .map(|rows| {
                let start = end;
                end += *rows as usize;
                start..end
            })
            .collect();
        Self {
            entries: huge_pages::zeroed(end * RowEntry::BYTES),
            employees: vec![0; end],
            cursors: lanes
                .iter()
                .map(|rows| Cursor {
                    at: rows.start,
                    last: None,
                })
                .collect(),
            has_ties: vec![false; lanes.len()],
            lanes,
            first_rows,
        }
    }

    /// Notes the next row of a lane, of the employee with this index.
    #[inline]
    pub(super) fn push(
        &mut self,
        lane: usize,
        employee: u32,
        entry: &RowEntry,
    ) -> Result<(), TooLarge> {
        let bytes = entry.to_bytes().ok_or(TooLarge)?;
        let cursor = &mut self.cursors[lane];
        let start = cursor.at * RowEntry::BYTES;
        self.entries[start..start + RowEntry::BYTES].copy_from_slice(&bytes);
        self.employees[cursor.at] = employee;
        let time = Some(entry.key.time);
        if cursor.last == time {
            self.has_ties[lane] = true;
        }
        cursor.at += 1;
        cursor.last = time;
        Ok(())
    }

    /// Puts rows of the same time into their order, which is not that of the report.
    pub(super) fn order_ties(&mut self) {
        for (rows, _) in self
            .lanes
            .iter()
            .zip(&self.has_ties)
            .filter(|(_, ties)| **ties)
        {
            let (entries, _) = self.entries.as_chunks_mut();
            order_ties(
                &mut entries[rows.clone()],
                &mut self.employees[rows.clone()],
            );
        }
    }

    fn rows(&self) -> usize {
        self.employees.len()
    }

    fn lane(&self, lane: usize) -> &[EntryBytes] {
        let (entries, _) = self.entries.as_chunks();
        &entries[self.lanes[lane].clone()]
    }

    /// Writes the shard's part of the list into `out`, given the ordinals of its rows.
    fn list(mut self, ordinals: impl Iterator<Item = u32>, out: &mut [u8]) {
        let (out, _) = out.as_chunks_mut::<ORDINAL_BYTES>();
        for (employee, ordinal) in self.employees.iter().zip(ordinals) {
            let place = &mut self.first_rows[*employee as usize];
            out[*place as usize] = ordinal.to_be_bytes();
            *place += 1;
        }
    }
}

/// Sorts the entries of a lane, which are in the order of time, and with them their `employees`.
fn order_ties(entries: &mut [EntryBytes], employees: &mut [u32]) {
    let mut start = 0;
    while let Some(first) = entries.get(start) {
        let time = row_key(first).time;
        let same = entries[start..].iter();
        let end = start + same.take_while(|entry| row_key(entry).time == time).count();
        if end - start > 1 {
            let both = entries[start..end].iter().zip(&employees[start..end]);
            let mut both: Vec<(EntryBytes, u32)> =
                both.map(|(entry, employee)| (*entry, *employee)).collect();
            // Rows that say the same stay in the order of the report.
            both.sort_unstable_by_key(|(entry, _)| {
                let entry = RowEntry::from_bytes(entry);
                (entry.key.tie, entry.row.start)
            });
            let places = entries[start..end].iter_mut();
            for ((entry, employee), sorted) in places.zip(&mut employees[start..end]).zip(both) {
                (*entry, *employee) = sorted;
            }
        }
        start = end;
    }
}

#[inline]
fn row_key(entry: &EntryBytes) -> RowKey {
    RowEntry::from_bytes(entry).key
}

impl Timeline {
    /// Of the shards, in their order, each with its ties in order.
    pub(super) fn new(mut shards: Vec<ShardRows>) -> Self {
        let rows: usize = shards.iter().map(ShardRows::rows).sum();
        let mut employee_rows = huge_pages::zeroed(rows * ORDINAL_BYTES);
        if let [_] = shards[..] {
            let mut lanes = Vec::new();
            for mut shard in shards {
                lanes = take(&mut shard.entries);
                shard.list(0.., &mut employee_rows);
            }
            return Self {
                lanes,
                employee_rows,
            };
        }
        let (lanes, ordinals) = merged(&shards, rows);
        for shard in &mut shards {
            // They are in `lanes`.
            shard.entries = Vec::new();
        }
        let mut work = Vec::with_capacity(shards.len());
        let mut rest = &mut employee_rows[..];
        for (number, shard) in shards.into_iter().enumerate() {
            let (own, after) = rest.split_at_mut(shard.rows() * ORDINAL_BYTES);
            rest = after;
            work.push((number, shard, own));
        }
        for_each_of(work.len(), work.into_par_iter(), |(number, shard, own)| {
            let ordinals = ordinals.iter().flat_map(|lane| &lane[number]);
            shard.list(ordinals.copied(), own);
        });
        Self {
            lanes,
            employee_rows,
        }
    }
}

/// For each lane and each shard, the ordinals of the shard's rows there.
type Ordinals = Vec<Vec<Vec<u32>>>;

/// The lanes of the `shards`, which have so many rows, merged.
fn merged(shards: &[ShardRows], rows: usize) -> (Vec<u8>, Ordinals) {
    let mut lanes = huge_pages::zeroed(rows * RowEntry::BYTES);
    let count = shards.first().map_or(0, |shard| shard.lanes.len());
    let mut work = Vec::with_capacity(count);
    let (mut rest, _) = lanes.as_chunks_mut();
    let mut first = 0_u32;
    for lane in 0..count {
        let parts: Vec<&[EntryBytes]> = shards.iter().map(|shard| shard.lane(lane)).collect();
        let rows: usize = parts.iter().map(|part| part.len()).sum();
        let (own, after) = rest.split_at_mut(rows);
        rest = after;
        work.push((first, parts, own));
        first += rows as u32;
    }
    let ordinals = for_each_of(
        shards.len(),
        work.into_par_iter(),
        |(first, parts, own): (u32, Vec<&[EntryBytes]>, &mut [EntryBytes])| {
            let ordinals = parts.iter().map(|part| Vec::with_capacity(part.len()));
            let mut ordinals: Vec<Vec<u32>> = ordinals.collect();
            let merge = Merge::new(parts.into_iter(), |_, entry| row_key(entry));
            for ((out, (shard, entry)), ordinal) in own.iter_mut().zip(merge).zip(first..) {
                *out = *entry;
                ordinals[shard].push(ordinal);
            }
            ordinals
        },
    );
    (lanes, ordinals)
}
