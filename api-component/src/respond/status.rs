//! What is served, how fresh it is, and the state of all parts of the service: for operators.

use domain::contract::history::HistoryStatus;
use domain::contract::node::{Kind, Node, State};
use domain::contract::record::{Counts, Current, Freshness};
use domain::contract::scripts::Reports;
use serde::Serialize;

use super::JSON;
use crate::reply::Reply;

/// How many nodes are shown.
const MAX_NODES: usize = 500;

/// The document.
#[derive(Serialize)]
struct Status<'a> {
    /// Absent before the first refresh.
    snapshot: Option<Snapshot<'a>>,
    /// By kind and id.
    nodes: Vec<NodeStatus<'a>>,
    node_changes: NodeChanges,
    commands: Commands,
    /// Absent where none is kept.
    history: Option<History<'a>>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    generation: u64,
    etag: &'a str,
    /// Seconds since the contents changed.
    age_s: u64,
    /// Seconds since they were confirmed with upstream.
    checked_age_s: u64,
    /// Whether something in it is older than the last refresh, or the last refresh is too long ago.
    stale: bool,
    /// Whether it was put back from the history and nobody has confirmed it with upstream since.
    recovered: bool,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered_age_s: Option<u64>,
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

/// The state of an upstream endpoint.
#[derive(Serialize)]
struct Source<'a> {
    stale: bool,
    /// Seconds since its last good answer; null if it never gave one.
    age_s: Option<u64>,
    /// Its last failure; null while it is well.
    error: Option<&'a str>,
}

/// A process of the service.
#[derive(Serialize)]
struct NodeStatus<'a> {
    id: &'a str,
    kind: Kind,
    release: &'a str,
    state: State,
    /// Whether it is the leading refresher.
    leads: bool,
    /// Seconds since it was started.
    since_s: u64,
    /// Seconds since it was last heard of.
    beat_age_s: u64,
    /// Seconds since its work last got on.
    progress_age_s: u64,
    last: &'a str,
}

/// How often a node came into each state.
#[derive(Serialize)]
struct NodeChanges {
    healthy: u64,
    hanging: u64,
    offline: u64,
}

#[derive(Serialize)]
struct Commands {
    /// Entries of the stream that were no commands.
    set_aside: u64,
}

#[derive(Serialize)]
struct History<'a> {
    store: &'a str,
    /// Seconds since a refresh was last recorded; null if none was yet.
    recorded_age_s: Option<u64>,
    failures: u64,
    /// Its last failure; null while it is well.
    error: Option<&'a str>,
}

/// Answers with what `current` and `reports` say at `now_ms` of Redis's clock.
pub(crate) fn respond(current: Option<&Current>, reports: &Reports, now_ms: u64) -> Reply {
    let [healthy, hanging, offline] = reports.node_changes;
    let history = reports.history.as_ref();
    let status = Status {
        snapshot: current.map(|current| snapshot(current, now_ms)),
        nodes: nodes(&reports.nodes, now_ms),
        node_changes: NodeChanges {
            healthy,
            hanging,
            offline,
        },
        commands: Commands {
            set_aside: reports.dead_letters,
        },
        history: history.map(|history| history_status(history, now_ms)),
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
        stale: super::is_stale(current, now_ms),
        recovered: current.recovered_at_ms.is_some(),
        recovered_age_s: current
            .recovered_at_ms
            .map(|recovered_at_ms| seconds_since(recovered_at_ms, now_ms)),
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

fn nodes(nodes: &[Node], now_ms: u64) -> Vec<NodeStatus<'_>> {
    let mut listed: Vec<&Node> = nodes
        .iter()
        .filter(|node| !node.is_forgotten(now_ms))
        .collect();
    listed.sort_by_key(|node| (node.kind.name(), &node.id));
    listed.truncate(MAX_NODES);
    listed
        .into_iter()
        .map(|node| node_status(node, now_ms))
        .collect()
}

fn node_status(node: &Node, now_ms: u64) -> NodeStatus<'_> {
    let state = node.state(now_ms);
    NodeStatus {
        id: &node.id,
        kind: node.kind,
        release: &node.release,
        state,
        // Who is not heard of has lost the lead, whatever it said last.
        leads: node.leads && state != State::Offline,
        since_s: seconds_since(node.since_ms, now_ms),
        beat_age_s: seconds_since(node.beat_ms, now_ms),
        progress_age_s: seconds_since(node.progress_ms, now_ms),
        last: &node.last,
    }
}

fn history_status(history: &HistoryStatus, now_ms: u64) -> History<'_> {
    History {
        store: &history.store,
        recorded_age_s: history
            .recorded_ms
            .map(|recorded_ms| seconds_since(recorded_ms, now_ms)),
        failures: history.failures,
        error: history.error.as_deref(),
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
            "version": 2, "generation": 3, "etag": "abc", "published_at_ms": 10_000,
            "checked_at_ms": 65_500, "employees": 2, "report": {}, "unattributed": {},
            "rejected": {},
            "types": [
                {"name": "denial", "fetched": 6, "reported": 3, "unattributed": 2, "rejected": 1,
                 "priorities": [1, 0, 2, 0], "stale": true, "good_at_ms": 5_000, "error": "503 Service Unavailable"},
                {"name": "other", "fetched": 4, "reported": 4, "unattributed": 0, "rejected": 0,
                 "priorities": [0, 4, 0, 0], "stale": true}
            ],
            "identities": {"entries": 9, "rejected": 1, "stale": false, "good_at_ms": 65_000}
        });
        let current = Current::parse(current.to_string().as_bytes()).unwrap();
        assert_eq!(
            respond(Some(&current), &Reports::default(), 70_000).json()["snapshot"],
            json!({
                "generation": 3, "etag": "abc", "age_s": 60, "checked_age_s": 4, "stale": true,
                "recovered": false, "employees": 2,
                "totals": {"fetched": 10, "reported": 7, "unattributed": 2, "rejected": 1},
                "types": [
                    {"type": "denial", "fetched": 6, "reported": 3, "unattributed": 2,
                     "rejected": 1, "stale": true, "age_s": 65, "error": "503 Service Unavailable"},
                    {"type": "other", "fetched": 4, "reported": 4, "unattributed": 0,
                     "rejected": 0, "stale": true, "age_s": null, "error": null}
                ],
                "identities": {"entries": 9, "rejected": 1, "stale": false, "age_s": 5,
                    "error": null}
            })
        );
        let recovered = Current {
            recovered_at_ms: Some(8_000),
            ..current
        };
        let status = respond(Some(&recovered), &Reports::default(), 70_000).json();
        assert_eq!(status["snapshot"]["recovered"], true);
        assert_eq!(status["snapshot"]["recovered_age_s"], 62);
    }

    fn node(id: &str, kind: Kind, beat_ms: u64) -> Node {
        Node {
            id: id.to_owned(),
            kind,
            release: "0.1.0".to_owned(),
            since_ms: 1_000,
            beat_ms,
            progress_ms: beat_ms - 1_000,
            stall_ms: 10_000,
            last: "published".to_owned(),
            leads: kind == Kind::Refresher,
            probed: None,
        }
    }

    #[test]
    fn the_parts_of_the_service_are_told_with_their_states() {
        let reports = Reports {
            dead_letters: 4,
            history: Some(HistoryStatus {
                store: "folder".to_owned(),
                recorded_ms: Some(60_000),
                failures: 1,
                error: Some("the disk is full".to_owned()),
            }),
            node_changes: [5, 6, 7],
            nodes: vec![
                node("b", Kind::Refresher, 65_000),
                node("a", Kind::Refresher, 70_000),
                node("z", Kind::Host, 70_000),
            ],
        };
        let told = |id, kind, state, leads, beat_age_s: u64| {
            json!({
                "id": id, "kind": kind, "release": "0.1.0", "state": state, "leads": leads,
                "since_s": 69, "beat_age_s": beat_age_s, "progress_age_s": beat_age_s + 1,
                "last": "published"
            })
        };
        assert_eq!(
            respond(None, &reports, 70_000).json(),
            json!({
                "snapshot": null,
                "nodes": [
                    told("z", "host", "healthy", false, 0),
                    told("a", "refresher", "healthy", true, 0),
                    told("b", "refresher", "offline", false, 5),
                ],
                "node_changes": {"healthy": 5, "hanging": 6, "offline": 7},
                "commands": {"set_aside": 4},
                "history": {"store": "folder", "recorded_age_s": 10, "failures": 1,
                    "error": "the disk is full"}
            })
        );
    }

    #[test]
    fn who_was_gone_long_ago_is_not_listed_and_nor_are_too_many() {
        let now_ms = 2 * domain::contract::node::OFFLINE_KEPT_MS;
        let many = (0..600).map(|n| node(&format!("{n:03}"), Kind::Host, now_ms));
        let gone = node("!", Kind::Host, 2_000);
        let reports = Reports {
            nodes: many.rev().chain([gone]).collect(),
            ..Reports::default()
        };
        let status = respond(None, &reports, now_ms).json();
        let nodes = status["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), MAX_NODES);
        assert_eq!(
            (&nodes[0]["id"], &nodes[499]["id"]),
            (&json!("000"), &json!("499"))
        );
    }

    #[test]
    fn no_snapshot_is_told_as_well() {
        let reply = respond(None, &Reports::default(), 0);
        assert_eq!(
            (reply.status, reply.value("cache-control")),
            (200, "no-store")
        );
        let status = reply.json();
        assert_eq!(
            (&status["snapshot"], &status["history"]),
            (&json!(null), &json!(null))
        );
    }
}
