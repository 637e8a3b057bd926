//! Finds rows of the timeline.

use std::borrow::Cow;
use std::ops::Range;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;
use crate::contract::timeline::{RowEntry, RowKey};

/// `KEYS`: blocks of the lanes. `ARGV`: `asc` or `desc`, how many entries of each lane are wanted, the
/// bounds, the lanes (15 bytes each: the key of its first block, its first ordinal, its length, the numbers
/// of three bounds). Returns how many lanes there are, then for each `total, rest, entries`; or an error
/// `MISSING` when the generation is gone.
static SCRIPT: Script = Script::new(
    "find_rows",
    concat!(include_str!("rows.lua"), include_str!("find_rows.lua")),
);

/// Where to stop or go on within a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// It is before all rows that have this key or a later one.
    pub key: RowKey,
    /// If not 0, it is among the rows that have exactly this key, behind so many of them in the direction of
    /// reading.
    pub skip: u32,
}

/// What is asked of one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSearch {
    /// The ordinals of its rows.
    pub rows: Range<u64>,
    /// Rows before it do not count.
    pub since: Option<RowKey>,
    /// Nor do rows from there on.
    pub until: Option<RowKey>,
    /// Where reading goes on, in its direction.
    pub cursor: Option<Bound>,
}

/// In which direction is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The oldest first.
    Ascending,
    /// The newest first.
    Descending,
}

impl Order {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

/// What was found in a lane, or in an employee's part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How many rows lie between since and until.
    pub total: u64,
    /// How many of those lie beyond the cursor.
    pub rest: u64,
    /// The next of the latter, ascending in any case: in descending order, the last one is the next.
    pub entries: Vec<RowEntry>,
}

impl Found {
    pub(super) fn parse(values: &mut Values<'_>) -> Option<Self> {
        let (total, rest) = (values.count()?, values.count()?);
        let bytes = values.bytes()?;
        let (entries, []) = bytes.as_chunks::<{ RowEntry::BYTES }>() else {
            return None;
        };
        Some(Self {
            total,
            rest,
            entries: entries.iter().map(RowEntry::from_bytes).collect(),
        })
    }
}

/// Bounds as the scripts want them, each once.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    known: Vec<Bound>,
    pub(super) packed: Vec<u8>,
}

impl Bounds {
    /// The number of a bound, from 1 on; 0 for none. There are as many as a question has ends, so that a
    /// byte holds it.
    pub(super) fn number(&mut self, bound: Option<Bound>) -> u8 {
        let Some(bound) = bound else { return 0 };
        let known = self.known.iter().position(|known| *known == bound);
        let index = known.unwrap_or_else(|| {
            self.known.push(bound);
            self.packed
                .extend_from_slice(&bound.key.time.bits().to_be_bytes());
            self.packed
                .extend_from_slice(&bound.key.tie.to_be_bytes()[2..]);
            self.packed.extend_from_slice(&bound.skip.to_be_bytes());
            self.known.len() - 1
        });
        u8::try_from(index + 1).unwrap_or(0)
    }

    /// The numbers of a lane's three.
    pub(super) fn numbers(&mut self, lane: &LaneSearch) -> [u8; 3] {
        let whole = |key: Option<RowKey>| key.map(|key| Bound { key, skip: 0 });
        [whole(lane.since), whole(lane.until), lane.cursor].map(|bound| self.number(bound))
    }
}

/// Cuts off what cannot be: a record whose counts are larger is refused.
pub(super) fn ordinal(number: u64) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

/// The blocks in which the entries with these ordinals lie.
pub(super) fn blocks(rows: &Range<u64>) -> Range<u32> {
    let block = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let first = rows.start / RowEntry::PER_BLOCK;
    block(first)..block(rows.end.div_ceil(RowEntry::PER_BLOCK).max(first))
}

/// Asks for the next rows of some lanes. Answers for each of them, in order.
#[derive(Debug)]
pub struct FindRows {
    names: Vec<String>,
    order: Order,
    most: usize,
    bounds: Bounds,
    lanes: Vec<u8>,
}

impl FindRows {
    /// Of `lanes` of this generation, at most the next `most` rows each. All lanes together have at most 255
    /// different bounds.
    #[must_use]
    pub fn new(
        keys: &Keys,
        generation: u64,
        lanes: &[LaneSearch],
        order: Order,
        most: usize,
    ) -> Self {
        let mut find = Self {
            names: Vec::new(),
            order,
            most,
            bounds: Bounds::default(),
            lanes: Vec::new(),
        };
        for lane in lanes {
            let first_key = ordinal(find.names.len() as u64 + 1);
            let blocks = blocks(&lane.rows);
            find.names
                .extend(blocks.map(|block| keys.lanes(generation, block)));
            find.lanes.extend_from_slice(&first_key);
            find.lanes.extend_from_slice(&ordinal(lane.rows.start));
            let length = lane.rows.end.saturating_sub(lane.rows.start);
            find.lanes.extend_from_slice(&ordinal(length));
            find.lanes.extend_from_slice(&find.bounds.numbers(lane));
        }
        find
    }
}

impl Call for FindRows {
    type Reply = Vec<Found>;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.names.iter().map(|name| name.as_str().into()).collect()
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![
            self.order.name().into(),
            self.most.into(),
            Argument::Bytes(&self.bounds.packed),
            Argument::Bytes(&self.lanes),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<Vec<Found>> {
        let lanes = values.count()?;
        (0..lanes).map(|_| Found::parse(&mut values)).collect()
    }
}
