//! Clients that take all they can get: what is left for others.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use host::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    client::{Connection, exchange},
    server::{Host, PATIENCE, Redis, Settings, until},
};

/// A connection from an address of this machine's own.
async fn connect(from: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let own = IpAddr::V4(Ipv4Addr::new(127, 0, 0, from));
    socket.bind((own, 0).into())?;
    socket.connect(to).await
}

/// One GET from there; how long its whole answer took.
async fn ask(from: u8, to: SocketAddr) -> Duration {
    let begun = Instant::now();
    let answer = async {
        let mut client = connect(from, to).await?;
        let request = b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(request).await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, answer).await.expect("in time").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    begun.elapsed()
}

/// Attacks with `kind` of client from `sources` addresses while another one asks 100 times.
async fn the_other_is_answered(
    host: &Host,
    clients: usize,
    sources: u8,
    kind: &'static [u8],
) -> Duration {
    let address = host.address;
    let mut attack = JoinSet::new();
    for number in 0..clients {
        attack.spawn(async move {
            let from = 10 + u8::try_from(number % usize::from(sources)).unwrap();
            loop {
                // Closed or refused, it comes again.
                if let Ok(mut client) = connect(from, address).await {
                    let _ = client.write_all(kind).await;
                    while matches!(client.read(&mut [0; 1024]).await, Ok(1..)) {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        longest = longest.max(ask(2, address).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(attack.len(), clients, "the attack went on");
    longest
}

/// Longer than any of it takes on a busy machine, shorter than any time limit.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_clients_keep_nobody_else_out() {
    for (sources, kind) in [
        (1, &b""[..]),
        (1, b"GET / HTTP/1.1\r\nHost: a\r\nX: "),
        (100, b""),
        (100, b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let host = Host::start(Settings {
            limits: Limits {
                connections: 200,
                ..Limits::default()
            },
            ..Settings::default()
        })
        .await;
        let longest = the_other_is_answered(&host, 260, sources, kind).await;
        assert!(longest < SOON, "{sources} {kind:?}: {longest:?}");
    }
}

#[tokio::test]
async fn a_proxy_speaks_for_many_and_has_no_share() {
    let limits = Limits {
        connections: 40,
        trusted_proxies: vec!["127.0.0.9/32".parse().unwrap()],
        ..Limits::default()
    };
    let host = Host::start(Settings {
        limits,
        ..Settings::default()
    })
    .await;
    let open = async |from: u8| {
        let mut all = Vec::new();
        for _ in 0..20 {
            all.push(connect(from, host.address).await.unwrap());
        }
        all
    };
    let mut proxy = open(9).await;
    let mut other = open(3).await;
    // Of the other's, the first ten were closed for those after them.
    for (index, client) in other.iter_mut().enumerate() {
        let end = timeout(Duration::from_millis(300), client.read(&mut [0; 1])).await;
        assert_eq!(end.is_ok(), index < 10, "{index}");
    }
    for client in &mut proxy {
        let request = b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ask_and_never_read_keep_nobody_waiting() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut client = connect(4, host.address).await.unwrap();
        let path = format!(
            "/stream?chunks=64&size=65536&url={}&progress=sent",
            redis.url
        );
        let requests = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(50);
        let sent = timeout(
            Duration::from_secs(1),
            client.write_all(requests.as_bytes()),
        )
        .await;
        // It may stop taking them before it has them all.
        if let Ok(sent) = sent {
            sent.unwrap();
        }
        silent.push(client);
    }
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        longest = longest.max(ask(2, host.address).await);
    }
    assert!(longest < SOON, "{longest:?}");
    // No more is asked of the component for a client than it has room for.
    let clients = redis.clients().await;
    assert!(clients <= 101, "{clients} connections to Redis");
}

#[tokio::test]
async fn requests_beyond_what_the_component_may_have_wait_and_are_then_sent_away() {
    let redis = Redis::start().await;
    let host = Host::start(Settings {
        redis: Some(&redis),
        limits: Limits {
            requests: 4,
            queue_timeout: Duration::from_millis(300),
            ..Limits::default()
        },
        ..Settings::default()
    })
    .await;
    // One client has a quarter, which is one.
    let wait = |gate: &str| format!("/wait?url={}&entered={gate}-in&gate={gate}", redis.url);
    let mut first = Connection::open(host.address).await;
    let path = wait("first");
    let first = tokio::spawn(async move { first.get(&path).await });
    until("it is in", async || redis.run("EXISTS first-in").await).await;
    let refused = host.get("/none").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert!(refused.text().contains("Try again"), "{refused:?}");
    assert!(
        ask(2, host.address).await < SOON,
        "another client is not concerned"
    );
    // Who waits for less than the limit is answered.
    let address = host.address;
    let queued = tokio::spawn(async move {
        let request = "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        exchange(address, request).await
    });
    redis.run::<()>("SET first open").await;
    assert_eq!(first.await.unwrap().status, 200);
    let queued = queued.await.unwrap();
    assert!(queued.starts_with("HTTP/1.1 200 OK"), "{queued}");
}
