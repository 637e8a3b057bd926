//! Redis goes away in the middle of everything, and comes back.

use std::time::{Duration, Instant};

use end_to_end::{
    Answer, Client, FIRST_VERSION, Process, Redis, Signal, System, Upstream, host, incidents_in,
    keys, mark, refresher, until, version_in,
};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// What an answer may take while Redis is away; a second is meant, the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// Until all is as before, once Redis is back.
const RECOVERY: Duration = Duration::from_secs(30);

/// Every resource that needs Redis says that it is away, at once; the component itself is alive.
async fn is_out(client: &Client) {
    let paths = [
        "/incidents",
        "/incidents/unattributed",
        "/incidents/1",
        "/status",
        "/metrics",
        "/readyz",
        "/shutdown",
    ];
    // Twice each, so that some of them have to wait for a connection that others have opened.
    let requests = paths.iter().chain(&paths).map(async |path| {
        let start = Instant::now();
        let answer = client.get(path).await;
        (path, answer, start.elapsed())
    });
    for (path, answer, took) in join_all(requests).await {
        let detail = answer.problem(503);
        assert!(detail.contains("store of the service"), "{path}: {detail}");
        assert!(!detail.contains("127.0.0.1"), "{path}: {detail}");
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{path}: {wait}");
        assert!(took < SOON, "{path} took {took:?}");
    }
    let start = Instant::now();
    let alive = client.get_as_stranger("/healthz").await;
    assert_eq!(alive.status, 200);
    assert!(start.elapsed() < SOON);
}

/// The report, as soon as it is served again.
async fn served_again(client: &Client) -> Answer {
    until("the report is served again", RECOVERY, async || {
        let answer = client.get("/incidents").await;
        if answer.status == 200 {
            return Some(answer);
        }
        let _ = answer.problem(503);
        None
    })
    .await
}

fn generation(status: &Value) -> u64 {
    status["snapshot"]["generation"].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn an_emptied_redis_is_filled_again_by_itself() {
    let mut system = System::start().await;
    let client = &system.host.client;
    let before = client.get("/incidents").await;
    let status = client.get("/status").await.json();
    assert!(incidents_in(&before.body) > 1000);

    system.redis.stop().await;
    is_out(client).await;
    until("the refresher notices", RECOVERY, async || {
        (system.refresher.logged("Redis cannot be reached") > 0).then_some(())
    })
    .await;

    system.redis.start_again().await;
    let after = served_again(client).await;
    assert_eq!(after.body, before.body, "not the same snapshot");
    assert_eq!(after.header("etag"), before.header("etag"));
    assert_eq!(client.get_as_stranger("/readyz").await.status, 200);
    // Redis has forgotten how far the generations were; the refresher has not, and caches that
    // know of a generation must not meet another one with its number.
    let again = client.get("/status").await.json();
    assert!(generation(&again) > generation(&status), "{again}");
    assert_eq!(
        again["snapshot"]["totals"], status["snapshot"]["totals"],
        "{again}"
    );
    // And the refreshes go on.
    let asked = system.upstream.requests("denial").await;
    until("the next refresh", RECOVERY, async || {
        (system.upstream.requests("denial").await > asked + 1).then_some(())
    })
    .await;
    assert!(system.refresher.is_running());
}

/// Redis was emptied, and another refresher has led since: its generations began anew, below those that the
/// former leader knows.
#[tokio::test]
async fn a_leader_of_long_ago_takes_over_what_was_published_since() {
    let upstream = Upstream::start().await;
    let redis = Redis::start().await;
    let () = redis
        .ask(&format!("SET {} 5000", keys().generation()))
        .await;
    mark(&upstream, FIRST_VERSION).await;
    let settings = [("HISTORY_STORE", "none")];
    let mut former = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    let host = host(&redis, &[]).await;
    let serves = async |version: u64| {
        until("the version is served", RECOVERY, async || {
            let answer = host.client.get("/incidents").await;
            (answer.status == 200 && version_in(&answer.body) == version).then_some(())
        })
        .await;
        generation(&host.client.get("/status").await.json())
    };
    assert_eq!(serves(FIRST_VERSION).await, 5001);

    former.signal(Signal::STOP);
    let () = redis.ask("FLUSHALL").await;
    mark(&upstream, FIRST_VERSION + 1).await;
    let mut later = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    assert!(serves(FIRST_VERSION + 1).await < 5000);
    upstream.fault("all", json!({"effect": "status-503"})).await;
    later.signal(Signal::TERM);
    assert!(later.exit(RECOVERY).await.success());

    let led = former.logged("leads holder");
    former.signal(Signal::CONT);
    until("it leads again", RECOVERY, async || {
        (former.logged("leads holder") > led).then_some(())
    })
    .await;
    until("it has asked upstream", RECOVERY, async || {
        let status = host.client.get("/status").await.json();
        (status["snapshot"]["stale"] == true).then_some(())
    })
    .await;
    let answer = host.client.get("/incidents").await;
    assert_eq!(version_in(&answer.body), FIRST_VERSION + 1);
    assert_eq!(former.logged("Redis has lost the snapshot"), 0);
    assert!(former.is_running());
}

#[tokio::test]
async fn a_frozen_redis_is_waited_for_no_longer_than_a_second() {
    let mut system = System::start().await;
    let client = &system.host.client;
    let before = client.get("/incidents").await;

    system.redis.freeze();
    is_out(client).await;
    // Long enough that the refresher cannot be sure of its lease any more.
    until("the refresher gives way", RECOVERY, async || {
        (system.refresher.logged("leads no more") > 0).then_some(())
    })
    .await;
    is_out(client).await;

    system.redis.thaw();
    let after = served_again(client).await;
    assert_eq!(after.body, before.body);
    assert_eq!(after.header("etag"), before.header("etag"));
    let asked = system.upstream.requests("denial").await;
    until("refreshes go on", RECOVERY, async || {
        (system.upstream.requests("denial").await > asked + 1).then_some(())
    })
    .await;
    assert!(system.refresher.is_running() && system.host.process.is_running());
}

#[tokio::test]
async fn everything_may_start_before_redis() {
    let upstream = Upstream::start().await;
    let mut redis = Redis::start().await;
    redis.stop().await;
    let refresher = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    let host = host(&redis, &[]).await;
    is_out(&host.client).await;
    until("the refresher says so", RECOVERY, async || {
        (refresher.logged("Redis cannot be reached") > 0).then_some(())
    })
    .await;
    assert_eq!(upstream.requests("denial").await, 0, "fetched for nobody");

    redis.start_again().await;
    let answer = served_again(&host.client).await;
    assert!(incidents_in(&answer.body) > 1000);
    let head = host.client.send(Method::HEAD, "/incidents", &[]).await;
    assert_eq!(head.header("etag"), answer.header("etag"));
}
