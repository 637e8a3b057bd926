//! Upstream's answers: every row is accounted for, and what is published is JSON.

use std::collections::HashMap;

use bytes::Bytes;
use domain::contract::record::{EmployeeEntry, Freshness};
use domain::contract::timeline::RowEntry;
use domain::incident::IncidentType;
use grouping::attribute::Identities;
use grouping::endpoint::PerEndpoint;
use grouping::explain::{Basis, EndpointState, Question, explain};
use grouping::report::{Assigned, Report};
use grouping::rows::{PayloadError, Run};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Group<'a> {
    count: u64,
    #[serde(borrow)]
    incidents: Vec<&'a RawValue>,
}

/// Reads the identity map and the answers of three types, and builds the report of them.
///
/// # Panics
/// When a row is lost or what is built is not JSON.
pub fn check(data: &[u8]) {
    let [map, denial, probing, other] = super::parts(data);
    let identities = Identities::parse(map).unwrap_or_default();
    let types: Vec<IncidentType> = IncidentType::defaults()
        .into_iter()
        .filter(|kind| ["denial", "probing", "other"].contains(&kind.name.as_str()))
        .collect();
    let bodies = [denial, probing, other].map(Bytes::copy_from_slice);
    let parsed = types.iter().zip(&bodies).map(|(kind, body)| {
        let run = Run::parse(kind, body.clone());
        check_syntax(body, &run);
        run.ok()
    });
    let runs: Vec<_> = parsed.collect();
    let report = Report::build(&types, runs.clone(), &identities).expect("a report");
    let in_three = Assigned::in_shards(&runs, &identities, 3);
    assert_eq!(Ok(&report), in_three.write(&types, runs.clone()).as_ref());
    for ((body, run), counts) in bodies.iter().zip(&runs).zip(&report.counts) {
        check_taken(body, run.as_ref(), counts.rejected);
    }
    check_documents(&types, &report);
    check_explanation(&types, map, bodies, &runs, &report);
}

/// What is refused for its syntax is no JSON, as another parser sees it.
fn check_syntax(body: &[u8], run: &Result<Run, PayloadError>) {
    if let Err(PayloadError::Syntax { problem, .. }) = run {
        assert!(!is_json(body) || *problem == "nested too deeply");
    }
}

fn is_json(body: &[u8]) -> bool {
    // As bytes it would pass over texts that it ignores, whether or not they are UTF-8.
    let text = std::str::from_utf8(body);
    text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// What is taken is JSON, but for rows that are set aside and what nobody looks at.
fn check_taken(body: &[u8], run: Option<&Run>, rejected: u64) {
    let allowed: [&[u8]; 3] = [b"NaN", b"Infinity", "\u{feff}".as_bytes()];
    let is_allowed = |part: &&[u8]| body.windows(part.len()).any(|found| found == *part);
    let is_odd = allowed.iter().any(is_allowed) || std::str::from_utf8(body).is_err();
    assert!(run.is_none() || is_json(body) || is_odd || rejected > 0);
}

fn check_documents(types: &[IncidentType], report: &Report) {
    // Values are read, and not only passed over: numbers must have a range, texts characters.
    for document in [
        &report.json,
        &report.unattributed,
        &report.rejected,
        &report.summary,
    ] {
        serde_json::from_slice::<serde_json::Value>(document).expect("a document");
    }
    let employees: HashMap<String, HashMap<String, Group<'_>>> =
        serde_json::from_slice(&report.json).expect("a report");
    assert_eq!(employees.len() as u64, report.employee_count);
    assert_eq!(
        report.employees.len(),
        employees.len() * EmployeeEntry::BYTES
    );
    let groups = employees.values().flat_map(HashMap::values);
    let incidents = groups.map(|group| {
        assert_eq!(group.count, group.incidents.len() as u64);
        group.count
    });
    let reported: u64 = report.counts.iter().map(|counts| counts.reported).sum();
    assert_eq!(incidents.sum::<u64>(), reported);
    check_timeline(report, reported);
    let list = |document: &[u8], kind: &IncidentType| {
        let lists: HashMap<String, Vec<IgnoredAny>> =
            serde_json::from_slice(document).expect("lists");
        lists[&kind.name].len() as u64
    };
    for (kind, counts) in types.iter().zip(&report.counts) {
        assert_eq!(
            counts.fetched,
            counts.reported + counts.unattributed + counts.rejected
        );
        assert_eq!(list(&report.unattributed, kind), counts.unattributed);
        assert_eq!(list(&report.rejected, kind), counts.rejected);
    }
}

/// Each row of the report is in one lane, in the order of time, and in the list of its employee's rows.
fn check_timeline(report: &Report, reported: u64) {
    let (entries, rest) = report.lanes.as_chunks::<{ RowEntry::BYTES }>();
    assert_eq!((entries.len() as u64, rest.len()), (reported, 0));
    let entries: Vec<RowEntry> = entries.iter().map(RowEntry::from_bytes).collect();
    let mut lanes = &entries[..];
    for rows in report.priorities.iter().flatten() {
        let (lane, after) = lanes.split_at(*rows as usize);
        assert!(lane.is_sorted_by_key(|entry| entry.key));
        lanes = after;
    }
    assert!(lanes.is_empty());
    for entry in &entries {
        let row = &report.json[entry.row.start as usize..entry.row.end as usize];
        serde_json::from_slice::<HashMap<String, IgnoredAny>>(row).expect("a row");
    }
    let (ordinals, _) = report.employee_rows.as_chunks();
    let ordinals = ordinals.iter().copied().map(u32::from_be_bytes);
    let ordinals: Vec<u32> = ordinals.collect();
    let employees = ordinals.iter().map(|ordinal| &entries[*ordinal as usize]);
    assert!(employees.is_sorted_by_key(|entry| entry.employee));
    let mut sorted = ordinals;
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..reported as u32));
}

/// Each row can be explained, by the same report.
fn check_explanation(
    types: &[IncidentType],
    map: &[u8],
    bodies: [Bytes; 3],
    runs: &[Option<Run>],
    report: &Report,
) {
    let state = |answer| EndpointState {
        answer,
        freshness: Freshness {
            good_at_ms: None,
            stale: true,
            error: None,
            payload: None,
        },
    };
    let map = Identities::parse(map).map_or(&b"{}"[..], |_| map);
    let incidents = bodies.into_iter().zip(runs);
    let basis = Basis {
        generation: 1,
        etag: blake3::hash(&report.json).to_hex().to_string(),
        now_ms: 1,
        types: types.to_vec(),
        endpoints: PerEndpoint {
            identities: state(Some(Bytes::copy_from_slice(map))),
            incidents: incidents
                .map(|(body, run)| state(run.is_some().then_some(body)))
                .collect(),
        },
    };
    let question = Question {
        limit: usize::MAX,
        ..Question::default()
    };
    let explanation = explain(&basis, &question).expect("an explanation");
    assert!(explanation.is_that_report);
    let fetched: u64 = report.counts.iter().map(|counts| counts.fetched).sum();
    assert_eq!(
        (explanation.matches, explanation.rows.len() as u64),
        (fetched, fetched)
    );
}
