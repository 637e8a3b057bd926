//! `/metrics`: what the service as a whole knows of itself.

use std::process::Stdio;
use std::time::Duration;

use end_to_end::{
    Client, HASH, HASHED_PASSWORD, ID, Metrics, Process, Redis, Signal, System, TYPES, TempDir,
    Upstream, host, keys, optional, refresher, until,
};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const BOUND: Duration = Duration::from_secs(30);

/// An upstream with these rows of `denial`, and none of the other types.
async fn upstream(denials: &[serde_json::Value]) -> Upstream {
    let upstream = Upstream::start().await;
    upstream.serve("identities", r#"{"17.1.1.1": 86}"#).await;
    for kind in TYPES {
        upstream.serve_rows(kind, &[]).await;
    }
    upstream.serve_rows("denial", denials).await;
    upstream
}

/// Waits until the metrics satisfy `condition`, and gives them.
async fn metrics(client: &Client, what: &str, condition: impl Fn(&Metrics) -> bool) -> Metrics {
    until(what, BOUND, async || {
        let metrics = Metrics::of(client).await;
        condition(&metrics).then_some(metrics)
    })
    .await
}

#[tokio::test]
async fn they_follow_what_upstream_serves() {
    let reported = json!({"priority": "critical", "reported_by": 86, "timestamp": 5});
    let rejected = json!({"priority": "urgent", "reported_by": 86, "timestamp": 8});
    let upstream = upstream(&[reported.clone(), rejected]).await;
    let nobody = json!({"priority": "low", "ip": "17.1.1.9", "timestamp": 6});
    upstream.serve_rows("probing", &[nobody]).await;
    let system = System::start_with(upstream, &[], &[]).await;
    let client = &system.host.client;
    let fates = |metrics: &Metrics, kind: &str| {
        ["reported", "unattributed", "rejected"].map(|fate| {
            metrics.value(&format!(
                "incidents_rows{{type=\"{kind}\",fate=\"{fate}\"}}"
            ))
        })
    };
    let before = metrics(client, "a refresh is counted", |metrics| {
        metrics.sum("incidents_refreshes_total") > 0.0
    })
    .await;
    assert_eq!(fates(&before, "denial"), [1.0, 0.0, 1.0]);
    assert_eq!(fates(&before, "probing"), [0.0, 1.0, 0.0]);
    assert_eq!(fates(&before, "other"), [0.0; 3]);
    let critical = "incidents_reported{type=\"denial\",priority=\"critical\"}";
    assert_eq!(before.value(critical), 1.0);
    assert_eq!(before.sum("incidents_reported"), 1.0);
    assert_eq!(before.value("incidents_snapshot_stale"), 0.0);
    assert!(before.value("incidents_snapshot_age_seconds") < 30.0);
    assert_eq!(before.sum("incidents_endpoint_stale"), 0.0);
    assert_eq!(before.value("incidents_leader"), 1.0);
    let healthy = "incidents_nodes{kind=\"refresher\",state=\"healthy\"}";
    metrics(client, "the refresher is healthy", |metrics| {
        metrics.value(healthy) == 1.0
    })
    .await;
    assert_eq!(before.get("incidents_history_recording"), None);

    let replaced = "incidents_refreshes_total{outcome=\"replaced\"}";
    let another = json!({"priority": "critical", "reported_by": 86, "timestamp": 9});
    system
        .upstream
        .serve_rows("denial", &[reported, another])
        .await;
    let after = metrics(client, "the other row is reported", |metrics| {
        metrics.value(critical) == 2.0
    })
    .await;
    assert!(after.value(replaced) > before.value(replaced));
    let generation = "incidents_snapshot_generation";
    assert!(after.value(generation) > before.value(generation));
    metrics(client, "the snapshot is renewed", |metrics| {
        metrics.value("incidents_refreshes_total{outcome=\"renewed\"}") > 0.0
    })
    .await;

    system
        .upstream
        .fault("denial", json!({"effect": "status-503"}))
        .await;
    let stale = "incidents_endpoint_stale{endpoint=\"denial\"}";
    let failing = metrics(client, "the endpoint is stale", |metrics| {
        metrics.value(stale) == 1.0
    })
    .await;
    assert_eq!(failing.sum("incidents_endpoint_stale"), 1.0);
    assert_eq!(failing.value("incidents_snapshot_stale"), 1.0);
    assert_eq!(failing.value(critical), 2.0);
    let age = "incidents_endpoint_age_seconds{endpoint=\"denial\"}";
    metrics(client, "its age grows", |metrics| {
        metrics.value(age) > failing.value(age) + 1.0
    })
    .await;
    system.upstream.mend("denial").await;
    metrics(client, "nothing is stale", |metrics| {
        metrics.value(stale) == 0.0 && metrics.value("incidents_snapshot_stale") == 0.0
    })
    .await;

    let failed = "incidents_refreshes_total{outcome=\"failed\"}";
    let before = Metrics::of(client).await.value(failed);
    system
        .upstream
        .fault("all", json!({"effect": "status-503"}))
        .await;
    let failing = metrics(client, "refreshes fail", |metrics| {
        metrics.value(failed) >= before + 2.0
    })
    .await;
    // Every refresh is in the histogram, whatever came of it.
    assert_eq!(
        failing.value("incidents_refresh_duration_seconds_count"),
        failing.sum("incidents_refreshes_total")
    );
    assert!(failing.value("incidents_refresh_duration_seconds_sum") > 0.0);
}

#[tokio::test]
async fn counters_survive_the_leader_and_are_the_same_from_every_server() {
    let mut system = System::start_with(upstream(&[]).await, &[], &[]).await;
    let client = &system.host.client;
    let total = |metrics: &Metrics| metrics.sum("incidents_refreshes_total");
    metrics(client, "some refreshes are counted", |metrics| {
        total(metrics) >= 3.0
    })
    .await;
    system.refresher.kill().await;
    let before = metrics(client, "nobody leads", |metrics| {
        metrics.value("incidents_leader") == 0.0
            && metrics.value("incidents_nodes{kind=\"refresher\",state=\"offline\"}") == 1.0
    })
    .await;
    let other = host(&system.redis, &[]).await;
    let counted = |metrics: &Metrics| {
        let samples = metrics.samples.clone().into_iter();
        let samples = samples.filter(|(series, _)| !series.contains("_age_"));
        samples.collect::<Vec<_>>()
    };
    assert_eq!(counted(&before), counted(&Metrics::of(&other.client).await));
    let run = refresher(&["run"], &system.redis, &system.upstream, &[]);
    let _second = Process::start(run);
    let after = metrics(client, "the next leader counts on", |metrics| {
        total(metrics) >= total(&before) + 2.0
    })
    .await;
    assert_eq!(after.value("incidents_leader"), 1.0);
    let changes = "incidents_node_changes_total{state=\"offline\"}";
    metrics(client, "the change is counted", |metrics| {
        metrics.value(changes) == 1.0
    })
    .await;
}

#[tokio::test]
async fn what_redis_could_not_count_is_counted_later() {
    let system = System::start_with(upstream(&[]).await, &[], &[]).await;
    let client = &system.host.client;
    let failed = "incidents_refreshes_total{outcome=\"failed\"}";
    let before = Metrics::of(client).await.value(failed);
    system.redis.freeze();
    let log = "the refresh failed";
    until("a refresh fails", BOUND, async || {
        (system.refresher.logged(log) > 0).then_some(())
    })
    .await;
    system.redis.thaw();
    metrics(client, "the failure is counted", |metrics| {
        metrics.value(failed) > before
    })
    .await;
}

/// How many requests were refused for this reason.
async fn refused(client: &Client, reason: &str) -> f64 {
    let series = format!("incidents_refused_requests_total{{reason=\"{reason}\"}}");
    Metrics::of(client).await.value(&series)
}

#[tokio::test]
async fn refused_requests_are_counted_by_the_reason() {
    let redis = Redis::start().await;
    let limits = [
        ("default_rate_limits", "1 per hour"),
        ("wrong_password_limits", "2 per hour"),
        ("shutdown_enabled", "false"),
    ];
    let host = host(&redis, &limits).await;
    let client = &host.client;
    for reason in [
        "no_password",
        "wrong_password",
        "locked_out",
        "rate_limit",
        "busy",
    ] {
        assert_eq!(refused(client, reason).await, 0.0, "{reason}");
    }
    assert_eq!(client.get_as_stranger("/status").await.status, 401);
    assert_eq!(refused(client, "no_password").await, 1.0);
    // Nobody is refused who needs no password.
    assert_eq!(client.get_as_stranger("/openapi.json").await.status, 200);
    assert_eq!(client.get_as_stranger("/readyz").await.status, 503);
    assert_eq!(refused(client, "no_password").await, 1.0);
    let _ = client.get("/shutdown").await;
    assert_eq!(client.get("/shutdown").await.status, 429);
    assert_eq!(refused(client, "rate_limit").await, 1.0);
    let guess = async || {
        let account = Some((ID, "wrong"));
        let answer = client.try_send(Method::GET, "/status", account, &[]).await;
        answer.expect("an answer").status.as_u16()
    };
    assert_eq!([guess().await, guess().await], [401, 401]);
    assert_eq!(refused(client, "wrong_password").await, 2.0);
    assert_eq!(guess().await, 429);
    assert_eq!(refused(client, "locked_out").await, 1.0);
    assert_eq!(refused(client, "wrong_password").await, 2.0);
}

#[tokio::test]
async fn a_wrong_password_that_is_checked_by_hashing_is_counted_as_well() {
    let redis = Redis::start().await;
    let host = host(&redis, &[("service_password", HASH)]).await;
    let account = |password| Some((ID, password));
    let send = async |path, password| {
        let answer = host
            .client
            .try_send(Method::GET, path, account(password), &[])
            .await;
        answer.expect("an answer")
    };
    assert_eq!(send("/status", "wrong").await.status, 401);
    let answer = send("/metrics", HASHED_PASSWORD).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = "incidents_refused_requests_total{reason=\"wrong_password\"} 1";
    assert!(text.lines().any(|known| known == line), "{text}");
}

#[tokio::test]
async fn a_request_that_is_served_counts_nothing() {
    let mut system = System::start().await;
    system.refresher.signal(Signal::TERM);
    assert!(system.refresher.exit(BOUND).await.success());
    let client = &system.host.client;
    let counts = async || {
        let info: String = system.redis.ask("INFO commandstats").await;
        info.matches("cmdstat_hincrby:").count()
    };
    let _: String = system.redis.ask("CONFIG RESETSTAT").await;
    for path in ["/incidents", "/incidents/1", "/status", "/metrics"] {
        let _ = client.get(path).await;
    }
    for path in ["/readyz", "/openapi.json"] {
        assert_eq!(client.get_as_stranger(path).await.status, 200);
    }
    assert_eq!(counts().await, 0);
    assert_eq!(client.get_as_stranger("/incidents").await.status, 401);
    assert_eq!(counts().await, 1);
}

#[tokio::test]
async fn there_are_metrics_without_a_snapshot_and_whatever_stands_in_redis() {
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    let metrics = Metrics::of(&host.client).await;
    assert_eq!(metrics.value("incidents_snapshot_generation"), 0.0);
    assert_eq!(metrics.value("incidents_snapshot_stale"), 1.0);
    assert_eq!(metrics.value("incidents_leader"), 0.0);
    assert_eq!(metrics.get("incidents_snapshot_age_seconds"), None);
    assert_eq!(metrics.sum("incidents_refused_requests_total"), 0.0);

    let keys = keys();
    let _: String = redis.ask(&format!("SET {} x", keys.counters())).await;
    let _: String = redis.ask(&format!("SET {} x", keys.lease())).await;
    let metrics = Metrics::of(&host.client).await;
    assert_eq!(metrics.value("incidents_leader"), 0.0);
    assert_eq!(metrics.sum("incidents_refused_requests_total"), 0.0);
    // What cannot be counted is refused, and published, all the same.
    let stranger = host.client.get_as_stranger("/status").await;
    let _ = stranger.problem(401);
    let _: u64 = redis.ask(&format!("DEL {}", keys.lease())).await;
    let upstream = upstream(&[]).await;
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success());
    assert_eq!(host.client.get("/incidents").await.status, 200);
    let _: u64 = redis.ask(&format!("DEL {}", keys.counters())).await;
    let set = format!(
        "HSET {} refreshes:failed many refused:busy 7",
        keys.counters()
    );
    let _: u64 = redis.ask(&set).await;
    let metrics = Metrics::of(&host.client).await;
    assert_eq!(metrics.sum("incidents_refreshes_total"), 0.0);
    assert_eq!(metrics.sum("incidents_refused_requests_total"), 7.0);
}

#[tokio::test]
async fn they_are_what_prometheus_reads() {
    let Some(promtool) = optional("promtool", "the format of /metrics is") else {
        return;
    };
    let history = TempDir::new().expect("a temporary folder");
    let folder = history.path().to_string_lossy();
    let settings = [("HISTORY_STORE", &*folder)];
    let system = System::start_with(Upstream::start().await, &settings, &[]).await;
    let client = &system.host.client;
    let metrics = metrics(client, "the history is recorded", |metrics| {
        metrics
            .get("incidents_history_recorded_age_seconds")
            .is_some()
    })
    .await;
    assert_eq!(metrics.value("incidents_history_recording"), 1.0);
    assert_eq!(metrics.value("incidents_alerts_waiting"), 0.0);
    let answer = client.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be run");
    let mut input = check.stdin.take().expect("a pipe");
    input.write_all(&answer.body).await.expect("it reads");
    drop(input);
    let output = check.wait_with_output().await.expect("it ends");
    assert!(
        output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}
