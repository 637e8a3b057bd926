//! The server that runs beside the refresher: started with it, ended with it.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long the server may take to end after SIGTERM.
const GRACE: Duration = Duration::from_millis(2500);

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The command cannot be read.
    #[error("--server '{command}' cannot be split into words: {source}")]
    Words {
        /// The command.
        command: String,
        /// Why.
        source: shell_words::ParseError,
    },
    /// There is none.
    #[error("--server is empty; give it a command such as 'spin up --listen 127.0.0.1:9000'")]
    Empty,
    /// It cannot be started.
    #[error("cannot start the server `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// A running server, in a process group of its own. Dropped, it is killed with all its children.
#[derive(Debug)]
pub struct Server {
    child: Child,
    group: Option<Pid>,
}

/// Splits a command as a shell would; no shell runs it.
///
/// # Errors
/// When its quotes do not match, or it is empty.
pub fn words(command: &str) -> Result<Vec<String>, ServerError> {
    let words = shell_words::split(command).map_err(|source| ServerError::Words {
        command: command.to_owned(),
        source,
    })?;
    match words.is_empty() {
        true => Err(ServerError::Empty),
        false => Ok(words),
    }
}

impl Server {
    /// Starts `words`: a program and its arguments. What it writes goes where ours goes.
    ///
    /// # Errors
    /// When there is no such program, or it may not be run.
    pub fn start(words: &[String]) -> Result<Self, ServerError> {
        let (program, arguments) = words.split_first().ok_or(ServerError::Empty)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ServerError::Start {
                program: program.clone(),
                source,
            })?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        tracing::info!(program, id = child.id(), "started the server");
        Ok(Self { child, group })
    }

    /// Waits until the server ends by itself.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the server in bounded time: it may end in good order, then it is killed.
    pub async fn end(mut self) {
        self.signal(Signal::TERM);
        match timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => tracing::info!(%status, "the server has ended"),
            Ok(Err(error)) => tracing::error!(%error, "cannot wait for the server"),
            Err(_) => tracing::warn!("the server did not end in time: it is killed"),
        }
        // Drop kills whatever is left of the group.
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // When nothing is left of the group, there is nothing to signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_would() {
        assert_eq!(
            words("host --from 'a b/spin.toml' --listen 127.0.0.1:0").unwrap(),
            ["host", "--from", "a b/spin.toml", "--listen", "127.0.0.1:0"]
        );
        assert!(matches!(words("a 'b"), Err(ServerError::Words { .. })));
        assert!(matches!(words("  "), Err(ServerError::Empty)));
    }
}
