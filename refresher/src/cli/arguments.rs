//! What the program can be told on its command line.

use std::path::PathBuf;
use std::time::Duration;

use chrono::DateTime;
use clap::{Args, Parser, Subcommand, ValueEnum};
use console::LogFormat;
use domain::contract::document::Document;
use domain::contract::timeline::TimeKey;
use domain::incident::Priority;
use grouping::explain::Condition;
use url::Url;

/// Fetches security incidents from the upstream API, groups them by employee and priority, and
/// publishes the report to Redis, where the component serves it from.
///
/// Settings come from the configuration file; an environment variable of the same name
/// overrides it. Logs go to standard error; RUST_LOG (error, warn, info, debug) says how much.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Task,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

const AFTER_HELP: &str = "\
Examples:
  Check the settings before the first start:
    refresher check-config --config config/config.yaml
  Refresh every minute, with the server beside it:
    refresher run --server 'spin up --listen 127.0.0.1:9000'
  One refresh, from cron:
    refresher once && echo fresh
  What was served at half past ten, and what there is to choose from:
    refresher replay --at 2026-11-25T10:30:00Z --out report.json
    refresher history --from 2026-11-25T10:00:00Z
  The critical incidents of the last refresh, for a spreadsheet:
    refresher export --priority critical --format csv --out critical.csv
  Why an incident is where it is:
    refresher explain --type intrusion --where timestamp=1629939474.1346128
  A hash to put in place of SERVICE_PASSWORD:
    printf %s 'my password' | refresher hash-password

Exit codes:
  0  done, or ended as asked (SIGTERM, SIGINT, SIGHUP, SIGQUIT, /shutdown)
  1  it failed; the last line of the log says why
  2  wrong usage, or settings that cannot be used";

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Refresh at once and then every DEFAULT_CACHE_REFRESH seconds, until told to end
    ///
    /// Several may run on one Redis: one of them leads and refreshes, the others stand by and take
    /// over within seconds. SIGTERM, SIGINT, SIGHUP, SIGQUIT and GET /shutdown end it within 3 s
    /// (or --server-grace), together with the server that it started; on Linux that ends with it however it ends.
    Run {
        #[command(flatten)]
        config: Config,
        /// Start this command beside it (without a shell) and end it too; should it end by itself,
        /// so does the refresher, with code 1
        #[arg(long, value_name = "COMMAND")]
        server: Option<String>,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Become a server that ends with the process that started it
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Exec {
        parent: u32,
        #[arg(last = true, required = true)]
        words: Vec<String>,
    },
    /// End a process group when the process at the other end of standard input has ended
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Guard { group: i32, grace_ms: u64 },
    /// Do one refresh and end: for cron and serverless schedulers
    ///
    /// Code 0 means that what upstream has is being served, be it new or unchanged; 1 that nothing
    /// could be fetched or published, or that another refresher leads. The last snapshot then
    /// stays.
    Once {
        #[command(flatten)]
        config: Config,
    },
    /// Only run a server, and end it when the service is shut down
    ///
    /// For a server in a container of its own: /shutdown ends it too, and /status lists it.
    Serve {
        #[command(flatten)]
        config: Config,
        /// The command that serves; it is run without a shell
        #[arg(long, value_name = "COMMAND")]
        server: String,
        #[command(flatten)]
        options: ServerOptions,
    },
    /// Tell where a row of upstream's went, and why: reported, unattributed or rejected
    ///
    /// Reads the snapshot that is served (with --at, one of the history) and the upstream answers that it
    /// was made of, and changes nothing. Code 0 if a row was found, 1 if none.
    Explain {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        row: RowOptions,
    },
    /// Show the settings in force, secrets hidden, or all that is wrong with them
    CheckConfig {
        #[command(flatten)]
        config: Config,
    },
    /// Rebuild the report of a moment in the past from the history, byte for byte
    ///
    /// The report is that of the last refresh at or before the moment. What it is made of is checked,
    /// and so is the result: where something is missing or damaged, nothing is written and the code
    /// is 1. Needs neither Redis nor upstream.
    Replay {
        /// When: 2026-11-25T10:30:00Z, with any offset, or seconds since the Unix epoch
        #[arg(long, value_name = "TIME", value_parser = moment)]
        at: u64,
        /// Which document
        #[arg(long, value_enum, default_value_t = DocumentName::Report)]
        document: DocumentName,
        /// Write it into this file, whole or not at all; without, to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        config: Config,
    },
    /// Write incidents out of the history, one a line, for spreadsheets and programs
    ///
    /// Those that were reported at a moment (without --at, in the last refresh), or at any time in a range of
    /// refreshes: then each once, with when it was first and last reported. What they are made of is
    /// checked: where something is missing or damaged, nothing is written and the code is 1. Needs neither
    /// Redis nor upstream.
    Export {
        #[command(flatten)]
        options: ExportOptions,
        #[command(flatten)]
        config: Config,
    },
    /// List the refreshes that the history has, the newest last
    ///
    /// Needs neither Redis nor upstream. With --verify, everything that they are made of is read and
    /// checked; the code is 1 if anything is missing or damaged.
    History {
        /// Only those at or after this moment, in the notation of `replay --at`
        #[arg(long, value_name = "TIME", value_parser = moment)]
        from: Option<u64>,
        /// Only those at or before this moment
        #[arg(long, value_name = "TIME", value_parser = moment)]
        to: Option<u64>,
        /// Only so many, the newest of them
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// How they are told
        #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
        format: OutputFormat,
        /// Read and check all that they are made of
        #[arg(long)]
        verify: bool,
        #[command(flatten)]
        config: Config,
    },
    /// Make the argon2id hash of a password, for SERVICE_PASSWORD
    ///
    /// The password is asked for on the terminal, or read from standard input.
    HashPassword,
    /// Tell by its code whether all is well, for the health check of a container
    ///
    /// With a URL: 0 if it answers 200 within 3 s. Without: 0 if a refresher leads, which it shows to
    /// Redis every second.
    Healthcheck {
        /// Such as http://127.0.0.1:9000/readyz
        url: Option<Url>,
        #[command(flatten)]
        config: Config,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// The configuration file
    #[arg(
        long = "config",
        value_name = "FILE",
        default_value = "config/config.yaml"
    )]
    pub(crate) path: PathBuf,
}

/// How a server is run.
#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    /// Where the server answers whether it is well; without, the first http:// address that it
    /// prints, with the path /healthz
    #[arg(long = "server-health", value_name = "URL", requires = "server")]
    pub(crate) health: Option<Url>,
    /// How many seconds the server has to end before it is killed
    #[arg(long = "server-grace", value_name = "SECONDS", default_value = "2.5", value_parser = seconds, requires = "server")]
    pub(crate) grace: Duration,
}

/// Which row is meant.
#[derive(Debug, Args)]
pub(crate) struct RowOptions {
    /// Only among the rows of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// A member of the row and its value, as its JSON is written or as the text in it reads; several
    /// must all hold
    #[arg(
        long = "where",
        value_name = "FIELD=VALUE",
        required = true,
        allow_hyphen_values = true
    )]
    pub(crate) conditions: Vec<Condition>,
    /// As of this moment in the past, by the history: in the notation of `replay --at`. Without, as of
    /// what is served now, by Redis
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<u64>,
    /// Tell of no more rows than this
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, value_name = "FORMAT")]
    pub(crate) format: OutputFormat,
}

/// Which incidents are exported, and how.
#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// As of the last refresh at or before this moment, in the notation of `replay --at`
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with_all = ["from", "to"])]
    pub(crate) at: Option<u64>,
    /// Of all refreshes at or after this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) from: Option<u64>,
    /// Of all refreshes at or before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) to: Option<u64>,
    /// Only of these priorities, with commas between them: low, medium, high, critical
    #[arg(long = "priority", value_name = "PRIORITY", value_delimiter = ',', value_parser = priority)]
    pub(crate) priorities: Vec<Priority>,
    /// Only of these types, with commas between them
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) kinds: Vec<String>,
    /// Only of these employees: their ids, with commas between them
    #[arg(long = "employee", value_name = "ID", value_delimiter = ',')]
    pub(crate) employees: Vec<u64>,
    /// Only what happened then or later: a time in the notation of `replay --at`, or a negative number of
    /// seconds
    #[arg(long, value_name = "TIME", value_parser = place_in_time, allow_hyphen_values = true)]
    pub(crate) since: Option<TimeKey>,
    /// Only what happened before
    #[arg(long, value_name = "TIME", value_parser = place_in_time, allow_hyphen_values = true)]
    pub(crate) until: Option<TimeKey>,
    /// The latest first, or the earliest
    #[arg(long, value_enum, default_value_t = Order::Desc)]
    pub(crate) order: Order,
    /// How they are written
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson, value_name = "FORMAT")]
    pub(crate) format: ExportFormat,
    /// Write them into this file, whole or not at all; without, to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// The earliest first
    Asc,
    /// The latest first
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// JSON, one object a line
    Ndjson,
    /// One JSON array
    Json,
    /// CSV (RFC 4180), with a header
    Csv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// JSON, one object a line, for programs
    Json,
}

/// A document of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DocumentName {
    /// The report, as GET /incidents has it
    Report,
    /// The rows that no employee was found for
    Unattributed,
    /// The rows that could not be used
    Rejected,
    /// The numbers, as GET /incidents/summary has them
    Summary,
}

impl From<DocumentName> for Document {
    fn from(name: DocumentName) -> Self {
        match name {
            DocumentName::Report => Self::Report,
            DocumentName::Unattributed => Self::Unattributed,
            DocumentName::Rejected => Self::Rejected,
            DocumentName::Summary => Self::Summary,
        }
    }
}

/// Reads a moment; milliseconds since the Unix epoch.
fn moment(text: &str) -> Result<u64, String> {
    let ms = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => Some((seconds * 1000.0).floor() as i64),
        Ok(_) => None,
        Err(_) => DateTime::parse_from_rfc3339(text)
            .ok()
            .map(|time| time.timestamp_millis()),
    };
    ms.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| {
        "it must be a time such as 2026-11-25T10:30:00Z, or seconds since the Unix epoch".to_owned()
    })
}

/// Reads a number of seconds, up to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.0..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it must be a number of seconds from 0 to 3600, such as 2.5".to_owned())
}

/// Reads a time of incidents, as precisely as their timestamps are read.
fn place_in_time(text: &str) -> Result<TimeKey, String> {
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => Some(seconds),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().and_then(|time| {
            let (seconds, nanos) = (time.timestamp(), time.timestamp_subsec_nanos());
            match seconds {
                // Read as the digits of a timestamp are.
                0.. => format!("{seconds}.{nanos:09}").parse().ok(),
                _ => Some(seconds as f64 + f64::from(nanos) / 1e9),
            }
        }),
    };
    seconds.and_then(TimeKey::new).ok_or_else(|| {
        "it must be a time such as 2026-11-25T10:30:00Z, or seconds since the Unix epoch".to_owned()
    })
}

fn priority(text: &str) -> Result<Priority, String> {
    let known = Priority::ALL.map(Priority::name).join(", ");
    Priority::from_name(text.as_bytes()).ok_or_else(|| format!("it must be one of {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn a_moment_is_a_date_or_seconds() {
        let expected = Ok(1_764_066_600_500);
        assert_eq!(moment("2025-11-25T10:30:00.5Z"), expected);
        assert_eq!(moment("2025-11-25T12:30:00.500+02:00"), expected);
        assert_eq!(moment("1764066600.5"), expected);
        for wrong in ["", "yesterday", "2025-11-25", "-1", "inf", "NaN"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_number_of_seconds() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in ["", "5s", "-1", "3601", "inf", "NaN"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_of_incidents_is_read_as_their_timestamps_are() {
        for (text, seconds) in [
            ("2021-08-26T00:57:54.1346128Z", 1_629_939_474.134_612_8),
            ("1629939474.1346128", 1_629_939_474.134_612_8),
            ("2021-08-26T02:57:54+02:00", 1_629_939_474.0),
            ("1969-12-31T23:59:59.5Z", -0.5),
            ("-0.5", -0.5),
        ] {
            assert_eq!(place_in_time(text).ok(), TimeKey::new(seconds), "{text}");
        }
        for wrong in ["", "yesterday", "2025-11-25", "inf", "NaN"] {
            assert!(place_in_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
