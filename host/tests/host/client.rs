//! An HTTP client that hides nothing: one connection at a time, or bare bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::server::PATIENCE;

/// An answer, with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    /// This end's address.
    pub(crate) address: SocketAddr,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let address = stream.local_addr().unwrap();
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self {
            requests,
            host: server.to_string(),
            address,
        }
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> hyper::Result<http::Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        self.requests.ready().await?;
        timeout(PATIENCE, self.requests.send_request(request))
            .await
            .expect("an answer in time")
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = self.begin(method, path, headers, body).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = timeout(PATIENCE, body.collect()).await;
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.expect("a body in time").unwrap().to_bytes(),
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }
}

/// One GET on a connection of its own.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Answer {
    Connection::open(server).await.get(path).await
}

/// Sends bytes and returns all that comes back until the server closes.
pub(crate) async fn exchange(server: SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an end in time")
        .unwrap();
    String::from_utf8(answer).unwrap()
}
