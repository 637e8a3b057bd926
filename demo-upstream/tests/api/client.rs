//! A server on a free port and a client that shows what really came over the connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use demo_upstream::generate::{Dataset, Options};
use demo_upstream::server::{Config, Server};
use domain::settings::credentials::{Account, ExpectedPassword, Secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) const DATA: Options = Options {
    seed: 3,
    employees: 50,
    per_type: 100,
};

/// A server in this process that ends with the value.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    running: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A configuration without latency, with the control API.
pub(crate) fn config() -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        account: Account {
            id: "collector".to_owned(),
            password: ExpectedPassword::Plain(Secret::new("s3:cret")),
        },
        growth: 0,
        per_type: DATA.per_type,
        latency: (Duration::ZERO, Duration::ZERO),
        faults: Vec::new(),
        seed: DATA.seed,
        control: true,
    }
}

impl Upstream {
    pub(crate) async fn start(config: Config) -> Self {
        let options = Options {
            per_type: config.per_type,
            ..DATA
        };
        let dataset = Dataset::new(&options).unwrap();
        let server = Server::bind(config, dataset).await.unwrap();
        let address = server.address().unwrap();
        let running = tokio::spawn(server.run(std::future::pending()));
        Self { address, running }
    }

    /// A request with the right credentials.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = format!(
            "Authorization: {}\r\nContent-Length: {}\r\n",
            authorization("collector", "s3:cret"),
            body.len()
        );
        self.exchange(method, path, &headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").await
    }

    /// Plans a fault.
    pub(crate) async fn fault(&self, endpoint: &str, fault: &str) {
        let path = format!("/control/faults/{endpoint}");
        let reply = self.send("PUT", &path, fault).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    pub(crate) async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Reply {
        let mut stream = self.open(method, path, headers, body).await;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            match stream.read(&mut buffer).await {
                Ok(0) => break Ok(()),
                Ok(read) => received.extend_from_slice(&buffer[..read]),
                Err(error) => break Err(error.kind()),
            }
        };
        Reply::new(received, end)
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

pub(crate) fn authorization(id: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{password}")))
}

/// What came over a connection until its end.
#[derive(Debug)]
pub(crate) struct Reply {
    /// 0 when no answer came.
    pub(crate) status: u16,
    /// The status line and headers.
    pub(crate) head: String,
    /// What followed, as it came: chunks are not put together.
    pub(crate) body: Vec<u8>,
    /// How the connection ended.
    pub(crate) end: Result<(), io::ErrorKind>,
}

impl Reply {
    fn new(received: Vec<u8>, end: Result<(), io::ErrorKind>) -> Self {
        let border = received.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = border.map_or((&received[..], &[][..]), |border| {
            (&received[..border], &received[border + 4..])
        });
        let head = String::from_utf8(head.to_vec()).unwrap();
        let status = head
            .split(' ')
            .nth(1)
            .map_or(0, |code| code.parse().unwrap());
        Self {
            status,
            head,
            body: body.to_vec(),
            end,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The length that the head promises.
    pub(crate) fn promised(&self) -> Option<usize> {
        self.header("content-length")
            .map(|length| length.parse().unwrap())
    }
}

/// What an endpoint should answer.
pub(crate) fn expected(endpoint: &str) -> Vec<u8> {
    let dataset = Dataset::new(&DATA).unwrap();
    dataset.payload(endpoint).unwrap().to_vec()
}
