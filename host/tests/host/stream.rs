//! Long answers, slow clients, and clients that go.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    client::{Connection, get},
    server::{Host, PATIENCE, Redis, Settings, until},
};

const CHUNK: usize = 1 << 16;
const CHUNKS: usize = 1024;

/// That a body is `chunks` chunks of [`CHUNK`] bytes, in their order.
fn is_whole(body: &[u8], chunks: usize) -> bool {
    let letter = |chunk: usize| b'a' + (chunk % 26) as u8;
    body.len() == chunks * CHUNK
        && body
            .chunks(CHUNK)
            .zip(1..)
            .all(|(bytes, chunk)| bytes.iter().all(|&byte| byte == letter(chunk)))
}

#[tokio::test]
async fn a_long_answer_arrives_whole() {
    let host = Host::start(Settings::default()).await;
    let answer = host
        .get(&format!("/stream?chunks={CHUNKS}&size={CHUNK}"))
        .await;
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    assert!(is_whole(&answer.body, CHUNKS));
}

/// A connection that takes little before it is read from.
async fn slow_connection(host: &Host) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(1 << 14).unwrap();
    socket.connect(host.address).await.unwrap()
}

/// Asks for a long answer and does not read it.
async fn begin_and_stall(host: &Host, redis: &Redis) -> TcpStream {
    let mut client = slow_connection(host).await;
    let request = format!(
        "GET /stream?chunks={CHUNKS}&size={CHUNK}&progress=progress&url={} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        redis.url
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

async fn progress(redis: &Redis) -> usize {
    redis
        .run::<Option<usize>>("GET progress")
        .await
        .unwrap_or(0)
}

/// Waits until the component sends no more, and returns how many chunks it has sent.
async fn stalled(redis: &Redis) -> usize {
    let (mut last, mut same) = (0, 0);
    until("the component waits for the client", async || {
        let now = progress(redis).await;
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        same >= 40
    })
    .await;
    last
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_component() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut client = begin_and_stall(&host, &redis).await;
    let sent = stalled(&redis).await;
    // What the sockets, the server and one chunk in each place between hold: of 64 MiB.
    assert!(sent * CHUNK < 12 << 20, "{sent} chunks are on their way");
    // The others do not wait.
    assert_eq!(host.get("/none").await.status, 200);

    let mut answer = Vec::new();
    let read = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"));
    assert_eq!(progress(&redis).await, CHUNKS);
}

#[tokio::test]
async fn a_slow_client_gets_it_all() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut client = begin_and_stall(&host, &redis).await;
    let (mut received, mut looked) = (0, 0);
    let mut piece = vec![0; CHUNK];
    loop {
        match timeout(PATIENCE, client.read(&mut piece)).await.unwrap() {
            Ok(0) => break,
            Ok(bytes) => received += bytes,
            Err(error) => panic!("after {received} bytes: {error}"),
        }
        if received - looked > CHUNK {
            looked = received;
            // This is what makes it slow; and the component never runs far ahead of it.
            let sent = progress(&redis).await;
            assert!(
                sent * CHUNK < received + (12 << 20),
                "{sent} chunks for {received} bytes"
            );
        }
    }
    assert!(received > CHUNKS * CHUNK, "{received}");
}

#[tokio::test]
async fn a_client_that_goes_ends_its_answer() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let client = begin_and_stall(&host, &redis).await;
    let sent = stalled(&redis).await;
    drop(client);
    // Its instance is done with it, and idles: then it is dropped, with its connection.
    until("the instance is dropped", async || {
        redis.clients().await == 0
    })
    .await;
    assert!(progress(&redis).await <= sent + 1);
    assert_eq!(get(host.address, "/none").await.status, 200);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_client_that_never_reads_is_cut_off() {
    let redis = Redis::start().await;
    let host = Host::start(Settings {
        redis: Some(&redis),
        limits: host::Limits {
            stall_timeout: Duration::from_secs(1),
            ..host::Limits::default()
        },
        ..Settings::default()
    })
    .await;
    let _client = begin_and_stall(&host, &redis).await;
    stalled(&redis).await;
    until("the instance is dropped", async || {
        redis.clients().await == 0
    })
    .await;
    assert!(progress(&redis).await < CHUNKS);
}

#[tokio::test]
async fn a_client_that_sends_no_request_is_cut_off() {
    let host = Host::start(Settings {
        limits: host::Limits {
            header_timeout: Duration::from_millis(200),
            ..host::Limits::default()
        },
        ..Settings::default()
    })
    .await;
    let mut client = TcpStream::connect(host.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let end = timeout(PATIENCE, client.read(&mut [0; 64])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
}

#[tokio::test]
async fn pieces_arrive_as_they_are_sent() {
    let redis = Redis::start().await;
    let host = Host::with(&redis).await;
    let mut connection = Connection::open(host.address).await;
    let path = format!("/stream?chunks=2&size=3&gate=gate&url={}", redis.url);
    let answer = connection.begin(Method::GET, &path, &[], "").await.unwrap();
    let mut body = answer.into_body();
    let mut piece = async || {
        let frame = timeout(PATIENCE, body.frame()).await.unwrap();
        frame.unwrap().unwrap().into_data().unwrap()
    };
    assert_eq!(piece().await, "bbb");
    redis.run::<()>("SET gate open").await;
    assert_eq!(piece().await, "ccc");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let host = Host::start(Settings::default()).await;
    let mut connection = Connection::open(host.address).await;
    // It may break before its head is sent.
    if let Ok(answer) = connection.begin(Method::GET, "/broken", &[], "").await {
        let body = timeout(PATIENCE, answer.into_body().collect()).await;
        assert!(body.unwrap().is_err());
    }
    assert_eq!(host.get("/none").await.status, 200);
}
