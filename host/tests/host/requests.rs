//! Requests as the component sees them, and answers as the client does.

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    client::{Connection, exchange},
    server::{Host, PATIENCE, Redis, Settings},
};

#[tokio::test]
async fn the_last_client_address_is_the_real_one() {
    let host = Host::start(Settings::default()).await;
    let mut connection = Connection::open(host.address).await;
    let forged = [
        ("spin-client-addr", "6.6.6.6:666"),
        ("Spin-Client-Addr", "7.7.7.7:777"),
    ];
    let headers = connection.send(Method::GET, "/headers", &forged, "").await;
    let headers = headers.text();
    let addresses: Vec<&str> = headers
        .lines()
        .filter_map(|line| line.strip_prefix("spin-client-addr: "))
        .collect();
    let real = connection.address.to_string();
    assert_eq!(addresses, ["6.6.6.6:666", "7.7.7.7:777", real.as_str()]);
}

#[tokio::test]
async fn the_component_gets_spin_s_headers_and_the_client_s() {
    let host = Host::start(Settings::default()).await;
    let mut connection = Connection::open(host.address).await;
    let own = [("authorization", "Basic x"), ("connection", "keep-alive")];
    let headers = connection
        .send(Method::GET, "/headers?a=b%20c", &own, "")
        .await
        .text();
    let mut lines: Vec<&str> = headers.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "authorization: Basic x",
            "spin-base-path: /",
            &format!("spin-client-addr: {}", connection.address),
            "spin-component-route: ",
            &format!("spin-full-url: http://{}/headers?a=b%20c", host.address),
            "spin-matched-route: /...",
            "spin-path-info: /headers",
            "spin-raw-component-route: /...",
        ]
    );
    let uri = host.text("/uri?a=b").await;
    assert_eq!(uri, format!("http://{}/uri?a=b", host.address));
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let host = Host::start(Settings::default()).await;
    for head in [
        "GET /headers HTTP/1.1",
        "GET /headers HTTP/1.1\r\nHost: a\r\nHost: b",
        "GET /headers HTTP/1.0\r\nHost: a\r\nHost: b",
        "GET /headers HTTP/1.1\r\nHost: a b",
        "GET http://a/headers HTTP/1.1\r\nHost: b",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1",
        "not HTTP",
    ] {
        let answer = exchange(
            host.address,
            &format!("{head}\r\nConnection: close\r\n\r\n"),
        )
        .await;
        let status = answer.lines().next().unwrap();
        assert!(status.ends_with(" 400 Bad Request"), "{head}: {answer}");
    }
}

/// As load balancers ask by default: HAProxy, nginx, and those that know addresses only.
#[tokio::test]
async fn a_request_that_names_no_host_is_for_our_own_address() {
    let host = Host::start(Settings::default()).await;
    let own = host.address;
    for (request, uri) in [
        ("GET /uri HTTP/1.0".to_owned(), "/uri"),
        ("GET /uri HTTP/1.0\r\nHost:".to_owned(), "/uri"),
        ("GET /uri HTTP/1.1\r\nHost:".to_owned(), "/uri"),
        (format!("GET /uri HTTP/1.1\r\nHost: {own}"), "/uri"),
        (
            "GET /uri HTTP/1.0\r\nConnection: keep-alive".to_owned(),
            "/uri",
        ),
    ] {
        let end = match request.contains("Connection") {
            true => "\r\n\r\nGET /none HTTP/1.0\r\n\r\n",
            false => "\r\nConnection: close\r\n\r\n",
        };
        let answer = exchange(own, &format!("{request}{end}")).await;
        assert!(answer.contains(" 200 OK\r\n"), "{request}: {answer}");
        let expected = format!("http://{own}{uri}");
        assert!(answer.contains(&expected), "{request}: {answer}");
    }
    let upstream = "GET /uri HTTP/1.0\r\nHost: my_backend\r\nConnection: close\r\n\r\n";
    let answer = exchange(own, upstream).await;
    assert!(answer.ends_with("http://my_backend/uri"), "{answer}");
    for request in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let answer = exchange(own, request).await;
        assert!(answer.ends_with("nothing at /"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_has_asked_all_it_wants_gets_its_answers() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut client = tokio::net::TcpStream::connect(host.address).await.unwrap();
    let path = format!("/wait?url={}&entered=entered&gate=gate", redis.url);
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    crate::server::until("it waits", async || redis.run("EXISTS entered").await).await;
    redis.run::<()>("SET gate open").await;
    let mut answers = String::new();
    let read = timeout(PATIENCE, client.read_to_string(&mut answers)).await;
    read.expect("an end in time").unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert!(answers.ends_with("nothing at /none"), "{answers}");
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let host = Host::start(Settings::default()).await;
    let request = "HEAD /uri HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(host.address, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\ncontent-length: 12\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_connection_is_kept() {
    let host = Host::start(Settings::default()).await;
    let mut connection = Connection::open(host.address).await;
    for number in 0..5 {
        let answer = connection.get(&format!("/none{number}")).await;
        assert_eq!(answer.text(), format!("nothing at /none{number}"));
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let host = Host::start(Settings::default()).await;
    let requests: String = (0..20)
        .map(|number| format!("GET /none{number} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .chain(["GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned()])
        .collect();
    let answers = exchange(host.address, &requests).await;
    let bodies: Vec<&str> = answers
        .split("HTTP/1.1 200 OK\r\n")
        .skip(1)
        .map(|answer| answer.split_once("\r\n\r\n").unwrap().1)
        .collect();
    let expected: Vec<String> = (0..20)
        .map(|number| format!("nothing at /none{number}"))
        .chain(["nothing at /last".to_owned()])
        .collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_request_s_body_is_bounded() {
    let host = Host::start(Settings::default()).await;
    let limit = usize::try_from(host::MAX_REQUEST_BODY).unwrap();
    let post = async |bytes: usize| {
        let mut connection = Connection::open(host.address).await;
        connection
            .send(Method::POST, "/body", &[], vec![b'x'; bytes])
            .await
    };
    assert_eq!(post(0).await.text(), "bytes 0");
    assert_eq!(post(limit).await.text(), format!("bytes {limit}"));
    assert_eq!(post(limit + 1).await.status, 413);

    // Without a length it shows only when the component reads it.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
    let request = format!(
        "POST /body HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(limit / (1 << 16) + 1)
    );
    let answer = exchange(host.address, &request).await;
    assert!(
        answer.contains("error ErrorCode::HttpRequestBodySize"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_trap_is_a_500_and_the_next_request_is_answered() {
    let host = Host::start(Settings::default()).await;
    let before = host.text("/instance").await;
    let mut connection = Connection::open(host.address).await;
    for path in ["/panic", "/fail", "/allocate?mib=300"] {
        let answer = connection.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (500, ""), "{path}");
        // The connection is none the worse for it.
        assert_eq!(connection.get("/none").await.status, 200, "{path}");
    }
    assert_eq!(
        host.text("/allocate?mib=100").await,
        (100 << 20).to_string()
    );
    let after = host.text("/instance").await;
    assert_ne!(before.split(' ').next(), after.split(' ').next());
}

#[tokio::test]
async fn a_trap_takes_the_instance_s_other_requests_with_it() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let waiting = {
        let path = format!("/wait?url={}&entered=entered&gate=never", redis.url);
        let address = host.address;
        tokio::spawn(async move { crate::client::get(address, &path).await })
    };
    crate::server::until("the request waits", async || {
        redis.run::<bool>("EXISTS entered").await
    })
    .await;
    // It goes to the same instance, which has room.
    assert_eq!(host.get("/panic").await.status, 500);
    assert_eq!(waiting.await.unwrap().status, 500);
    assert_eq!(host.get("/none").await.status, 200);
}

#[tokio::test]
async fn a_busy_instance_stops_nobody_and_is_ended() {
    let host = Host::start(Settings {
        reuse: host::Reuse {
            request_timeout: std::time::Duration::from_millis(500),
            ..host::Reuse::default()
        },
        ..Settings::default()
    })
    .await;
    let address = host.address;
    let busy: Vec<_> = (0..4)
        .map(|_| tokio::spawn(async move { crate::client::get(address, "/spin").await }))
        .collect();
    for _ in 0..20 {
        assert_eq!(host.get("/none").await.status, 200);
    }
    for busy in busy {
        assert_eq!(busy.await.unwrap().status, 500);
    }
}

#[tokio::test]
async fn after_one_was_seen_to_compute_instances_take_one_request_at_a_time() {
    let redis = Redis::start().await;
    let host = Host::start(Settings {
        redis: Some(&redis),
        reuse: host::Reuse {
            request_timeout: std::time::Duration::from_secs(2),
            ..host::Reuse::default()
        },
        ..Settings::default()
    })
    .await;
    // Which instances two requests have that wait at the same time.
    let at_once = async |gate: &str| {
        let mut waiting = Vec::new();
        for request in ["first", "second"] {
            let entered = format!("{gate}-{request}");
            let path = format!("/wait?url={}&entered={entered}&gate={gate}", redis.url);
            let address = host.address;
            waiting.push(tokio::spawn(async move {
                crate::client::get(address, &path).await
            }));
            crate::server::until("it waits", async || {
                redis.run::<bool>(&format!("EXISTS {entered}")).await
            })
            .await;
        }
        redis.run::<()>(&format!("SET {gate} open")).await;
        let mut instances = Vec::new();
        for waiting in waiting {
            instances.push(waiting.await.unwrap().text());
        }
        instances
    };
    let instances = at_once("before").await;
    assert_eq!(instances[0], instances[1]);
    assert_eq!(host.get("/spin").await.status, 500);
    let instances = at_once("after").await;
    assert_ne!(instances[0], instances[1]);
}
