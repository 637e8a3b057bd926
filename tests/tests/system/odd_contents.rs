//! Whatever stands in Redis that is none of ours: 503 that says so, at once, and never anything that could
//! be taken for an answer.

use std::time::{Duration, Instant};

use domain::contract::record::BLOCK_BYTES;
use end_to_end::{Client, Host, Process, Redis, Upstream, host, keys, refresher};
use redis::aio::MultiplexedConnection;
use reqwest::Method;
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(30);

/// A second is meant; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A Redis with a snapshot that no refresher touches any more, a host, and an employee of the report.
async fn settled() -> (Redis, Host, String) {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    let host = host(&redis, &[]).await;
    let report = host.client.get("/incidents").await.json();
    let employee = report.as_object().and_then(|report| report.keys().next());
    let path = format!("/incidents/{}", employee.expect("an employee"));
    (redis, host, path)
}

async fn set(connection: &mut MultiplexedConnection, key: &str, value: &[u8]) {
    redis::cmd("SET")
        .arg(key)
        .arg(value)
        .exec_async(connection)
        .await
        .expect("it is set");
}

async fn get(connection: &mut MultiplexedConnection, key: &str) -> Vec<u8> {
    let mut get = redis::cmd("GET");
    get.arg(key);
    get.query_async(connection).await.expect("a value")
}

/// That a path says at once that it cannot be answered.
async fn is_unavailable(client: &Client, path: &str, what: &str) {
    for (field, value) in [("accept-encoding", "identity"), ("accept-encoding", "gzip")] {
        let began = Instant::now();
        let answer = client.send(Method::GET, path, &[(field, value)]).await;
        assert_eq!(answer.status, 503, "{what}: {path} {answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{what}: {path}");
        let detail = answer.problem(503);
        assert!(!detail.contains("127.0.0.1"), "{what}: {detail}");
        assert!(
            began.elapsed() < SOON,
            "{what}: {path} took {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_is_refused() {
    let (redis, host, employee) = settled().await;
    let client = &host.client;
    let mut connection = redis.connection().await;
    let current = keys().current();
    let good = get(&mut connection, &current).await;
    let record: Value = serde_json::from_slice(&good).expect("a record");
    let changed = |pointer: &str, value: Value| {
        let mut record = record.clone();
        *record.pointer_mut(pointer).expect(pointer) = value;
        record.to_string().into_bytes()
    };
    let long = "a".repeat(1 << 20);
    let cases = [
        (
            "line breaks in the tag",
            changed("/etag", json!("a\r\nx-forged: 1")),
        ),
        ("quotes in the tag", changed("/etag", json!("a\", \"b"))),
        ("a long tag", changed("/etag", json!("a".repeat(20_000)))),
        ("a very long tag", changed("/etag", json!(long))),
        ("no tag", changed("/etag", json!(""))),
        ("no bodies", changed("/report", json!({}))),
        (
            "an empty body",
            changed("/report/identity", json!({"bytes": 0})),
        ),
        (
            "a huge body",
            changed(
                "/report",
                json!({"identity": {"bytes": 1_u64 << 40}, "gzip": {"bytes": 1_u64 << 40}}),
            ),
        ),
        (
            "an endless body",
            changed(
                "/report",
                json!({"identity": {"bytes": u64::MAX}, "gzip": {"bytes": u64::MAX}}),
            ),
        ),
        (
            "line breaks in a type",
            changed("/types/0/name", json!("a\"\r\nb")),
        ),
        ("nonsense", b"\xff\x00".to_vec()),
        ("a list", b"[]".to_vec()),
        ("100 MB", vec![b'{'; 100 << 20]),
    ];
    for (what, bad) in cases {
        set(&mut connection, &current, &bad).await;
        for path in ["/incidents", &employee] {
            is_unavailable(client, path, what).await;
        }
        set(&mut connection, &current, &good).await;
        assert_eq!(client.get("/incidents").await.status, 200, "after {what}");
        assert_eq!(client.get(&employee).await.status, 200, "after {what}");
    }
    redis.ask::<i64>(&format!("DEL {current}")).await;
    redis.ask::<i64>(&format!("LPUSH {current} x")).await;
    for path in ["/incidents", &employee, "/status", "/readyz"] {
        is_unavailable(client, path, "a list in place of the record").await;
    }
}

#[tokio::test]
async fn an_index_and_blocks_that_cannot_be_are_refused() {
    let (redis, host, employee) = settled().await;
    let client = &host.client;
    let mut connection = redis.connection().await;
    let status = client.get("/status").await.json();
    let generation = status["snapshot"]["generation"].as_u64().expect("a number");
    let index = keys().employees(generation);
    let good = get(&mut connection, &index).await;
    let employees = good.len() / 20;
    // All of the index is the one employee's, so that it is found, wherever it is said to be.
    let id: u64 = employee
        .rsplit('/')
        .next()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let entry = |start: u64, length: u32| {
        let mut entry = id.to_be_bytes().to_vec();
        entry.extend_from_slice(&start.to_be_bytes());
        entry.extend_from_slice(&length.to_be_bytes());
        entry.repeat(employees)
    };
    let cases = [
        ("one byte", b"x".to_vec()),
        ("half an entry more", [&good[..], &good[..10]].concat()),
        ("nothing", Vec::new()),
        ("an entry less", good[20..].to_vec()),
        ("an entry beyond the report", entry(1 << 40, 100)),
        ("an entry beyond all numbers", entry(u64::MAX, u32::MAX)),
        ("an entry of 4 GiB", entry(0, u32::MAX)),
        ("an entry of nothing", entry(1, 0)),
        ("an entry in the middle of a row", entry(30, 50)),
    ];
    for (what, bad) in cases {
        set(&mut connection, &index, &bad).await;
        is_unavailable(client, &employee, what).await;
    }
    redis.ask::<i64>(&format!("DEL {index}")).await;
    is_unavailable(client, &employee, "no index").await;
    redis.ask::<i64>(&format!("LPUSH {index} x")).await;
    is_unavailable(client, &employee, "a list in place of the index").await;
    redis.ask::<i64>(&format!("DEL {index}")).await;
    set(&mut connection, &index, &good).await;
    assert_eq!(client.get(&employee).await.status, 200);

    let names: Vec<String> = redis
        .ask(&format!("KEYS {{incidents}}:{generation}:report:*:0"))
        .await;
    for (what, bad) in [
        ("a short block", vec![b'{'; 7]),
        ("100 MB in a block", vec![b'{'; 100 << 20]),
    ] {
        // Instances that had the block before may still have it.
        let fresh = end_to_end::host(&redis, &[]).await;
        for name in &names {
            set(&mut connection, name, &bad).await;
        }
        if what == "a short block" {
            is_unavailable(&fresh.client, "/incidents", what).await;
            is_unavailable(&fresh.client, &employee, what).await;
        } else {
            let began = Instant::now();
            let answer = fresh.client.get("/incidents").await;
            assert!(began.elapsed() < SOON, "{what}: {:?}", began.elapsed());
            assert!(answer.body.len() <= BLOCK_BYTES, "{what}");
        }
    }
}

#[tokio::test]
async fn reports_of_nodes_and_counters_that_cannot_be_are_refused() {
    let (redis, host, _) = settled().await;
    let client = &host.client;
    let fill = "for n = 1, 5000 do redis.call('HSET', KEYS[1], ARGV[1] .. n, 'x') end";
    let mut connection = redis.connection().await;
    for round in 0..200 {
        redis::cmd("EVAL")
            .arg(fill)
            .arg(1)
            .arg(keys().nodes())
            .arg(format!("{round}:"))
            .exec_async(&mut connection)
            .await
            .expect("it is filled");
    }
    is_unavailable(client, "/status", "too many nodes").await;
    is_unavailable(client, "/shutdown", "too many nodes").await;
    assert_eq!(client.get("/incidents").await.status, 200);
    redis
        .ask::<i64>(&format!("UNLINK {}", keys().nodes()))
        .await;

    // What is only shown, and is too long or of the wrong kind, is not shown.
    set(&mut connection, &keys().history(), &vec![b'x'; 50 << 20]).await;
    let mut hash = redis::cmd("HSET");
    hash.arg(keys().nodes())
        .arg("long")
        .arg(vec![b'x'; 50 << 20]);
    hash.exec_async(&mut connection).await.expect("it is set");
    redis
        .ask::<i64>(&format!("LPUSH {} x", keys().node_changes()))
        .await;
    let began = Instant::now();
    let status = client.get("/status").await;
    assert_eq!(status.status, 200, "{status:?}");
    assert!(began.elapsed() < SOON);
    let status = status.json();
    assert_eq!(status["history"], Value::Null);
    assert_eq!(status["node_changes"]["healthy"], 0);
    assert_eq!(status["nodes"], json!([]));

    let counter = keys().limit("incidents", 0, "127.0.0.1");
    set(&mut connection, &counter, b"nonsense").await;
    is_unavailable(client, "/incidents", "a counter that is no number").await;
    redis.ask::<i64>(&format!("DEL {counter}")).await;
    redis.ask::<i64>(&format!("LPUSH {counter} x")).await;
    is_unavailable(client, "/incidents", "a counter that is a list").await;
}

/// Puts a snapshot into Redis in which one employee has `bytes` of a larger report.
async fn one_large_employee(redis: &Redis, bytes: usize) -> Vec<u8> {
    let mut connection = redis.connection().await;
    let raw = get(&mut connection, &keys().current()).await;
    let mut record: Value = serde_json::from_slice(&raw).expect("a record");
    let generation = record["generation"].as_u64().expect("a number") + 1;
    let start = 1_234_567;
    let mut report = vec![b' '; start];
    report.push(b'{');
    report.extend((0..bytes - 2).map(|n| b'a' + (n % 23) as u8));
    report.push(b'}');
    let part = report[start..].to_vec();
    report.extend_from_slice(b"tail");
    for (number, block) in report.chunks(BLOCK_BYTES).enumerate() {
        let number = u32::try_from(number).expect("a small number");
        let encoding = domain::contract::document::Encoding::Identity;
        let document = domain::contract::document::Document::Report;
        let key = keys().block(generation, document, encoding, number);
        set(&mut connection, &key, block).await;
    }
    let mut entry = 7_u64.to_be_bytes().to_vec();
    entry.extend_from_slice(&(start as u64).to_be_bytes());
    entry.extend_from_slice(&u32::try_from(bytes).expect("a small number").to_be_bytes());
    // Where its rows begin in the list of the employees' rows.
    entry.extend_from_slice(&0_u32.to_be_bytes());
    set(&mut connection, &keys().employees(generation), &entry).await;
    record["generation"] = generation.into();
    record["employees"] = 1.into();
    record["report"] = json!({"identity": {"bytes": report.len()}});
    let record = record.to_string();
    set(&mut connection, &keys().current(), record.as_bytes()).await;
    part
}

#[tokio::test]
async fn an_employee_with_very_much_is_streamed_and_holds_up_nobody() {
    let (redis, host, _) = settled().await;
    let client = &host.client;
    for bytes in [200 << 10, 300 << 10, BLOCK_BYTES, 90 << 20] {
        let part = one_large_employee(&redis, bytes).await;
        let _: String = redis.ask("CONFIG RESETSTAT").await;
        let answer = client.get("/incidents/7").await;
        assert_eq!(answer.status, 200, "{bytes}: {:?}", answer.headers);
        assert_eq!(answer.header("content-length"), bytes.to_string());
        assert!(answer.body == part, "{bytes} differ");
        let etag = answer.header("etag").to_owned();
        let fields = [("if-none-match", etag.as_str())];
        let again = client.send(Method::GET, "/incidents/7", &fields).await;
        assert_eq!(again.status, 304, "{bytes}");
        let head = client.send(Method::HEAD, "/incidents/7", &[]).await;
        assert_eq!(head.header("content-length"), bytes.to_string());
        assert_eq!(client.get("/incidents/8").await.status, 404);
        // No script of these held Redis up: on average they took very little.
        let stats: String = redis.ask("INFO commandstats").await;
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"));
        let per_call = line.and_then(|line| line.split("usec_per_call=").nth(1)?.split(',').next());
        let per_call: f64 = per_call
            .and_then(|text| text.parse().ok())
            .expect("a number");
        assert!(per_call < 20_000.0, "{bytes}: {per_call} µs");
    }
}
