//! How often a request goes to Redis, by what Redis itself has seen.

use std::collections::HashMap;
use std::time::Duration;

use end_to_end::{Host, ID, PASSWORD, Process, Redis, Upstream, host_with, refresher, until};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

const BOUND: Duration = Duration::from_secs(30);

/// A Redis with a snapshot that no refresher touches any more, and a host.
async fn settled(rows: &str, settings: &[(&str, &str)]) -> (Redis, Host) {
    let redis = Redis::start().await;
    let upstream = Upstream::start_with(&["--per-type", rows]).await;
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(BOUND).await.success());
    // One instance for the whole test: another one would have to fetch the body anew.
    let lasting = [
        "--max-instance-reuse-count",
        "100000",
        "--idle-instance-timeout",
        "600s",
    ];
    let host = host_with(&redis, settings, &lasting).await;
    // The first request opens the connection and makes the scripts known.
    for path in ["/incidents", "/incidents/1", "/status", "/readyz"] {
        let _ = host.client.get(path).await;
    }
    (redis, host)
}

/// How often each command was called since [`forget`], those within scripts left out.
async fn seen(redis: &Redis) -> HashMap<String, u64> {
    let mut connection = redis.connection().await;
    let info: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .expect("a text");
    let calls = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
        let (calls, _) = rest.strip_prefix("calls=")?.split_once(',')?;
        Some((name.to_owned(), calls.parse().ok()?))
    });
    calls.collect()
}

async fn forget(redis: &Redis) {
    let mut connection = redis.connection().await;
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .exec_async(&mut connection)
        .await
        .expect("it is reset");
}

const TIMES: u64 = 20;

/// Does a request [`TIMES`] times; how many scripts these took, how many `GET`s beside the one in each
/// admission, and how many pieces of values.
async fn calls(redis: &Redis, request: impl AsyncFn() -> u16, status: u16) -> (u64, u64, u64) {
    // Once before, so that the instance holds what it may hold.
    assert_eq!(request().await, status);
    forget(redis).await;
    for _ in 0..TIMES {
        assert_eq!(request().await, status);
    }
    let calls = seen(redis).await;
    let count = |name: &str| calls.get(name).copied().unwrap_or(0);
    assert_eq!(count("eval"), 0, "{calls:?}");
    (count("evalsha"), count("get") - TIMES, count("getrange"))
}

#[tokio::test]
async fn what_needs_no_body_takes_one_round_trip_and_a_kept_body_as_well() {
    let (redis, host) = settled("300", &[]).await;
    let client = &host.client;
    let etag = client.get("/incidents").await.header("etag").to_owned();
    let not_modified = async || {
        let fields = [("if-none-match", etag.as_str())];
        let answer = client.send(Method::GET, "/incidents", &fields).await;
        answer.status.as_u16()
    };
    let head = async || {
        let answer = client.send(Method::HEAD, "/incidents", &[]).await;
        answer.status.as_u16()
    };
    let stranger = async || client.get_as_stranger("/incidents").await.status.as_u16();
    let guess = async || {
        let account = Some((ID, "wrong"));
        let answer = client
            .try_send(Method::GET, "/incidents", account, &[])
            .await;
        answer.expect("an answer").status.as_u16()
    };
    let status = async || client.get("/status").await.status.as_u16();
    let metrics = async || client.get("/metrics").await.status.as_u16();
    let kept = async || client.get("/incidents").await.status.as_u16();
    assert_eq!(calls(&redis, not_modified, 304).await, (TIMES, 0, 0));
    assert_eq!(calls(&redis, head, 200).await, (TIMES, 0, 0));
    // The nodes and the history are only read for who is let in: once more, where the history is got.
    assert_eq!(calls(&redis, status, 200).await, (2 * TIMES, TIMES, 0));
    assert_eq!(calls(&redis, metrics, 200).await, (3 * TIMES, TIMES, 0));
    // Should the host start another instance, that has to get the body once.
    let (scripts, gets, pieces) = calls(&redis, kept, 200).await;
    assert_eq!((scripts, gets), (TIMES, 0));
    assert!(pieces < TIMES / 4, "{pieces}");
    // Nothing is read for who is not let in, but the script reads before anybody knows.
    assert_eq!(calls(&redis, stranger, 401).await, (TIMES, 0, 0));
    assert_eq!(calls(&redis, guess, 401).await, (TIMES, 0, 0));
}

#[tokio::test]
async fn a_refused_request_takes_one_round_trip() {
    let limit = [("incidents_api_rate_limits", "1 per day")];
    let (redis, host) = settled("300", &limit).await;
    let client = &host.client;
    let refused = async || client.get("/incidents").await.status.as_u16();
    assert_eq!(refused().await, 429);
    forget(&redis).await;
    for _ in 0..20 {
        assert_eq!(refused().await, 429);
    }
    let calls = seen(&redis).await;
    assert_eq!(calls.get("evalsha"), Some(&20), "{calls:?}");
    assert_eq!(calls.get("get"), None, "{calls:?}");
}

#[tokio::test]
async fn an_employee_takes_two_round_trips() {
    let (redis, host) = settled("300", &[]).await;
    let client = &host.client;
    let report = client.get("/incidents").await.json();
    let id = report.as_object().expect("an object").keys().next();
    let path = format!("/incidents/{}", id.expect("an employee"));
    let employee = async || client.get(&path).await.status.as_u16();
    // The index and the part are read within the second one.
    let (scripts, gets, _) = calls(&redis, employee, 200).await;
    assert_eq!((scripts, gets), (2 * TIMES, 0));
}

#[tokio::test]
async fn a_body_that_no_instance_keeps_takes_a_round_trip_for_each_block() {
    let (redis, host) = settled("9000", &[]).await;
    let client = &host.client;
    let body = client.get("/incidents").await.body;
    let blocks = body.len().div_ceil(domain::contract::record::BLOCK_BYTES) as u64;
    assert!(blocks > 3, "{blocks}");
    let whole = async || {
        let answer = client.get("/incidents").await;
        assert_eq!(answer.body, body);
        answer.status.as_u16()
    };
    assert_eq!(calls(&redis, whole, 200).await, (TIMES, 0, blocks * TIMES));
}

/// How many pieces of values were read since [`forget`].
async fn pieces(redis: &Redis) -> u64 {
    seen(redis).await.get("getrange").copied().unwrap_or(0)
}

#[tokio::test]
async fn of_a_large_body_only_a_few_blocks_are_held_for_a_client_that_does_not_read() {
    let (redis, host) = settled("50000", &[]).await;
    let head = host.client.send(Method::HEAD, "/incidents", &[]).await;
    let length: usize = head.header("content-length").parse().expect("a length");
    let blocks = length.div_ceil(domain::contract::record::BLOCK_BYTES) as u64;
    assert!(blocks > 30, "{blocks}");
    forget(&redis).await;

    // What the kernel keeps for the client is not much either.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(1 << 16)
        .expect("it may be small");
    let address = host.url.trim_start_matches("http://");
    let mut stream = socket
        .connect(address.parse().expect("an address"))
        .await
        .expect("it listens");
    let request = reqwest::Client::new()
        .get("http://host/incidents")
        .basic_auth(ID, Some(PASSWORD))
        .build()
        .expect("a request");
    let authorization = request.headers()["authorization"].to_str().expect("a text");
    let request = format!(
        "GET /incidents HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\nconnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is read");
    let mut answer = vec![0; 15];
    stream.read_exact(&mut answer).await.expect("it answers");
    assert_eq!(answer, b"HTTP/1.1 200 OK");

    // Others get the whole body, until nothing more is read for this one during all of that.
    let (each, mut others) = (blocks, 0);
    let read = until("it is waited for", BOUND, async || {
        let before = pieces(&redis).await;
        assert_eq!(host.client.get("/incidents").await.body.len(), length);
        others += 1;
        let after = pieces(&redis).await;
        (after - before == each).then(|| after - others * each)
    })
    .await;
    assert!((1..15).contains(&read), "{read} of {blocks}");
    stream.read_to_end(&mut answer).await.expect("the rest");
    let header = answer.windows(4).position(|end| end == b"\r\n\r\n");
    assert_eq!(answer.len() - header.expect("an end") - 4, length);
    assert_eq!(pieces(&redis).await, (others + 1) * each);
}
