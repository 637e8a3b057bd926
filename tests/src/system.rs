//! The whole system: Redis, upstream, refresher and the host with the component, as processes.

use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::client::{Client, ID, PASSWORD};
use crate::process::{Process, manifest, program, until};
use crate::redis::Redis;
use crate::upstream::Upstream;

/// How long a refresh may take to show, on a busy machine.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// A running host and a client of it.
#[derive(Debug)]
pub struct Host {
    /// The process.
    pub process: Process,
    /// Speaks to it.
    pub client: Client,
    /// Its address, as in a URL.
    pub url: String,
}

/// One of each: what most tests need.
#[derive(Debug)]
pub struct System {
    /// Serves the component.
    pub host: Host,
    /// Fills Redis.
    pub refresher: Process,
    /// What is fetched from.
    pub upstream: Upstream,
    /// Between the two.
    pub redis: Redis,
}

/// A refresher's command, say for `["run"]`, that refreshes once a second and keeps no history;
/// `settings` override what it would be told.
#[must_use]
pub fn refresher(
    arguments: &[&str],
    redis: &Redis,
    upstream: &Upstream,
    settings: &[(&str, &str)],
) -> Command {
    let mut command = Command::new(program("refresher"));
    let folder = manifest();
    let folder = folder.parent().expect("the manifest is in a folder");
    command
        .args(arguments)
        .arg("--config")
        .arg(folder.join("config/config.yaml"))
        .current_dir(folder)
        .env("SERVICE_ID", ID)
        .env("SERVICE_PASSWORD", PASSWORD)
        .env("BASE_ENDPOINT", upstream.url())
        .env("REDIS_URL", redis.url())
        .env("DEFAULT_CACHE_REFRESH", "1")
        .env("API_RETRIES", "0")
        .env("HISTORY_STORE", "none")
        .envs(settings.iter().copied());
    command
}

/// Starts a host whose limits do not stand in a test's way; `settings` override what the component
/// is told.
///
/// # Panics
/// When it does not come up.
pub async fn host(redis: &Redis, settings: &[(&str, &str)]) -> Host {
    host_with(redis, settings, &[]).await
}

/// Starts a host as [`host`] does, with further `arguments`.
///
/// # Panics
/// When it does not come up.
pub async fn host_with(redis: &Redis, settings: &[(&str, &str)], arguments: &[&str]) -> Host {
    host_at("127.0.0.1:0", redis, settings, arguments).await
}

/// Starts a host as [`host_with`] does, at this address, where another one has ended.
///
/// # Panics
/// When it does not come up.
pub async fn host_at(
    listen: &str,
    redis: &Redis,
    settings: &[(&str, &str)],
    arguments: &[&str],
) -> Host {
    let mut command = Command::new(program("host"));
    command.arg("--from").arg(manifest());
    command.args(["--listen", listen]).args(arguments);
    command.envs(host_environment(redis, settings));
    let mut process = Process::start(command);
    let url = process.ready().await;
    Host {
        client: Client::new(&url),
        process,
        url,
    }
}

/// The environment in which a host finds the application's variables.
fn host_environment(redis: &Redis, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let usual = [
        ("redis_url", redis.url()),
        ("service_id", ID.to_owned()),
        ("service_password", PASSWORD.to_owned()),
        ("incidents_api_rate_limits", "1000000 per second".to_owned()),
        ("default_rate_limits", "1000000 per second".to_owned()),
        ("dashboard_rate_limits", "1000000 per second".to_owned()),
        ("wrong_password_limits", "1000000 per second".to_owned()),
    ];
    let special = settings
        .iter()
        .map(|&(name, value)| (name, value.to_owned()));
    usual
        .into_iter()
        .chain(special)
        .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value))
        .collect()
}

/// The command line that a refresher is given to run a host at `listen`; and, in its environment,
/// what the host needs.
#[must_use]
pub fn server_command(redis: &Redis, listen: &str) -> (String, Vec<(String, String)>) {
    let command = format!(
        "'{}' --from '{}' --listen {listen}",
        program("host").display(),
        manifest().display()
    );
    (command, host_environment(redis, &[]))
}

impl System {
    /// Starts a system whose upstream has its seeded data, and waits until that is served.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn start() -> Self {
        Self::start_with(Upstream::start().await, &[], &[]).await
    }

    /// Starts a system around `upstream`, with these settings of the refresher and of the component,
    /// and waits until a snapshot is served.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn start_with(
        upstream: Upstream,
        refresher_settings: &[(&str, &str)],
        host_settings: &[(&str, &str)],
    ) -> Self {
        let redis = Redis::start().await;
        let refresher = Process::start(refresher(&["run"], &redis, &upstream, refresher_settings));
        let host = host(&redis, host_settings).await;
        let system = Self {
            host,
            refresher,
            upstream,
            redis,
        };
        system.serves().await;
        system
    }

    /// Waits until a snapshot is served.
    pub async fn serves(&self) {
        until("a snapshot is served", SHOWN_WITHIN, async || {
            let answer = self.host.client.get_as_stranger("/readyz").await;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// Waits until `/status` satisfies `condition`, and gives it.
    pub async fn status(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        until(what, SHOWN_WITHIN, async || {
            let answer = self.host.client.get("/status").await;
            let status = answer.status.is_success().then(|| answer.json())?;
            condition(&status).then_some(status)
        })
        .await
    }
}
