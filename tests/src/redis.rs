//! A real Redis of the test's own, on a free port and without persistence.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue};
use tokio::process::Command;

use crate::certificates::Certificates;
use crate::clock::Clock;
use crate::process::{Process, Signal, TempDir, until};

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    clock: Option<Arc<Clock>>,
    scheme: &'static str,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further `arguments`, such as `["--maxmemory", "10mb"]`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start_with(arguments: &[&str]) -> Self {
        Self::start_as("redis", "--port", arguments, None).await
    }

    /// Starts one that looks at `clock`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start_by(clock: Arc<Clock>) -> Self {
        Self::start_as("redis", "--port", &[], Some(clock)).await
    }

    /// Starts one that speaks nothing but TLS, with `certificates`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn start_with_tls(certificates: &Certificates) -> Self {
        let [certificate, key] = certificates.of_the_server();
        let arguments = [
            ["--port", "0"],
            ["--tls-cert-file", &certificate],
            ["--tls-key-file", &key],
            ["--tls-auth-clients", "no"],
        ];
        Self::start_as("rediss", "--tls-port", arguments.as_flattened(), None).await
    }

    async fn start_as(
        scheme: &'static str,
        port_name: &str,
        arguments: &[&str],
        clock: Option<Arc<Clock>>,
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let given: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        // Somebody else may take the port between its choice and its use: then another one is
        // chosen.
        for _ in 0..10 {
            let port = free_port();
            let mut arguments = given.clone();
            arguments.extend([port_name.to_owned(), port.to_string()]);
            let mut process = launch(folder.path(), &arguments, clock.as_deref());
            let came_up = until(
                "Redis is up or has ended",
                Duration::from_secs(20),
                async || {
                    if !process.is_running() {
                        return Some(false);
                    }
                    (process.logged("Ready to accept connections") > 0).then_some(true)
                },
            )
            .await;
            if came_up {
                return Self {
                    process,
                    folder,
                    port,
                    arguments,
                    clock,
                    scheme,
                };
            }
        }
        panic!("no Redis comes up");
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a command of words.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        let mut connection = self.connection().await;
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        for word in words {
            command.arg(word);
        }
        let answer = command.query_async(&mut connection).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// When Redis does not answer.
    pub async fn connection(&self) -> MultiplexedConnection {
        // What tests put there may be large, and the machine busy: the usual half second is too short.
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
        redis::Client::open(self.url())
            .expect("a valid address")
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .expect("Redis answers")
    }

    /// Ends it; nothing that it held is kept.
    pub async fn stop(&mut self) {
        self.process.kill().await;
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_again(&mut self) {
        self.process = launch(self.folder.path(), &self.arguments, self.clock.as_deref());
        until("Redis is up again", Duration::from_secs(20), async || {
            (self.process.logged("Ready to accept connections") > 0).then_some(())
        })
        .await;
    }

    /// Stops it from answering while its connections stay open.
    pub fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it answer again.
    pub fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

fn launch(folder: &Path, arguments: &[String], clock: Option<&Clock>) -> Process {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        // Its log goes to standard error's file by way of this one.
        .args(["--logfile", "/dev/stderr"])
        .args(["--dir", &folder.to_string_lossy()])
        .args(arguments);
    if let Some(clock) = clock {
        clock.give(&mut command);
    }
    Process::start(command)
}
