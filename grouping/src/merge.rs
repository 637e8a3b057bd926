//! Merging: sorted runs become one stream in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::slice;

/// A k-way merge by a heap over the runs' heads. Of entries with the same key, that of the earlier
/// run comes first, and within a run the earlier one.
pub(crate) struct Merge<'a, T, K, F> {
    heads: BinaryHeap<Reverse<(K, usize)>>,
    runs: Vec<slice::Iter<'a, T>>,
    key: F,
}

impl<'a, T, K: Ord, F: Fn(usize, &T) -> K> Merge<'a, T, K, F> {
    /// Merges `runs`, each sorted by `key`, which is told the run's index and an entry of it: a time, or
    /// what begins with one.
    pub(crate) fn new(runs: impl Iterator<Item = &'a [T]>, key: F) -> Self {
        let runs: Vec<_> = runs.map(<[T]>::iter).collect();
        let head = |(run, entries): (usize, &slice::Iter<'_, T>)| {
            let first = entries.as_slice().first()?;
            Some(Reverse((key(run, first), run)))
        };
        let heads = runs.iter().enumerate().filter_map(head).collect();
        Self { heads, runs, key }
    }
}

impl<'a, T, K: Ord, F: Fn(usize, &T) -> K> Iterator for Merge<'a, T, K, F> {
    /// An entry and the index of its run.
    type Item = (usize, &'a T);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let Reverse((_, run)) = *head;
        let entries = &mut self.runs[run];
        let entry = entries.next()?;
        match entries.as_slice().first() {
            Some(next) => head.0.0 = (self.key)(run, next),
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
            let runs: Vec<Vec<(u64, usize)>> = runs.into_iter().map(|mut times| {
                times.sort_unstable();
                times.into_iter().zip(0..).collect()
            }).collect();
            let merge = Merge::new(runs.iter().map(Vec::as_slice), |_, (time, _)| *time);
            let merged: Vec<_> = merge.map(|(run, (time, row))| (*time, run, *row)).collect();
            let mut expected: Vec<_> = runs.iter().enumerate().flat_map(|(run, entries)| entries.iter().map(move |(time, row)| (*time, run, *row))).collect();
            expected.sort_unstable();
            prop_assert_eq!(merged, expected);
        }
    }
}
