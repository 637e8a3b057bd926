//! Faults and payloads set while the server runs, and the record of requests.

use demo_upstream::server::Config;

use crate::client::{Upstream, config, expected};

const PATH: &str = "/incidents/denial/";

#[tokio::test]
async fn a_fault_comes_and_goes() {
    let upstream = Upstream::start(config()).await;
    upstream
        .fault("denial", r#"{"effect": "status-500"}"#)
        .await;
    assert_eq!(upstream.get(PATH).await.status, 500);
    upstream.fault("all", r#"{"effect": "status-502"}"#).await;
    assert_eq!(upstream.get(PATH).await.status, 502);
    assert_eq!(upstream.get("/identities").await.status, 502);
    let reply = upstream.send("DELETE", "/control/faults/denial", "").await;
    assert_eq!(reply.status, 204);
    assert_eq!(upstream.get(PATH).await.status, 200);
    assert_eq!(upstream.get("/identities").await.status, 502);
    upstream.send("DELETE", "/control/faults/all", "").await;
    assert_eq!(upstream.get("/identities").await.status, 200);
}

#[tokio::test]
async fn a_fault_may_strike_a_few_times_only() {
    let upstream = Upstream::start(config()).await;
    upstream
        .fault("all", r#"{"effect": "status-500", "times": 2}"#)
        .await;
    for path in [PATH, "/incidents/other/"] {
        for status in [500, 500, 200, 200] {
            assert_eq!(upstream.get(path).await.status, status);
        }
    }
}

#[tokio::test]
async fn a_fault_may_strike_by_chance() {
    let upstream = Upstream::start(config()).await;
    upstream
        .fault("denial", r#"{"effect": "status-500", "probability": 0.5}"#)
        .await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(upstream.get(PATH).await.status == 500);
    }
    assert!((20..80).contains(&failed), "{failed}");
}

#[tokio::test]
async fn a_payload_replaces_the_data() {
    let upstream = Upstream::start(config()).await;
    let payload = r#"{"results": [null, "row"]}"#;
    let reply = upstream
        .send("PUT", "/control/payload/denial", payload)
        .await;
    assert_eq!(reply.status, 204);
    assert_eq!(upstream.get(PATH).await.text(), payload);
    assert_eq!(
        upstream.get("/incidents/other/").await.body,
        expected("other")
    );
    upstream.fault("denial", r#"{"effect": "truncate"}"#).await;
    assert_eq!(
        upstream.get(PATH).await.text(),
        payload[..payload.len() / 2]
    );
    upstream.send("DELETE", "/control/faults/all", "").await;
    upstream.send("DELETE", "/control/payload/denial", "").await;
    assert_eq!(upstream.get(PATH).await.body, expected("denial"));
}

#[tokio::test]
async fn requests_are_recorded() {
    let upstream = Upstream::start(config()).await;
    upstream.fault("all", r#"{"latency_ms": 200}"#).await;
    let paths = ["/identities", PATH, "/incidents/other/"];
    let (first, second, third) = tokio::join!(
        upstream.get(paths[0]),
        upstream.get(paths[1]),
        upstream.get(paths[2])
    );
    assert_eq!([first.status, second.status, third.status], [200; 3]);
    upstream.get("/incidents/denial").await;
    upstream.exchange("GET", PATH, "", "").await;
    let records = upstream.get("/control/requests").await.json();
    assert_eq!(records["max_concurrency"], 3);
    assert_eq!(records["in_flight"], 0);
    assert_eq!(records["unauthorized"], 1);
    let denial = &records["endpoints"]["denial"];
    assert_eq!(denial["count"], 1);
    assert_eq!(denial["redirected"], 1);
    assert!(denial["times_ms"][0].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(denial["last_headers"]["host"], "upstream");
    assert!(denial["last_headers"].get("authorization").is_none());
    assert!(!records.to_string().contains("Basic"));

    upstream.send("DELETE", "/control/requests", "").await;
    let records = upstream.get("/control/requests").await.json();
    assert_eq!(records["endpoints"], serde_json::json!({}));
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_reader_is_gone() {
    let upstream = Upstream::start(config()).await;
    upstream.fault("denial", r#"{"effect": "endless"}"#).await;
    let headers = format!(
        "Authorization: {}\r\n",
        crate::client::authorization("collector", "s3:cret")
    );
    let stream = upstream.open("GET", PATH, &headers, "").await;
    stream.readable().await.unwrap();
    let in_flight = async || upstream.get("/control/requests").await.json()["in_flight"].clone();
    assert_eq!(in_flight().await, 1);
    drop(stream);
    while in_flight().await != 0 {}
}

#[tokio::test]
async fn says_what_is_wrong() {
    let upstream = Upstream::start(config()).await;
    let put = async |path: &str, body: &str| upstream.send("PUT", path, body).await;
    let reply = put("/control/faults/denail", "{}").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("denial"), "{}", reply.text());
    for (body, named) in [
        (r#"{"effect": "explode"}"#, "explode"),
        (r#"{"effect": "status-99"}"#, "400 to 599"),
        (r#"{"efect": "reset"}"#, "efect"),
        (r#"{"probability": 2}"#, "0 to 1"),
        ("", "expected"),
    ] {
        let reply = put("/control/faults/denial", body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert!(reply.text().contains(named), "{}", reply.text());
    }
    assert_eq!(upstream.get("/control/faults/denial").await.status, 405);
    assert_eq!(
        upstream.send("PUT", "/control/requests", "").await.status,
        405
    );
    assert_eq!(upstream.get("/control/").await.status, 404);
}

#[tokio::test]
async fn is_there_only_when_asked_for() {
    let upstream = Upstream::start(Config {
        control: false,
        ..config()
    })
    .await;
    let fault = r#"{"effect": "status-500"}"#;
    let reply = upstream.send("PUT", "/control/faults/all", fault).await;
    assert_eq!(reply.status, 404);
    assert_eq!(upstream.get(PATH).await.status, 200);
}
