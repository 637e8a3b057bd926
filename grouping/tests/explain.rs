//! What is explained of a row is what the report has, over arbitrary upstream answers.

mod arbitrary;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use domain::contract::record::Freshness;
use domain::incident::IncidentType;
use grouping::attribute::{EntryReason, Identities};
use grouping::endpoint::PerEndpoint;
use grouping::explain::{
    Basis, Concerns, EndpointState, Explained, Explanation, Question, explain,
};
use grouping::report::{Assigned, Fate, Report};
use grouping::rows::{Reason, Run};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::arbitrary::{ADDRESSES, Members, body, compact};

/// The types whose rows are made up.
fn types() -> Vec<IncidentType> {
    IncidentType::defaults()
        .into_iter()
        .filter(|kind| ["denial", "probing", "other"].contains(&kind.name.as_str()))
        .collect()
}

fn state(answer: &str) -> EndpointState {
    EndpointState {
        answer: Some(Bytes::copy_from_slice(answer.as_bytes())),
        freshness: Freshness {
            good_at_ms: Some(1),
            stale: false,
            error: None,
            payload: None,
        },
    }
}

fn basis(bodies: &[String], identities: &str, etag: String) -> Basis {
    Basis {
        generation: 1,
        etag,
        now_ms: 1,
        types: types(),
        endpoints: PerEndpoint {
            identities: state(identities),
            incidents: bodies.iter().map(|body| state(body)).collect(),
        },
    }
}

fn report(bodies: &[String], identities: &str, shards: usize) -> Report {
    let types = types();
    let parse = |(kind, body): (&IncidentType, &String)| {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Some(Run::parse(kind, body).unwrap())
    };
    let runs: Vec<_> = types.iter().zip(bodies).map(parse).collect();
    let identities = Identities::parse(identities.as_bytes()).unwrap();
    Assigned::in_shards(&runs, &identities, shards)
        .write(&types, runs)
        .unwrap()
}

#[derive(Deserialize)]
struct Group<'a> {
    count: u64,
    #[serde(borrow)]
    incidents: Vec<&'a RawValue>,
}

/// The rows of a report's documents.
struct Documents<'a> {
    reported: HashMap<String, HashMap<String, Group<'a>>>,
    unattributed: HashMap<String, Vec<&'a RawValue>>,
    rejected: HashMap<String, Vec<HashMap<String, String>>>,
}

impl<'a> Documents<'a> {
    fn read(report: &'a Report) -> Self {
        Self {
            reported: serde_json::from_slice(&report.json).unwrap(),
            unattributed: serde_json::from_slice(&report.unattributed).unwrap(),
            rejected: serde_json::from_slice(&report.rejected).unwrap(),
        }
    }

    /// Checks that the row stands where its explanation says, and names that place.
    fn check(&self, row: &Explained) -> (String, u64) {
        let kind = row.kind.name.as_str();
        let at = |position: u64| usize::try_from(position - 1).unwrap();
        match row.fate {
            Fate::Reported {
                employee,
                priority,
                position,
                of,
            } => {
                let group = &self.reported[&employee.to_string()][priority.name()];
                assert_eq!((of, group.incidents.len() as u64), (group.count, of));
                let found = group.incidents[at(position)].get();
                assert_eq!(members(found), as_reported(kind, &row.row), "{found}");
                (format!("{employee} {priority}"), position)
            }
            Fate::Unattributed { position, of } => {
                let list = &self.unattributed[kind];
                assert_eq!(list.len() as u64, of);
                assert_eq!(list[at(position)].get(), row.row);
                (format!("{kind} unattributed"), position)
            }
            Fate::Rejected {
                reason,
                position,
                of,
            } => {
                let list = &self.rejected[kind];
                assert_eq!(list.len() as u64, of);
                let found = &list[at(position)];
                assert_eq!(found["row"], row.row);
                assert_eq!(found["reason"], reason.to_string());
                (format!("{kind} rejected"), position)
            }
        }
    }
}

/// A row's members in their order.
fn members(row: &str) -> Vec<(String, String)> {
    let Members(members) = serde_json::from_str(row).unwrap();
    members
        .into_iter()
        .map(|(name, value)| (name, compact(value.get())))
        .collect()
}

/// The members of upstream's `row` as the report has them.
fn as_reported(kind: &str, row: &str) -> Vec<(String, String)> {
    let (priorities, rest): (Vec<_>, Vec<_>) = members(row)
        .into_iter()
        .filter(|(name, _)| name != "type")
        .partition(|(name, _)| name == "priority");
    let word: String = serde_json::from_str(&priorities.last().unwrap().1).unwrap();
    let own = [
        ("type".to_owned(), format!("\"{kind}\"")),
        ("priority".to_owned(), format!("\"{word}\"")),
    ];
    own.into_iter().chain(rest).collect()
}

/// All rows, or those of one type that `conditions` ask for.
fn ask(basis: &Basis, kind: Option<&str>, conditions: &[&str]) -> Explanation {
    let question = Question {
        kind: kind.map(str::to_owned),
        conditions: conditions
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
        limit: usize::MAX,
    };
    explain(basis, &question).unwrap()
}

#[test]
fn a_row_is_found_by_its_members_and_told_with_its_type() {
    let bodies = [
        r#"{"results":[{"priority":"low","reported_by":1,"timestamp":2},{"priority":"low","reported_by":1,"timestamp":1}]}"#,
        r#"{"results":[{"priority":"low","ip":"17.1.2.3","timestamp":1.5}]}"#,
        r#"{"results":[{"priority":"low","identifier":"nobody","timestamp":1}]}"#,
    ]
    .map(str::to_owned);
    let basis = basis(&bodies, r#"{"17.1.2.3":1}"#, String::new());
    let found = ask(&basis, None, &["timestamp=2", "reported_by=1"]);
    assert_eq!((found.matches, found.rows[0].position), (1, 1));
    let Fate::Reported {
        employee: 1,
        position: 3,
        of: 3,
        ..
    } = found.rows[0].fate
    else {
        panic!("{:?}", found.rows);
    };
    assert_eq!(ask(&basis, None, &["priority=low"]).matches, 4);
    let first_two = Question {
        conditions: vec!["priority=low".parse().unwrap()],
        limit: 2,
        ..Question::default()
    };
    let found = explain(&basis, &first_two).unwrap();
    assert_eq!((found.matches, found.rows.len()), (4, 2));
    let of_type = ask(&basis, Some("probing"), &["priority=low"]);
    assert_eq!((of_type.matches, of_type.searched.len()), (1, 1));
    assert_eq!(ask(&basis, Some("probing"), &["timestamp=1"]).matches, 0);
    let unknown = Question {
        kind: Some("prober".to_owned()),
        ..Question::default()
    };
    let error = explain(&basis, &unknown).unwrap_err().to_string();
    assert!(error.contains("denial, probing, other"), "{error}");
}

#[test]
fn an_entry_of_the_map_that_cannot_be_used_is_told() {
    let bodies = [
        r#"{"results":[{"priority":"low","reported_by":1,"timestamp":2}]}"#,
        r#"{"results":[{"priority":"low","ip":"17.1.2.3","timestamp":1},{"priority":"low","ip":"17.1.2.4","timestamp":2},{"priority":"low","ip":"::ffff:17.1.2.5","timestamp":3}]}"#,
        r#"{"results":[{"priority":"low","identifier":"host","timestamp":1},{"priority":"low","identifier":"17.1.2.6","timestamp":2}]}"#,
    ]
    .map(str::to_owned);
    let map = r#"{"17.1.2.3":77.0,"17.1.2.5":nil,"host":-1,"17.1.2.6":"x","17.1.2.6":6}"#;
    let found = ask(&basis(&bodies, map, String::new()), None, &[]);
    let told: Vec<_> = found
        .rows
        .iter()
        .map(|row| {
            let rejected = row.rejected_entry.as_ref();
            rejected.map(|rejected| (rejected.entry.as_str(), rejected.reason))
        })
        .collect();
    assert_eq!(
        told,
        [
            None,
            Some((r#""17.1.2.3":77.0"#, EntryReason::EmployeeId)),
            None,
            Some((
                r#""17.1.2.5":nil"#,
                EntryReason::NotJson("expected a value")
            )),
            Some((r#""host":-1"#, EntryReason::EmployeeId)),
            // Another entry has it.
            None,
        ]
    );
    assert_eq!(found.entries, 1);
    let reasons = told.iter().flatten().map(|(_, reason)| reason.to_string());
    for (reason, says) in reasons.zip(["no employee id", "not JSON: expected a value"]) {
        assert!(reason.contains(says), "{reason}");
    }
    // It was asked without an entity tag, and is asked with that of another report.
    assert!(!found.is_that_report);
    let other = ask(&basis(&bodies, map, "0".repeat(32)), None, &[]);
    assert!(!other.is_that_report);
    assert!(found.rows[0].concerns == Concerns::Employee);
    assert!(found.rows[1].concerns == Concerns::Address("17.1.2.3".to_owned()));
}

#[test]
fn rows_that_are_not_json_are_told_as_they_were_sent() {
    let rows = [
        r#"{"priority":"low","reported_by":1,"timestamp":tru}"#,
        "nothing",
    ];
    let bodies = [
        format!(r#"{{"results":[{}]}}"#, rows.join(",{},")),
        r#"{"results":[]}"#.to_owned(),
        r#"{"results":[]}"#.to_owned(),
    ];
    let basis = basis(&bodies, "{}", String::new());
    let found = ask(&basis, None, &[]);
    let told: Vec<_> = found.rows.iter().map(|row| row.row.as_str()).collect();
    assert_eq!(told, [rows[0], "{}", rows[1]]);
    assert!(
        found
            .rows
            .iter()
            .all(|row| row.concerns == Concerns::Nobody)
    );
    // What stands before the damage can be asked for.
    let found = ask(&basis, None, &["reported_by=1"]);
    assert!(matches!(
        found.rows[..],
        [Explained {
            fate: Fate::Rejected {
                reason: Reason::NotJson(_),
                ..
            },
            ..
        }]
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_row_is_where_its_explanation_says(
        denial in body("reported_by"),
        probing in body("ip"),
        other in body("identifier"),
        mapped in prop::collection::vec((prop::sample::select(&ADDRESSES[..4]), 0..8_u64), 0..4),
        shards in 1_usize..5,
    ) {
        let mapped: BTreeMap<&str, u64> = mapped.into_iter().collect();
        let identities = serde_json::to_string(&mapped).unwrap();
        let bodies = [denial, probing, other];
        let report = report(&bodies, &identities, shards);
        let etag = blake3::hash(&report.json).to_hex()[..32].to_owned();

        let explanation = ask(&basis(&bodies, &identities, etag), None, &[]);

        prop_assert!(explanation.is_that_report);
        prop_assert_eq!(explanation.entries, mapped.len() as u64);
        let documents = Documents::read(&report);
        let mut places: Vec<_> = explanation.rows.iter().map(|row| documents.check(row)).collect();
        // No two rows are in one place, so that all places are taken.
        places.sort_unstable();
        places.dedup();
        let fetched: u64 = report.counts.iter().map(|counts| counts.fetched).sum();
        prop_assert_eq!(places.len() as u64, fetched);
        prop_assert_eq!(explanation.matches, fetched);
        // Each row is told as upstream sent it, at its position.
        for (kind, body) in types().iter().zip(&bodies) {
            let Members(top) = serde_json::from_str(body).unwrap();
            let sent: Vec<&RawValue> = serde_json::from_str(top[0].1.get()).unwrap();
            let told = explanation.rows.iter().filter(|row| row.kind == *kind);
            let told: Vec<_> = told.map(|row| (row.position, row.row.as_str())).collect();
            let sent: Vec<_> = (1..).zip(sent.iter().map(|row| row.get())).collect();
            prop_assert_eq!(told, sent);
        }
    }
}
