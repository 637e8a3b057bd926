//! Merging: the sorted runs of all types become one stream in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::slice;

use domain::incident::Priority;

/// A row with its employee, in one of the runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// Orders as the timestamp does.
    pub(crate) time: u64,
    /// The employee's id; later the employee's place within its shard.
    pub(crate) employee: u64,
    /// The row's index in its run.
    pub(crate) row: u32,
    pub(crate) priority: Priority,
}

/// A k-way merge by a heap over the runs' heads. Of entries with the same time, that of the earlier
/// run comes first, and within a run the earlier one.
pub(crate) struct Merge<'a> {
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    runs: Vec<slice::Iter<'a, Entry>>,
}

impl<'a> Merge<'a> {
    /// Merges `runs`, each sorted by time.
    pub(crate) fn new(runs: impl Iterator<Item = &'a [Entry]>) -> Self {
        let runs: Vec<_> = runs.map(<[Entry]>::iter).collect();
        let head = |(run, entries): (usize, &slice::Iter<'_, Entry>)| {
            Some(Reverse((entries.as_slice().first()?.time, run)))
        };
        let heads = runs.iter().enumerate().filter_map(head).collect();
        Self { heads, runs }
    }
}

impl<'a> Iterator for Merge<'a> {
    /// An entry and the index of its run.
    type Item = (usize, &'a Entry);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((_, run)) = *head;
        let entries = &mut self.runs[run];
        let entry = entries.next()?;
        match entries.as_slice().first() {
            Some(next) => head.0.0 = next.time,
            None => {
                PeekMut::pop(head);
            }
        }
        Some((run, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_merge_is_a_stable_sort_of_all_runs(runs in prop::collection::vec(prop::collection::vec(0_u64..20, 0..30), 0..9)) {
            let runs: Vec<Vec<Entry>> = runs.into_iter().map(|mut times| {
                times.sort_unstable();
                (0..).zip(times).map(|(row, time)| Entry { time, employee: 0, row, priority: Priority::Low }).collect()
            }).collect();
            let merged: Vec<_> = Merge::new(runs.iter().map(Vec::as_slice)).map(|(run, entry)| (entry.time, run, entry.row)).collect();
            let mut expected: Vec<_> = runs.iter().enumerate().flat_map(|(run, entries)| entries.iter().map(move |entry| (entry.time, run, entry.row))).collect();
            expected.sort_unstable();
            prop_assert_eq!(merged, expected);
        }
    }
}
