//! What the service says of itself is true: it is ready only while it answers, it shuts down only where
//! somebody does it, and what is missing in an answer or too old is told with it.

use std::time::Duration;

use end_to_end::{Client, Process, Redis, System, Upstream, host, keys, refresher, until};
use reqwest::Method;
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_redis_that_takes_no_writes_serves_nothing_and_nothing_is_ready() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    let host = host(&redis, &[]).await;
    let client = &host.client;
    let both = async |status: u16| {
        let ready = client.get_as_stranger("/readyz").await;
        let served = client.get("/incidents").await;
        assert_eq!(
            (ready.status.as_u16(), served.status.as_u16()),
            (status, status)
        );
        if status == 503 {
            assert!(ready.problem(503).contains("takes writes"), "{ready:?}");
        }
    };
    both(200).await;
    // The memory is full.
    let _: String = redis.ask("CONFIG SET maxmemory 1").await;
    both(503).await;
    let _: String = redis.ask("CONFIG SET maxmemory 0").await;
    both(200).await;
    // It is a replica, as after a failover that nobody told the component of.
    let _: String = redis.ask("REPLICAOF 127.0.0.1 1").await;
    both(503).await;
    let _: String = redis.ask("REPLICAOF NO ONE").await;
    both(200).await;
    // Its rights do not suffice.
    let _: String = redis.ask("ACL SETUSER default -incr").await;
    both(503).await;
    let _: String = redis.ask("ACL SETUSER default +incr").await;
    both(200).await;
    assert_eq!(client.get_as_stranger("/healthz").await.status, 200);
}

#[tokio::test]
async fn being_asked_whether_it_is_ready_leaves_nothing_behind() {
    let system = System::start().await;
    for _ in 0..10 {
        assert_eq!(
            system.host.client.get_as_stranger("/readyz").await.status,
            200
        );
    }
    until("nothing is left", BOUND, async || {
        let left: Vec<String> = system.redis.ask("KEYS {incidents}:limit:readyz:*").await;
        left.is_empty().then_some(())
    })
    .await;
}

/// How many commands were sent.
async fn commands(redis: &Redis) -> u64 {
    redis.ask(&format!("XLEN {}", keys().commands())).await
}

#[tokio::test]
async fn where_nobody_would_do_it_nothing_is_told_to_be_shut_down() {
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    let client = &host.client;
    let refused = async |what: &str| {
        for method in [Method::GET, Method::POST] {
            let answer = client.send(method, "/shutdown", &[]).await;
            let detail = answer.problem(503);
            assert!(detail.contains("Nobody"), "{what}: {detail}");
        }
        assert_eq!(
            client.send(Method::HEAD, "/shutdown", &[]).await.status,
            503
        );
        // What is started later must not find an old wish and end.
        assert_eq!(commands(&redis).await, 0, "{what}");
    };
    redis.ask::<i64>(&format!("DEL {}", keys().nodes())).await;
    refused("nobody").await;
    let report = async |kind: &str, age_ms: u64| {
        let time: Vec<String> = redis.ask("TIME").await;
        let seconds: u64 = time[0].parse().expect("seconds");
        let beat_ms = seconds * 1000 - age_ms;
        let mut node = json!({
            "id": "a:1", "kind": kind, "release": "0", "since_ms": 1, "beat_ms": beat_ms,
            "progress_ms": beat_ms, "stall_ms": 1000, "last": "something", "leads": true
        });
        if kind == "probed" {
            node["probed"] = json!("healthy");
        }
        let mut connection = redis.connection().await;
        redis::cmd("HSET")
            .arg(keys().nodes())
            .arg("a:1")
            .arg(node.to_string())
            .exec_async(&mut connection)
            .await
            .expect("it is set");
    };
    report("refresher", 60_000).await;
    refused("one that is gone").await;
    report("probed", 0).await;
    refused("one that is only probed").await;
    report("refresher", 0).await;
    assert_eq!(
        client.send(Method::HEAD, "/shutdown", &[]).await.status,
        200
    );
    assert_eq!(commands(&redis).await, 0);
    assert_eq!(client.get("/shutdown").await.status, 200);
    assert_eq!(commands(&redis).await, 1);
}

/// The fields of an answer that tell what is not as it should be with its contents.
async fn warnings(client: &Client, path: &str) -> [String; 3] {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200);
    let etag = answer.header("etag").to_owned();
    let fields = [("if-none-match", etag.as_str())];
    let cached = client.send(Method::GET, path, &fields).await;
    assert_eq!(cached.status, 304);
    [
        "incidents-missing",
        "incidents-stale",
        "incidents-recovered",
    ]
    .map(|name| {
        assert_eq!(cached.header(name), answer.header(name), "{name}");
        answer.header(name).to_owned()
    })
}

#[tokio::test]
async fn types_that_were_never_known_are_told_with_every_answer() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    let host = host(&redis, &[]).await;
    let client = &host.client;
    let employee = client.get("/incidents").await.json();
    let employee = employee.as_object().and_then(|report| report.keys().next());
    let employee = format!("/incidents/{}", employee.expect("an employee"));
    let paths = ["/incidents", "/incidents/unattributed", &employee];
    for path in paths {
        assert_eq!(warnings(client, path).await, ["", "", ""], "{path}");
    }
    let mut connection = redis.connection().await;
    let current = keys().current();
    let mut get = redis::cmd("GET");
    get.arg(&current);
    let raw: Vec<u8> = get.query_async(&mut connection).await.expect("a value");
    let mut record: Value = serde_json::from_slice(&raw).expect("a record");
    for kind in [0, 6] {
        let kind = record["types"][kind].as_object_mut().expect("an object");
        kind.remove("good_at_ms");
        kind.insert("stale".to_owned(), true.into());
        kind.insert("error".to_owned(), "503 Service Unavailable".into());
    }
    let mut set = redis::cmd("SET");
    set.arg(&current).arg(record.to_string());
    set.exec_async(&mut connection).await.expect("it is set");
    for path in paths {
        let told = warnings(client, path).await;
        assert_eq!(told, ["\"denial\", \"other\"", "?1", ""], "{path}");
    }
    let status = client.get("/status").await.json();
    assert_eq!(status["snapshot"]["stale"], true);
}

#[tokio::test]
async fn a_snapshot_that_nobody_confirms_is_told_to_be_stale() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    let host = host(&redis, &[]).await;
    let client = &host.client;
    let stale = async || {
        let status = client.get("/status").await.json();
        let [_, field, _] = warnings(client, "/incidents").await;
        (status["snapshot"]["stale"] == true, field)
    };
    assert_eq!(stale().await, (false, String::new()));
    // It is due every second, and nobody is there any more.
    until("it is stale", BOUND, async || {
        let (is_stale, field) = stale().await;
        // The status was asked first: what it says holds for the report that was asked after it.
        assert!(!is_stale || field == "?1");
        is_stale.then_some(())
    })
    .await;
    // Whoever comes and confirms it mends that.
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    assert_eq!(stale().await, (false, String::new()));
}
