//! Another Redis takes over, by a Sentinel or behind the same address.

use std::sync::atomic::Ordering;

use end_to_end::{
    Process, Proxy, Redis, Sentinel, Upstream, host, mark, refresher, stored_snapshot, until,
};

use super::{BOUND, read_on, serves};

/// A replica that has all that `primary` has.
async fn replica_of(primary: &Redis) -> Redis {
    let port = primary.port().to_string();
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &port]).await;
    until("the replica has everything", BOUND, async || {
        let info: String = replica.ask("INFO replication").await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    replica
}

/// How much of the primary's history a Redis has.
async fn replicated(redis: &Redis) -> Option<String> {
    let info: String = redis.ask("INFO replication").await;
    let line = info
        .lines()
        .find(|line| line.starts_with("master_repl_offset:"));
    line.map(str::to_owned)
}

#[tokio::test]
async fn sentinel_tells_where_the_primary_is() {
    let mut primary = Redis::start_with(&["--repl-diskless-sync-delay", "0"]).await;
    let replica = replica_of(&primary).await;
    let sentinel = Sentinel::start(&primary).await;
    let upstream = Upstream::start().await;
    mark(&upstream, 1).await;
    let url = sentinel.url();
    let settings = [("REDIS_URL", url.as_str())];
    let refresher = Process::start(refresher(&["run"], &primary, &upstream, &settings));
    let before = {
        let host = host(&primary, &[]).await;
        serves(&host.client, 1).await;
        stored_snapshot(&primary).await
    };

    primary.stop().await;
    mark(&upstream, 2).await;
    let host = host(&replica, &[]).await;
    serves(&host.client, 2).await;
    let after = stored_snapshot(&replica).await;
    assert!(after.generation > before.generation);
    // It may find the new primary at its first attempt; where one has failed, that is told, and its end too.
    until("every failure has its end in the log", BOUND, async || {
        let ended = refresher.logged("Redis answers again");
        (ended == refresher.logged("cannot renew the lease")).then_some(())
    })
    .await;

    let unknown = url.replace("/main", "/nobody");
    let log = super::refused(&replica, &upstream, &[("REDIS_URL", &unknown)]).await;
    assert!(log.contains("no primary named `nobody`"), "{log}");
}

#[tokio::test]
async fn a_failover_in_the_middle_of_a_publish_shows_no_part_of_it() {
    let upstream = Upstream::start_with(&["--per-type", "4000"]).await;
    let mut primary = Redis::start_with(&["--repl-diskless-sync-delay", "0"]).await;
    let replica = replica_of(&primary).await;
    mark(&upstream, 1).await;
    let proxy_of_readers = Proxy::start(&primary).await;
    let host = host(&primary, &[("redis_url", proxy_of_readers.url())]).await;

    let once = async |url: &str| {
        let settings = [("REDIS_URL", url)];
        let mut refresher = Process::start(refresher(&["once"], &primary, &upstream, &settings));
        let status = refresher.exit(BOUND).await;
        assert!(status.success(), "{}", refresher.log());
    };
    once(&primary.url()).await;
    mark(&upstream, 2).await;
    let whole = Proxy::start(&primary).await;
    once(whole.url()).await;
    let before = stored_snapshot(&primary).await;
    serves(&host.client, 2).await;
    let (stop, reader) = read_on(host.client.clone());

    // Half of the next publish is written, and no more; then the primary is gone for good.
    mark(&upstream, 3).await;
    let proxy = Proxy::cut_after(&primary, whole.sent() / 2).await;
    let settings = [("REDIS_URL", proxy.url())];
    let refresher = Process::start(refresher(&["run"], &primary, &upstream, &settings));
    proxy.cut().await;
    until("the replica has it, too", BOUND, async || {
        let there = replicated(&primary).await;
        (there == replicated(&replica).await).then_some(())
    })
    .await;
    primary.stop().await;
    assert_eq!(
        stored_snapshot(&replica).await.generation,
        before.generation
    );
    let _: String = replica.ask("REPLICAOF NO ONE").await;
    proxy_of_readers.lead_to(&replica);
    proxy.lead_to(&replica);

    serves(&host.client, 3).await;
    let after = stored_snapshot(&replica).await;
    assert!(after.generation > before.generation, "{}", refresher.log());
    stop.store(true, Ordering::Relaxed);
    let whole = reader.await.expect("the reader saw only whole snapshots");
    assert!(whole > 1, "{whole}");
}
