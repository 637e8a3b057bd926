//! HAProxy, with the configuration that operators get, before programs on this machine.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;

use crate::certificates::Certificates;
use crate::names::Names;
use crate::process::{Process, Signal, manifest, optional, until};

/// How long it may take to start, on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    /// Its main process, which replaces the one that serves when it is told to.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

/// HAProxy, where it is on this machine. Where it is not, says aloud that what `untested` says is not
/// tested.
#[must_use]
pub fn haproxy(untested: &str) -> Option<PathBuf> {
    optional("haproxy", untested)
}

impl Balancer {
    /// Starts `program` with a configuration of `deploy/haproxy`, before `port` of the addresses that `names`
    /// has, and with further `variables`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(
        program: &Path,
        configuration: &str,
        names: &Names,
        port: u16,
        variables: &[(&str, String)],
    ) -> Self {
        let address = free_address();
        let file = manifest().with_file_name("deploy/haproxy");
        let file = file.join(configuration);
        // What it logs goes where the harness keeps the logs of programs.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$0" -W -db -f "$1" >&2"#])
            .args([program, &file])
            .env("LISTEN", address.to_string())
            .env("NAMESERVER", names.address.to_string())
            .env("REPLICAS", format!("replicas.test:{port}"))
            .envs(variables.iter().map(|(name, value)| (name, value)));
        let process = Process::start(command);
        until("HAProxy listens", STARTS_WITHIN, async || {
            TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        Self { process, address }
    }

    /// Starts the one of the service, which speaks TLS with the server's certificate of `certificates`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn of_the_service(
        program: &Path,
        names: &Names,
        port: u16,
        certificates: &Certificates,
    ) -> Self {
        let bundle = certificates.bundle().to_string_lossy().into_owned();
        let variables = [("CERTIFICATE", bundle)];
        Self::start(program, "haproxy.cfg", names, port, &variables).await
    }

    /// Has another process serve in place of the one that does, with the configuration and the certificate
    /// as they are now.
    ///
    /// # Panics
    /// When it has ended.
    pub fn reload(&self) {
        self.process.signal(Signal::USR2);
    }
}

/// An address that nobody listens at.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}
