//! Standard output, which may be a pipe that is closed or a disk that is full.

use std::io::{self, Write as _};

use thiserror::Error;

/// Why something could not be printed.
#[derive(Debug, Error)]
pub enum PrintError {
    /// Whoever read it has gone, as `head` does: nothing more need be printed, and nothing is wrong.
    #[error("nobody reads standard output any more")]
    Closed,
    /// It could not be written.
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Writes `text` to standard output, all of it.
///
/// # Errors
/// When it could not be written.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), PrintError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    Ok(stdout.flush()?)
}
