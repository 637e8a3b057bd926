//! A host that a supervisor runs: how the service is deployed.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::process::{Process, until};
use crate::redis::Redis;
use crate::system::{refresher, server_command};
use crate::upstream::Upstream;

/// How long the end of a service may take.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How long the first snapshot may take, on a busy machine.
const SERVES_WITHIN: Duration = Duration::from_secs(30);

/// `refresher run` or `serve`, with a host of its own.
#[derive(Debug)]
pub struct Service {
    /// The supervisor.
    pub refresher: Process,
    /// Speaks to the host.
    pub client: Client,
    /// The host's address, as in a URL.
    pub url: String,
    group: Pid,
}

impl Service {
    /// Starts `task` (`run` or `serve`) with a host of its own, and waits until that listens.
    /// `settings` are the refresher's, `variables` the component's.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(
        task: &str,
        redis: &Redis,
        upstream: &Upstream,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let (server, _) = server_command(redis, "127.0.0.1:0");
        let arguments = [task, "--server", &server];
        Self::start_with(&arguments, redis, upstream, settings, variables).await
    }

    /// As [`Service::start`], with these arguments of the refresher, among them the command that serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_with(
        arguments: &[&str],
        redis: &Redis,
        upstream: &Upstream,
        settings: &[(&str, &str)],
        variables: &[(&str, &str)],
    ) -> Self {
        let (_, environment) = server_command(redis, "127.0.0.1:0");
        let mut command = refresher(arguments, redis, upstream, settings);
        command.envs(environment);
        for (name, value) in variables {
            command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
        }
        let mut refresher = Process::start(command);
        let url = refresher.ready().await;
        let log = refresher.log();
        let id = log
            .lines()
            .find(|line| line.contains("started the server"))
            .and_then(|line| line.rsplit_once("id="))
            .and_then(|(_, id)| id.trim().parse().ok())
            .unwrap_or_else(|| panic!("no id of the server: {log}"));
        Self {
            refresher,
            client: Client::new(&url),
            url,
            group: Pid::from_raw(id).expect("an id"),
        }
    }

    /// The host's process id.
    #[must_use]
    pub fn host_id(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Sends the host a signal, and whatever it may have started.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal_host(&self, signal: Signal) {
        kill_process_group(self.group, signal).expect("it runs, and is ours");
    }

    /// Whether nothing is left of the host.
    #[must_use]
    pub fn host_is_gone(&self) -> bool {
        test_kill_process_group(self.group).is_err()
    }

    /// Waits until a snapshot is served.
    ///
    /// # Panics
    /// When it is not, in time.
    pub async fn serves(&self) {
        until("a snapshot is served", SERVES_WITHIN, async || {
            let answer = self.client.get_as_stranger("/readyz").await;
            answer.status.is_success().then_some(())
        })
        .await;
    }

    /// Waits until all of it has ended, in time and in good order.
    ///
    /// # Panics
    /// When it has not.
    pub async fn has_ended(mut self) {
        let status = self.refresher.exit(ENDS_WITHIN).await;
        assert_eq!(status.code(), Some(0), "{}", self.refresher.log());
        let address = self.url.trim_start_matches("http://");
        assert!(TcpStream::connect(address).await.is_err(), "still listens");
        assert!(self.host_is_gone(), "the server has left a process behind");
    }
}
