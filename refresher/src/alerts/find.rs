//! Finding what is new: the incidents of some priorities in a generation, by what the one before had.

use std::ops::Range;

use domain::contract::alerts::{IncidentHash, MOST_SEEN, Scope, SeenIncident, SeenIncidents};
use domain::contract::timeline::{Lane, RowEntry, TimeKey, lanes};
use domain::incident::Priority;

use super::published::Published;

/// How long an incident is kept that is not in the report any more, in minutes: should it come back within a
/// week, it is not new.
const KEPT_MIN: u32 = 7 * 1440;

/// What a generation has that the one before had not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// All incidents of the priorities, to be kept.
    pub(super) seen: SeenIncidents,
    /// Those that are new, lane by lane, in the order of time.
    pub(super) new: Vec<NewIncident>,
    /// How many are not new, but of types or priorities that were not looked at before; by priority.
    pub(super) first: [u64; 4],
}

/// An incident that was not there before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewIncident {
    pub(super) hash: IncidentHash,
    /// The type's index in the record.
    pub(super) kind: usize,
    pub(super) priority: Priority,
    pub(super) employee: u64,
    pub(super) time: TimeKey,
    /// The bytes of its row in the report.
    pub(super) row: Range<usize>,
}

/// Looks through `published` for incidents of `priorities` that are not among those that were seen before, if
/// any were. `now_min` is the time by Redis's clock, in minutes.
pub(super) fn find(
    published: &Published,
    priorities: &[Priority],
    before: Option<&SeenIncidents>,
    now_min: u32,
) -> Found {
    find_most(published, priorities, before, now_min, MOST_SEEN)
}

fn find_most(
    published: &Published,
    priorities: &[Priority],
    before: Option<&SeenIncidents>,
    now_min: u32,
    most: usize,
) -> Found {
    let record = &published.record;
    let kept_from = before.and_then(|before| before.scope.kept_from);
    let (mut all, mut new, mut first) = (Vec::new(), Vec::new(), [0; 4]);
    for lane in lanes(record.types.iter().map(|kind| kind.priorities)) {
        if !priorities.contains(&lane.priority) {
            continue;
        }
        let kind = &record.types[lane.kind].name;
        let compared = before.filter(|before| {
            before.scope.types.contains(kind) && before.scope.priorities.contains(&lane.priority)
        });
        for (entry, row) in rows(published, &lane) {
            let hash = hash(&published.report[row.clone()]);
            all.push((entry.key.time.bits(), hash));
            match compared {
                None => first[lane.priority as usize] += 1,
                Some(before) if !before.has(&hash) && Some(entry.key.time.bits()) >= kept_from => {
                    new.push(NewIncident {
                        hash,
                        kind: lane.kind,
                        priority: lane.priority,
                        employee: entry.employee,
                        time: entry.key.time,
                        row,
                    });
                }
                Some(_) => {}
            }
        }
    }
    let known = record
        .types
        .iter()
        .filter(|kind| kind.freshness.good_at_ms.is_some());
    let scope = Scope {
        generation: record.generation,
        types: known.map(|kind| kind.name.clone()).collect(),
        priorities: priorities.to_vec(),
        kept_from: keep_newest(&mut all, most),
    };
    let there = all.into_iter().map(|(_, hash)| SeenIncident {
        hash,
        last_min: now_min,
    });
    let mut incidents: Vec<SeenIncident> = there.collect();
    incidents.sort_unstable();
    // Rows that say the same are one incident.
    incidents.dedup();
    if let Some(before) = before {
        let gone = gone(before, &incidents, now_min, most);
        incidents.extend(gone);
        incidents.sort_unstable();
    }
    Found {
        seen: SeenIncidents { scope, incidents },
        new,
        first,
    }
}

/// Those seen before that are not there any more and are still kept, as far as there is room beside those that
/// are `there`: the last ones that went.
fn gone(
    before: &SeenIncidents,
    there: &[SeenIncident],
    now_min: u32,
    most: usize,
) -> Vec<SeenIncident> {
    let is_there = |hash: &IncidentHash| there.binary_search_by_key(hash, |seen| seen.hash).is_ok();
    let gone = before.incidents.iter().copied();
    let mut gone: Vec<SeenIncident> = gone
        .filter(|seen| now_min.saturating_sub(seen.last_min) <= KEPT_MIN && !is_there(&seen.hash))
        .collect();
    let room = most.saturating_sub(there.len());
    if gone.len() > room {
        gone.sort_unstable_by_key(|seen| std::cmp::Reverse(seen.last_min));
        gone.truncate(room);
    }
    gone
}

/// The entries of a lane, and where their rows are in the report. What cannot be is left out.
fn rows<'a>(
    published: &'a Published,
    lane: &Lane,
) -> impl Iterator<Item = (RowEntry, Range<usize>)> + use<'a> {
    let place = |ordinal: u64| usize::try_from(ordinal).ok()?.checked_mul(RowEntry::BYTES);
    let bytes = place(lane.rows.start)
        .zip(place(lane.rows.end))
        .and_then(|(start, end)| published.lanes.get(start..end));
    let (entries, _) = bytes.unwrap_or_default().as_chunks();
    entries.iter().filter_map(|entry| {
        let entry = RowEntry::from_bytes(entry);
        let start = usize::try_from(entry.row.start).ok()?;
        let end = usize::try_from(entry.row.end).ok()?;
        published.report.get(start..end)?;
        Some((entry, start..end))
    })
}

/// Keeps the newest `most` of what has these times; from which time on, if that is not all.
fn keep_newest(all: &mut Vec<(u64, IncidentHash)>, most: usize) -> Option<u64> {
    let surplus = all.len().checked_sub(most).filter(|surplus| *surplus > 0)?;
    all.select_nth_unstable(surplus);
    all.drain(..surplus);
    all.iter().map(|(time, _)| *time).min()
}

fn hash(row: &[u8]) -> IncidentHash {
    let mut first = IncidentHash::default();
    let length = first.len();
    first.copy_from_slice(&blake3::hash(row).as_bytes()[..length]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use domain::contract::record::Current;
    use domain::contract::timeline::RowKey;
    use serde_json::json;

    /// A row: type, priority, time, text.
    type Row = (usize, Priority, f64, &'static str);

    /// A generation of two types with these rows; the second may have no answer yet.
    fn published(generation: u64, rows: &[Row], knows_both: bool) -> Published {
        let mut report = String::new();
        let (mut lanes, mut counts) = (Vec::new(), [[0_u64; 4]; 2]);
        for (kind, counts) in counts.iter_mut().enumerate() {
            for priority in Priority::ALL {
                let own = rows.iter().filter(|row| (row.0, row.1) == (kind, priority));
                for (_, _, time, text) in own {
                    let start = report.len() as u64;
                    report.push_str(text);
                    counts[priority as usize] += 1;
                    let entry = RowEntry {
                        key: RowKey::before(TimeKey::new(*time).unwrap()),
                        employee: 7,
                        row: start..report.len() as u64,
                    };
                    lanes.extend(entry.to_bytes().unwrap());
                }
            }
        }
        let kind = |name: &str, counts: [u64; 4], good: bool| {
            let sum: u64 = counts.iter().sum();
            let mut kind = json!({"name": name, "fetched": sum, "reported": sum, "unattributed": 0,
                "rejected": 0, "priorities": counts, "stale": !good});
            if good {
                kind["good_at_ms"] = 1.into();
            }
            kind
        };
        let record = json!({"version": 2, "generation": generation, "etag": "e",
            "published_at_ms": 1, "checked_at_ms": 1, "employees": 1, "report": {},
            "unattributed": {}, "rejected": {}, "identities": {"entries": 1, "rejected": 0, "stale": false},
            "types": [kind("one", counts[0], true), kind("two", counts[1], knows_both)]});
        Published {
            record: Current::parse(record.to_string().as_bytes()).unwrap(),
            lanes: lanes.into(),
            report: Bytes::from(report),
        }
    }

    fn texts(published: &Published, found: &Found) -> Vec<String> {
        let row = |new: &NewIncident| published.report[new.row.clone()].to_vec();
        let texts = found
            .new
            .iter()
            .map(|new| String::from_utf8(row(new)).unwrap());
        texts.collect()
    }

    const CRITICAL: [Priority; 1] = [Priority::Critical];

    #[test]
    fn what_was_not_there_before_is_new_once() {
        use Priority::{Critical, High};
        let rows = [
            (0, Critical, 5.0, "a"),
            (0, High, 5.0, "b"),
            (1, Critical, 4.0, "c"),
        ];
        let one = published(1, &rows, true);
        let first = find(&one, &CRITICAL, None, 0);
        assert_eq!((first.first, first.new.len()), ([0, 0, 0, 2], 0));
        assert_eq!(first.seen.incidents.len(), 2);
        let again = find(&one, &CRITICAL, Some(&first.seen), 0);
        assert_eq!((again.first, again.new.len()), ([0; 4], 0));

        let rows = [
            (0, Critical, 5.0, "a"),
            (0, Critical, 6.0, "d"),
            (0, High, 5.0, "b"),
            (1, Critical, 4.0, "e"),
        ];
        let two = published(2, &rows, true);
        let found = find(&two, &CRITICAL, Some(&first.seen), 0);
        assert_eq!(texts(&two, &found), ["d", "e"]);
        assert_eq!((found.new[0].kind, found.new[1].kind), (0, 1));
        assert_eq!(
            (found.new[1].employee, found.new[1].time.seconds()),
            (7, 4.0)
        );
        assert!(find(&two, &CRITICAL, Some(&found.seen), 0).new.is_empty());
    }

    #[test]
    fn what_was_not_looked_at_before_is_only_counted() {
        use Priority::{Critical, High};
        let rows = [(0, Critical, 5.0, "a"), (0, High, 5.0, "b")];
        let before = find(&published(1, &rows, false), &CRITICAL, None, 0).seen;
        assert_eq!(before.scope.types, ["one"]);
        let rows = [
            (0, High, 5.0, "b"),
            (0, Critical, 5.0, "a"),
            (1, Critical, 5.0, "c"),
            (1, Critical, 5.0, "d"),
        ];
        let now = published(2, &rows, true);
        let found = find(&now, &[Critical, High], Some(&before), 0);
        assert_eq!((found.first, found.new.len()), ([0, 0, 1, 2], 0));
        assert_eq!(found.seen.scope.priorities, [Critical, High]);
    }

    #[test]
    fn of_too_many_the_newest_are_kept_and_older_ones_are_never_new() {
        use Priority::Critical;
        let rows = [
            (0, Critical, 1.0, "a"),
            (0, Critical, 2.0, "b"),
            (0, Critical, 3.0, "c"),
        ];
        let find = |rows: &[Row], before: Option<&SeenIncidents>| {
            let published = published(1, rows, true);
            let found = find_most(&published, &CRITICAL, before, 0, 2);
            (texts(&published, &found), found.seen)
        };
        let (_, seen) = find(&rows, None);
        assert_eq!(seen.incidents.len(), 2);
        assert_eq!(
            seen.scope.kept_from,
            Some(TimeKey::new(2.0).unwrap().bits())
        );
        // One that is gone makes room for one that is not new.
        let rows = [
            (0, Critical, 1.0, "a"),
            (0, Critical, 2.0, "b"),
            (0, Critical, 4.0, "d"),
        ];
        assert_eq!(find(&rows, Some(&seen)).0, ["d"]);
        let (new, seen) = find(&rows[..2], Some(&seen));
        assert!(new.is_empty());
        assert_eq!(seen.scope.kept_from, None);
    }

    #[test]
    fn what_comes_back_within_a_week_is_not_new() {
        let rows = [(0, Priority::Critical, 5.0, "a")];
        let (with, without) = (published(1, &rows, true), published(2, &[], true));
        let there = find(&with, &CRITICAL, None, 100).seen;
        let gone = find(&without, &CRITICAL, Some(&there), 101).seen;
        assert_eq!(gone.incidents, there.incidents);
        let again = |seen: &SeenIncidents, now_min| {
            let found = find(&with, &CRITICAL, Some(seen), now_min);
            (found.new.len(), found.seen.incidents[0].last_min)
        };
        assert_eq!(again(&gone, 102), (0, 102));
        // The clock was set back.
        assert_eq!(again(&gone, 1), (0, 1));
        let forgotten = find(&without, &CRITICAL, Some(&gone), 101 + KEPT_MIN).seen;
        assert!(forgotten.incidents.is_empty());
        assert_eq!(again(&forgotten, 102 + KEPT_MIN).0, 1);
        // Those that are there come first.
        let other = published(3, &[(0, Priority::Critical, 6.0, "b")], true);
        let full = find_most(&other, &CRITICAL, Some(&gone), 103, 1);
        assert_eq!((full.new.len(), full.seen.incidents.len()), (1, 1));
        assert_eq!(full.seen.incidents[0].last_min, 103);
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        let rows = [(0, Priority::Critical, 5.0, "a")];
        for (lanes, report) in [(0, 1), (32, 0), (31, 1)] {
            let mut cut = published(1, &rows, true);
            cut.lanes.truncate(lanes);
            cut.report.truncate(report);
            assert_eq!(find(&cut, &CRITICAL, None, 0).first, [0; 4]);
        }
    }
}
