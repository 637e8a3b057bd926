//! Supervisors report their hosts, and `/status` tells how each of them does.

use std::time::Duration;

use end_to_end::{Client, Process, Redis, Service, Signal, Upstream, host, keys, refresher, until};
use serde_json::Value;

/// A node is offline after 4 s; the rest is for a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// What the status that `client` gets says of `host`; `None` if it is not listed.
async fn told(client: &Client, host: &Service) -> Option<Value> {
    let status = client.get("/status").await;
    assert_eq!(status.status, 200, "{status:?}");
    let status = status.json();
    let nodes = status["nodes"].as_array().expect("a list");
    let pid = format!(":{}:", host.host_id());
    let mut named = nodes
        .iter()
        .filter(|node| node["id"].as_str().is_some_and(|id| id.contains(&pid)));
    let node = named.next().cloned();
    assert_eq!(named.next(), None, "{status}");
    node
}

/// What is told of `host` as soon as it is in `state`.
async fn comes_to_be(client: &Client, host: &Service, state: &str) -> Value {
    until(state, BOUND, async || {
        let node = told(client, host).await?;
        (node["state"] == state).then_some(node)
    })
    .await
}

#[tokio::test]
async fn a_host_is_healthy_then_hangs_then_offline_and_gone_once_it_has_left() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let start = async || Service::start("serve", &redis, &upstream, &[], &[]).await;
    let onlooker = start().await;
    let mut hosts = [start().await, start().await];
    let client = &onlooker.client;
    for host in &hosts {
        let node = until("it answers", BOUND, async || {
            let node = told(client, host).await?;
            (node["last"] == "answers 200").then_some(node)
        })
        .await;
        assert_eq!(node["state"], "healthy", "{node}");
        assert_eq!(node["kind"], "host", "{node}");
        assert_eq!(node["release"], env!("CARGO_PKG_VERSION"), "{node}");
        assert_eq!(node["leads"], false, "{node}");
        for age in ["since_s", "beat_age_s", "progress_age_s"] {
            let seconds = node[age].as_u64().expect("a number");
            assert!(seconds <= BOUND.as_secs(), "{age}: {node}");
        }
    }
    let own = comes_to_be(client, &onlooker, "healthy").await;
    assert!(!own["id"].as_str().unwrap().contains("127.0.0.1"), "{own}");

    let [stopped, killed] = &mut hosts;
    stopped.signal_host(Signal::STOP);
    killed.signal_host(Signal::KILL);
    let node = comes_to_be(client, stopped, "hanging").await;
    assert!(node["beat_age_s"].as_u64().unwrap() <= 4, "{node}");
    assert!(node["progress_age_s"].as_u64().unwrap() >= 4, "{node}");
    assert_eq!(node["last"], "does not answer within 2 s", "{node}");
    let node = comes_to_be(client, killed, "offline").await;
    assert!(node["beat_age_s"].as_u64().unwrap() >= 4, "{node}");
    assert_eq!(killed.refresher.exit(BOUND).await.code(), Some(1));

    // Nor is anything heard of one whose supervisor is stopped.
    stopped.signal_host(Signal::CONT);
    comes_to_be(client, stopped, "healthy").await;
    stopped.refresher.signal(Signal::STOP);
    comes_to_be(client, stopped, "offline").await;
    stopped.refresher.signal(Signal::CONT);
    comes_to_be(client, stopped, "healthy").await;

    let pid = format!(":{}:", stopped.host_id());
    stopped.refresher.signal(Signal::TERM);
    assert!(stopped.refresher.exit(BOUND).await.success());
    let status = client.get("/status").await.json();
    assert!(!status["nodes"].to_string().contains(&pid), "{status}");
}

#[tokio::test]
async fn a_host_is_reported_once_redis_is_there_and_it_is_said_once_that_it_was_not() {
    let (mut redis, upstream) = (Redis::start().await, Upstream::start().await);
    redis.stop().await;
    let host = Service::start("serve", &redis, &upstream, &[], &[]).await;
    until("it says so", BOUND, async || {
        (host.refresher.logged("cannot be reported") > 0).then_some(())
    })
    .await;
    assert_eq!(host.client.get_as_stranger("/healthz").await.status, 200);
    redis.start_again().await;
    until("it is reported", BOUND, async || {
        let status = host.client.get("/status").await;
        let status = status.status.is_success().then(|| status.json())?;
        (status["nodes"][0]["state"] == "healthy").then_some(())
    })
    .await;
    assert_eq!(host.refresher.logged("cannot be reported"), 1);
}

#[tokio::test]
async fn a_server_of_any_kind_is_asked_where_it_says_or_where_it_is_told() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let onlooker = host(&redis, &[]).await;
    let healthz = format!("{}/healthz", onlooker.url);
    let prints = format!("sh -c 'echo Serving {}; exec sleep 600'", onlooker.url);
    for (server, health, state, last) in [
        (
            "sleep 600",
            None,
            "healthy",
            "where it answers is not known",
        ),
        (&*prints, None, "healthy", "answers 200"),
        ("sleep 600", Some(&*healthz), "healthy", "answers 200"),
        (
            "sleep 600",
            Some("http://127.0.0.1:1/healthz"),
            "hanging",
            "cannot be reached",
        ),
    ] {
        let mut arguments = vec!["serve", "--server", server];
        arguments.extend(health.iter().flat_map(|url| ["--server-health", *url]));
        let mut supervisor = Process::start(refresher(&arguments, &redis, &upstream, &[]));
        until(&format!("{server} {health:?}"), BOUND, async || {
            let status = onlooker.client.get("/status").await.json();
            let node = &status["nodes"][0];
            let is = node["state"] == state && node["last"].as_str()?.contains(last);
            is.then_some(())
        })
        .await;
        supervisor.signal(Signal::TERM);
        assert!(supervisor.exit(BOUND).await.success());
        let status = onlooker.client.get("/status").await.json();
        assert_eq!(status["nodes"].as_array().unwrap().len(), 0, "{status}");
    }
}

#[tokio::test]
async fn the_status_is_told_whatever_is_in_redis() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let host = Service::start("serve", &redis, &upstream, &[], &[]).await;
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
