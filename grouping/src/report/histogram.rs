//! The histogram: how many rows of each priority there are in each of at most 200 spans of time.

use domain::contract::timeline::RowEntry;
use domain::incident::Priority;
use serde::Serialize;

use super::timeline::EntryBytes;
use crate::merge::Merge;

/// How wide a bucket may be, in seconds: a minute, 5 and 15 minutes, an hour, 4 and 12 hours, a day, a
/// week.
const WIDTHS: [i64; 8] = [60, 300, 900, 3600, 14_400, 43_200, DAY, WEEK];
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;

/// The first Monday after the epoch, where weeks begin.
const MONDAY: i64 = 4 * DAY;

/// The most buckets.
const MOST: i64 = 200;

/// No time is taken to be further from the epoch, in seconds: so nothing overflows.
const FURTHEST: f64 = 4e18;

/// A number for each priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct ByPriority<T> {
    low: T,
    medium: T,
    high: T,
    critical: T,
}

impl<T> From<[T; 4]> for ByPriority<T> {
    fn from([low, medium, high, critical]: [T; 4]) -> Self {
        Self {
            low,
            medium,
            high,
            critical,
        }
    }
}

/// How the rows are spread over time.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Histogram {
    /// Where the first bucket begins, in seconds since the Unix epoch.
    start: i64,
    /// How wide each is, in seconds.
    width_s: i64,
    #[serde(flatten)]
    buckets: ByPriority<Vec<u64>>,
    /// The rows before the first bucket.
    earlier: ByPriority<u64>,
    /// The rows after the last.
    later: ByPriority<u64>,
}

/// The rows of one priority, in the order of time.
pub(super) type Lane<'a> = (Priority, &'a [EntryBytes]);

impl Histogram {
    /// Of all rows, in the smallest buckets of which 200 are enough. Where there are rows so far from the
    /// others that 200 weeks are not, it is of those 200 weeks that have most rows, the latest if there are
    /// several, and the others are only counted.
    pub(super) fn new(lanes: &[Lane<'_>]) -> Self {
        let mut lanes = lanes.to_vec();
        let mut outside = [[0; 4]; 2];
        let span = span(&lanes).unwrap_or((0, -1));
        let (span, width) = match width_of(span) {
            Some(width) => (span, width),
            None => {
                let first = busiest_week(&lanes);
                outside = cut(&mut lanes, first);
                let inside = self::span(&lanes).unwrap_or((0, -1));
                (inside, width_of(inside).unwrap_or(WEEK))
            }
        };
        let first = bucket(span.0, width);
        let count = bucket(span.1, width) - first + 1;
        let mut buckets = [(); 4].map(|()| vec![0; count as usize]);
        for (priority, rows) in lanes {
            count_in(rows, first, width, &mut buckets[priority as usize]);
        }
        let [earlier, later] = outside;
        Self {
            start: start_of(first, width),
            width_s: width,
            buckets: buckets.into(),
            earlier: earlier.into(),
            later: later.into(),
        }
    }
}

/// The second in which a row happened.
#[inline]
fn second(entry: &EntryBytes) -> i64 {
    let seconds = RowEntry::from_bytes(entry).key.time.seconds();
    seconds.floor().clamp(-FURTHEST, FURTHEST) as i64
}

/// The number of the bucket of this width that has the second.
#[inline]
fn bucket(second: i64, width: i64) -> i64 {
    (second - origin(width)).div_euclid(width)
}

fn start_of(bucket: i64, width: i64) -> i64 {
    bucket * width + origin(width)
}

const fn origin(width: i64) -> i64 {
    if width == WEEK { MONDAY } else { 0 }
}

/// The seconds of the first and of the last row.
fn span(lanes: &[Lane<'_>]) -> Option<(i64, i64)> {
    let first = lanes
        .iter()
        .filter_map(|(_, rows)| rows.first())
        .map(second);
    let last = lanes.iter().filter_map(|(_, rows)| rows.last()).map(second);
    Some((first.min()?, last.max()?))
}

/// The smallest width of which few enough buckets hold what is from the one second to the other.
fn width_of((first, last): (i64, i64)) -> Option<i64> {
    let is_enough = |width: &i64| bucket(last, *width) - bucket(first, *width) < MOST;
    WIDTHS.into_iter().find(is_enough)
}

/// The first of the 200 weeks with most rows, the latest if there are several. It has a row itself: weeks
/// that begin with one that has none could begin later.
fn busiest_week(lanes: &[Lane<'_>]) -> i64 {
    let weeks = || {
        let rows = lanes.iter().map(|(_, rows)| *rows);
        let merge = Merge::new(rows, |_, entry| RowEntry::from_bytes(entry).key.time);
        merge.map(|(_, entry)| bucket(second(entry), WEEK))
    };
    let mut ahead = weeks().peekable();
    // How many rows there are from the current one on, in the weeks from its own on.
    let mut inside = 0_u64;
    let (mut busiest, mut most) = (0, 0);
    for week in weeks() {
        while ahead.next_if(|next| *next < week + MOST).is_some() {
            inside += 1;
        }
        if inside >= most {
            (busiest, most) = (week, inside);
        }
        inside -= 1;
    }
    busiest
}

/// Leaves the rows of the 200 weeks from `first` on; how many, by priority, are before them and after.
fn cut(lanes: &mut [Lane<'_>], first: i64) -> [[u64; 4]; 2] {
    let [mut earlier, mut later] = [[0; 4]; 2];
    for (priority, rows) in lanes {
        let week = |entry: &EntryBytes| bucket(second(entry), WEEK);
        let start = rows.partition_point(|entry| week(entry) < first);
        let end = rows.partition_point(|entry| week(entry) < first + MOST);
        earlier[*priority as usize] += start as u64;
        later[*priority as usize] += (rows.len() - end) as u64;
        *rows = &rows[start..end];
    }
    [earlier, later]
}

/// Adds the rows to the `buckets` of which the one with the number `first` is the first.
fn count_in(mut rows: &[EntryBytes], first: i64, width: i64, buckets: &mut [u64]) {
    while let Some(next) = rows.first() {
        let number = bucket(second(next), width);
        let end = start_of(number + 1, width);
        let count = leading(rows, |entry| second(entry) < end);
        buckets[(number - first) as usize] += count as u64;
        rows = &rows[count..];
    }
}

/// How many of the first rows fulfil what no row behind one does that does not; most often few do.
fn leading(rows: &[EntryBytes], is_in: impl Fn(&EntryBytes) -> bool) -> usize {
    let mut end = 1;
    while rows.get(end).is_some_and(&is_in) {
        end *= 2;
    }
    let start = end / 2;
    start + rows[start..rows.len().min(end)].partition_point(is_in)
}
