//! An HTTP client that shows an answer as it came: nothing is decoded, followed or retried.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::time::Duration;

use brotli::Decompressor;
use bytes::Bytes;
use flate2::read::GzDecoder;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, ClientBuilder, Method, RequestBuilder, StatusCode, redirect};
use serde_json::Value;

use crate::certificates::Certificates;

/// The user id of the service under test, and of its upstream.
pub const ID: &str = "auditor";

/// The password that goes with it.
pub const PASSWORD: &str = "correct horse: battery staple";

/// argon2id of [`HASHED_PASSWORD`] with the parameters of `refresher hash-password`.
pub const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AuRfDuUhfhrZV01wkBnzKA$GzlCPk+ufA05EgN1+2gvO567IcE4TjtNUQ9iyj1pH/Y";

/// What [`HASH`] was made of.
pub const HASHED_PASSWORD: &str = "s3cret";

/// A client of one host.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its content as it was sent.
    pub body: Bytes,
}

impl Client {
    /// A client of the server at `url`.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self::build(url, builder())
    }

    /// A client of the server at `url`, which has a certificate of `certificates`, as seen from the address
    /// `from` of this machine.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn with_tls(url: &str, certificates: &Certificates, from: IpAddr) -> Self {
        let issuer = fs::read(certificates.issuer()).expect("a file");
        let issuer = Certificate::from_pem(&issuer).expect("a certificate");
        Self::build(url, builder().tls_certs_only([issuer]).local_address(from))
    }

    /// A client of the server at `url`, as seen from the address `from` of this machine.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn seen_from(url: &str, from: IpAddr) -> Self {
        Self::build(url, builder().local_address(from))
    }

    fn build(url: &str, builder: ClientBuilder) -> Self {
        Self {
            http: builder.build().expect("a client"),
            url: url.to_owned(),
        }
    }

    /// Sends a request with the right credentials and further header fields.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.try_send(method, path, Some((ID, PASSWORD)), fields)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// Gets a path with the right credentials.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    /// Gets a path without credentials.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get_as_stranger(&self, path: &str) -> Answer {
        self.try_send(Method::GET, path, None, &[])
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        account: Option<(&str, &str)>,
        fields: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, path);
        if let Some((id, password)) = account {
            request = request.basic_auth(id, Some(password));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        whole(request).await
    }

    /// Sends content with the right credentials.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send_body(&self, method: Method, path: &str, body: Bytes) -> Answer {
        let request = self.request(method, path).body(body);
        whole(request.basic_auth(ID, Some(PASSWORD)))
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }
}

fn builder() -> ClientBuilder {
    // The refresher's features make reqwest want one, be there TLS or not. Another client may have
    // installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(60))
}

async fn whole(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let answer = request.send().await?;
    Ok(Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.bytes().await?,
    })
}

impl Answer {
    /// A header field's value, empty if there is none.
    ///
    /// # Panics
    /// When it is there more than once, or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values
            .next()
            .map_or("", |value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "`{name}` is there twice");
        value
    }

    /// The content without its coding.
    ///
    /// # Panics
    /// When it is not what its field `content-encoding` says.
    #[must_use]
    pub fn decoded(&self) -> Bytes {
        let mut plain = Vec::new();
        let coding = self.header("content-encoding");
        match coding {
            "" => return self.body.clone(),
            "gzip" => GzDecoder::new(&self.body[..]).read_to_end(&mut plain),
            "br" => Decompressor::new(&self.body[..], 1 << 16).read_to_end(&mut plain),
            "zstd" => zstd::Decoder::with_buffer(&self.body[..])
                .and_then(|mut decoder| decoder.read_to_end(&mut plain)),
            other => panic!("unknown coding {other}"),
        }
        .unwrap_or_else(|error| panic!("{coding}: {error}"));
        plain.into()
    }

    /// The content as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that it is a problem document with this status (RFC 9457) and gives its `detail`.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(
            problem["title"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.len() > 10, "{problem}");
        detail.to_owned()
    }
}
