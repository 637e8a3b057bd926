//! `demo-upstream`: serves the demo upstream API, or writes its data to files.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand, value_parser};
use console::LogFormat;
use demo_upstream::fault::PlannedFault;
use demo_upstream::generate::{Dataset, MOST_EMPLOYEES, MOST_ROWS, Options};
use demo_upstream::server::{Config, Server};
use domain::settings::credentials::{Account, ExpectedPassword, Secret};
use tokio::signal::unix::{SignalKind, signal};

/// A believable upstream API: seven types of incidents and the identity map, made from a seed.
///
/// It serves GET /identities and GET /incidents/<type>/ (without the trailing slash: a redirect to
/// it) with Basic auth; UPSTREAM_ID and UPSTREAM_PASSWORD in the environment (else SERVICE_ID and
/// SERVICE_PASSWORD) say who may ask. When it is ready it prints `listening on http://ADDRESS`.
/// SIGTERM or SIGINT ends it.
///
/// The same options give the same data. It logs to standard error; RUST_LOG (error, warn, info, debug)
/// says how much, and debug shows each answer.
///
/// Exit codes: 0 ended by a signal, or files written; 1 it could not run; 2 wrong usage or
/// credentials missing.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Writes identities.json and a <type>.json for each type, as the server would answer at first.
    Generate {
        /// The folder to write into; it is created if need be.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Args)]
struct Data {
    /// Other seeds give other employees, addresses and rows.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Employees, 1 to 1000000; each has a machine, every fourth has two.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = value_parser!(u32).range(1..=i64::from(MOST_EMPLOYEES)))]
    employees: u32,
    /// Rows of each type at first, up to 20000000.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = value_parser!(u64).range(..=MOST_ROWS))]
    per_type: u64,
}

#[derive(Args)]
struct Serve {
    /// The IP address and port to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    #[command(flatten)]
    data: Data,
    /// New rows of each type in a minute.
    #[arg(long, value_name = "N", default_value_t = 0)]
    growth: u32,
    /// How long an answer takes to begin: a time or a range, by chance. A real upstream under load
    /// has about 1.7s..6s.
    #[arg(long, value_name = "TIME[..TIME]", default_value = "0.2s..1.5s")]
    latency: Latency,
    /// A fault: ENDPOINT=EFFECT[:PROBABILITY], for example probing=status-503:0.3. ENDPOINT is
    /// identities, a type or all. EFFECT is latency-MS, status-CODE, reset, reset-midway, truncate,
    /// truncate-chunked, stale, html, wrong-body, endless, drip-BYTES_PER_SECOND, hang or
    /// redirect-URL. May be given several times; the last one for an endpoint counts.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<PlannedFault>,
    /// Serve the control API below /control/, with the same credentials, to this machine only:
    /// PUT and DELETE faults/ENDPOINT ({"effect": "status-503", "latency_ms": 50, "times": 2,
    /// "probability": 0.5}, each member optional) and payload/ENDPOINT (the bytes to answer with);
    /// GET and DELETE requests (what was asked).
    #[arg(long)]
    control: bool,
}

/// The shortest and the longest time until an answer begins.
#[derive(Debug, Clone, Copy)]
struct Latency(Duration, Duration);

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
        let (shortest, longest) = (time(shortest)?, time(longest)?);
        if shortest > longest {
            return Err("the first time is longer than the second".to_owned());
        }
        Ok(Self(shortest, longest))
    }
}

/// Reads `1.5s`, `200ms` or, in seconds, `2`; an hour at most.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|seconds| (0.0..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is no time such as 1.5s or 200ms, up to 3600s"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    console::start(LogFormat::Text, "info");
    let done = match arguments.command {
        Some(Command::Generate { out, data }) => generate(&out, &data),
        None => match account() {
            Ok(account) => serve(arguments.serve, account),
            Err(error) => {
                say(&error);
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says why the program ends.
fn say(error: &anyhow::Error) {
    console::say("demo-upstream", LogFormat::Text, &console::describe(error));
}

fn generate(out: &PathBuf, data: &Data) -> Result<()> {
    let dataset = dataset(data)?;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    dataset
        .write_to(out)
        .with_context(|| format!("cannot write to {}", out.display()))
}

#[tokio::main]
async fn serve(options: Serve, account: Account) -> Result<()> {
    // Asked for before the address is told, so that no signal after it is missed.
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let Latency(shortest, longest) = options.latency;
    let dataset = dataset(&options.data)?;
    let config = Config {
        listen: options.listen,
        account,
        growth: options.growth,
        per_type: options.data.per_type,
        latency: (shortest, longest),
        faults: options.faults,
        seed: options.data.seed,
        control: options.control,
    };
    let server = Server::bind(config, dataset).await?;
    console::print(format!("listening on http://{}\n", server.address()?))
        .context("cannot tell the address")?;
    server
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

fn dataset(data: &Data) -> Result<Dataset> {
    let options = Options {
        seed: data.seed,
        employees: data.employees,
        per_type: data.per_type,
    };
    Ok(Dataset::new(&options)?)
}

/// Who may ask, from the environment: arguments can be seen by every user of the machine. As for
/// the refresher, it is the service's own account where nothing else is set.
fn account() -> Result<Account> {
    let id = variable(["UPSTREAM_ID", "SERVICE_ID"])?;
    let password = variable(["UPSTREAM_PASSWORD", "SERVICE_PASSWORD"])?;
    if id.contains(':') {
        bail!("UPSTREAM_ID has a colon, which no user id may have in Basic auth");
    }
    Ok(Account {
        id,
        password: ExpectedPassword::Plain(Secret::new(password)),
    })
}

/// The first of two variables that is set; an empty one counts as not set.
fn variable(names: [&str; 2]) -> Result<String> {
    for name in names {
        match env::var(name) {
            Ok(value) if !value.is_empty() => return Ok(value),
            Err(env::VarError::NotUnicode(_)) => bail!("{name} is not UTF-8"),
            _ => {}
        }
    }
    Err(anyhow!(
        "{} is not set; UPSTREAM_ID and UPSTREAM_PASSWORD say who may ask",
        names[0]
    ))
}
