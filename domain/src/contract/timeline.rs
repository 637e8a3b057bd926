//! The timeline: where every reported row lies, in the order of time, so that a question about any types,
//! priorities, employees and times is answered without a scan.
//!
//! A *lane* holds the rows of one type and one priority in their order. Lanes stand one after the other,
//! by type in the configured order, then by priority ([`lanes`]); a row's number among all of them is its
//! *ordinal*. The rows of any question are a merge of lanes or of parts of them, both ends of which are
//! found by bisection. Beside that stands, for each employee in the order of the report, which ordinals
//! are its own, ascending: so within each lane they are in the order of time, too.
//!
//! Rows are ordered by time, then by the name of their type, then by priority, then by [`RowKey::tie`], which
//! is made of what the row says: a row's place among others depends neither on what else a snapshot has, nor
//! on the order in which types are configured.

use std::ops::Range;

use crate::contract::document::BLOCK_BYTES;
use crate::incident::Priority;

/// A place on the line of time: orders as the timestamps do, which are read as IEEE 754 doubles, as JSON
/// numbers are exchanged (RFC 8259, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeKey(u64);

impl TimeKey {
    const SIGN: u64 = 1 << 63;

    /// The place of `seconds` since the Unix epoch; `None` if that is not finite.
    #[must_use]
    #[inline]
    pub fn new(seconds: f64) -> Option<Self> {
        // Adding zero makes -0 the same as 0.
        let bits = (seconds + 0.0).to_bits();
        let key = if bits & Self::SIGN == 0 {
            bits | Self::SIGN
        } else {
            !bits
        };
        seconds.is_finite().then_some(Self(key))
    }

    /// The place that [`Self::bits`] gave.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As a number that orders alike.
    #[must_use]
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn seconds(self) -> f64 {
        f64::from_bits(match self.0 & Self::SIGN {
            0 => !self.0,
            _ => self.0 & !Self::SIGN,
        })
    }

    /// The next place: whatever is not later than this one is before it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The place of a row within its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// When it happened.
    pub time: TimeKey,
    /// Orders rows of the same time: a hash of the row's text, below [`RowKey::TIES`].
    pub tie: u64,
}

impl RowKey {
    /// Ties are below this: they have 48 bits.
    pub const TIES: u64 = 1 << 48;

    /// What is before every row of this time.
    #[must_use]
    pub const fn before(time: TimeKey) -> Self {
        Self { time, tie: 0 }
    }
}

/// Where a row lies in the report, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowEntry {
    /// Its place in its lane.
    pub key: RowKey,
    /// The employee's id.
    pub employee: u64,
    /// The bytes of the row, an object, in the report's identity encoding.
    pub row: Range<u64>,
}

impl RowEntry {
    /// The length of an entry.
    pub const BYTES: usize = 32;

    /// How many entries a block of the lanes holds.
    pub const PER_BLOCK: u64 = (BLOCK_BYTES / Self::BYTES) as u64;

    /// The time (64 bits), the tie (48), the employee (64), the row's start (48) and its length (32),
    /// big-endian. `None` where a number is larger than its field.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> Option<[u8; Self::BYTES]> {
        let length = u32::try_from(self.row.end.checked_sub(self.row.start)?).ok()?;
        if self.key.tie >= RowKey::TIES || self.row.start >= 1 << 48 {
            return None;
        }
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.key.time.0.to_be_bytes());
        bytes[8..14].copy_from_slice(&self.key.tie.to_be_bytes()[2..]);
        bytes[14..22].copy_from_slice(&self.employee.to_be_bytes());
        bytes[22..28].copy_from_slice(&self.row.start.to_be_bytes()[2..]);
        bytes[28..].copy_from_slice(&length.to_be_bytes());
        Some(bytes)
    }

    /// The entry that `bytes` hold.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |range: Range<usize>| {
            let bytes = bytes[range].iter();
            bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let start = number(22..28);
        Self {
            key: RowKey {
                time: TimeKey(number(0..8)),
                tie: number(8..14),
            },
            employee: number(14..22),
            row: start..start + number(28..32),
        }
    }
}

/// The length of an ordinal in the list of the employees' rows, which has them as 32-bit integers,
/// big-endian.
pub const ORDINAL_BYTES: usize = 4;

/// How many ordinals a block of that list holds.
pub const ORDINALS_PER_BLOCK: u64 = (BLOCK_BYTES / ORDINAL_BYTES) as u64;

/// The rows of one type and one priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Which one it is, counted over all that there are, also those without a row.
    pub number: usize,
    /// The type's index in the record.
    pub kind: usize,
    /// The priority of all its rows.
    pub priority: Priority,
    /// The ordinals of its rows.
    pub rows: Range<u64>,
}

/// The lanes of a snapshot whose types have so many rows of each priority, in their order.
pub fn lanes(counts: impl Iterator<Item = [u64; 4]>) -> impl Iterator<Item = Lane> {
    let counts = counts.enumerate().flat_map(|(kind, priorities)| {
        Priority::ALL.map(|priority| (kind, priority, priorities[priority as usize]))
    });
    let mut start = 0_u64;
    counts
        .enumerate()
        .map(move |(number, (kind, priority, count))| {
            let end = start.saturating_add(count);
            let rows = start..end;
            start = end;
            Lane {
                number,
                kind,
                priority,
                rows,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_order_as_the_times_do(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let key = |time: f64| TimeKey::new(time).unwrap();
            prop_assert_eq!(key(a).partial_cmp(&key(b)), a.partial_cmp(&b));
            prop_assert!(key(a) < key(a).next());
            prop_assert_eq!(key(a).seconds(), a);
            prop_assert_eq!(TimeKey::from_bits(key(a).bits()), key(a));
        }

        #[test]
        fn an_entry_is_read_as_it_was_written(time in -1e300..1e300_f64, tie in 0..RowKey::TIES, employee: u64, start in 0..1_u64 << 48, length: u32) {
            let entry = RowEntry {
                key: RowKey { time: TimeKey::new(time).unwrap(), tie },
                employee,
                row: start..start + u64::from(length),
            };
            let bytes = entry.to_bytes().unwrap();
            prop_assert_eq!(RowEntry::from_bytes(&bytes), entry);
        }
    }

    #[test]
    fn times_that_are_equal_have_one_key_and_what_is_no_time_has_none() {
        assert_eq!(TimeKey::new(-0.0), TimeKey::new(0.0));
        assert_eq!(TimeKey::new(f64::INFINITY), None);
        assert_eq!(TimeKey::new(f64::NAN), None);
    }

    #[test]
    fn what_does_not_fit_is_no_entry() {
        let entry = |tie, row| RowEntry {
            key: RowKey {
                tie,
                ..RowKey::before(TimeKey(0))
            },
            employee: 7,
            row,
        };
        assert!(entry(RowKey::TIES - 1, 5..7).to_bytes().is_some());
        assert_eq!(entry(RowKey::TIES, 5..7).to_bytes(), None);
        assert_eq!(entry(0, 1 << 48..(1 << 48) + 1).to_bytes(), None);
        assert_eq!(entry(0, 0..1 << 32).to_bytes(), None);
        #[expect(clippy::reversed_empty_ranges)]
        let backwards = 7..5;
        assert_eq!(entry(0, backwards).to_bytes(), None);
    }

    #[test]
    fn lanes_stand_by_type_then_by_priority() {
        let found: Vec<_> = lanes([[1, 0, 2, 0], [0, 0, 0, 4]].into_iter()).collect();
        assert_eq!(found.len(), 8);
        let ranges: Vec<_> = found.iter().map(|lane| lane.rows.clone()).collect();
        assert_eq!(ranges, [0..1, 1..1, 1..3, 3..3, 3..3, 3..3, 3..3, 3..7]);
        let last = &found[7];
        assert_eq!(
            (last.number, last.kind, last.priority),
            (7, 1, Priority::Critical)
        );
    }
}
