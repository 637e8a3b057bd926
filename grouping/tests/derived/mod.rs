//! What is derived from a report, its timeline and its summary, in the plainest way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use domain::contract::record::EmployeeEntry;
use domain::contract::timeline::{RowEntry, RowKey, TimeKey};
use domain::incident::{IncidentType, Priority};
use grouping::report::Report;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::arbitrary::Members;

/// A row of the report.
#[derive(Debug, Clone)]
struct Row {
    employee: u64,
    kind: usize,
    priority: Priority,
    time: f64,
    digits: String,
    tie: u64,
    start: u64,
    end: u64,
}

impl Row {
    /// In the order of the lanes.
    fn order(&self, other: &Self) -> Ordering {
        let lane = |row: &Self| (row.kind, row.priority);
        let times = self.time.partial_cmp(&other.time).unwrap();
        let rest = |row: &Self| (row.tie, row.start);
        lane(self)
            .cmp(&lane(other))
            .then(times)
            .then(rest(self).cmp(&rest(other)))
    }

    fn second(&self) -> i128 {
        (self.time.floor().clamp(-4e18, 4e18) as i64).into()
    }
}

fn place(json: &str, part: &RawValue) -> (u64, u64) {
    let start = part.get().as_ptr() as usize - json.as_ptr() as usize;
    (start as u64, (start + part.get().len()) as u64)
}

/// All rows, in the order of the report.
fn rows(types: &[IncidentType], report: &Report) -> Vec<Row> {
    let json = std::str::from_utf8(&report.json).unwrap();
    let Members(employees) = serde_json::from_str(json).unwrap();
    let mut all = Vec::new();
    for (id, groups) in employees {
        let Members(groups) = serde_json::from_str(groups.get()).unwrap();
        for (priority, group) in Priority::ALL.into_iter().zip(groups) {
            let Members(members) = serde_json::from_str(group.1.get()).unwrap();
            let incidents: Vec<&RawValue> = serde_json::from_str(members[1].1.get()).unwrap();
            for row in incidents {
                let (start, end) = place(json, row);
                let Members(members) = serde_json::from_str(row.get()).unwrap();
                let kind: String = serde_json::from_str(members[0].1.get()).unwrap();
                let prefix = format!(r#"{{"type":"{kind}","priority":"{priority}","#);
                let rest = row.get().strip_prefix(&prefix).unwrap();
                let timestamp = members.iter().rfind(|(name, _)| name == "timestamp");
                let digits = timestamp.unwrap().1.get().to_owned();
                all.push(Row {
                    employee: id.parse().unwrap(),
                    kind: types.iter().position(|known| known.name == kind).unwrap(),
                    priority,
                    time: digits.parse().unwrap(),
                    digits,
                    tie: xxhash_rust::xxh3::xxh3_64(rest.as_bytes()) & 0xffff_ffff_ffff,
                    start,
                    end,
                });
            }
        }
    }
    all
}

/// Checks the lanes, the list of the employees' rows, and where each employee's begin there.
pub(crate) fn check_timeline(types: &[IncidentType], report: &Report) {
    let in_report = rows(types, report);
    let mut lanes = in_report.clone();
    lanes.sort_by(Row::order);
    let entries: Vec<u8> = lanes
        .iter()
        .flat_map(|row| {
            let entry = RowEntry {
                key: RowKey {
                    time: TimeKey::new(row.time).unwrap(),
                    tie: row.tie,
                },
                employee: row.employee,
                row: row.start..row.end,
            };
            entry.to_bytes().unwrap()
        })
        .collect();
    assert!(report.lanes == entries, "the lanes");
    for (kind, counts) in report.priorities.iter().enumerate() {
        for priority in Priority::ALL {
            let is_in = |row: &&Row| (row.kind, row.priority) == (kind, priority);
            let count = lanes.iter().filter(is_in).count();
            assert_eq!(counts[priority as usize], count as u64);
        }
    }

    let mut list: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for (row, ordinal) in lanes.iter().zip(0..) {
        list.entry(row.employee).or_default().push(ordinal);
    }
    let ordinals: Vec<u8> = list
        .values()
        .flatten()
        .flat_map(|ordinal| ordinal.to_be_bytes())
        .collect();
    assert!(report.employee_rows == ordinals, "the employees' rows");
    let mut first = 0;
    for (entry, ordinals) in report
        .employees
        .chunks(EmployeeEntry::BYTES)
        .zip(list.values())
    {
        assert_eq!(entry[20..], u32::to_be_bytes(first));
        first += ordinals.len() as u32;
    }
}

/// How many of the rows that are meant have each priority.
fn count(rows: &[Row], is_meant: impl Fn(&Row) -> bool) -> Value {
    let of = |priority| {
        let rows = rows.iter().filter(|row| row.priority == priority);
        rows.filter(|row| is_meant(row)).count()
    };
    let [low, medium, high, critical] = Priority::ALL.map(of);
    json!({"low": low, "medium": medium, "high": high, "critical": critical})
}

/// Checks the summary.
pub(crate) fn check_summary(types: &[IncidentType], report: &Report) {
    let rows = rows(types, report);
    let found: Value = serde_json::from_slice(&report.summary).unwrap();
    assert_eq!(found["priorities"], count(&rows, |_| true));

    let Members(members) = serde_json::from_slice(&report.summary).unwrap();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "priorities",
        "types",
        "histogram",
        "employees",
        "unattributed",
    ];
    assert_eq!(names, expected);
    let Members(kinds) = serde_json::from_str(members[1].1.get()).unwrap();
    assert_eq!(kinds.len(), types.len());
    for (place, ((name, numbers), kind)) in kinds.iter().zip(types).enumerate() {
        let mut expected = count(&rows, |row| row.kind == place);
        expected["unattributed"] = report.counts[place].unattributed.into();
        expected["rejected"] = report.counts[place].rejected.into();
        let numbers: Value = serde_json::from_str(numbers.get()).unwrap();
        assert_eq!((name, numbers), (&kind.name, expected));
    }

    check_histogram(&rows, &found["histogram"]);
    check_employees(&rows, members[3].1);
    check_addresses(types, report, &found["unattributed"]);
}

const WIDTHS: [i128; 8] = [60, 300, 900, 3600, 14_400, 43_200, 86_400, WEEK];
const WEEK: i128 = 604_800;

fn bucket(second: i128, width: i128) -> i128 {
    // 1970-01-05 was a Monday.
    let monday = if width == WEEK { 4 * 86_400 } else { 0 };
    (second - monday).div_euclid(width)
}

fn check_histogram(rows: &[Row], found: &Value) {
    let nothing = json!({"low": 0, "medium": 0, "high": 0, "critical": 0});
    if rows.is_empty() {
        let expected = json!({
            "start": 0, "width_s": 60, "low": [], "medium": [], "high": [], "critical": [],
            "earlier": nothing, "later": nothing,
        });
        assert_eq!(*found, expected);
        return;
    }
    let width_of = |seconds: &[i128]| {
        let (first, last) = (seconds.iter().min()?, seconds.iter().max()?);
        let fits = |width: &i128| bucket(*last, *width) - bucket(*first, *width) < 200;
        Some((WIDTHS.into_iter().find(fits)?, *first, *last))
    };
    let all: Vec<i128> = rows.iter().map(Row::second).collect();
    let (width, first, last) = width_of(&all).unwrap_or_else(|| {
        let inside = |week: i128| {
            let seconds = all.iter().copied();
            seconds.filter(move |second| (week..week + 200).contains(&bucket(*second, WEEK)))
        };
        let weeks = all.iter().map(|second| bucket(*second, WEEK));
        let week = weeks
            .max_by_key(|week| (inside(*week).count(), *week))
            .unwrap();
        width_of(&inside(week).collect::<Vec<_>>()).unwrap()
    });
    assert_eq!(found["width_s"], width as u64);
    let start = found["start"].as_i64().unwrap();
    let buckets = found["low"].as_array().unwrap().len() as i128;
    assert!((1..=200).contains(&buckets));
    assert_eq!(bucket(start.into(), width), bucket(first, width));
    assert_eq!(
        bucket(i128::from(start) - 1, width),
        bucket(first, width) - 1
    );
    assert_eq!(buckets, bucket(last, width) - bucket(first, width) + 1);
    for number in 0..buckets {
        let from = i128::from(start) + number * width;
        let expected = count(rows, |row| (from..from + width).contains(&row.second()));
        for priority in Priority::ALL {
            let name = priority.name();
            assert_eq!(found[name].as_array().unwrap().len() as i128, buckets);
            assert_eq!(found[name][number as usize], expected[name]);
        }
    }
    assert_eq!(found["earlier"], count(rows, |row| row.second() < first));
    assert_eq!(found["later"], count(rows, |row| row.second() > last));
}

fn check_employees(rows: &[Row], found: &RawValue) {
    let mut employees: BTreeMap<u64, ([u32; 4], Vec<&Row>)> = BTreeMap::new();
    for row in rows {
        let (counts, own) = employees.entry(row.employee).or_default();
        counts[row.priority as usize] += 1;
        own.push(row);
    }
    let mut employees: Vec<_> = employees.into_iter().collect();
    employees.sort_by_key(|(id, ([low, medium, high, critical], _))| {
        (
            u32::MAX - critical,
            u32::MAX - high,
            u32::MAX - medium,
            u32::MAX - low,
            *id,
        )
    });
    let found: Vec<&RawValue> = serde_json::from_str(found.get()).unwrap();
    assert_eq!(found.len(), employees.len().min(100));
    for (found, (id, (counts, own))) in found.into_iter().zip(employees) {
        let Members(members) = serde_json::from_str(found.get()).unwrap();
        let latest = |a: &&&Row, b: &&&Row| a.time.partial_cmp(&b.time).unwrap().then(a.order(b));
        let digits = &own.iter().max_by(latest).unwrap().digits;
        let [low, medium, high, critical] = counts.map(|count| count.to_string());
        let expected = [
            ("employee", &id.to_string()),
            ("low", &low),
            ("medium", &medium),
            ("high", &high),
            ("critical", &critical),
            ("last", digits),
        ];
        for ((name, value), (expected, digits)) in members.iter().zip(expected) {
            assert_eq!((name.as_str(), value.get()), (expected, digits.as_str()));
        }
    }
}

fn check_addresses(types: &[IncidentType], report: &Report, found: &Value) {
    let unattributed: HashMap<String, Vec<HashMap<String, Value>>> =
        serde_json::from_slice(&report.unattributed).unwrap();
    let mut counts: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for kind in types {
        for row in &unattributed[&kind.name] {
            let address: IpAddr = row[&kind.field].as_str().unwrap().parse().unwrap();
            *counts.entry(address).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(address, count)| (u64::MAX - count, *address));
    let expected = counts.iter().take(100);
    let expected =
        expected.map(|(address, count)| json!({"address": address.to_string(), "count": count}));
    assert_eq!(*found, expected.collect::<Value>());
}
