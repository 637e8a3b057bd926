//! What the program tells of itself in Redis.

use std::{fs, process::Stdio};

use domain::contract::node::{Kind, Node, State};
use tempfile::TempDir;

use crate::{
    client::get,
    command::{Running, command},
    server::{Redis, application, until},
};

/// An application whose service is at `redis`, and nobody waits for a snapshot.
fn service(redis: &Redis) -> TempDir {
    let folder = application(&redis.url);
    let settings = format!("REDIS_URL: {}\nSNAPSHOT_WAIT: 0\n", redis.url);
    fs::write(folder.path().join("config/config.yaml"), settings).unwrap();
    folder
}

/// The one node that is listed, and how it does by Redis's clock.
async fn node(redis: &Redis) -> Option<(Node, State)> {
    let nodes: Vec<String> = redis.run("HVALS {incidents}:nodes").await;
    assert!(nodes.len() < 2, "{nodes:?}");
    let node = Node::parse(nodes.first()?.as_bytes()).expect("a heartbeat");
    let (seconds, microseconds): (u64, u64) = redis.run("TIME").await;
    let state = node.state(seconds * 1000 + microseconds / 1000);
    Some((node, state))
}

async fn is(redis: &Redis, state: State) -> bool {
    node(redis).await.is_some_and(|(_, now)| now == state)
}

#[tokio::test]
async fn a_host_whose_requests_are_not_answered_is_hanging() {
    let redis = Redis::start().await;
    let folder = service(&redis);
    let mut host = Running::start(&mut command(folder.path()));
    until("it reports itself", async || {
        is(&redis, State::Healthy).await
    })
    .await;
    let (first, _) = node(&redis).await.unwrap();
    assert_eq!(first.kind, Kind::Host);
    assert_eq!(first.release, env!("CARGO_PKG_VERSION"));
    assert_eq!(first.last, "waits for its first request");
    assert!(first.since_ms <= first.beat_ms && first.stall_ms > 0);
    let pid = format!(":{}:", host.pid());
    assert!(first.id.contains(&pid), "{}", first.id);

    let path = format!("/wait?url={}&entered=entered&gate=gate", redis.url);
    let address = host.address;
    let waiting = tokio::spawn(async move { get(address, &path).await });
    until("it hangs", async || is(&redis, State::Hanging).await).await;
    redis.run::<()>("SET gate open").await;
    assert_eq!(waiting.await.unwrap().status, 200);
    until("it gets on", async || is(&redis, State::Healthy).await).await;
    let (last, _) = node(&redis).await.unwrap();
    assert_eq!(last.last, "answered 1 requests");
    assert_eq!((last.id, last.since_ms), (first.id, first.since_ms));

    host.signal("TERM");
    assert_eq!(host.end(), (Some(0), String::new()));
    assert!(node(&redis).await.is_none(), "it is still listed");
}

#[tokio::test]
async fn what_keeps_it_from_reporting_is_told_once_and_it_serves_on() {
    let redis = Redis::start().await;
    for (settings, told) in [
        (
            "REDIS_URL: 'redis://:hunter2@elsewhere:1'",
            "allowed_outbound_hosts",
        ),
        ("REDIS_URL: 'redis://:hunter2@'", "REDIS_URL"),
    ] {
        let folder = service(&redis);
        let file = folder.path().join("config/config.yaml");
        fs::write(&file, settings).unwrap();
        let mut host = Running::start(command(folder.path()).stderr(Stdio::piped()));
        assert_eq!(get(host.address, "/instance").await.status, 200);
        // Mended settings count without a new start.
        let mut log = host.log();
        log.line_with(told);
        let mended = format!("REDIS_URL: {}", redis.url);
        fs::write(&file, mended).unwrap();
        until("it reports itself", async || {
            is(&redis, State::Healthy).await
        })
        .await;
        host.signal("TERM");
        host.end();
        let rest = log.rest();
        assert!(!rest.contains("cannot report itself"), "{rest}");
        assert!(!log.seen().contains("hunter2"), "{}", log.seen());
    }
}

#[tokio::test]
async fn a_host_that_shall_not_report_itself_does_not() {
    let redis = Redis::start().await;
    let folder = service(&redis);
    let mut silent = Running::start(command(folder.path()).arg("--no-heartbeat"));
    let mut host = Running::start(&mut command(folder.path()));
    let pid = format!(":{}:", host.pid());
    until("the other reports itself twice", async || {
        // More than one node would be told here.
        let Some((node, _)) = node(&redis).await else {
            return false;
        };
        node.id.contains(&pid) && node.beat_ms > node.since_ms + 1500
    })
    .await;
    for host in [&mut silent, &mut host] {
        host.signal("TERM");
        assert_eq!(host.end().0, Some(0));
    }
}
