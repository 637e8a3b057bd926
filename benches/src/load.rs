//! Load on a server, made by wrk and redis-benchmark.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// What came of it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Load {
    /// Answers.
    pub(crate) requests: f64,
    seconds: f64,
    failed: u64,
    /// Seconds that half of the answers took at most.
    pub(crate) p50: f64,
    /// Seconds that 99 % of the answers took at most.
    pub(crate) p99: f64,
    /// Seconds that 99.9 % of the answers took at most.
    pub(crate) p999: f64,
}

impl Load {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// Requests to `url` with these header fields, over `connections` that are kept; to the paths of the file
/// `paths` in turn, where there is one.
pub(crate) fn http(
    contenders: &Path,
    url: &str,
    fields: &[(&str, String)],
    paths: Option<&Path>,
    connections: u32,
    seconds: u32,
) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--latency"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "30s"])
        .arg("--script")
        .arg(contenders.join("report.lua"));
    for (name, value) in fields {
        wrk.args(["--header", &format!("{name}: {value}")]);
    }
    wrk.arg(url);
    if let Some(paths) = paths {
        wrk.arg("--").arg(paths);
    }
    let output = wrk.output().context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let load: Load = serde_json::from_str(line.with_context(|| format!("wrk says {text}"))?)?;
    ensure!(load.failed == 0, "{} requests to {url} failed", load.failed);
    ensure!(load.requests > 0.0, "no answer from {url}");
    Ok(load)
}

/// `GET`s of a key, `requests` of them; how many a second.
pub(crate) fn redis(port: u16, key: &str, connections: u32, requests: u32) -> Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &port.to_string(), "-c", &connections.to_string()])
        .args(["-n", &requests.to_string(), "--csv", "GET", key])
        .output()
        .context("cannot run redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text
        .lines()
        .last()
        .and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark says {text}"))
}
