//! Every endpoint, every status code, every header, as the documentation has them.

use std::time::Duration;

use end_to_end::{
    Answer, Client, ID, PASSWORD, Redis, System, Upstream, host, incidents_in, keys, until,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const BOUND: Duration = Duration::from_secs(30);

/// Whatever needs a password.
const PROTECTED: [&str; 7] = [
    "/incidents",
    "/incidents/1",
    "/incidents/unattributed",
    "/incidents/no-such",
    "/status",
    "/metrics",
    "/shutdown",
];

/// Small enough to look at, with rows of every fate.
async fn small_system() -> System {
    let upstream = Upstream::start().await;
    upstream
        .serve("identities", r#"{"17.1.1.1": 86, "17.1.1.2": 775}"#)
        .await;
    for kind in end_to_end::TYPES {
        upstream.serve_rows(kind, &[]).await;
    }
    let denials = [
        json!({"priority": "low", "reported_by": 86, "timestamp": 5, "source_ip": "17.9.9.9"}),
        json!({"priority": "low", "reported_by": 86, "timestamp": 7}),
        json!({"priority": "urgent", "reported_by": 86, "timestamp": 8}),
    ];
    upstream.serve_rows("denial", &denials).await;
    let probings = [
        json!({"priority": "low", "ip": "17.1.1.1", "timestamp": 6}),
        json!({"priority": "high", "ip": "17.1.1.3", "timestamp": 9}),
        json!({"priority": "critical", "ip": "17.1.1.2", "timestamp": 9.25}),
    ];
    upstream.serve_rows("probing", &probings).await;
    System::start_with(upstream, &[], &[]).await
}

fn group(rows: &[Value]) -> Value {
    json!({"count": rows.len(), "incidents": rows})
}

#[tokio::test]
async fn the_report_and_its_parts_are_served() {
    let system = small_system().await;
    let client = &system.host.client;
    let low = [
        json!({"type": "denial", "priority": "low", "reported_by": 86, "timestamp": 5,
               "source_ip": "17.9.9.9"}),
        json!({"type": "probing", "priority": "low", "ip": "17.1.1.1", "timestamp": 6}),
        json!({"type": "denial", "priority": "low", "reported_by": 86, "timestamp": 7}),
    ];
    let critical =
        json!({"type": "probing", "priority": "critical", "ip": "17.1.1.2", "timestamp": 9.25});
    let none = group(&[]);
    let first = json!({"low": group(&low), "medium": none, "high": none, "critical": none});
    let second = json!({"low": none, "medium": none, "high": none, "critical": group(&[critical])});

    let report = client.get("/incidents").await;
    assert_eq!(report.status, 200);
    assert_eq!(report.header("content-type"), "application/json");
    assert_eq!(report.json(), json!({"86": first, "775": second}));
    assert!(report.body.starts_with(br#"{"86":{"low":{"count":3,"#));

    for (id, groups) in [("86", &first), ("775", &second)] {
        let part = client.get(&format!("/incidents/{id}")).await;
        assert_eq!(part.status, 200);
        assert_eq!(part.header("content-type"), "application/json");
        assert_eq!(part.json(), *groups);
        assert_eq!(
            part.header("content-length"),
            part.body.len().to_string().as_str()
        );
    }
    for id in ["1", "86000", "086", "+86", "86.0", "x", "%38%36", "-1"] {
        let missing = client.get(&format!("/incidents/{id}")).await;
        let detail = missing.problem(404);
        assert!(detail.contains("employee"), "{id}: {detail}");
    }

    let unattributed = client.get("/incidents/unattributed").await;
    assert_eq!(unattributed.status, 200);
    assert_eq!(
        unattributed.json()["probing"],
        json!([{"priority": "high", "ip": "17.1.1.3", "timestamp": 9}])
    );

    let status = client.get("/status").await;
    assert_eq!(status.status, 200);
    let snapshot = &status.json()["snapshot"];
    assert_eq!(
        snapshot["totals"],
        json!({"fetched": 6, "reported": 4, "unattributed": 1, "rejected": 1})
    );
    assert_eq!(snapshot["employees"], 2);
    assert_eq!(snapshot["stale"], false);
    assert_eq!(
        report.header("etag"),
        format!("\"{}\"", snapshot["etag"].as_str().expect("a text"))
    );
    let denial = &snapshot["types"][0];
    assert_eq!(denial["type"], "denial");
    assert_eq!(
        [denial["fetched"].as_u64(), denial["rejected"].as_u64()],
        [Some(3), Some(1)]
    );

    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = client.get_as_stranger(path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (200, text.as_bytes())
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_report_is_served_with_all_that_caches_need() {
    let system = small_system().await;
    let client = &system.host.client;
    for path in ["/incidents", "/incidents/86", "/incidents/unattributed"] {
        let answer = client.get(path).await;
        let etag = answer.header("etag");
        assert!(
            etag.len() > 20 && etag.starts_with('"') && etag.ends_with('"'),
            "{path}: {etag}"
        );
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert_eq!(answer.header("vary"), "Authorization, Accept-Encoding");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let age: u64 = answer.header("age").parse().expect("seconds");
        assert!(age < 30, "{path}: {age}");
        let modified = answer.header("last-modified");
        assert!(modified.ends_with(" GMT"), "{path}: {modified}");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string().as_str()
        );

        // What the client has already.
        let listed = format!("\"other\", W/{etag}");
        for (name, value) in [
            ("if-none-match", etag),
            ("if-none-match", "*"),
            ("if-none-match", &listed),
            ("if-modified-since", modified),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let cached = client.send(method, path, &[(name, value)]).await;
                assert_eq!(cached.status, 304, "{path} {name}: {value}");
                assert!(cached.body.is_empty());
                for same in ["etag", "cache-control", "vary", "last-modified"] {
                    assert_eq!(cached.header(same), answer.header(same), "{path} {same}");
                }
            }
        }
        // What it has not.
        for (name, value) in [
            ("if-none-match", "\"other\""),
            ("if-none-match", "garbage"),
            ("if-modified-since", "Tue, 15 Nov 1994 08:12:31 GMT"),
            ("if-modified-since", "yesterday"),
        ] {
            let again = client.send(Method::GET, path, &[(name, value)]).await;
            assert_eq!(again.status, 200, "{path} {name}: {value}");
            assert_eq!(again.body, answer.body);
        }
    }
}

#[tokio::test]
async fn head_answers_as_get_does_but_without_a_body() {
    let system = small_system().await;
    let client = &system.host.client;
    for path in [
        "/incidents",
        "/incidents/86",
        "/incidents/4711",
        "/incidents/unattributed",
        "/status",
        "/metrics",
        "/healthz",
        "/readyz",
        "/nothing/here",
    ] {
        let get = client.get(path).await;
        let head = client.send(Method::HEAD, path, &[]).await;
        assert_eq!(head.status, get.status, "{path}");
        assert!(head.body.is_empty(), "{path}");
        let names = |answer: &Answer| {
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        assert_eq!(names(&head), names(&get), "{path}");
        for same in ["content-type", "content-length", "etag"] {
            // Ages in these bodies grow a digit now and then.
            let has_ages = ["/status", "/metrics"].contains(&path);
            if !has_ages || same != "content-length" {
                assert_eq!(head.header(same), get.header(same), "{path} {same}");
            }
        }
    }
    // HEAD is a safe method: it ends nothing.
    let head = client.send(Method::HEAD, "/shutdown", &[]).await;
    assert_eq!(head.status, 200);
    let mut connection = system.redis.connection().await;
    let commands: u64 = redis::cmd("XLEN")
        .arg(keys().commands())
        .query_async(&mut connection)
        .await
        .expect("a number");
    assert_eq!(commands, 0);
}

#[tokio::test]
async fn wrong_methods_and_paths_are_told_without_a_password() {
    let system = small_system().await;
    let client = &system.host.client;
    for (path, allowed) in [
        ("/incidents", "GET, HEAD"),
        ("/incidents/86", "GET, HEAD"),
        ("/incidents/unattributed", "GET, HEAD"),
        ("/status", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET, HEAD, OPTIONS"),
        ("/shutdown", "GET, HEAD, POST"),
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            if allowed.split(", ").any(|allowed| allowed == method) {
                continue;
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = client.try_send(method.clone(), path, None, &[]).await;
            let answer = answer.expect("an answer");
            let _ = answer.problem(405);
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
    }
    for path in [
        "/incidents/",
        "/incidents/1/2",
        "/Incidents",
        "/status/",
        "/favicon.ico",
        "/config/config.yaml",
        "/../config/config.yaml",
        "/incidents%2F86",
    ] {
        let answer = client.get_as_stranger(path).await;
        let detail = answer.problem(404);
        assert!(detail.contains("/incidents"), "{path}: {detail}");
    }
    // A query changes nothing.
    assert_eq!(client.get("/incidents?page=2").await.status, 200);
}

#[tokio::test]
async fn nothing_is_revealed_to_who_does_not_know_the_password() {
    let system = small_system().await;
    let client = &system.host.client;
    let mut refusals = Vec::new();
    let etag = client.get("/incidents").await.header("etag").to_owned();
    for path in PROTECTED {
        for account in [
            None,
            Some((ID, "wrong")),
            Some((ID, "")),
            Some(("", PASSWORD)),
            Some(("auditor2", PASSWORD)),
            Some(("AUDITOR", PASSWORD)),
        ] {
            let fields = [("if-none-match", etag.as_str())];
            let answer = client.try_send(Method::GET, path, account, &fields).await;
            let answer = answer.expect("an answer");
            let _ = answer.problem(401);
            assert_eq!(
                answer.header("www-authenticate"),
                "Basic realm=\"incidents\", charset=\"UTF-8\""
            );
            assert_eq!(answer.header("cache-control"), "no-store");
            for hidden in ["etag", "last-modified", "age"] {
                assert_eq!(answer.header(hidden), "", "{path}");
            }
            refusals.push(answer.body);
        }
        for value in [
            "Basic",
            "Basic ",
            "Basic !!!",
            "Basic YXVkaXRvcg==",
            "Bearer abc",
            "Basic YXVkaXRvcjpjb3JyZWN0IGhvcnNlOiBiYXR0ZXJ5IHN0YXBsZQ= =",
        ] {
            let fields = [("authorization", value)];
            let answer = client.try_send(Method::GET, path, None, &fields).await;
            let answer = answer.expect("an answer");
            let _ = answer.problem(401);
            refusals.push(answer.body);
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "refusals differ");
}

#[tokio::test]
async fn every_coding_decodes_to_the_same_and_has_a_tag_of_its_own() {
    // Several blocks in each coding, so that they are put together in the right order.
    let upstream = Upstream::start_with(&["--per-type", "9000", "--employees", "3000"]).await;
    let system = System::start_with(upstream, &[], &[]).await;
    let client = &system.host.client;
    for path in ["/incidents", "/incidents/unattributed"] {
        let plain = client.get(path).await;
        assert_eq!(plain.header("content-encoding"), "");
        let mut tags = vec![plain.header("etag").to_owned()];
        for (accepted, coding) in [
            ("gzip", "gzip"),
            ("zstd", "zstd"),
            ("br", "br"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("x-gzip", "gzip"),
            ("deflate", ""),
            ("identity;q=1, zstd;q=0.1", ""),
            ("*", "zstd"),
            ("zstd;q=0, *", "br"),
            ("", ""),
        ] {
            let fields = [("accept-encoding", accepted)];
            let answer = client.send(Method::GET, path, &fields).await;
            assert_eq!(answer.status, 200, "{accepted}");
            assert_eq!(answer.header("content-encoding"), coding, "{accepted}");
            assert_eq!(
                answer.header("content-length"),
                answer.body.len().to_string().as_str()
            );
            assert_eq!(answer.decoded(), plain.body, "{accepted}");
            if !coding.is_empty() {
                assert!(answer.body.len() < plain.body.len(), "{coding}");
            }
            tags.push(answer.header("etag").to_owned());
            let fields = [
                ("accept-encoding", accepted),
                ("if-none-match", answer.header("etag")),
            ];
            assert_eq!(client.send(Method::GET, path, &fields).await.status, 304);
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "{path}: {tags:?}");
        let refused = [("accept-encoding", "identity;q=0, deflate")];
        let answer = client.send(Method::GET, path, &refused).await;
        let _ = answer.problem(406);
    }
    let plain = client.get("/incidents").await;
    assert!(plain.body.len() > 3 << 20, "{}", plain.body.len());
    assert!(incidents_in(&plain.body) > 50_000);
}

#[tokio::test]
async fn a_new_report_has_a_new_tag_and_the_old_tag_no_longer_matches() {
    let system = small_system().await;
    let client = &system.host.client;
    let old = client.get("/incidents").await;
    let row = json!({"priority": "medium", "employee_id": 99, "timestamp": 1});
    system.upstream.serve_rows("misuse", &[row]).await;
    let new = until("the news is served", BOUND, async || {
        let fields = [("if-none-match", old.header("etag"))];
        let answer = client.send(Method::GET, "/incidents", &fields).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_ne!(new.header("etag"), old.header("etag"));
    assert_eq!(new.json()["99"]["medium"]["count"], 1);
    assert_eq!(client.get("/incidents/99").await.status, 200);
}

#[tokio::test]
async fn the_service_refuses_the_password_that_it_is_shipped_with() {
    let redis = Redis::start().await;
    let open = host(&redis, &[("service_password", "changeit")]).await;
    for path in PROTECTED {
        for account in [Some((ID, "changeit")), None] {
            let answer = open
                .client
                .try_send(Method::GET, path, account, &[])
                .await
                .expect("an answer");
            let detail = answer.problem(503);
            assert!(detail.contains("SERVICE_PASSWORD"), "{path}: {detail}");
        }
    }
    assert_eq!(open.client.get_as_stranger("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_record_of_a_newer_release_is_told_and_not_guessed_at() {
    let redis = Redis::start().await;
    let mut connection = redis.connection().await;
    redis::cmd("SET")
        .arg(keys().current())
        .arg(r#"{"version":3,"generation":"seven"}"#)
        .exec_async(&mut connection)
        .await
        .expect("it is set");
    let host = host(&redis, &[]).await;
    for path in [
        "/incidents",
        "/incidents/1",
        "/status",
        "/metrics",
        "/readyz",
    ] {
        let detail = host.client.get(path).await.problem(503);
        assert!(detail.contains("format 3"), "{path}: {detail}");
    }
}

/// Sends these bytes and reads until the server closes, which it may do before it has read them all.
async fn raw(client: &str, request: &str) -> String {
    let address = client.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("it listens");
    let (mut from, mut to) = stream.into_split();
    let mut answer = Vec::new();
    let exchange = async {
        let _ = tokio::join!(
            to.write_all(request.as_bytes()),
            from.read_to_end(&mut answer)
        );
    };
    tokio::time::timeout(BOUND, exchange)
        .await
        .expect("it answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn odd_requests_get_orderly_answers() {
    let system = small_system().await;
    let url = &system.host.url;
    let long = "x".repeat(100_000);
    for (request, statuses) in [
        (
            "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            "200",
        ),
        // As load balancers ask by default: HAProxy, nginx, and those that know addresses only.
        ("OPTIONS / HTTP/1.0\r\n\r\n".to_owned(), "200"),
        ("OPTIONS /healthz HTTP/1.0\r\n\r\n".to_owned(), "200"),
        (
            "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(),
            "200",
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "200"),
        (
            "GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".to_owned(),
            "200",
        ),
        ("GET /healthz HTTP/1.0\r\nhost: a\r\n\r\n".to_owned(), "200"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (
            format!(
                "GET /incidents/{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
                &long[..60_000]
            ),
            "401",
        ),
        (
            // Far more than any head may have; where the client still writes, the answer may be lost.
            format!(
                "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n",
                long.repeat(40)
            ),
            "431 or nothing",
        ),
        (
            "GET /incidents HTTP/1.1\r\nhost: a\r\nauthorization: Basic YTpi\r\n\
             authorization: Basic YTpi\r\nconnection: close\r\n\r\n"
                .to_owned(),
            "401",
        ),
    ] {
        let answer = raw(url, &request).await;
        let status = answer.split(' ').nth(1).unwrap_or("nothing");
        let shown = &request[..request.len().min(60)];
        assert!(
            statuses.split(' ').any(|expected| expected == status),
            "{shown:?}: {answer}"
        );
    }
    let client: &Client = &system.host.client;
    assert_eq!(client.get("/incidents").await.status, 200);
}
