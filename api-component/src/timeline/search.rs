//! Asks Redis for the rows of a plan, a part at a time, and gives them in their order.

use std::ops::Range;
use std::rc::Rc;

use domain::contract::scripts::{Bound, LaneSearch, Order};
use domain::contract::timeline::{RowEntry, RowKey};

use super::cursor::Cursor;
use super::merge::{Merge, Next, Source};
use super::plan::PlannedLane;
use super::question::Question;
use crate::snapshot::Snapshot;
use crate::store::{Store, StoreError};

/// Rows that are asked for at a time, over all lanes, at most about: they are held until they are given.
const MOST_AT_A_TIME: usize = 16_384;

/// Lanes that are read on at a time: each has a bound of its own then, of which a script takes 255.
const LANES_AT_A_TIME: usize = 250;

/// Employees, times lanes, that are asked about at a time: Redis serves nobody else while it looks for the
/// rows.
const PARTS_AT_A_TIME: usize = 1024;

/// A row that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRow {
    /// Whose it is.
    pub(crate) employee: u64,
    /// The index of its type in the record.
    pub(crate) kind: usize,
    /// Where it lies in the report.
    pub(crate) row: Range<u64>,
}

/// A search that goes on.
pub(crate) struct Search {
    snapshot: Rc<Snapshot>,
    lanes: Vec<PlannedLane>,
    order: Order,
    merge: Merge,
    /// How many rows of a source are asked for at a time.
    most: usize,
    total: u64,
    left: u64,
    /// Where it began, if not at the first row.
    start: Option<Cursor>,
    last: Option<Given>,
    of_employees: bool,
}

/// The row that was given last.
struct Given {
    /// The index of its lane.
    lane: usize,
    key: RowKey,
    employee: u64,
    /// How many with exactly this place were given, this one included.
    count: u32,
}

impl Search {
    /// Begins one, for `limit` rows or for all.
    ///
    /// # Errors
    /// When Redis does not answer, or the snapshot is gone.
    pub(crate) async fn begin(
        store: &mut Store,
        snapshot: &Rc<Snapshot>,
        question: &Question,
        lanes: Vec<PlannedLane>,
        limit: Option<usize>,
    ) -> Result<Self, StoreError> {
        let most = most(limit, lanes.len() * question.employees.len().max(1));
        let mut search = Self {
            snapshot: Rc::clone(snapshot),
            lanes,
            order: question.order,
            merge: Merge::new(question.order, Vec::new()),
            most,
            total: 0,
            left: 0,
            start: question.cursor.clone(),
            last: None,
            of_employees: !question.employees.is_empty(),
        };
        let sources = match search.of_employees {
            false => search.whole_lanes(store).await?,
            true => search.parts(store, &question.employees).await?,
        };
        search.merge = Merge::new(question.order, sources);
        Ok(search)
    }

    /// How many rows there are, whether they were given already or not.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Whether every row was given.
    pub(crate) const fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Where the next page goes on; `None` if there is nothing left.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        if self.is_done() {
            return None;
        }
        let Some(last) = &self.last else {
            return self.start.clone();
        };
        let lane = &self.lanes[last.lane];
        Some(Cursor {
            key: last.key,
            kind: self.snapshot.record.types[lane.kind].name.clone(),
            priority: lane.priority,
            employee: last.employee,
            given: last.count,
        })
    }

    /// The next rows, `most` at most; less only where there are no more.
    ///
    /// # Errors
    /// When Redis does not answer, or the snapshot is gone.
    pub(crate) async fn next(
        &mut self,
        store: &mut Store,
        most: usize,
    ) -> Result<Vec<FoundRow>, StoreError> {
        let mut rows = Vec::with_capacity(most.min(usize::try_from(self.left).unwrap_or(most)));
        while rows.len() < most {
            match self.merge.next() {
                Next::Row(source, entry) => rows.push(self.give(source, entry)),
                Next::Unread => {
                    self.read_on(store).await?;
                    self.merge.look_again();
                }
                Next::End => break,
            }
        }
        Ok(rows)
    }

    fn give(&mut self, source: usize, entry: RowEntry) -> FoundRow {
        let lane = self.merge.sources()[source].lane;
        let is_same =
            |key, employee| key == entry.key && (employee == entry.employee || !self.of_employees);
        let before = match (&self.last, &self.start) {
            (Some(last), _) if last.lane == lane && is_same(last.key, last.employee) => last.count,
            (None, Some(start))
                if self.is_in(start, lane) && is_same(start.key, start.employee) =>
            {
                start.given
            }
            _ => 0,
        };
        self.left = self.left.saturating_sub(1);
        self.last = Some(Given {
            lane,
            key: entry.key,
            employee: entry.employee,
            count: before.saturating_add(1),
        });
        FoundRow {
            employee: entry.employee,
            kind: self.lanes[lane].kind,
            row: entry.row,
        }
    }

    /// Whether a cursor's row is of the lane with this index.
    fn is_in(&self, cursor: &Cursor, lane: usize) -> bool {
        let lane = &self.lanes[lane];
        let kind = &self.snapshot.record.types[lane.kind].name;
        cursor.kind == *kind && cursor.priority == lane.priority
    }

    /// What to ask of the lanes at first.
    fn searches(&self) -> Vec<LaneSearch> {
        self.lanes.iter().map(|lane| lane.search.clone()).collect()
    }

    /// The lanes as sources, each with its first rows.
    async fn whole_lanes(&mut self, store: &mut Store) -> Result<Vec<Source>, StoreError> {
        let generation = self.snapshot.record.generation;
        let found = store
            .find_rows(generation, &self.searches(), self.order, self.most)
            .await?;
        let mut sources = Vec::with_capacity(self.lanes.len());
        for (number, found) in found.into_iter().enumerate() {
            let lane = &self.lanes[number];
            self.total += found.total;
            self.left += found.rest;
            let mut source = Source::new(number, lane.rank, None, lane.search.cursor);
            source.add(found, self.order).ok_or(StoreError::Damaged)?;
            sources.push(source);
        }
        Ok(sources)
    }

    /// The parts of the lanes that are these employees', as far as they have any rows there.
    async fn parts(
        &mut self,
        store: &mut Store,
        employees: &[u64],
    ) -> Result<Vec<Source>, StoreError> {
        let mut sources = Vec::new();
        let searches = self.searches();
        let last_read = self.start.as_ref().map_or(0, |start| start.employee);
        let at_a_time = (PARTS_AT_A_TIME / searches.len().max(1)).max(1);
        for employees in employees.chunks(at_a_time) {
            let (record, order) = (&self.snapshot.record, self.order);
            let found = store
                .find_employee_rows(record, &searches, employees, last_read, order, self.most)
                .await?;
            for part in found {
                let lane = self.lanes.get(part.lane).ok_or(StoreError::Damaged)?;
                let employee = *employees.get(part.employee).ok_or(StoreError::Damaged)?;
                self.total += part.found.total;
                self.left += part.found.rest;
                let is_own = employee == last_read;
                let start = lane.search.cursor.map(|cursor| Bound {
                    skip: if is_own { cursor.skip } else { 0 },
                    ..cursor
                });
                let mut source = Source::new(part.lane, lane.rank, Some(employee), start);
                source.add(part.found, order).ok_or(StoreError::Damaged)?;
                sources.push(source);
            }
        }
        Ok(sources)
    }

    /// Reads the sources on that have nothing left, or little.
    async fn read_on(&mut self, store: &mut Store) -> Result<(), StoreError> {
        let few = (self.most / 4).max(1);
        let sources = self.merge.sources().iter().enumerate();
        let wishes: Vec<(usize, Bound)> = sources
            .filter_map(|(source, own)| Some((source, own.wish(few)?)))
            .collect();
        // Sources of one employee follow each other within a batch of lanes.
        let employee_of =
            |wish: &(usize, Bound), merge: &mut Merge| merge.sources()[wish.0].employee;
        let mut rest = &wishes[..];
        while let Some(first) = rest.first() {
            let employee = employee_of(first, &mut self.merge);
            let same = rest
                .iter()
                .take(LANES_AT_A_TIME)
                .take_while(|wish| employee_of(wish, &mut self.merge) == employee)
                .count();
            let (now, later) = rest.split_at(same);
            self.read_sources(store, employee, now).await?;
            rest = later;
        }
        Ok(())
    }

    /// Reads some sources on, all of one employee or of none.
    async fn read_sources(
        &mut self,
        store: &mut Store,
        employee: Option<u64>,
        wishes: &[(usize, Bound)],
    ) -> Result<(), StoreError> {
        let mut searches = Vec::with_capacity(wishes.len());
        for (source, cursor) in wishes {
            let lane = self.merge.sources()[*source].lane;
            searches.push(LaneSearch {
                cursor: Some(*cursor),
                ..self.lanes[lane].search.clone()
            });
        }
        let (record, order, most) = (&self.snapshot.record, self.order, self.most);
        let found: Vec<_> = match employee {
            None => {
                let generation = record.generation;
                let found = store.find_rows(generation, &searches, order, most).await?;
                found.into_iter().enumerate().collect()
            }
            Some(id) => {
                let found = store
                    .find_employee_rows(record, &searches, &[id], id, order, most)
                    .await?;
                found
                    .into_iter()
                    .map(|part| (part.lane, part.found))
                    .collect()
            }
        };
        for (place, found) in found {
            let (source, _) = wishes.get(place).ok_or(StoreError::Damaged)?;
            let source = &mut self.merge.sources()[*source];
            source.add(found, order).ok_or(StoreError::Damaged)?;
        }
        Ok(())
    }
}

/// How many rows of each of `sources` to ask for. A page mostly takes a few of each: twice its share and some
/// more are seldom too few, and what one has too few of is asked for again.
fn most(limit: Option<usize>, sources: usize) -> usize {
    let sources = sources.max(1);
    let fair = MOST_AT_A_TIME / sources;
    let wanted = limit.map_or(fair, |limit| limit.min(2 * limit / sources + 10));
    wanted.min(fair).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_bounded_however_many_lanes_there_are() {
        assert_eq!(most(Some(100), 1), 100);
        assert_eq!(most(Some(100), 28), 17);
        assert_eq!(most(Some(1), 28), 4);
        for limit in [Some(1), Some(100), Some(10_000), None] {
            for sources in [0, 1, 28, 256, 25_600] {
                let all = most(limit, sources) * sources;
                assert!(
                    all <= MOST_AT_A_TIME.max(4 * sources),
                    "{limit:?} {sources}"
                );
            }
        }
        assert_eq!(most(None, 28), 585);
    }
}
