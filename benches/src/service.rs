//! Our service with a snapshot of so many rows, as everyone finds it who is compared with it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::servers::{Server, free_port};
use crate::tools::Tools;

/// Who asks.
pub(crate) const ID: &str = "bench";
/// Its password.
pub(crate) const PASSWORD: &str = "a password for benchmarks";

/// So many that none is ever refused; but counted they are.
pub(crate) const LIMITS: &str = "1000000000 per minute";

/// What every request has in its field `Authorization`.
pub(crate) fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{ID}:{PASSWORD}")))
}

/// Publishes a snapshot of so many rows.
pub(crate) fn fill(tools: &Tools, redis: &str, rows: u64) -> Result<()> {
    let port = free_port()?;
    let employees = (rows / 50).max(1000);
    let mut command = Command::new(tools.programs.join("demo-upstream"));
    command
        .args(["--listen", &format!("127.0.0.1:{port}"), "--latency", "0s"])
        .args(["--per-type", &(rows / 7).to_string()])
        .args(["--employees", &employees.to_string()])
        .envs([("UPSTREAM_ID", ID), ("UPSTREAM_PASSWORD", PASSWORD)]);
    let upstream = Server::start("upstream", command, port, &tools.out)?;
    let folder = tools
        .manifest
        .parent()
        .context("the manifest has a folder")?;
    let status = Command::new(tools.programs.join("refresher"))
        .arg("once")
        .arg("--config")
        .arg(folder.join("config/config.yaml"))
        .env(
            "BASE_ENDPOINT",
            format!("http://127.0.0.1:{}", upstream.port),
        )
        .envs([
            ("REDIS_URL", redis),
            ("SERVICE_ID", ID),
            ("SERVICE_PASSWORD", PASSWORD),
            ("HISTORY_STORE", "none"),
        ])
        .env("RUST_LOG", "error")
        .status()
        .context("cannot run the refresher")?;
    ensure!(status.success(), "the refresher failed");
    Ok(())
}

/// Our host with the component, as it is but for the limits and `arguments`.
pub(crate) fn host(tools: &Tools, redis: &str, arguments: &[&str]) -> Result<Server> {
    let port = free_port()?;
    let mut command = Command::new(tools.programs.join("host"));
    command
        .arg("--from")
        .arg(&tools.manifest)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .envs([
            ("SPIN_VARIABLE_REDIS_URL", redis),
            ("SPIN_VARIABLE_SERVICE_ID", ID),
            ("SPIN_VARIABLE_SERVICE_PASSWORD", PASSWORD),
            ("SPIN_VARIABLE_INCIDENTS_API_RATE_LIMITS", LIMITS),
            ("SPIN_VARIABLE_DASHBOARD_RATE_LIMITS", LIMITS),
        ]);
    Server::start("host", command, port, &tools.out)
}
