//! Requests that nothing goes wrong with, and those that are refused.

use std::time::{Duration, Instant};

use demo_upstream::generate::{Dataset, IDENTITIES};

use crate::client::{Upstream, authorization, config, expected};

#[tokio::test]
async fn serves_the_data_of_every_endpoint() {
    let upstream = Upstream::start(config()).await;
    for endpoint in Dataset::endpoints() {
        let path = if endpoint == IDENTITIES {
            "/identities".to_owned()
        } else {
            let path = format!("/incidents/{endpoint}");
            let reply = upstream.get(&path).await;
            assert_eq!(reply.status, 308);
            let target = reply.header("location").unwrap().to_owned();
            assert_eq!(target, format!("{path}/"));
            target
        };
        let reply = upstream.get(&path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.promised(), Some(reply.body.len()));
        assert_eq!(reply.body, expected(&endpoint));
        assert_eq!(reply.end, Ok(()));
    }
    let reply = upstream.get("/incidents/denial?since=1").await;
    assert_eq!(reply.header("location"), Some("/incidents/denial/?since=1"));
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let upstream = Upstream::start(config()).await;
    let reply = upstream.send("HEAD", "/incidents/other/", "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.promised(), Some(expected("other").len()));
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn refuses_what_is_not_there() {
    let upstream = Upstream::start(config()).await;
    for path in [
        "/",
        "/incidents",
        "/incidents/",
        "/incidents/identities/",
        "/incidents/x/",
    ] {
        assert_eq!(upstream.get(path).await.status, 404, "{path}");
    }
    let reply = upstream.send("POST", "/identities", "{}").await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn wants_the_right_credentials() {
    let upstream = Upstream::start(config()).await;
    let header = |value: String| format!("Authorization: {value}\r\n");
    let wrong = [
        String::new(),
        header(authorization("collector", "s3")),
        header(authorization("collecto", "rs3:cret")),
        header(authorization("collector:s3", "cret ")),
        header("Basic !".to_owned()),
        header("Bearer s3:cret".to_owned()),
    ];
    for headers in &wrong {
        for path in [
            "/identities",
            "/incidents/denial",
            "/nowhere",
            "/control/requests",
        ] {
            let reply = upstream.exchange("GET", path, headers, "").await;
            assert_eq!(reply.status, 401, "{headers}");
            let challenge = reply.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
    }
    let right = header(authorization("collector", "s3:cret"));
    let reply = upstream.exchange("GET", "/identities", &right, "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn takes_its_time() {
    let latency = (Duration::from_millis(150), Duration::from_millis(200));
    let upstream = Upstream::start(demo_upstream::server::Config {
        latency,
        ..config()
    })
    .await;
    let asked = Instant::now();
    assert_eq!(upstream.get("/incidents/misuse/").await.status, 200);
    assert!(asked.elapsed() >= latency.0);
}

#[tokio::test]
async fn new_incidents_come_while_it_runs() {
    let growth = 60_000;
    let upstream = Upstream::start(demo_upstream::server::Config { growth, ..config() }).await;
    let first = expected("probing");
    let rows = &first[..first.len() - 2];
    let mut length = 0;
    for _ in 0..3 {
        let longer = loop {
            let body = upstream.get("/incidents/probing/").await.body;
            if body.len() > first.len().max(length) {
                break body;
            }
        };
        assert!(longer.starts_with(rows) && longer.ends_with(b"}]}"));
        length = longer.len();
    }
    assert_eq!(upstream.get("/identities").await.body, expected(IDENTITIES));
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_up_others() {
    let upstream = Upstream::start(config()).await;
    upstream.fault("denial", r#"{"effect": "hang"}"#).await;
    let hanging = upstream.get("/incidents/denial/");
    let other = upstream.get("/incidents/other/");
    tokio::select! {
        _ = hanging => panic!("a hanging endpoint answered"),
        reply = other => assert_eq!(reply.status, 200),
    }
}
