//! The log: to standard error, for people or for collectors.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::arguments::LogFormat;

/// Begins to log.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // What cannot be written, to a disk that is full, must not end the program: that it says so
        // would be written to the same place, and fail.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
