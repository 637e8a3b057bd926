//! What is served, and how fresh it is: for operators.

use domain::record::{Counts, Current, Freshness};
use serde::Serialize;

use super::JSON;
use crate::reply::Reply;

/// The document.
#[derive(Serialize)]
struct Status<'a> {
    /// Absent before the first refresh.
    snapshot: Option<Snapshot<'a>>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    generation: u64,
    etag: &'a str,
    /// Seconds since the contents changed.
    age_s: u64,
    /// Seconds since they were confirmed with upstream.
    checked_age_s: u64,
    /// Whether something in it is older than the last refresh.
    stale: bool,
    employees: u64,
    totals: Counts,
    types: Vec<Type<'a>>,
    identities: Identities<'a>,
}

#[derive(Serialize)]
struct Type<'a> {
    r#type: &'a str,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    source: Source<'a>,
}

#[derive(Serialize)]
struct Identities<'a> {
    entries: u64,
    rejected: u64,
    #[serde(flatten)]
    source: Source<'a>,
}

/// How an upstream endpoint does.
#[derive(Serialize)]
struct Source<'a> {
    stale: bool,
    /// Seconds since its last good answer; null if it never gave one.
    age_s: Option<u64>,
    /// Its last failure; null while it is well.
    error: Option<&'a str>,
}

/// Answers with what `current` says at `now_ms` of Redis's clock.
pub(crate) fn respond(current: Option<&Current>, now_ms: u64) -> Reply {
    let status = Status {
        snapshot: current.map(|current| snapshot(current, now_ms)),
    };
    // A struct of texts and numbers always serialises.
    let json = serde_json::to_vec_pretty(&status).unwrap_or_default();
    Reply::new(200).uncached().containing(JSON, json)
}

fn snapshot(current: &Current, now_ms: u64) -> Snapshot<'_> {
    let types = current.types.iter().map(|kind| Type {
        r#type: &kind.name,
        counts: kind.counts,
        source: source(&kind.freshness, now_ms),
    });
    Snapshot {
        generation: current.generation,
        etag: &current.etag,
        age_s: seconds_since(current.published_at_ms, now_ms),
        checked_age_s: seconds_since(current.checked_at_ms, now_ms),
        stale: current.is_stale(),
        employees: current.employees,
        totals: current.totals(),
        types: types.collect(),
        identities: Identities {
            entries: current.identities.entries,
            rejected: current.identities.rejected,
            source: source(&current.identities.freshness, now_ms),
        },
    }
}

fn source(freshness: &Freshness, now_ms: u64) -> Source<'_> {
    Source {
        stale: freshness.stale,
        age_s: freshness
            .good_at_ms
            .map(|good_at_ms| seconds_since(good_at_ms, now_ms)),
        error: freshness.error.as_deref(),
    }
}

fn seconds_since(then_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(then_ms) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_snapshot_is_told_with_its_ages() {
        let current = json!({
            "version": 1, "generation": 3, "etag": "abc", "published_at_ms": 10_000,
            "checked_at_ms": 65_500, "employees": 2, "report": {}, "unattributed": {},
            "rejected": {},
            "types": [
                {"name": "denial", "fetched": 6, "reported": 3, "unattributed": 2, "rejected": 1,
                 "stale": true, "good_at_ms": 5_000, "error": "503 Service Unavailable"},
                {"name": "other", "fetched": 4, "reported": 4, "unattributed": 0, "rejected": 0,
                 "stale": true}
            ],
            "identities": {"entries": 9, "rejected": 1, "stale": false, "good_at_ms": 65_000}
        });
        let current = Current::parse(current.to_string().as_bytes()).unwrap();
        assert_eq!(
            respond(Some(&current), 70_000).json(),
            json!({"snapshot": {
                "generation": 3, "etag": "abc", "age_s": 60, "checked_age_s": 4, "stale": true,
                "employees": 2,
                "totals": {"fetched": 10, "reported": 7, "unattributed": 2, "rejected": 1},
                "types": [
                    {"type": "denial", "fetched": 6, "reported": 3, "unattributed": 2,
                     "rejected": 1, "stale": true, "age_s": 65, "error": "503 Service Unavailable"},
                    {"type": "other", "fetched": 4, "reported": 4, "unattributed": 0,
                     "rejected": 0, "stale": true, "age_s": null, "error": null}
                ],
                "identities": {"entries": 9, "rejected": 1, "stale": false, "age_s": 5,
                    "error": null}
            }})
        );
    }

    #[test]
    fn no_snapshot_is_told_as_well() {
        let reply = respond(None, 0);
        assert_eq!(
            (reply.status, reply.value("cache-control")),
            (200, "no-store")
        );
        assert_eq!(reply.json(), json!({"snapshot": null}));
    }
}
