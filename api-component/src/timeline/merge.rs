//! Merges rows of several sources, each sorted, into one order.

use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use domain::contract::scripts::{Bound, Found, Order};
use domain::contract::timeline::RowEntry;

/// The rows of a lane, or those of an employee in it, as far as they are there.
#[derive(Debug)]
pub(super) struct Source {
    /// The index of its lane.
    pub(super) lane: usize,
    /// Whose rows; `None`: of all employees.
    pub(super) employee: Option<u64>,
    /// Orders rows of the same time.
    rank: u64,
    /// Those that are to be given next, ascending in any case.
    entries: VecDeque<RowEntry>,
    /// How many come after these.
    unread: u64,
    /// Where those begin.
    end: Option<Bound>,
}

impl Source {
    /// One that is read from `start` on, and has nothing yet.
    pub(super) fn new(lane: usize, rank: u64, employee: Option<u64>, start: Option<Bound>) -> Self {
        Self {
            lane,
            employee,
            rank,
            entries: VecDeque::new(),
            unread: 0,
            end: start,
        }
    }

    /// Adds what was found behind its end. `None` if that cannot be.
    pub(super) fn add(&mut self, found: Found, order: Order) -> Option<()> {
        let is_own = |entry: &RowEntry| self.employee.is_none_or(|id| id == entry.employee);
        let count = found.entries.len() as u64;
        if found.rest < count || (found.rest > 0 && count == 0) || !found.entries.iter().all(is_own)
        {
            return None;
        }
        self.unread = found.rest - count;
        let farthest = match order {
            Order::Ascending => found.entries.last(),
            Order::Descending => found.entries.first(),
        };
        if let Some(RowEntry { key, .. }) = farthest {
            let same = found
                .entries
                .iter()
                .filter(|entry| entry.key == *key)
                .count();
            let before = self
                .end
                .filter(|end| end.key == *key)
                .map_or(0, |end| end.skip);
            let same = u32::try_from(same).unwrap_or(u32::MAX);
            self.end = Some(Bound {
                key: *key,
                skip: before.saturating_add(same),
            });
        }
        match order {
            Order::Ascending => self.entries.extend(found.entries),
            Order::Descending => {
                for entry in found.entries.into_iter().rev() {
                    self.entries.push_front(entry);
                }
            }
        }
        Some(())
    }

    /// Where to read on, if there is more and less than `few` are here.
    pub(super) fn wish(&self, few: usize) -> Option<Bound> {
        self.end
            .filter(|_| self.unread > 0 && self.entries.len() < few)
    }

    fn head(&self, order: Order) -> Option<&RowEntry> {
        match order {
            Order::Ascending => self.entries.front(),
            Order::Descending => self.entries.back(),
        }
    }
}

/// The next row of a source: the largest one is the next of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: [u64; 4],
    source: usize,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// This row, of the source with this number.
    Row(usize, RowEntry),
    /// A row that is not there yet: a source has to be read on.
    Unread,
    /// Nothing.
    End,
}

/// Gives the rows of its sources in their order.
#[derive(Debug)]
pub(super) struct Merge {
    order: Order,
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    /// Sources that have no row here, but have more.
    dry: usize,
}

impl Merge {
    pub(super) fn new(order: Order, sources: Vec<Source>) -> Self {
        let mut merge = Self {
            order,
            sources,
            heads: BinaryHeap::new(),
            dry: 0,
        };
        merge.look_again();
        merge
    }

    /// The sources; when one was added to, [`Self::look_again`] has to follow.
    pub(super) fn sources(&mut self) -> &mut [Source] {
        &mut self.sources
    }

    /// Looks at what is next in each source.
    pub(super) fn look_again(&mut self) {
        let sources = self.sources.iter().enumerate();
        self.heads = sources
            .filter_map(|(source, _)| self.head(source))
            .collect();
        let dry = |source: &&Source| source.entries.is_empty() && source.unread > 0;
        self.dry = self.sources.iter().filter(dry).count();
    }

    /// Takes the next row.
    pub(super) fn next(&mut self) -> Next {
        if self.dry > 0 {
            return Next::Unread;
        }
        let Some(top) = self.heads.peek().copied() else {
            return Next::End;
        };
        let source = &mut self.sources[top.source];
        let entry = match self.order {
            Order::Ascending => source.entries.pop_front(),
            Order::Descending => source.entries.pop_back(),
        };
        let Some(entry) = entry else {
            return Next::End;
        };
        if source.entries.is_empty() && source.unread > 0 {
            self.dry += 1;
        }
        let head = self.head(top.source);
        if let Some(mut peeked) = self.heads.peek_mut() {
            match head {
                Some(head) => *peeked = head,
                None => drop(PeekMut::pop(peeked)),
            }
        }
        Next::Row(top.source, entry)
    }

    fn head(&self, source: usize) -> Option<Head> {
        let own = &self.sources[source];
        let entry = own.head(self.order)?;
        let key = [
            entry.key.time.bits(),
            own.rank,
            entry.key.tie,
            own.employee.unwrap_or(0),
        ];
        // The exact reverse.
        let key = match self.order {
            Order::Descending => key,
            Order::Ascending => key.map(|part| !part),
        };
        Some(Head { key, source })
    }
}
