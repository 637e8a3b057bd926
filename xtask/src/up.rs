//! `cargo xtask up`: the whole system on this machine, until it is told to end.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

mod accounts;
mod address;

use self::accounts::{Accounts, Login};
use self::address::RedisUrl;
use crate::build;
use crate::interrupt::Interrupted;
use crate::probe;
use crate::process::{POLL, Steps};
use crate::progress::{Step, say};
use crate::redis::{self, RedisServer};
use crate::services::{Ended, Services};
use crate::setup;
use crate::workspace::Workspace;

/// A program on this machine says within this time that it listens, or something is wrong.
const START_LIMIT: Duration = Duration::from_secs(60);

/// New rows of each type in a minute: every refresh shows some.
const DEMO_GROWTH: &str = "6";

const REDIS: &str = "redis";
const UPSTREAM: &str = "upstream";
const REFRESHER: &str = "refresher";

/// What to start, and where.
#[derive(Args)]
pub(crate) struct Options {
    /// Use this upstream API instead of the demo; its login comes from UPSTREAM_ID and
    /// UPSTREAM_PASSWORD, in the environment or in config/config.yaml
    #[arg(long, value_name = "URL", value_parser = address::http)]
    upstream: Option<String>,
    /// Use this Redis instead of one of its own: redis://[user:password@]host:port[/database]
    #[arg(long, value_name = "URL", value_parser = RedisUrl::parse)]
    redis: Option<RedisUrl>,
    /// Where the service listens; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

/// Runs everything until Ctrl-C, SIGTERM or `GET /shutdown`.
///
/// # Errors
/// Something is missing, does not build, does not start, or ends before it should.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    match set_up_and_serve(options, workspace, steps) {
        // To be ended is how it ends, whenever that comes.
        Err(error) if error.is::<Interrupted>() => Ok(()),
        ended => ended,
    }
}

fn set_up_and_serve(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    // What cannot work is said before minutes of building.
    check_free(options.listen)?;
    let accounts = Accounts::choose(options.upstream.is_some(), &workspace.root)?;
    if let Some(redis) = &options.redis {
        redis.check()?;
    }
    let server = setup::run(workspace, steps)?;
    build::run(workspace, steps)?;
    let mut system = System {
        workspace,
        steps,
        services: Services::new(steps),
    };
    let redis = match &options.redis {
        Some(redis) => redis.clone(),
        None => system.start_redis(&server)?,
    };
    let upstream = match &options.upstream {
        Some(upstream) => upstream.clone(),
        None => system.start_upstream(&accounts)?,
    };
    let is_demo = options.upstream.is_none();
    let address = system.start_service(options.listen, &accounts, &redis, &upstream, is_demo)?;
    let ready = system.await_snapshot(address)?;
    if ready {
        show(address, &accounts.service);
        system.watch()?;
    }
    say("ending");
    system.services.end();
    say("ended");
    Ok(())
}

/// The running system.
struct System<'a> {
    workspace: &'a Workspace,
    steps: &'a Steps,
    services: Services<'a>,
}

impl System<'_> {
    fn start_redis(&mut self, server: &RedisServer) -> Result<RedisUrl> {
        let port = redis::free_port()?;
        self.services
            .start(REDIS, &mut server.command(port, self.steps.scratch()))?;
        self.await_start(REDIS, |_| redis::answers(port).then_some(()))?;
        RedisUrl::parse(&format!("redis://127.0.0.1:{port}")).map_err(anyhow::Error::msg)
    }

    fn start_upstream(&mut self, accounts: &Accounts) -> Result<String> {
        let mut command = self.program("demo-upstream");
        command.args(["--listen", "127.0.0.1:0", "--growth", DEMO_GROWTH]);
        accounts.give_upstream(&mut command);
        self.services.start(UPSTREAM, &mut command)?;
        let address = self.await_start(UPSTREAM, |services| services.listening(UPSTREAM))?;
        Ok(format!("http://{address}"))
    }

    /// Starts the refresher and, beside it, the component; answers where that listens.
    fn start_service(
        &mut self,
        listen: SocketAddr,
        accounts: &Accounts,
        redis: &RedisUrl,
        upstream: &str,
        is_demo: bool,
    ) -> Result<SocketAddr> {
        let host = self.workspace.programs().join("host");
        let manifest = self.workspace.spin_manifest();
        let server = format!(
            "{} --from {} --listen {listen}",
            quoted(&host),
            quoted(&manifest)
        );
        let mut command = self.program("refresher");
        command
            .args(["run", "--config", "config/config.yaml", "--server", &server])
            .env("BASE_ENDPOINT", upstream)
            .env("REDIS_URL", redis.as_str())
            .env("SPIN_VARIABLE_REDIS_URL", redis.place())
            .env("SPIN_VARIABLE_REDIS_SECRET_URL", redis.as_str());
        if is_demo {
            // What is made up is of no use later.
            command.env("HISTORY_STORE", self.steps.scratch().join("history"));
        }
        accounts.give_service(&mut command);
        accounts.give_upstream(&mut command);
        self.services.start(REFRESHER, &mut command)?;
        self.await_start(REFRESHER, |services| services.listening(REFRESHER))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.workspace.programs().join(name));
        command.current_dir(&self.workspace.root);
        command
    }

    fn await_start<T>(&mut self, name: &str, ready: impl Fn(&Services) -> Option<T>) -> Result<T> {
        let mut step = Step::start(&format!("starting {name}"));
        let started = Instant::now();
        loop {
            if let Some(found) = ready(&self.services) {
                step.end("done");
                return Ok(found);
            }
            self.steps.interrupt.check()?;
            if let Some(ended) = self.services.ended()? {
                bail!("{ended}");
            }
            if started.elapsed() > START_LIMIT {
                bail!("{name} does not listen after {} s", START_LIMIT.as_secs());
            }
            step.tick();
            sleep(POLL);
        }
    }

    /// Waits until there is something to serve; false if it was shut down before.
    fn await_snapshot(&mut self, address: SocketAddr) -> Result<bool> {
        let mut step = Step::start("waiting for the first snapshot");
        let address = probe::reachable(address);
        loop {
            if probe::status(address, "/readyz").is_ok_and(|status| status == 200) {
                step.end("done");
                return Ok(true);
            }
            if self.is_over()? {
                step.end("stopped");
                return Ok(false);
            }
            step.tick();
            sleep(POLL);
        }
    }

    fn watch(&mut self) -> Result<()> {
        while !self.is_over()? {
            sleep(POLL);
        }
        Ok(())
    }

    /// Whether it was told to end: by a signal, or by `/shutdown`, after which the refresher ends
    /// in good order.
    fn is_over(&mut self) -> Result<bool> {
        if self.steps.interrupt.requested() {
            return Ok(true);
        }
        match self.services.ended()? {
            None => Ok(false),
            Some(Ended {
                name: REFRESHER,
                status,
                ..
            }) if status.success() => Ok(true),
            Some(ended) => bail!("{ended}"),
        }
    }
}

fn check_free(listen: SocketAddr) -> Result<()> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "{listen} is in use by another program: end that one, or give another address with --listen"
        ),
        Err(error) => {
            bail!("cannot listen on {listen}: {error}; give another address with --listen")
        }
    }
}

/// Hands over what a person pastes.
fn show(address: SocketAddr, login: &Login) {
    let address = probe::reachable(address);
    let user = login.for_curl();
    println!("\nready on http://{address}; Ctrl-C ends it\n");
    println!("  curl -u {user} http://{address}/incidents\n");
}

/// A path as one word of a command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
