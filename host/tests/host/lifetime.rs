//! How a server ends.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt as _;
use tokio::net::TcpStream;

use crate::{
    client::{Connection, get},
    server::{Host, Redis, Settings, until},
};

/// Begins an answer whose last chunk waits for the key `gate`.
async fn in_flight(host: &Host, redis: &Redis) -> hyper::body::Incoming {
    let mut connection = Connection::open(host.address).await;
    let path = format!("/stream?chunks=2&size=3&gate=gate&url={}", redis.url);
    let answer = connection.begin(Method::GET, &path, &[], "").await.unwrap();
    let mut body = answer.into_body();
    body.frame().await.unwrap().unwrap();
    body
}

#[tokio::test]
async fn requests_in_flight_are_finished() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let (address, body) = (host.address, in_flight(&host, &redis).await);
    let ending = tokio::spawn(host.stop());
    until("nobody is accepted any more", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    assert!(!ending.is_finished());
    redis.run::<()>("SET gate open").await;
    assert_eq!(body.collect().await.unwrap().to_bytes(), "ccc");
    ending.await.unwrap();
}

#[tokio::test]
async fn requests_that_take_too_long_are_cut() {
    let redis = Redis::start().await;
    let host = Host::start(Settings {
        redis: Some(&redis),
        limits: host::Limits {
            shutdown_grace: Duration::from_millis(200),
            ..host::Limits::default()
        },
        ..Settings::default()
    })
    .await;
    let body = in_flight(&host, &redis).await;
    let start = Instant::now();
    host.stop().await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert!(body.collect().await.is_err(), "nobody takes it for whole");
}

#[tokio::test]
async fn connections_without_a_request_are_not_waited_for() {
    let host = Host::start(Settings::default()).await;
    let mut used = Connection::open(host.address).await;
    assert_eq!(used.get("/none").await.status, 200);
    let _unused = TcpStream::connect(host.address).await.unwrap();
    let start = Instant::now();
    host.stop().await;
    assert!(start.elapsed() < host::Limits::default().shutdown_grace);
}

#[tokio::test]
async fn a_server_that_drains_goes_on_and_says_that_it_will_end() {
    let drain_time = Duration::from_secs(2);
    let host = Host::start(Settings {
        limits: host::Limits {
            drain_time,
            ..host::Limits::default()
        },
        ..Settings::default()
    })
    .await;
    let address = host.address;
    let mut kept = Connection::open(address).await;
    assert_eq!(kept.get("/readyz").await.status, 200);
    let start = Instant::now();
    let ending = tokio::spawn(host.stop());
    until("it says that it is not ready", async || {
        get(address, "/readyz").await.status == 503
    })
    .await;
    // Whoever has a connection, and whoever opens one, is answered, and told to come back on another.
    let answers = [kept.get("/none").await, get(address, "/none").await];
    for answer in answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["connection"], "close", "{answer:?}");
    }
    assert!(!ending.is_finished());
    ending.await.unwrap();
    assert!(start.elapsed() >= drain_time, "{:?}", start.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
}
