//! The log, on standard error.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Begins to log: warnings, unless RUST_LOG says otherwise.
pub(crate) fn start() {
    let wanted = env::var("RUST_LOG").unwrap_or_default();
    let is_plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter(&wanted))
        // What cannot be written, to a disk that is full, must not end the program: that it says so
        // would be written to the same place, and fail.
        .log_internal_errors(false)
        .with_writer(io::stderr)
        .with_ansi(!is_plain && io::stderr().is_terminal())
        .init();
}

/// What is logged. One word that is no level silences nothing: it may be meant as one.
fn filter(wanted: &str) -> EnvFilter {
    let wanted = wanted.trim();
    let warnings = || EnvFilter::from(LevelFilter::WARN.to_string());
    let is_word = !wanted.contains(['=', ',', '[']);
    match wanted.to_ascii_lowercase().as_str() {
        "" | "warning" => warnings(),
        "all" => EnvFilter::from("trace"),
        level if is_word => match level.parse::<LevelFilter>() {
            Ok(level) => EnvFilter::from(level.to_string()),
            Err(_) => warnings(),
        },
        _ => EnvFilter::try_new(wanted).unwrap_or_else(|_| warnings()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_for_more_or_less_silences_errors() {
        for (wanted, level) in [
            ("", LevelFilter::WARN),
            (" ", LevelFilter::WARN),
            ("warning", LevelFilter::WARN),
            ("WARN", LevelFilter::WARN),
            ("1", LevelFilter::ERROR),
            ("verbose", LevelFilter::WARN),
            ("debug", LevelFilter::DEBUG),
            ("host=,,=", LevelFilter::WARN),
            ("off", LevelFilter::OFF),
        ] {
            assert_eq!(filter(wanted).max_level_hint(), Some(level), "{wanted:?}");
        }
        assert_eq!(filter("host=debug").to_string(), "host=debug");
    }
}
