//! Redis's clock is set back.

use end_to_end::{Process, Redis, Upstream, keys, refresher, stored_snapshot};

use super::BOUND;

#[tokio::test]
async fn a_lease_from_the_future_holds_nobody_up_for_longer_than_a_term() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    // What a leader that is gone has left, an hour before the clock was set back by one.
    let [seconds, _]: [u64; 2] = redis.ask("TIME").await;
    let expires_ms = (seconds + 3600) * 1000;
    let lease = keys().lease();
    let set = format!("HSET {lease} token 7 holder gone expires_ms {expires_ms}");
    let _: u64 = redis.ask(&set).await;
    let mut check = Process::start(refresher(&["healthcheck"], &redis, &upstream, &[]));
    assert_eq!(check.exit(BOUND).await.code(), Some(1), "{}", check.log());

    // It waits for a term and two seconds.
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    let status = once.exit(BOUND).await;
    assert!(status.success(), "{}", once.log());
    stored_snapshot(&redis).await;
    let token: u64 = redis.ask(&format!("HGET {lease} token")).await;
    assert_eq!(token, 8);
}
