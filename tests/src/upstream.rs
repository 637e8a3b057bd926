//! The demo upstream as a test uses it: with the data and the faults that the test sets.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::client::{Client, ID, PASSWORD};
use crate::process::{Process, program};

/// The incident types that the shipped configuration has.
pub const TYPES: [&str; 7] = [
    "denial",
    "intrusion",
    "executable",
    "misuse",
    "unauthorized",
    "probing",
    "other",
];

/// A demo upstream.
#[derive(Debug)]
pub struct Upstream {
    process: Process,
    url: String,
    client: Client,
}

/// Upstream's answers and the report that they must give.
#[derive(Debug)]
pub struct Sample {
    /// Each endpoint's body.
    pub answers: BTreeMap<String, Bytes>,
    /// The report's bytes.
    pub report: Bytes,
}

impl Upstream {
    /// Starts one that answers without delay.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further `arguments`; without delay, unless they have one.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(program("demo-upstream"));
        command
            .args(["--listen", "127.0.0.1:0", "--control"])
            .args(arguments)
            .env("UPSTREAM_ID", ID)
            .env("UPSTREAM_PASSWORD", PASSWORD);
        if !arguments.contains(&"--latency") {
            command.args(["--latency", "0s"]);
        }
        let mut process = Process::start(command);
        let url = process.ready().await;
        Self {
            process,
            client: Client::new(&url),
            url,
        }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Plans `fault` for `endpoint` (`all` for every one).
    ///
    /// # Panics
    /// When the upstream refuses it.
    pub async fn fault(&self, endpoint: &str, fault: Value) {
        let path = format!("/control/faults/{endpoint}");
        self.control(Method::PUT, &path, fault.to_string()).await;
    }

    /// Ends all faults of `endpoint` (`all` for every one).
    ///
    /// # Panics
    /// When the upstream refuses it.
    pub async fn mend(&self, endpoint: &str) {
        let path = format!("/control/faults/{endpoint}");
        self.control(Method::DELETE, &path, "").await;
    }

    /// Serves `body` for `endpoint` from now on.
    ///
    /// # Panics
    /// When the upstream refuses it.
    pub async fn serve(&self, endpoint: &str, body: impl Into<Bytes>) {
        let path = format!("/control/payload/{endpoint}");
        self.control(Method::PUT, &path, body).await;
    }

    /// Serves the seeded data of all endpoints again.
    ///
    /// # Panics
    /// When the upstream refuses it.
    pub async fn serve_seeded(&self) {
        self.control(Method::DELETE, "/control/payload/all", "")
            .await;
    }

    /// Serves the sample's answers.
    ///
    /// # Panics
    /// When the upstream refuses one.
    pub async fn serve_sample(&self, sample: &Sample) {
        for (endpoint, body) in &sample.answers {
            self.serve(endpoint, body.clone()).await;
        }
    }

    /// Serves these rows for a type.
    ///
    /// # Panics
    /// When the upstream refuses it.
    pub async fn serve_rows(&self, kind: &str, rows: &[Value]) {
        self.serve(kind, json!({ "results": rows }).to_string())
            .await;
    }

    /// How often `endpoint` was asked for its data.
    ///
    /// # Panics
    /// When the upstream does not answer.
    pub async fn requests(&self, endpoint: &str) -> u64 {
        self.journal().await["endpoints"][endpoint]["count"]
            .as_u64()
            .unwrap_or_default()
    }

    /// All that the upstream recorded of its requests.
    ///
    /// # Panics
    /// When the upstream does not answer.
    pub async fn journal(&self) -> Value {
        self.client.get("/control/requests").await.json()
    }

    /// What the upstream answers for `endpoint` now.
    ///
    /// # Panics
    /// When the upstream does not answer.
    pub async fn data(&self, endpoint: &str) -> Value {
        let path = match endpoint {
            "identities" => "/identities".to_owned(),
            kind => format!("/incidents/{kind}/"),
        };
        self.client.get(&path).await.json()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    async fn control(&self, method: Method, path: &str, body: impl Into<Bytes>) {
        let answer = self.client.send_body(method, path, body.into()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}: {answer:?}");
    }
}

impl Sample {
    /// The golden pair.
    ///
    /// # Panics
    /// When the sample is not as it should be.
    #[must_use]
    pub fn golden() -> Self {
        let answers: BTreeMap<String, &RawValue> =
            serde_json::from_str(include_str!("../../grouping/tests/samples/upstream.json"))
                .expect("an object");
        let bytes = |body: &RawValue| Bytes::copy_from_slice(body.get().as_bytes());
        // No text in the sample holds white space.
        let report = include_bytes!("../../grouping/tests/samples/report.json")
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace());
        Self {
            answers: answers
                .into_iter()
                .map(|(endpoint, body)| (endpoint, bytes(body)))
                .collect(),
            report: report.collect(),
        }
    }
}
