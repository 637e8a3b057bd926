//! Every fault, as a client meets it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use demo_upstream::generate::{Dataset, IDENTITIES};
use demo_upstream::server::Config;
use tokio::io::AsyncReadExt as _;

use crate::client::{DATA, Upstream, authorization, config, expected};

const PATH: &str = "/incidents/denial/";

async fn with(effect: &str) -> Upstream {
    let fault = format!("denial={effect}").parse().unwrap();
    Upstream::start(Config {
        faults: vec![fault],
        ..config()
    })
    .await
}

#[tokio::test]
async fn status() {
    let upstream = with("status-503").await;
    let reply = upstream.get(PATH).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.end, Ok(()));
    assert_eq!(upstream.get("/incidents/other/").await.status, 200);
}

#[tokio::test]
async fn reset() {
    let reply = with("reset").await.get(PATH).await;
    assert_eq!(reply.status, 0);
    assert_eq!(reply.end, Err(ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn reset_midway() {
    let reply = with("reset-midway").await.get(PATH).await;
    assert_eq!(reply.end, Err(ErrorKind::ConnectionReset));
    assert!(reply.body.len() < expected("denial").len());
}

#[tokio::test]
async fn truncated() {
    let reply = with("truncate").await.get(PATH).await;
    let whole = expected("denial");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.end, Ok(()));
    assert_eq!(reply.promised(), Some(whole.len()));
    assert_eq!(reply.body, whole[..whole.len() / 2]);
}

#[tokio::test]
async fn truncated_in_a_chunk() {
    let reply = with("truncate-chunked").await.get(PATH).await;
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!(reply.promised(), None);
    assert_eq!(reply.end, Ok(()));
    let half = expected("denial").len() / 2;
    assert!(reply.body.len() >= half);
    assert!(!reply.body.ends_with(b"\r\n0\r\n\r\n"), "{}", reply.text());
}

#[tokio::test]
async fn stale() {
    let upstream = Upstream::start(config()).await;
    upstream.fault("all", r#"{"effect": "stale"}"#).await;
    let dataset = Dataset::new(&DATA).unwrap();
    for (path, endpoint) in [("/identities", IDENTITIES), (PATH, "denial")] {
        let stale = dataset.stale_payload(endpoint).unwrap().to_vec();
        assert_eq!(upstream.get(path).await.body, stale);
        assert_ne!(stale, expected(endpoint));
    }
}

#[tokio::test]
async fn html() {
    let reply = with("html").await.get(PATH).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(reply.text().starts_with("<!DOCTYPE html>"));
}

#[tokio::test]
async fn wrong_body() {
    let reply = with("wrong-body").await.get(PATH).await;
    assert_eq!(reply.status, 200);
    assert!(reply.json().get("results").is_none());
}

#[tokio::test]
async fn endless() {
    let upstream = with("endless").await;
    let headers = format!(
        "Authorization: {}\r\n",
        authorization("collector", "s3:cret")
    );
    let mut stream = upstream.open("GET", PATH, &headers, "").await;
    let mut received = vec![0; 20 << 20];
    stream.read_exact(&mut received).await.unwrap();
    let start = String::from_utf8_lossy(&received[..400]);
    assert!(
        start.contains("200 OK") && start.contains(r#"{"results":[{"#),
        "{start}"
    );
}

#[tokio::test]
async fn drip() {
    let whole = expected("denial");
    let upstream = with(&format!("drip-{}", whole.len() * 4)).await;
    let asked = Instant::now();
    let reply = upstream.get(PATH).await;
    assert!(asked.elapsed() >= Duration::from_millis(200));
    assert_eq!(reply.body, whole);
}

#[tokio::test]
async fn hang() {
    let upstream = with("hang").await;
    let waited = tokio::time::timeout(Duration::from_millis(200), upstream.get(PATH)).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn redirect() {
    let target = "http://127.0.0.1:1/elsewhere";
    let reply = with(&format!("redirect-{target}")).await.get(PATH).await;
    assert_eq!(reply.status, 307);
    assert_eq!(reply.header("location"), Some(target));
}

#[tokio::test]
async fn latency() {
    let upstream = with("latency-150").await;
    let asked = Instant::now();
    assert_eq!(upstream.get(PATH).await.body, expected("denial"));
    assert!(asked.elapsed() >= Duration::from_millis(150));
}
