//! The very first requests: there is no snapshot yet.

use std::time::{Duration, Instant};

use end_to_end::{Process, Redis, Upstream, host, incidents_in, keys, refresher, until};
use futures::future::join_all;

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn fifty_requests_at_once_cause_one_refresh_and_are_served() {
    let upstream = Upstream::start_with(&["--latency", "1s"]).await;
    let redis = Redis::start().await;
    let settings = [("DEFAULT_CACHE_REFRESH", "600")];
    // It has refreshed, and Redis has lost everything since but the lease, by which it would have
    // noticed: only the requests can cause the next one.
    let refresher = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    until("it has refreshed once", BOUND, async || {
        (refresher.logged("refreshed") > 0).then_some(())
    })
    .await;
    let mut connection = redis.connection().await;
    let mut names: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .expect("names");
    names.retain(|name| *name != keys().lease());
    redis::cmd("DEL")
        .arg(names)
        .exec_async(&mut connection)
        .await
        .expect("it is emptied");
    let asked = upstream.requests("denial").await;

    let hosts = [host(&redis, &[]).await, host(&redis, &[]).await];
    let requests = (0..50).map(|request| hosts[request % 2].client.get("/incidents"));
    let answers = join_all(requests).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("etag"), answers[0].header("etag"));
    }
    assert!(incidents_in(&answers[0].body) > 1000);
    let commands: u64 = redis::cmd("XLEN")
        .arg(keys().commands())
        .query_async(&mut connection)
        .await
        .expect("a number");
    assert_eq!(commands, 1, "the requests asked more than once");
    assert_eq!(upstream.requests("denial").await, asked + 1);
}

#[tokio::test]
async fn without_a_refresher_the_wait_is_bounded_and_the_answer_says_when_to_come_back() {
    let redis = Redis::start().await;
    let host = host(&redis, &[("snapshot_wait", "2")]).await;
    let start = Instant::now();
    let paths = ["/incidents", "/incidents/7", "/incidents/unattributed"];
    let requests = paths.iter().map(|path| host.client.get(path));
    for answer in join_all(requests).await {
        let detail = answer.problem(503);
        assert!(detail.contains("no snapshot"), "{detail}");
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&wait), "{wait}");
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    let _ = host.client.get_as_stranger("/readyz").await.problem(503);
    let status = host.client.get("/status").await;
    assert_eq!(status.json()["snapshot"], serde_json::Value::Null);

    // The command waits for a refresher that is started later.
    let upstream = Upstream::start().await;
    let settings = [("DEFAULT_CACHE_REFRESH", "600")];
    let _refresher = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    until("it is served", BOUND, async || {
        let answer = host.client.get("/incidents").await;
        (answer.status == 200).then_some(())
    })
    .await;
}
