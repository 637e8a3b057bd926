//! The last line of a program that failed: why.

use std::io::{self, Write as _};

use crate::log::LogFormat;

/// `error` and its causes in one line, each said once: some messages have their cause in them already.
#[must_use]
pub fn describe(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// Says why `program` failed, in the log's format. Where nobody reads it, nothing is to be done.
pub fn say(program: &str, format: LogFormat, message: &str) {
    match format {
        LogFormat::Text => {
            let _ = writeln!(io::stderr(), "{program}: {message}");
        }
        LogFormat::Json => tracing::error!(program, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_said_once() {
        let cause = || io::Error::other("the disk is full");
        let error = anyhow::Error::new(cause()).context("cannot write f");
        assert_eq!(describe(&error), "cannot write f: the disk is full");
        let whole = "cannot write f: the disk is full; free some";
        let error = anyhow::Error::new(cause()).context(whole);
        assert_eq!(describe(&error), whole);
    }
}
