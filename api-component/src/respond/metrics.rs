//! What the service as a whole knows of itself, for Prometheus: the same from every replica, since all of it
//! stands in Redis. What each metric means is in docs/monitoring.md.

use domain::contract::counters::{Counters, DURATION_BOUNDS_MS, RefreshOutcome, RefusalReason};
use domain::contract::history::HistoryStatus;
use domain::contract::node::{Kind, Node, State};
use domain::contract::record::{Current, Freshness};
use domain::contract::scripts::{Counts, Reports};
use domain::incident::Priority;

use crate::exposition::{CONTENT_TYPE, Exposition};
use crate::reply::Reply;

/// What the identity map is called among the endpoints.
const IDENTITIES: &str = "identities";

/// Answers with what `current`, `reports` and `counts` say at `now_ms` of Redis's clock.
pub(crate) fn respond(
    current: Option<&Current>,
    reports: &Reports,
    counts: &Counts,
    now_ms: u64,
) -> Reply {
    let mut text = Exposition::default();
    snapshot(&mut text, current, now_ms);
    refreshes(&mut text, &counts.counters);
    nodes(&mut text, reports, now_ms);
    text.gauge(
        "incidents_leader",
        "Whether a refresher holds a lease that has not run out.",
    )
    .sample(&[], u8::from(counts.has_leader));
    if let Some(history_status) = &reports.history {
        history(&mut text, history_status, now_ms);
    }
    text.gauge(
        "incidents_commands_set_aside",
        "Entries of the stream of commands that were no commands and are kept in dead-letters.",
    )
    .sample(&[], reports.dead_letters);
    refused(&mut text, &counts.counters);
    alerts(&mut text, &counts.counters);
    Reply::new(200)
        .uncached()
        .containing(CONTENT_TYPE, text.into_bytes())
}

fn snapshot(text: &mut Exposition, current: Option<&Current>, now_ms: u64) {
    text.gauge(
        "incidents_snapshot_generation",
        "Generation of the snapshot that is served; 0 without one.",
    )
    .sample(&[], current.map_or(0, |current| current.generation));
    let is_stale = current.is_none_or(|current| super::is_stale(current, now_ms));
    text.gauge(
        "incidents_snapshot_stale",
        "Whether the snapshot is older than it should be, as a whole or of an endpoint; 1 without one.",
    )
    .sample(&[], u8::from(is_stale));
    let Some(current) = current else {
        return;
    };
    text.gauge(
        "incidents_snapshot_age_seconds",
        "Time since upstream last confirmed what is served.",
    )
    .sample(&[], seconds_since(current.checked_at_ms, now_ms));
    endpoints(text, current, now_ms);
    rows(text, current);
}

fn endpoints(text: &mut Exposition, current: &Current, now_ms: u64) {
    let types = current.types.iter().map(|kind| {
        let name = match kind.name.as_str() {
            // A type may have the name of the map, but no two series the same labels.
            IDENTITIES => "incidents/identities",
            name => name,
        };
        (name, &kind.freshness)
    });
    let endpoints: Vec<(&str, &Freshness)> =
        std::iter::once((IDENTITIES, &current.identities.freshness))
            .chain(types)
            .collect();
    let mut family = text.gauge(
        "incidents_endpoint_age_seconds",
        "Time since the last good answer of an upstream endpoint; absent if it never gave one.",
    );
    for (name, freshness) in &endpoints {
        if let Some(good_at_ms) = freshness.good_at_ms {
            family = family.sample(&[("endpoint", name)], seconds_since(good_at_ms, now_ms));
        }
    }
    let mut family = text.gauge(
        "incidents_endpoint_stale",
        "Whether the last refresh had to use an older answer of an upstream endpoint, or none.",
    );
    for (name, freshness) in &endpoints {
        family = family.sample(&[("endpoint", name)], u8::from(freshness.stale));
    }
}

fn rows(text: &mut Exposition, current: &Current) {
    let mut family = text.gauge(
        "incidents_rows",
        "Rows of upstream in the snapshot by what became of them.",
    );
    for kind in &current.types {
        let counts = kind.counts;
        for (fate, count) in [
            ("reported", counts.reported),
            ("unattributed", counts.unattributed),
            ("rejected", counts.rejected),
        ] {
            family = family.sample(&[("type", &kind.name), ("fate", fate)], count);
        }
    }
    let mut family = text.gauge("incidents_reported", "Incidents in the report.");
    for kind in &current.types {
        for priority in Priority::ALL {
            let count = kind.priorities[priority as usize];
            let labels = [("type", kind.name.as_str()), ("priority", priority.name())];
            family = family.sample(&labels, count);
        }
    }
}

fn refreshes(text: &mut Exposition, counters: &Counters) {
    let mut family = text.counter(
        "incidents_refreshes_total",
        "Refreshes by what came of them: another snapshot, the same one confirmed, nothing good.",
    );
    for (outcome, count) in RefreshOutcome::ALL.into_iter().zip(counters.refreshes) {
        family = family.sample(&[("outcome", outcome.name())], count);
    }
    let bounds = DURATION_BOUNDS_MS.map(|bound_ms| bound_ms as f64 / 1000.0);
    let [buckets @ .., beyond] = counters.durations;
    text.histogram(
        "incidents_refresh_duration_seconds",
        "How long refreshes took, from the first request to upstream until the snapshot was published.",
        bounds.into_iter().zip(buckets),
        beyond,
        counters.duration_sum_ms as f64 / 1000.0,
    );
}

fn nodes(text: &mut Exposition, reports: &Reports, now_ms: u64) {
    let known: Vec<&Node> = reports
        .nodes
        .iter()
        .filter(|node| !node.is_forgotten(now_ms))
        .collect();
    let mut family = text.gauge(
        "incidents_nodes",
        "Processes of the service by what they are and how they do.",
    );
    for kind in Kind::ALL {
        for state in State::ALL {
            let nodes = known.iter();
            let count = nodes
                .filter(|node| node.kind == kind && node.state(now_ms) == state)
                .count();
            family = family.sample(&[("kind", kind.name()), ("state", state.name())], count);
        }
    }
    let mut family = text.counter(
        "incidents_node_changes_total",
        "How often a process came into a state.",
    );
    for (state, count) in State::ALL.into_iter().zip(reports.node_changes) {
        family = family.sample(&[("state", state.name())], count);
    }
}

fn history(text: &mut Exposition, history: &HistoryStatus, now_ms: u64) {
    text.gauge(
        "incidents_history_recording",
        "Whether the last refresh could be recorded in the history.",
    )
    .sample(&[], u8::from(history.error.is_none()));
    if let Some(recorded_ms) = history.recorded_ms {
        text.gauge(
            "incidents_history_recorded_age_seconds",
            "Time since a refresh was last recorded in the history.",
        )
        .sample(&[], seconds_since(recorded_ms, now_ms));
    }
}

fn refused(text: &mut Exposition, counters: &Counters) {
    let mut family = text.counter(
        "incidents_refused_requests_total",
        "Requests that were not let in, by the reason.",
    );
    for (reason, count) in RefusalReason::ALL.into_iter().zip(counters.refused) {
        family = family.sample(&[("reason", reason.name())], count);
    }
}

fn alerts(text: &mut Exposition, counters: &Counters) {
    text.counter(
        "incidents_alerts_handed_over_total",
        "Alerts that an Alertmanager has taken, each counted for each of ALERTMANAGER_URLS.",
    )
    .sample(&[], counters.alerts_handed_over);
    text.gauge(
        "incidents_alerts_waiting",
        "Alerts that an Alertmanager still has to take, each counted for each of ALERTMANAGER_URLS.",
    )
    .sample(&[], counters.alerts_waiting);
    text.counter(
        "incidents_alert_failures_total",
        "Attempts to hand alerts over that an Alertmanager did not take.",
    )
    .sample(&[], counters.alert_failures);
}

fn seconds_since(then_ms: u64, now_ms: u64) -> f64 {
    now_ms.saturating_sub(then_ms) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Body;
    use serde_json::json;

    fn text(current: Option<&Current>, reports: &Reports, counts: &Counts, now_ms: u64) -> String {
        let reply = respond(current, reports, counts, now_ms);
        assert_eq!(reply.value("content-type"), CONTENT_TYPE);
        assert_eq!(
            (reply.status, reply.value("cache-control")),
            (200, "no-store")
        );
        match reply.body {
            Body::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => panic!("no whole body"),
        }
    }

    fn has(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|known| known == *line), "{line}: {text}");
        }
    }

    #[test]
    fn a_snapshot_is_told_with_its_ages_and_counts() {
        let current = json!({
            "version": 2, "generation": 3, "etag": "abc", "published_at_ms": 10_000,
            "checked_at_ms": 65_500, "employees": 2, "report": {}, "unattributed": {},
            "rejected": {},
            "types": [
                {"name": "denial", "fetched": 6, "reported": 3, "unattributed": 2, "rejected": 1,
                 "priorities": [1, 0, 2, 0], "stale": true, "good_at_ms": 5_000},
                {"name": "identities", "fetched": 0, "reported": 0, "unattributed": 0, "rejected": 0,
                 "stale": true}
            ],
            "identities": {"entries": 9, "rejected": 1, "stale": false, "good_at_ms": 65_000}
        });
        let current = Current::parse(current.to_string().as_bytes()).unwrap();
        let text = text(
            Some(&current),
            &Reports::default(),
            &Counts::default(),
            70_000,
        );
        has(
            &text,
            &[
                "incidents_snapshot_generation 3",
                "incidents_snapshot_age_seconds 4.5",
                "incidents_snapshot_stale 1",
                "incidents_endpoint_age_seconds{endpoint=\"identities\"} 5",
                "incidents_endpoint_age_seconds{endpoint=\"denial\"} 65",
                "incidents_endpoint_stale{endpoint=\"identities\"} 0",
                "incidents_endpoint_stale{endpoint=\"denial\"} 1",
                "incidents_endpoint_stale{endpoint=\"incidents/identities\"} 1",
                "incidents_rows{type=\"denial\",fate=\"reported\"} 3",
                "incidents_rows{type=\"denial\",fate=\"unattributed\"} 2",
                "incidents_rows{type=\"denial\",fate=\"rejected\"} 1",
                "incidents_reported{type=\"denial\",priority=\"low\"} 1",
                "incidents_reported{type=\"denial\",priority=\"high\"} 2",
                "incidents_leader 0",
            ],
        );
        let never = "incidents_endpoint_age_seconds{endpoint=\"incidents/identities\"}";
        assert!(!text.contains(never), "{text}");
        assert!(!text.contains("incidents_history"), "{text}");
    }

    #[test]
    fn the_parts_of_the_service_and_what_is_counted_are_told() {
        let node = |id: &str, kind, beat_ms| Node {
            id: id.to_owned(),
            kind,
            release: String::new(),
            since_ms: 1,
            beat_ms,
            progress_ms: beat_ms,
            stall_ms: 10_000,
            last: String::new(),
            leads: false,
            probed: None,
        };
        let reports = Reports {
            dead_letters: 4,
            history: Some(HistoryStatus {
                recorded_ms: Some(4_000_000),
                error: Some("the disk is full".to_owned()),
                ..HistoryStatus::default()
            }),
            node_changes: [5, 6, 7],
            nodes: vec![
                node("a", Kind::Refresher, 4_009_000),
                node("b", Kind::Refresher, 4_000_000),
                node("c", Kind::Host, 4_009_500),
                node("long gone", Kind::Host, 1),
            ],
        };
        let counters = Counters {
            refreshes: [1, 2, 3],
            durations: [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            duration_sum_ms: 400_500,
            refused: [1, 2, 3, 4, 5],
            alerts_handed_over: 8,
            alert_failures: 9,
            alerts_waiting: 10,
        };
        let counts = Counts {
            has_leader: true,
            counters,
        };
        let text = text(None, &reports, &counts, 4_010_000);
        has(
            &text,
            &[
                "incidents_snapshot_generation 0",
                "incidents_snapshot_stale 1",
                "incidents_nodes{kind=\"refresher\",state=\"healthy\"} 1",
                "incidents_nodes{kind=\"refresher\",state=\"offline\"} 1",
                "incidents_nodes{kind=\"host\",state=\"healthy\"} 1",
                "incidents_nodes{kind=\"host\",state=\"offline\"} 0",
                "incidents_nodes{kind=\"probed\",state=\"hanging\"} 0",
                "incidents_node_changes_total{state=\"hanging\"} 6",
                "incidents_leader 1",
                "incidents_history_recording 0",
                "incidents_history_recorded_age_seconds 10",
                "incidents_commands_set_aside 4",
                "incidents_refreshes_total{outcome=\"replaced\"} 1",
                "incidents_refreshes_total{outcome=\"failed\"} 3",
                "incidents_refresh_duration_seconds_bucket{le=\"0.25\"} 1",
                "incidents_refresh_duration_seconds_bucket{le=\"0.5\"} 1",
                "incidents_refresh_duration_seconds_bucket{le=\"300\"} 3",
                "incidents_refresh_duration_seconds_bucket{le=\"+Inf\"} 4",
                "incidents_refresh_duration_seconds_sum 400.5",
                "incidents_refused_requests_total{reason=\"rate_limit\"} 1",
                "incidents_refused_requests_total{reason=\"busy\"} 5",
                "incidents_alerts_handed_over_total 8",
                "incidents_alerts_waiting 10",
                "incidents_alert_failures_total 9",
            ],
        );
        assert!(!text.contains("incidents_snapshot_age_seconds"), "{text}");
    }

    #[test]
    fn every_metric_is_named_and_explained_once() {
        let reports = Reports {
            history: Some(HistoryStatus::default()),
            ..Reports::default()
        };
        let text = text(None, &reports, &Counts::default(), 0);
        let names = |start: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(start));
            let names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
            names
        };
        let mut explained = names("# HELP ");
        assert_eq!(explained, names("# TYPE "));
        let count = explained.len();
        explained.sort_unstable();
        explained.dedup();
        assert_eq!(explained.len(), count);
    }
}
