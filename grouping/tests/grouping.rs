//! Grouping, held against a plain and obviously right model over arbitrary upstream answers.

mod arbitrary;
mod derived;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bytes::Bytes;
use domain::contract::record::{Counts, EmployeeEntry};
use domain::incident::{IdentityKind, IncidentType};
use grouping::attribute::Identities;
use grouping::report::{Assigned, Report};
use grouping::rows::{Reason, Run};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::arbitrary::{ADDRESSES, Members, body, compact};
use crate::derived::{check_summary, check_timeline};

/// What the report should be, computed in the plainest way.
struct Model {
    json: String,
    counts: Vec<Counts>,
    unattributed: Vec<Vec<String>>,
}

/// Whether strict parsers take a member's value: no half surrogate pairs, no numbers that 64 bits or a
/// double cannot hold.
fn is_readable(raw: &str) -> bool {
    let is_whole = raw
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_digit());
    let fits = raw.parse::<u64>().is_ok() || raw.parse::<i64>().is_ok();
    serde_json::from_str::<serde_json::Value>(raw).is_ok() && (fits || !is_whole)
}

type Buckets = [Vec<(f64, usize, usize, String)>; 4];

fn model(types: &[IncidentType], bodies: &[String], identities: &str) -> Model {
    let map: HashMap<String, u64> = serde_json::from_str(identities).unwrap();
    let mut employees: BTreeMap<u64, Buckets> = BTreeMap::new();
    let mut counts = vec![Counts::default(); types.len()];
    let mut unattributed: Vec<Vec<(f64, usize, String)>> = vec![Vec::new(); types.len()];
    for (place, (kind, body)) in types.iter().zip(bodies).enumerate() {
        let Members(top) = serde_json::from_str(body).unwrap();
        let rows: Vec<&RawValue> = serde_json::from_str(top[0].1.get()).unwrap();
        for (order, row) in rows.into_iter().enumerate() {
            counts[place].fetched += 1;
            let Ok(Members(members)) = serde_json::from_str(row.get()) else {
                counts[place].rejected += 1;
                continue;
            };
            if !members.iter().all(|(_, raw)| is_readable(raw.get())) {
                counts[place].rejected += 1;
                continue;
            }
            let get = |name: &str| {
                members
                    .iter()
                    .rfind(|(key, _)| key == name)
                    .map(|(_, raw)| raw.get())
            };
            let text =
                |name: &str| get(name).and_then(|raw| serde_json::from_str::<String>(raw).ok());
            let priority = text("priority").and_then(|word| {
                ["low", "medium", "high", "critical"]
                    .iter()
                    .position(|p| *p == word)
            });
            // serde_json rounds some numbers another way; the standard library rounds correctly.
            let is_number = |raw: &&str| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            let time = get("timestamp")
                .filter(is_number)
                .and_then(|raw| raw.parse::<f64>().ok())
                .filter(|time| time.is_finite());
            let number = get(&kind.field).and_then(|raw| serde_json::from_str::<u64>(raw).ok());
            let name = text(&kind.field);
            let digits = name.as_ref().and_then(|name| {
                name.parse::<u64>()
                    .ok()
                    .filter(|id| id.to_string() == *name)
            });
            let id = number
                .or(digits)
                .filter(|_| kind.identity.allows_employee());
            let address = name.filter(|_| kind.identity.allows_ip());
            let (Some(priority), Some(time)) = (priority, time) else {
                counts[place].rejected += 1;
                continue;
            };
            let employee = match (id, &address) {
                (Some(id), _) => id,
                (None, Some(address)) => match map.get(address) {
                    Some(id) => *id,
                    None if address.parse::<IpAddr>().is_ok() => {
                        counts[place].unattributed += 1;
                        unattributed[place].push((time, order, compact(row.get())));
                        continue;
                    }
                    None => {
                        counts[place].rejected += 1;
                        continue;
                    }
                },
                (None, None) => {
                    counts[place].rejected += 1;
                    continue;
                }
            };
            counts[place].reported += 1;
            let mut text = format!(
                r#"{{"type":"{}","priority":"{}""#,
                kind.name,
                ["low", "medium", "high", "critical"][priority]
            );
            for (name, raw) in members
                .iter()
                .filter(|(name, _)| name != "type" && name != "priority")
            {
                text += &format!(
                    ",{}:{}",
                    serde_json::to_string(name).unwrap(),
                    compact(raw.get())
                );
            }
            employees.entry(employee).or_default()[priority].push((time, place, order, text + "}"));
        }
    }
    let employees: Vec<String> = employees
        .into_iter()
        .map(|(id, buckets)| {
            let groups: Vec<String> = buckets
                .into_iter()
                .zip(["low", "medium", "high", "critical"])
                .map(|(mut rows, name)| {
                    rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
                    let rows: Vec<String> = rows.into_iter().map(|row| row.3).collect();
                    format!(
                        r#""{name}":{{"count":{},"incidents":[{}]}}"#,
                        rows.len(),
                        rows.join(",")
                    )
                })
                .collect();
            format!(r#""{id}":{{{}}}"#, groups.join(","))
        })
        .collect();
    let unattributed = unattributed
        .into_iter()
        .map(|mut rows| {
            rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
            rows.into_iter().map(|row| row.2).collect()
        })
        .collect();
    Model {
        json: format!("{{{}}}", employees.join(",")),
        counts,
        unattributed,
    }
}

fn build_in(shards: usize, types: &[IncidentType], bodies: &[String], identities: &str) -> Report {
    let parse = |(kind, body): (&IncidentType, &String)| {
        Some(Run::parse(kind, Bytes::from(body.clone())).unwrap())
    };
    let runs: Vec<_> = types.iter().zip(bodies).map(parse).collect();
    let identities = Identities::parse(identities.as_bytes()).unwrap();
    Assigned::in_shards(&runs, &identities, shards)
        .write(types, runs)
        .unwrap()
}

fn build(types: &[IncidentType], bodies: &[String], identities: &str) -> Report {
    build_in(1, types, bodies, identities)
}

/// Each entry of the index points at exactly the object that stands under the employee's id.
fn check_index(report: &Report) {
    let json = std::str::from_utf8(&report.json).unwrap();
    let Members(employees) = serde_json::from_str(json).unwrap();
    assert_eq!(report.employee_count as usize, employees.len());
    let entries: Vec<&[u8]> = report.employees.chunks(EmployeeEntry::BYTES).collect();
    assert_eq!(entries.len(), employees.len());
    for (entry, (id, part)) in entries.into_iter().zip(employees) {
        let start = part.get().as_ptr() as usize - json.as_ptr() as usize;
        let part = start as u64..(start + part.get().len()) as u64;
        let expected = EmployeeEntry {
            employee: id.parse().unwrap(),
            part,
            first_row: 0,
        };
        assert_eq!(entry[..20], expected.to_bytes().unwrap()[..20]);
    }
}

#[test]
fn the_golden_pair() {
    let upstream: HashMap<String, &RawValue> =
        serde_json::from_str(include_str!("samples/upstream.json")).unwrap();
    let types = IncidentType::defaults();
    let bodies: Vec<String> = types
        .iter()
        .map(|kind| upstream[&kind.name].get().to_owned())
        .collect();
    let report = build(&types, &bodies, upstream["identities"].get());
    assert_eq!(
        compact(std::str::from_utf8(&report.json).unwrap()),
        compact(include_str!("samples/report.json"))
    );
    check_index(&report);
    check_timeline(&types, &report);
    check_summary(&types, &report);
}

/// Enough rows that they are split among all threads.
#[test]
fn any_number_of_threads_makes_the_same_bytes() {
    let types = IncidentType::defaults();
    let rows = |kind: &IncidentType| {
        let rows = (0..5000_u64).map(|row| {
            let mixed = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let priority = ["low", "medium", "high", "critical", "none"][(mixed % 5) as usize];
            format!(
                r#"{{"priority":"{priority}","{}":{},"timestamp":{}}}"#,
                kind.field,
                mixed % 700,
                mixed % 50
            )
        });
        let rows: Vec<String> = rows.collect();
        format!(r#"{{"results":[{}]}}"#, rows.join(","))
    };
    let bodies: Vec<String> = types.iter().map(rows).collect();
    let parse = |(kind, body): (&IncidentType, &String)| {
        Some(Run::parse(kind, Bytes::from(body.clone())).unwrap())
    };
    let expected = build_in(1, &types, &bodies, "{}");
    check_timeline(&types, &expected);
    check_summary(&types, &expected);
    for threads in 1..5 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let grouped = pool.unwrap().install(|| {
            let runs = types.iter().zip(&bodies).map(parse).collect();
            grouping::group(&types, &Identities::default(), runs).unwrap()
        });
        assert_eq!(grouped.report, expected);
        assert_eq!(grouped.hash, blake3::hash(&expected.json));
    }
}

#[test]
fn one_row_of_each_kind_that_is_left_out_is_a_sample() {
    let types = &IncidentType::defaults()[5..7];
    let long = "x".repeat(300);
    let bodies = [
        format!(
            r#"{{"results":[{{"priority":"low","ip":"17.0.0.1","timestamp":2,"x":"{long}"}},
                {{"priority":"low","ip":"17.0.0.2","timestamp":3}},
                {{"priority":"low","ip":"host","timestamp":1}},{{}},1]}}"#
        ),
        r#"{"results":[{"priority":"low","identifier":"host","timestamp":1}]}"#.to_owned(),
    ];
    let report = build(types, &bodies, "{}");
    let probing = &report.samples[0];
    let unattributed = probing.unattributed.as_deref().unwrap();
    assert!(unattributed.starts_with(r#"{"priority":"low","ip":"17.0.0.1""#));
    assert!(unattributed.ends_with("xx…"), "{unattributed}");
    assert_eq!(probing.rejected, Some((Reason::Priority, "{}".to_owned())));
    let other = &report.samples[1];
    assert_eq!(other.unattributed, None);
    let (reason, row) = other.rejected.as_ref().unwrap();
    assert_eq!(*reason, Reason::Identity);
    assert!(row.contains("\"host\""), "{row}");
}

#[test]
fn a_group_is_identified_by_all_of_its_documents() {
    let types = &IncidentType::defaults()[5..6];
    let group = |row: &str, map: &str| {
        let body = Bytes::from(format!(r#"{{"results":[{row}]}}"#));
        let runs = vec![Some(Run::parse(&types[0], body).unwrap())];
        let identities = Identities::parse(map.as_bytes()).unwrap();
        grouping::group(types, &identities, runs).unwrap()
    };
    let nothing = group("", "{}");
    let unattributed = group(r#"{"priority":"low","ip":"17.0.0.1","timestamp":1}"#, "{}");
    let rejected = group("1", r#"{"a":null,"17.0.0.2":3}"#);
    for other in [&unattributed, &rejected] {
        assert_eq!(other.hash, nothing.hash);
        assert_ne!(other.contents, nothing.contents);
    }
    assert_ne!(unattributed.contents, rejected.contents);
    assert_eq!((rejected.entries, rejected.rejected_entries), (1, 1));
    assert_eq!(group("", "{}").contents, nothing.contents);
}

#[test]
fn no_rows_are_an_empty_report() {
    let types = IncidentType::defaults();
    let report = Report::build(&types, vec![const { None }; 7], &Identities::default()).unwrap();
    assert_eq!(&*report.json, b"{}");
    assert!(report.employees.is_empty() && report.lanes.is_empty());
    assert!(report.employee_rows.is_empty());
    check_summary(&types, &report);
    assert_eq!(report.counts, vec![Counts::default(); types.len()]);
}

#[test]
fn rows_that_cannot_be_used_are_kept_with_the_reason() {
    let types = [IncidentType {
        name: "other".into(),
        field: "identifier".into(),
        identity: IdentityKind::EmployeeOrIp,
    }];
    let rows = [
        r#""text""#,
        r#"{"priority":"low","identifier":1,"timestamp":NaN}"#,
        r#"{"priority":"urgent","identifier":1,"timestamp":1}"#,
        r#"{"priority":"low","identifier":1,"timestamp":"1"}"#,
        r#"{"priority":"low","identifier":1,"timestamp":1e999}"#,
        r#"{"priority":"low","identifier":"","timestamp":1}"#,
        r#"{"priority":"low","identifier":"host","timestamp":1}"#,
        r#"{"priority":"low","identifier":7.0,"timestamp":1}"#,
        // Twice: names are known by those of the row before, and this one is none.
        r#"{"priority":"low","\ud800":1,"identifier":1,"timestamp":1}"#,
        r#"{"priority":"low","\ud800":1,"identifier":1,"timestamp":1}"#,
    ];
    let body = format!(r#"{{"results":[{}]}}"#, rows.join(","));
    let report = build(&types, &[body], "{}");
    let kept: HashMap<String, Vec<HashMap<String, String>>> =
        serde_json::from_slice(&report.rejected).unwrap();
    let mut found: Vec<&str> = kept["other"]
        .iter()
        .map(|item| item["row"].as_str())
        .collect();
    let mut expected = rows.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(
        report.counts[0],
        Counts {
            fetched: 10,
            rejected: 10,
            ..Counts::default()
        }
    );
    assert!(
        kept["other"]
            .iter()
            .any(|item| item["reason"].contains("NaN"))
    );
}

/// Found by the fuzzer: a row that upstream's reader takes must not be too deep for the report's.
#[test]
fn the_deepest_row_that_is_accepted_leaves_the_report_readable() {
    let kind = IncidentType::defaults().remove(0);
    let mut accepted = 0;
    for depth in (1..140).chain([100_000]) {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let row = format!(r#"{{"priority":"low","reported_by":1,"timestamp":1,"x":{nested}}}"#);
        let body = format!(r#"{{"results":[{row}]}}"#);
        let report = build(std::slice::from_ref(&kind), &[body], "{}");
        serde_json::from_slice::<serde_json::Value>(&report.json).unwrap();
        if report.counts[0].reported == 1 {
            accepted = depth;
        }
    }
    assert!(accepted > 100 && accepted < 140, "{accepted}");
}

#[test]
fn other_shapes_are_refused_with_the_place() {
    let kind = &IncidentType::defaults()[0];
    for (body, problem) in [
        ("", "ends where a value should be"),
        (
            "<html><body>Sign in</body></html>",
            "expected a value at byte 0",
        ),
        ("[]", "object with the array `results`"),
        ("{}", "`results` is missing"),
        (r#"{"results":{}}"#, "`results` is not an array"),
        (r#"{"results":[],"results":[]}"#, "twice"),
        (
            r#"{"results":[{"priority":"low","reported_by":1,"time"#,
            "ends within a string",
        ),
        (r#"{"results":[]} {}"#, "something follows"),
        ("{\"results\":[],\"next\":\"\u{1}\"}", "control character"),
        ("{\"results\":[{} {}]}", "expected `,`"),
        ("{\"results\":[{},]}", "expected a value"),
        ("{\"results\":[{\"a\":\"x},{\"a\":1}]}", "expected `,`"),
    ] {
        let error = Run::parse(kind, Bytes::from_static(body.as_bytes()))
            .expect_err(body)
            .to_string();
        assert!(error.contains(problem), "{body}: {error}");
    }
}

/// A report of rows of this type of employees and times.
fn report_of(rows: impl Iterator<Item = (u64, f64)>) -> Report {
    let kind = IncidentType::defaults().remove(0);
    let rows = rows.zip(0..).map(|((employee, time), number)| {
        let priority = ["low", "medium", "high", "critical"][number % 4];
        format!(r#"{{"priority":"{priority}","reported_by":{employee},"timestamp":{time:?},"number":{number}}}"#)
    });
    let rows: Vec<String> = rows.collect();
    let body = format!(r#"{{"results":[{}]}}"#, rows.join(","));
    let types = [kind];
    let report = build_in(3, &types, &[body], "{}");
    check_timeline(&types, &report);
    check_summary(&types, &report);
    report
}

#[test]
fn a_histogram_fits_what_it_shows() {
    // From a Thursday on; so many seconds between 300 rows; how wide the buckets are then.
    let start = 1_629_936_000.0;
    for (step, width) in [
        (0.0, 60),
        (39.0, 60),
        (41.0, 300),
        (599.0, 900),
        (2_000.0, 3_600),
        (9_000.0, 14_400),
        (28_000.0, 43_200),
        (57_000.0, 86_400),
        (60_000.0, 604_800),
        (403_000.0, 604_800),
    ] {
        let report = report_of((0..300).map(|row| (7, start + step * f64::from(row))));
        let summary: serde_json::Value = serde_json::from_slice(&report.summary).unwrap();
        assert_eq!(summary["histogram"]["width_s"], width, "{step}");
    }
}

#[test]
fn a_histogram_is_of_where_most_rows_are() {
    let hour = |row: u32| 1_629_936_000.0 + 3600.0 * f64::from(row);
    let odd = [
        1e300,
        -1e300,
        0.0,
        1_629_939_474_134.0,
        -5.5,
        1e18,
        253_402_300_799.0,
    ];
    let report = report_of((0..300).map(hour).chain(odd).map(|time| (7, time)));
    let summary: serde_json::Value = serde_json::from_slice(&report.summary).unwrap();
    let histogram = &summary["histogram"];
    assert_eq!(histogram["width_s"], 14_400);
    let sum = |part: &str| {
        let part = histogram[part].as_object().unwrap().values();
        part.map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sum("earlier"), sum("later")), (3, 4));
    // Of two places with as many rows, the later one.
    let report = report_of([0.0, 1e9, 2e9].into_iter().map(|time| (7, time)));
    let summary: serde_json::Value = serde_json::from_slice(&report.summary).unwrap();
    assert_eq!(summary["histogram"]["start"], 1_999_999_980);
}

#[test]
fn the_first_hundred_are_named() {
    let employee = |row: u64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 400;
    report_of((0..20_000).map(|row| (employee(row), (row % 977) as f64)));
    let types = &IncidentType::defaults()[5..6];
    let address = |row: u32| format!("17.0.{}.{}", row * 7919 % 3, row * row % 251);
    let row = |row| {
        format!(
            r#"{{"priority":"low","ip":"{}","timestamp":{row}}}"#,
            address(row)
        )
    };
    let rows: Vec<String> = (0..3_000).map(row).collect();
    let report = build(
        types,
        &[format!(r#"{{"results":[{}]}}"#, rows.join(","))],
        "{}",
    );
    check_summary(types, &report);
}

#[test]
fn one_address_is_counted_once_however_it_is_spelled() {
    let types = &IncidentType::defaults()[5..6];
    let row = |ip| format!(r#"{{"priority":"low","ip":"{ip}","timestamp":1}}"#);
    let spellings = [
        "17.9.1.2",
        "::ffff:17.9.1.2",
        "2001:DB8::1",
        "2001:db8:0:0::1/128",
        " 17.9.1.2/32",
    ];
    let rows: Vec<String> = spellings.map(row).into();
    let report = build(
        types,
        &[format!(r#"{{"results":[{}]}}"#, rows.join(","))],
        "{}",
    );
    let summary: serde_json::Value = serde_json::from_slice(&report.summary).unwrap();
    let expected = serde_json::json!([
        {"address": "17.9.1.2", "count": 3},
        {"address": "2001:db8::1", "count": 2},
    ]);
    assert_eq!(summary["unattributed"], expected);
}

/// A change of it would break what clients keep: the places of rows.
#[test]
fn the_tie_of_a_row_never_changes() {
    let report = report_of([(7, 1.0)].into_iter());
    let entry =
        domain::contract::timeline::RowEntry::from_bytes((&report.lanes[..]).try_into().unwrap());
    // As another implementation of XXH3 has it, in Python.
    assert_eq!(entry.key.tie, 197_018_003_088_745);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_report_is_that_of_the_model(
        denial in body("reported_by"),
        probing in body("ip"),
        other in body("identifier"),
        mapped in prop::collection::vec((prop::sample::select(&ADDRESSES[..4]), 0..8_u64), 0..4),
    ) {
        let defaults = IncidentType::defaults();
        let types: Vec<IncidentType> = ["denial", "probing", "other"].iter().map(|name| defaults.iter().find(|kind| kind.name == *name).unwrap().clone()).collect();
        let mapped: BTreeMap<&str, u64> = mapped.into_iter().collect();
        let identities = serde_json::to_string(&mapped).unwrap();
        let bodies = [denial, probing, other];

        let expected = model(&types, &bodies, &identities);
        let report = build(&types, &bodies, &identities);

        prop_assert_eq!(compact(std::str::from_utf8(&report.json).unwrap()), expected.json);
        prop_assert_eq!(&report.counts, &expected.counts);
        for counts in &report.counts {
            prop_assert_eq!(counts.fetched, counts.reported + counts.unattributed + counts.rejected);
        }
        let unattributed: HashMap<String, Vec<&RawValue>> = serde_json::from_slice(&report.unattributed).unwrap();
        for (kind, expected) in types.iter().zip(&expected.unattributed) {
            let found: Vec<String> = unattributed[&kind.name].iter().map(|row| compact(row.get())).collect();
            prop_assert_eq!(&found, expected);
        }
        let rejected: HashMap<String, Vec<serde_json::Value>> = serde_json::from_slice(&report.rejected).unwrap();
        for (kind, counts) in types.iter().zip(&report.counts) {
            prop_assert_eq!(rejected[&kind.name].len() as u64, counts.rejected);
        }
        check_index(&report);
        check_timeline(&types, &report);
        check_summary(&types, &report);
        for shards in 2..5 {
            prop_assert_eq!(&build_in(shards, &types, &bodies, &identities), &report);
        }
    }
}
