//! A Sentinel of the test's own, which promotes a replica as soon as the primary is away.

use std::fs;
use std::time::Duration;

use tokio::process::Command;

use crate::process::{Process, TempDir, until};
use crate::redis::{Redis, free_port};

/// The name under which it knows the primary.
const SERVICE: &str = "main";

/// A Sentinel that decides alone.
#[derive(Debug)]
pub struct Sentinel {
    _process: Process,
    /// Where it keeps what it knows.
    _folder: TempDir,
    port: u16,
}

impl Sentinel {
    /// Starts one that watches `primary`, and waits until it knows of its replica.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(primary: &Redis) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (port, watched) = (free_port(), primary.port());
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {SERVICE} 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 3000\n",
            folder.path().display()
        );
        let file = folder.path().join("sentinel.conf");
        fs::write(&file, settings).expect("a file");
        let mut command = Command::new("redis-server");
        command
            .arg(&file)
            .args(["--sentinel", "--logfile", "/dev/stderr"]);
        let process = Process::start(command);
        until(
            "it knows of the replica",
            Duration::from_secs(30),
            async || (process.logged("+slave slave") > 0).then_some(()),
        )
        .await;
        Self {
            _process: process,
            _folder: folder,
            port,
        }
    }

    /// The address that leads to the primary by way of it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{SERVICE}", self.port)
    }
}
