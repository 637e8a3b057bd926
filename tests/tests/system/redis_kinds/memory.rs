//! Redis has too little memory: it refuses to take more, or throws away what it has.

use std::sync::atomic::Ordering;

use end_to_end::{
    Process, Redis, System, Upstream, host, keys, mark, refresher, stored_snapshot, until,
};
use serde_json::{Value, json};

use super::{BOUND, read_on, serves};

/// A number that `INFO` tells.
async fn info(redis: &Redis, name: &str) -> u64 {
    let info: String = redis.ask("INFO").await;
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name).expect(name);
    value.parse().expect("a number")
}

async fn set(redis: &Redis, name: &str, value: impl ToString) {
    let _: String = redis
        .ask(&format!("CONFIG SET {name} {}", value.to_string()))
        .await;
}

/// How many parts of a snapshot are staged for another generation than the current one.
async fn staged(redis: &Redis, current: u64) -> usize {
    let names: Vec<String> = redis.ask("KEYS {incidents}:*:report:*").await;
    let own = format!("{{incidents}}:{current}:");
    names.iter().filter(|name| !name.starts_with(&own)).count()
}

#[tokio::test]
async fn a_redis_without_memory_keeps_the_old_snapshot_until_it_has_some() {
    let upstream = Upstream::start().await;
    mark(&upstream, 1).await;
    let system = System::start_with(upstream, &[], &[]).await;
    serves(&system.host.client, 1).await;
    let redis = &system.redis;
    let before = stored_snapshot(redis).await;
    let (stop, reader) = read_on(system.host.client.clone());

    // Enough for a little more, but not for a report of 8 MB.
    let used = info(redis, "used_memory").await;
    set(redis, "maxmemory", used + 3_000_000).await;
    let row = |number: u64| {
        let place = format!("{number:0>100}");
        json!({"priority": "low", "identifier": number, "timestamp": 1, "place": place})
    };
    let mut rows: Vec<Value> = (1..40_000).map(row).collect();
    rows.push(json!({"priority": "low", "identifier": 1, "timestamp": 1, "version": 2}));
    system.upstream.serve_rows("other", &rows).await;
    until("the refresher says so", BOUND, async || {
        (system.refresher.logged("Redis is out of memory") > 0).then_some(())
    })
    .await;
    assert!(system.refresher.logged("maxmemory") > 0);
    assert_eq!(stored_snapshot(redis).await.generation, before.generation);
    serves(&system.host.client, 1).await;
    until("what was written is given back", BOUND, async || {
        (staged(redis, before.generation).await == 0).then_some(())
    })
    .await;

    set(redis, "maxmemory", 0).await;
    serves(&system.host.client, 2).await;
    stop.store(true, Ordering::Relaxed);
    let whole = reader.await.expect("the reader saw only whole snapshots");
    assert!(whole > 1, "{whole}");
    assert!(stored_snapshot(redis).await.generation > before.generation);
}

#[tokio::test]
async fn a_snapshot_of_which_redis_threw_parts_away_is_published_anew() {
    let upstream = Upstream::start_with(&["--per-type", "4000"]).await;
    mark(&upstream, 1).await;
    let redis = Redis::start_with(&[
        "--maxmemory",
        "200mb",
        "--maxmemory-policy",
        "allkeys-random",
    ])
    .await;
    let refresher = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    let host = host(&redis, &[]).await;
    serves(&host.client, 1).await;
    assert_eq!(
        refresher.logged("set its maxmemory-policy to noeviction"),
        1,
        "{}",
        refresher.log()
    );
    let (stop, reader) = read_on(host.client.clone());
    for _ in 0..3 {
        let (evicted, used) = (
            info(&redis, "evicted_keys").await,
            info(&redis, "used_memory").await,
        );
        set(&redis, "maxmemory", used - 300_000).await;
        until("something is thrown away", BOUND, async || {
            (info(&redis, "evicted_keys").await > evicted).then_some(())
        })
        .await;
        set(&redis, "maxmemory", "200mb").await;
        serves(&host.client, 1).await;
        until("the snapshot is whole again", BOUND, async || {
            let record: Option<String> = redis.ask(&format!("GET {}", keys().current())).await;
            let record = domain::contract::record::Current::parse(record?.as_bytes()).ok()?;
            let names = record.keys(&keys());
            let there: usize = redis.ask(&format!("EXISTS {}", names.join(" "))).await;
            (there == names.len()).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let whole = reader.await.expect("the reader saw only whole snapshots");
    assert!(whole > 1, "{whole}");
    assert_eq!(
        refresher.logged("set its maxmemory-policy to noeviction"),
        1,
        "{}",
        refresher.log()
    );
}
