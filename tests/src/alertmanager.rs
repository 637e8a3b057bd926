//! A real Alertmanager, and something in its place that answers as a test says.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::process::{Process, TempDir, optional, until};
use crate::redis::free_port;

/// How long it may take to start, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Groups as an operator would have them, and tells nobody.
const CONFIGURATION: &str = "\
route:
  receiver: nobody
  group_by: [alertname, type]
receivers:
  - name: nobody
";

/// An Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    process: Process,
    client: Client,
}

impl Alertmanager {
    /// Starts one, where it is on this machine. Where it is not, says aloud that what `untested` says is not
    /// tested.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(untested: &str) -> Option<Self> {
        let program = optional("prometheus-alertmanager", untested)?;
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("alertmanager.yml");
        fs::write(file, CONFIGURATION).expect("a file");
        let port = free_port();
        let alertmanager = Self {
            process: launch(&program, &folder, port),
            client: Client::new(&format!("http://127.0.0.1:{port}")),
            program,
            folder,
            port,
        };
        alertmanager.is_ready().await;
        Some(alertmanager)
    }

    async fn is_ready(&self) {
        until("Alertmanager is ready", STARTS_WITHIN, async || {
            let answer = self.client.try_send(Method::GET, "/-/ready", None, &[]);
            let answer = answer.await.ok()?;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it at once; what it knew of alerts is lost.
    pub async fn stop(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        self.process = launch(&self.program, &self.folder, self.port);
        self.is_ready().await;
    }

    /// The alerts that it knows.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn alerts(&self) -> Vec<Value> {
        let alerts = self.client.get("/api/v2/alerts").await.json();
        alerts.as_array().expect("a list").clone()
    }

    /// The groups in which it would tell them.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn groups(&self) -> Vec<Value> {
        let groups = self.client.get("/api/v2/alerts/groups").await.json();
        groups.as_array().expect("a list").clone()
    }
}

fn launch(program: &PathBuf, folder: &TempDir, port: u16) -> Process {
    let folder = folder.path();
    let mut command = Command::new(program);
    command
        .arg(format!(
            "--config.file={}",
            folder.join("alertmanager.yml").display()
        ))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--cluster.listen-address=");
    Process::start(command)
}

/// Takes requests as an Alertmanager would, and answers with the statuses that a test gives it (0: never), then
/// with 200.
/// Dropped, it ends.
#[derive(Debug)]
pub struct FakeAlertmanager {
    /// Its address.
    pub url: String,
    inside: Arc<Mutex<Inside>>,
    _answering: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Inside {
    statuses: Vec<u16>,
    bodies: Vec<Value>,
}

impl FakeAlertmanager {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let mut statuses = statuses.to_vec();
        statuses.reverse();
        let inside = Arc::new(Mutex::new(Inside {
            statuses,
            bodies: Vec::new(),
        }));
        let mut answering = JoinSet::new();
        answering.spawn(answer_all(listener, Arc::clone(&inside)));
        Self {
            url,
            inside,
            _answering: answering,
        }
    }

    /// What it was sent so far, a body a request.
    #[must_use]
    pub fn bodies(&self) -> Vec<Value> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.bodies.clone()
    }
}

async fn answer_all(listener: TcpListener, inside: Arc<Mutex<Inside>>) {
    let mut unanswered = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        // One at a time: so bodies and statuses keep their order.
        unanswered.extend(answer(stream, &inside).await);
    }
}

/// Reads one request and answers it. Gives the connection if that is not to be.
async fn answer(mut stream: TcpStream, inside: &Mutex<Inside>) -> Option<TcpStream> {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    let body = loop {
        if let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            assert!(head.starts_with("post /api/v2/alerts "), "{head}");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length?.parse().ok()?;
            if let Some(body) = request.get(end + 4..end + 4 + length) {
                break serde_json::from_slice(body).ok()?;
            }
        }
        let read = stream.read(&mut piece).await.ok()?;
        request.extend_from_slice(&piece[..read]);
        if read == 0 {
            return None;
        }
    };
    let status = {
        let mut inside = inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.bodies.push(body);
        inside.statuses.pop().unwrap_or(200)
    };
    if status == 0 {
        return Some(stream);
    }
    let answer =
        format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    None
}
