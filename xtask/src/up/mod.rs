//! `cargo xtask up`: the whole system on this machine, until it is told to end.

mod address;
mod logins;
mod probe;
mod services;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread::sleep;

use anyhow::{Result, bail};
use clap::Args;
use xshell::{Cmd, cmd};

use self::address::RedisUrl;
use self::logins::Logins;
use self::services::Services;
use crate::setup::RedisServer;
use crate::task::{POLL, Task, say};
use crate::{build, setup};

/// New rows of each type in a minute: every refresh shows some.
const DEMO_GROWTH: &str = "6";

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
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    // What cannot work is said before minutes of building.
    check_free(options.listen)?;
    let logins = Logins::choose(options.upstream.is_some(), &task.root)?;
    if let Some(redis) = &options.redis {
        redis.check()?;
    }
    let server = setup::run(task)?;
    build::run(&build::SERVICE, task)?;
    let mut services = Services::new(task);
    let redis = match &options.redis {
        Some(redis) => redis.clone(),
        None => start_redis(&server, &mut services, task)?,
    };
    let upstream = match &options.upstream {
        Some(upstream) => upstream.clone(),
        None => start_upstream(&logins, &mut services, task)?,
    };
    let mut refresher = refresher(options.listen, &redis, &upstream, task);
    if options.upstream.is_none() {
        // What is made up is of no use later.
        refresher = refresher.env("HISTORY_STORE", task.scratch().join("history"));
    }
    refresher = logins.give_upstream(logins.give_service(refresher));
    let address = services.start(REFRESHER, refresher.into(), |listening| listening)?;
    serve(probe::reachable(address), &logins, &mut services, task)?;
    say("ending");
    services.end();
    say("ended");
    Ok(())
}

fn start_redis(server: &RedisServer, services: &mut Services, task: &Task) -> Result<RedisUrl> {
    let address = probe::free_address()?;
    let command = server.command(address.port(), task);
    let is_ready = |_| probe::is_redis(address).then_some(());
    services.start("redis", command.into(), is_ready)?;
    RedisUrl::parse(&format!("redis://{address}")).map_err(anyhow::Error::msg)
}

fn start_upstream(logins: &Logins, services: &mut Services, task: &Task) -> Result<String> {
    let program = task.programs.join("demo-upstream");
    let command = cmd!(
        task.sh,
        "{program} --listen 127.0.0.1:0 --growth {DEMO_GROWTH}"
    );
    let command = logins.give_upstream(command).into();
    let address = services.start("upstream", command, |listening| listening)?;
    Ok(format!("http://{address}"))
}

/// The refresher, which starts the component beside it.
fn refresher<'a>(listen: SocketAddr, redis: &RedisUrl, upstream: &str, task: &'a Task) -> Cmd<'a> {
    let program = task.programs.join("refresher");
    let host = quoted(&task.programs.join("host"));
    let server = format!(
        "{host} --from {} --listen {listen}",
        quoted(&task.spin_manifest())
    );
    cmd!(
        task.sh,
        "{program} run --config config/config.yaml --server {server}"
    )
    .env("BASE_ENDPOINT", upstream)
    .env("REDIS_URL", &redis.url)
    .env("SPIN_VARIABLE_REDIS_URL", redis.place())
    .env("SPIN_VARIABLE_REDIS_SECRET_URL", &redis.url)
}

/// Says when there is something to serve, and waits until it is told to end: by a signal or by
/// `/shutdown`, after which the refresher ends in good order.
fn serve(address: SocketAddr, logins: &Logins, services: &mut Services, task: &Task) -> Result<()> {
    say("waiting for the first snapshot");
    let mut is_ready = false;
    while !task.interrupted() {
        match services.ended()? {
            Some((REFRESHER, status)) if status.success() => break,
            Some((name, status)) => bail!("{name} ended with {status}: see above"),
            None => {}
        }
        if !is_ready && probe::is_ok(address, "/readyz") {
            is_ready = true;
            let user = logins.for_curl();
            println!("\nready on http://{address}; Ctrl-C ends it\n");
            println!("  curl -u {user} http://{address}/incidents\n");
        }
        sleep(POLL);
    }
    Ok(())
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

/// A path as one word of a command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
