//! The log: to standard error, for people or for collectors.

use std::env;
use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line, for log collectors
    Json,
}

/// Begins to log, at the level that `RUST_LOG` names, else at `level`. A value that names none would
/// silence even errors: it is told, and does not count.
pub fn start(format: LogFormat, level: &str) {
    let variable = env::var_os("RUST_LOG").map(|value| value.to_string_lossy().into_owned());
    let (filter, is_understood) = filter(variable.as_deref(), level);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // What cannot be written, to a disk that is full, must not end the program: that it says so
        // would be written to the same place, and fail.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(has_colors()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    if !is_understood {
        tracing::warn!(
            found = variable,
            "RUST_LOG is not understood: logging at {level}. It takes error, warn, info, debug, trace or \
             off, also of one part: info,refresher=debug"
        );
    }
}

/// What `RUST_LOG` asks for, and whether it was understood. Empty counts as not set.
fn filter(variable: Option<&str>, level: &str) -> (EnvFilter, bool) {
    match variable.map(str::trim) {
        None | Some("") => (EnvFilter::new(level), true),
        Some(text) => match EnvFilter::try_new(text) {
            Ok(filter) if text.split(',').all(names_level) => (filter, true),
            _ => (EnvFilter::new(level), false),
        },
    }
}

/// Whether a directive is a level, or a part of the program and its level. Anything else would be taken
/// for the name of a part, and silence all others.
fn names_level(directive: &str) -> bool {
    let level = directive.rsplit('=').next().unwrap_or_default().trim();
    ["off", "error", "warn", "info", "debug", "trace"]
        .iter()
        .any(|known| level.eq_ignore_ascii_case(known))
}

/// Whether people see colours: on a terminal, unless they do not want them (<https://no-color.org>).
fn has_colors() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stderr().is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_are_understood() {
        for (text, shown) in [
            ("debug", "debug"),
            ("WARN", "warn"),
            ("off", "off"),
            ("info,refresher=debug", "refresher=debug,info"),
            ("", "info"),
        ] {
            let (filter, is_understood) = filter(Some(text), "info");
            assert!(is_understood, "{text}");
            assert_eq!(filter.to_string(), shown, "{text}");
        }
        assert_eq!(filter(None, "warn").0.to_string(), "warn");
        for text in [
            "warning",
            "1",
            "refresher",
            "info,",
            "refresher=loud",
            "a=b=",
            "[[",
        ] {
            let (filter, is_understood) = filter(Some(text), "info");
            assert!(!is_understood, "{text}");
            assert_eq!(filter.to_string(), "info", "{text}");
        }
    }
}
