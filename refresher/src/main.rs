//! `refresher`: see `refresher --help`.

mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use grouping::explain::ExplainError;
use refresher::configuration::{self, ConfigurationError};
use refresher::server::ServerError;

use crate::cli::{Arguments, Task, explain, hash_password, healthcheck, history, logging, run};

/// Wrong usage, or settings that cannot be used.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.log_format);
    match perform(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_usage = error.is::<ConfigurationError>()
                || matches!(error.downcast_ref(), Some(ExplainError::UnknownType { .. }))
                || matches!(
                    error.downcast_ref(),
                    Some(ServerError::Words { .. } | ServerError::Empty)
                );
            eprintln!("refresher: {error:#}");
            if is_usage {
                ExitCode::from(USAGE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Run { config, server } => run::run(&config.path, server.as_deref()),
        Task::Once { config } => run::once(&config.path),
        Task::Serve { config, server } => run::serve(&config.path, &server),
        Task::Explain { config, row } => explain::explain_rows(&config.path, row),
        Task::CheckConfig { config } => {
            let settings = configuration::read(&config.path)?;
            configuration::upstream(&config.path, &settings)?;
            print!("{}", configuration::describe(&settings));
            Ok(())
        }
        Task::Replay {
            at,
            document,
            out,
            config,
        } => history::replay(&config.path, at, document, out.as_deref()),
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
        Task::HashPassword => {
            println!("{}", hash_password::hash_password()?);
            Ok(())
        }
        Task::Healthcheck { url: Some(url), .. } => healthcheck::answers(url),
        Task::Healthcheck { url: None, config } => healthcheck::leads(&config.path),
    }
}
