//! `cargo xtask up`: the whole system on this machine, until it is told to end.

mod address;
mod logins;
mod probe;
mod services;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::sleep;

use anyhow::{Context, Result, bail};
use clap::Args;
use xshell::{Cmd, cmd};

use self::address::RedisUrl;
use self::logins::Logins;
use self::services::Services;
use crate::setup::RedisServer;
use crate::task::{POLL, Task, say};
use crate::{build, setup};

const REFRESHER: &str = "refresher";

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
    let listen = free(options.listen).context("give another address with --listen")?;
    let logins = Logins::choose(options.upstream.is_some(), &task.root)?;
    if let Some(redis) = &options.redis {
        redis.check()?;
    }
    let server = setup::run(task)?;
    build::run(&build::SERVICE, task)?;
    let mut services = Services {
        task,
        running: Vec::new(),
    };
    let redis = match &options.redis {
        Some(redis) => redis.clone(),
        None => start_redis(&server, &mut services)?,
    };
    let upstream = match &options.upstream {
        Some(upstream) => upstream.clone(),
        None => start_upstream(&logins, &mut services)?,
    };
    let mut refresher = refresher(listen, &redis, &upstream, task);
    if options.upstream.is_none() {
        // What is made up is of no use later.
        refresher = refresher.env("HISTORY_STORE", task.scratch.join("history"));
    }
    services.start(
        REFRESHER,
        logins.give_upstream(logins.give_service(refresher)),
    )?;
    serve(probe::reachable(listen), &logins, &mut services)?;
    say("ending");
    services.end();
    say("ended");
    Ok(())
}

fn start_redis(server: &RedisServer, services: &mut Services) -> Result<RedisUrl> {
    let address = free((Ipv4Addr::LOCALHOST, 0).into())?;
    services.start("redis", server.command(address.port(), services.task))?;
    services.until(|| probe::is_redis(address))?;
    RedisUrl::parse(&format!("redis://{address}")).map_err(anyhow::Error::msg)
}

/// It has new rows of each type every minute, so that every refresh shows some.
fn start_upstream(logins: &Logins, services: &mut Services) -> Result<String> {
    let address = free((Ipv4Addr::LOCALHOST, 0).into())?;
    let (program, listen) = (
        services.task.programs.join("demo-upstream"),
        address.to_string(),
    );
    let command = cmd!(services.task.sh, "{program} --listen {listen} --growth 6");
    services.start("upstream", logins.give_upstream(command))?;
    services.until(|| probe::is_http(address, "/", ""))?;
    Ok(format!("http://{address}"))
}

/// The refresher, which starts the component beside it.
fn refresher<'a>(listen: SocketAddr, redis: &RedisUrl, upstream: &str, task: &'a Task) -> Cmd<'a> {
    let program = task.programs.join(REFRESHER);
    let host = quoted(&task.programs.join("host"));
    let manifest = quoted(&task.root.join("spin.toml"));
    let server = format!("{host} --from {manifest} --listen {listen}");
    let config = "config/config.yaml";
    cmd!(task.sh, "{program} run --config {config} --server {server}")
        .env("BASE_ENDPOINT", upstream)
        .env("REDIS_URL", &redis.url)
        .env("SPIN_VARIABLE_REDIS_URL", redis.place())
        .env("SPIN_VARIABLE_REDIS_SECRET_URL", &redis.url)
}

/// Says when there is something to serve, and waits until it is told to end: by a signal or by
/// `/shutdown`, after which the refresher ends in good order.
fn serve(address: SocketAddr, logins: &Logins, services: &mut Services) -> Result<()> {
    say("waiting for the first snapshot");
    let mut is_ready = false;
    while !services.task.interrupted() {
        match services.ended()? {
            Some((REFRESHER, status)) if status.success() => break,
            Some((name, status)) => bail!("{name} ended with {status}: see above"),
            None => {}
        }
        if !is_ready && probe::is_http(address, "/readyz", "200") {
            is_ready = true;
            let user = logins.for_curl();
            println!("\nready on http://{address}; Ctrl-C ends it\n");
            println!("  curl -u {user} http://{address}/incidents\n");
        }
        sleep(POLL);
    }
    Ok(())
}

/// The address with its port; one that nothing listens on, where that is 0.
fn free(address: SocketAddr) -> Result<SocketAddr> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    bound.with_context(|| format!("cannot listen on {address}"))
}

/// A path as one word of a command.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
