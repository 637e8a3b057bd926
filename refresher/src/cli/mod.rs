//! The command line: a file a command, each of which starts what it needs, does its work, and cleans up
//! in bounded time.

mod arguments;
mod check_config;
mod explain;
mod export;
mod hash_password;
mod healthcheck;
mod history;
mod once;
mod output;
mod replay;
mod run;
mod serve;
mod setup;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use console::{LogFormat, PrintError};
use grouping::explain::ExplainError;

use self::arguments::{Arguments, Task};
use crate::configuration::ConfigurationError;
use crate::server::{self, ServerError};

/// The exit code for wrong usage, or settings that cannot be used.
const USAGE: u8 = 2;

/// The program `refresher`: see its `--help`.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    console::start(arguments.log_format, "info");
    match perform(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, arguments.log_format),
    }
}

/// Ends as the arguments ask for that are none of a command: with help, or with what is wrong with them.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // Where nobody reads it, the code says enough.
        let _ = error.print();
        return ExitCode::from(USAGE);
    }
    match console::print(error.render().to_string()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.into(), LogFormat::Text),
    }
}

fn failed(error: &anyhow::Error, format: LogFormat) -> ExitCode {
    if matches!(error.downcast_ref(), Some(PrintError::Closed)) {
        return ExitCode::SUCCESS;
    }
    console::say("refresher", format, &console::describe(error));
    exit_code(error)
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_usage = error.is::<ConfigurationError>()
        || matches!(error.downcast_ref(), Some(ExplainError::UnknownType { .. }))
        || matches!(
            error.downcast_ref(),
            Some(ServerError::Words { .. } | ServerError::Empty)
        );
    match is_usage {
        true => ExitCode::from(USAGE),
        false => ExitCode::FAILURE,
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Run {
            config,
            server,
            options,
        } => run::run(&config.path, server.as_deref(), options),
        #[cfg(target_os = "linux")]
        Task::Exec { parent, words } => Err(server::exec(parent, &words).into()),
        #[cfg(target_os = "linux")]
        Task::Guard { group, grace_ms } => {
            server::guard(group, grace_ms);
            Ok(())
        }
        Task::Once { config } => once::once(&config.path),
        Task::Serve {
            config,
            server,
            options,
        } => serve::serve(&config.path, &server, options),
        Task::Explain { config, row } => explain::explain_rows(&config.path, row),
        Task::CheckConfig { config } => check_config::check_config(&config.path),
        Task::Replay {
            at,
            document,
            out,
            config,
        } => replay::replay(&config.path, at, document.into(), out.as_deref()),
        Task::Export { options, config } => export::export(&config.path, &options),
        Task::History {
            from,
            to,
            limit,
            format,
            verify,
            config,
        } => {
            let range = from.unwrap_or(0)..=to.unwrap_or(u64::MAX);
            history::list(&config.path, &range, limit, format, verify)
        }
        Task::HashPassword => hash_password::hash_password(),
        Task::Healthcheck { url: Some(url), .. } => healthcheck::answers(url),
        Task::Healthcheck { url: None, config } => healthcheck::leads(&config.path),
    }
}
