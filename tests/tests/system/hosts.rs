//! Hosts report themselves, and `/status` tells how each of them does.

use std::time::Duration;

use end_to_end::{Client, Host, Redis, Signal, host, keys, until};
use serde_json::Value;

/// A node is offline after 4 s; the rest is for a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// What the status that `client` gets says of `host`; `None` if it is not listed.
async fn told(client: &Client, host: &Host) -> Option<Value> {
    let status = client.get("/status").await;
    assert_eq!(status.status, 200, "{status:?}");
    let status = status.json();
    let nodes = status["nodes"].as_array().expect("a list");
    let pid = format!(":{}:", host.process.id().expect("it runs"));
    let mut named = nodes
        .iter()
        .filter(|node| node["id"].as_str().is_some_and(|id| id.contains(&pid)));
    let node = named.next().cloned();
    assert_eq!(named.next(), None, "{status}");
    node
}

/// What is told of `host` as soon as it is in `state`.
async fn comes_to_be(client: &Client, host: &Host, state: &str) -> Value {
    until(state, BOUND, async || {
        let node = told(client, host).await?;
        (node["state"] == state).then_some(node)
    })
    .await
}

#[tokio::test]
async fn a_host_is_healthy_then_offline_and_gone_once_it_has_left() {
    let redis = Redis::start().await;
    let onlooker = host(&redis, &[]).await;
    let mut hosts = [host(&redis, &[]).await, host(&redis, &[]).await];
    let client = &onlooker.client;
    for host in &hosts {
        let node = comes_to_be(client, host, "healthy").await;
        assert_eq!(node["kind"], "host", "{node}");
        assert_eq!(node["release"], env!("CARGO_PKG_VERSION"), "{node}");
        assert_eq!(node["leads"], false, "{node}");
        assert_eq!(node["last"], "waits for its first request", "{node}");
        for age in ["since_s", "beat_age_s", "progress_age_s"] {
            let seconds = node[age].as_u64().expect("a number");
            assert!(seconds <= BOUND.as_secs(), "{age}: {node}");
        }
    }
    let own = comes_to_be(client, &onlooker, "healthy").await;
    assert!(!own["id"].as_str().unwrap().contains("127.0.0.1"), "{own}");
    until("its answers are counted", BOUND, async || {
        let own = told(client, &onlooker).await?;
        own["last"].as_str()?.starts_with("answered ").then_some(())
    })
    .await;

    let [stopped, killed] = &mut hosts;
    stopped.process.signal(Signal::STOP);
    killed.process.signal(Signal::KILL);
    for host in [&*stopped, &*killed] {
        let node = comes_to_be(client, host, "offline").await;
        assert!(node["beat_age_s"].as_u64().unwrap() >= 4, "{node}");
    }
    stopped.process.signal(Signal::CONT);
    comes_to_be(client, stopped, "healthy").await;

    let pid = format!(":{}:", stopped.process.id().expect("it runs"));
    stopped.process.signal(Signal::TERM);
    assert!(stopped.process.exit(BOUND).await.success());
    let status = client.get("/status").await.json();
    assert!(!status["nodes"].to_string().contains(&pid), "{status}");
}

#[tokio::test]
async fn a_host_reports_itself_once_redis_is_there_and_says_once_that_it_was_not() {
    let mut redis = Redis::start().await;
    redis.stop().await;
    let host = host(&redis, &[]).await;
    until("it says so", BOUND, async || {
        (host.process.logged("cannot report itself") > 0).then_some(())
    })
    .await;
    assert_eq!(host.client.get_as_stranger("/healthz").await.status, 200);
    redis.start_again().await;
    until("it reports itself", BOUND, async || {
        let status = host.client.get("/status").await;
        let status = status.status.is_success().then(|| status.json())?;
        (status["nodes"][0]["state"] == "healthy").then_some(())
    })
    .await;
    assert_eq!(host.process.logged("cannot report itself"), 1);
}

#[tokio::test]
async fn the_status_is_told_whatever_is_in_redis() {
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    comes_to_be(&host.client, &host, "healthy").await;
    let mut connection = redis.connection().await;
    let garbage = |name: &str| {
        let mut command = redis::cmd("HSET");
        command.arg(name).arg("healthy").arg("many");
        command
    };
    // Nodes that are none, and counts that are none.
    for name in [keys().nodes(), keys().node_changes()] {
        garbage(&name)
            .exec_async(&mut connection)
            .await
            .expect("it is a hash");
    }
    // Keys of the wrong type.
    for name in [keys().dead_letters(), keys().history()] {
        garbage(&name)
            .exec_async(&mut connection)
            .await
            .expect("it is new");
    }
    comes_to_be(&host.client, &host, "healthy").await;
    let status = host.client.get("/status").await.json();
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["history"], Value::Null);
    assert_eq!(status["commands"]["set_aside"], 0);
    let states = ["healthy", "hanging", "offline"];
    assert_eq!(
        states.map(|state| status["node_changes"][state].as_u64()),
        [Some(0); 3]
    );

    // What is written there is told.
    let mut told = redis::pipe();
    told.del(&[
        keys().dead_letters(),
        keys().history(),
        keys().node_changes(),
    ])
    .cmd("XADD")
    .arg(keys().dead_letters())
    .arg(&["*", "command", "dance"])
    .hset(keys().node_changes(), "offline", 3)
    .set(keys().history(), r#"{"store":"folder","failures":2}"#);
    told.exec_async(&mut connection)
        .await
        .expect("it is written");
    let status = host.client.get("/status").await.json();
    assert_eq!(status["commands"]["set_aside"], 1, "{status}");
    assert_eq!(status["node_changes"]["offline"], 3, "{status}");
    assert_eq!(status["history"]["store"], "folder", "{status}");
    assert_eq!(status["history"]["failures"], 2, "{status}");

    // A hash of nodes that is none at all.
    redis::cmd("DEL")
        .arg(keys().nodes())
        .exec_async(&mut connection)
        .await
        .expect("it is gone");
    let status = until("nobody is listed", BOUND, async || {
        let mut command = redis::cmd("SET");
        command.arg(keys().nodes()).arg("garbage");
        command
            .exec_async(&mut connection)
            .await
            .expect("it is set");
        let status = host.client.get("/status").await.json();
        (status["nodes"].as_array()?.is_empty()).then_some(status)
    })
    .await;
    assert_eq!(status["commands"]["set_aside"], 1, "{status}");
}
