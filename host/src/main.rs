//! `host`: runs this application's Spin component without the Spin CLI.

use std::{
    fmt,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use host::{
    Limits, Program, Reuse, Server, connections_that_descriptors_allow, manifest::Application,
    variables::Values,
};
use ipnet::IpNet;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Runs this application's Spin component, without the Spin CLI.
///
/// It reads spin.toml and gives the component what Spin gives it: requests, the variables, the
/// folders under `files` (read-only) and the Redis server under `allowed_outbound_hosts`; nothing
/// else. When it is ready it prints `listening on http://ADDRESS`.
///
/// A variable's value comes from --variable, else from the environment's SPIN_VARIABLE_<NAME in
/// upper case>, else from the manifest's default.
///
/// SIGTERM or SIGINT ends it: after --drain-time it takes no further connection, and requests in flight
/// have 5 seconds to finish.
///
/// Exit codes: 0 ended by a signal; 1 it could not run; 2 wrong usage or manifest.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The manifest, or the folder that has it.
    #[arg(long, value_name = "FILE", default_value = "spin.toml")]
    from: PathBuf,

    /// The IP address and port to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,

    /// Sets a variable. NAME=@FILE takes the value from a file, so that a secret need not be an
    /// argument, which other users of the machine can see; a line break at its end does not count.
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = parse_variable)]
    variables: Vec<(String, String)>,

    /// Requests that one instance of the component answers before a new one takes its place.
    #[arg(long, value_name = "N", default_value_t = Reuse::default().max_instance_reuse_count, value_parser = parse_count)]
    max_instance_reuse_count: usize,

    /// Requests that one instance answers at the same time.
    #[arg(long, value_name = "N", default_value_t = Reuse::default().max_instance_concurrent_reuse_count, value_parser = parse_count)]
    max_instance_concurrent_reuse_count: usize,

    /// How long an instance without requests is kept, with its connections: 1s, 500ms, 60.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    idle_instance_timeout: Duration,

    /// How long an instance may take to begin an answer before it is ended: 60s, 500ms, 60.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    request_timeout: Duration,

    /// How long an instance takes on requests before a new one takes its place, which reads its
    /// settings anew: 60s, 500ms, 60.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    max_instance_age: Duration,

    /// Connections that may be open at once; without, as many as the limit of file descriptors
    /// allows, at most 1000. One client (an IPv4 address, or a network of 64 bits of IPv6) has a
    /// quarter of them. Where there are more, the one that has waited the longest for its client
    /// gives way.
    #[arg(long, value_name = "N", value_parser = parse_count)]
    max_connections: Option<usize>,

    /// Requests that the component answers at once; one client has a quarter of them. More wait for
    /// 5 seconds at the most, and then are answered 503.
    #[arg(long, value_name = "N", default_value_t = Limits::default().requests, value_parser = parse_count)]
    max_requests: usize,

    /// How long it goes on when it is told to end, so that a load balancer takes it out first: meanwhile
    /// /readyz is answered 503, and every answer closes its connection: 5s, 500ms, 5.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_time)]
    drain_time: Duration,

    /// Tells Prometheus at http://ADDRESS/metrics of requests, instances and connections. There is no password:
    /// let nobody reach it but who may know. Port 0 is any free one, and is told when it is ready.
    #[arg(long, value_name = "ADDRESS", env = "HOST_METRICS")]
    metrics: Option<SocketAddr>,

    /// A proxy, or a network of proxies, that speaks for many clients and has no share of its own:
    /// 10.0.0.1, 10.0.0.0/8; several with commas.
    #[arg(long = "trusted-proxy", value_name = "ADDRESS", env = "TRUSTED_PROXIES", value_parser = parse_proxies, default_value = "")]
    trusted_proxies: Vec<Vec<IpNet>>,

    /// Keeps the compiled component in this folder, so that the next start takes a tenth of the time.
    /// What is there is run as it is: nobody else may write to it.
    #[arg(long, value_name = "FOLDER", env = "HOST_COMPILATION_CACHE")]
    compilation_cache: Option<PathBuf>,
}

impl Arguments {
    fn limits(&self) -> Limits {
        let allowed = connections_that_descriptors_allow();
        Limits {
            connections: self.max_connections.unwrap_or(allowed),
            requests: self.max_requests,
            trusted_proxies: self.trusted_proxies.concat(),
            drain_time: self.drain_time,
            ..Limits::default()
        }
    }
}

fn parse_proxies(argument: &str) -> Result<Vec<IpNet>, String> {
    let items = argument.split(',').map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    let parse = |item: &str| match item.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address.to_canonical())),
        Err(_) => item.parse().map_err(|_| {
            format!("{item:?} is no address or network: write 10.0.0.1 or 10.0.0.0/8")
        }),
    };
    items.map(parse).collect()
}

fn parse_variable(argument: &str) -> Result<(String, String), String> {
    let (name, value) = argument
        .split_once('=')
        .ok_or("it must be NAME=VALUE or NAME=@FILE")?;
    let value = match value.strip_prefix('@') {
        None => value.to_owned(),
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read {file}: {error}"))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            text.strip_suffix('\r').unwrap_or(text).to_owned()
        }
    };
    Ok((name.to_owned(), value))
}

fn parse_count(argument: &str) -> Result<usize, String> {
    match argument.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("it must be a number above 0".into()),
    }
}

/// Spin's notation: a number of seconds, or one with the unit s, ms, us or ns.
fn parse_time(argument: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
        ("s", 1_000_000_000),
    ];
    let (number, nanoseconds) = units
        .into_iter()
        .find_map(|(unit, nanoseconds)| Some((argument.strip_suffix(unit)?, nanoseconds)))
        .unwrap_or((argument, 1_000_000_000));
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(nanoseconds))
        .map(Duration::from_nanos)
        .ok_or_else(|| {
            "it must be a number of seconds, or one with the unit s, ms, us or ns".into()
        })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    console::start(console::LogFormat::Text, "warn");
    // TLS to Redis; an error only says that its cryptography has been chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let given: Values = arguments.variables.iter().cloned().collect();
    let application = match Application::load(&arguments.from, &given, |name| std::env::var(name)) {
        Ok(application) => application,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    match run(application, &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says why it ends; where nobody listens any more, it only ends.
fn complain(error: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "error: {error}");
}

#[tokio::main]
async fn run(application: Application, arguments: &Arguments) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let reuse = Reuse {
        max_instance_reuse_count: arguments.max_instance_reuse_count,
        max_instance_concurrent_reuse_count: arguments.max_instance_concurrent_reuse_count,
        idle_instance_timeout: arguments.idle_instance_timeout,
        request_timeout: arguments.request_timeout,
        max_instance_age: arguments.max_instance_age,
    };
    let limits = arguments.limits();
    // First what is quick and fails the most.
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let cache = arguments.compilation_cache.as_deref();
    let program = Program::compile(&application.component, cache)?;
    let address = listener.local_addr()?;
    let mut server = Server::new(listener, program, application, reuse, limits);
    let metrics = match arguments.metrics {
        None => None,
        Some(wanted) => Some(
            TcpListener::bind(wanted)
                .await
                .with_context(|| format!("cannot listen on {wanted} (--metrics)"))?,
        ),
    };
    // Whoever started it may not want to know. The first address that is told is the component's.
    let _ = writeln!(io::stdout(), "listening on http://{address}");
    if let Some(listener) = metrics {
        let address = listener.local_addr()?;
        let _ = writeln!(io::stdout(), "metrics on http://{address}/metrics");
        tokio::spawn(server.count().serve(listener));
    }
    let told_to_end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.serve(told_to_end).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_spin_s_notation() {
        for (argument, milliseconds) in
            [("60", 60_000), ("1s", 1_000), ("500ms", 500), ("2000us", 2)]
        {
            assert_eq!(
                parse_time(argument),
                Ok(Duration::from_millis(milliseconds))
            );
        }
        for bad in ["", "s", "1 s", "1h", "-1s", "1.5s", "99999999999999s"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn proxies_are_addresses_and_networks() {
        let nets = |texts: &[&str]| Ok(texts.iter().map(|net| net.parse().unwrap()).collect());
        assert_eq!(parse_proxies(""), nets(&[]));
        assert_eq!(
            parse_proxies(" 10.0.0.1,2001:DB8::/32, ::ffff:192.0.2.1 ,"),
            nets(&["10.0.0.1/32", "2001:db8::/32", "192.0.2.1/32"])
        );
        for bad in ["proxy", "10.0.0.1/33", "10.0.0"] {
            assert!(parse_proxies(bad).is_err_and(|error| error.contains(bad)));
        }
    }

    #[test]
    fn a_variable_has_a_name_and_a_value() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_variable("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse_variable("a="), pair("a", ""));
        assert!(parse_variable("a").is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "b\n\r\n").unwrap();
        let argument = format!("a=@{}", file.path().display());
        assert_eq!(parse_variable(&argument), pair("a", "b\n"));
        let error = parse_variable("a=@/nowhere/at/all").unwrap_err();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
