//! What the component may ask of the refreshers, as it travels on the commands stream.

use thiserror::Error;

/// A command lives this long on the stream, in milliseconds; an older one is not carried out.
pub const EXPIRY_MS: u64 = 60_000;

/// The consumer group of the refreshers.
pub const GROUP: &str = "refreshers";

/// The stream entry's field that names the command.
pub const FIELD: &str = "command";

/// Something to be done once by one refresher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Refresh now, unless that was done since the command was sent.
    Refresh,
    /// End the whole service.
    Shutdown,
}

/// An entry that is no command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a command: {0}")]
pub struct CommandError(String);

impl Command {
    /// The word for the field [`FIELD`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Shutdown => "shutdown",
        }
    }

    /// Reads the fields of a stream entry.
    ///
    /// # Errors
    /// When no command is named, or an unknown one.
    pub fn from_fields<'a>(
        mut fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, CommandError> {
        match fields
            .find(|(name, _)| *name == FIELD)
            .map(|(_, word)| word)
        {
            Some("refresh") => Ok(Self::Refresh),
            Some("shutdown") => Ok(Self::Shutdown),
            Some(other) => Err(CommandError(format!(
                "`{FIELD}` is `{}`",
                other.escape_debug()
            ))),
            None => Err(CommandError(format!("no field `{FIELD}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<Command, CommandError> {
        Command::from_fields(fields.iter().copied())
    }

    #[test]
    fn commands_are_read_and_poison_is_named() {
        assert_eq!(read(&[("command", "shutdown")]), Ok(Command::Shutdown));
        assert_eq!(
            read(&[("by", "whom"), ("command", "refresh")]),
            Ok(Command::Refresh)
        );
        let poison = read(&[("command", "dance")]).unwrap_err();
        assert!(poison.to_string().contains("`command` is `dance`"));
        assert!(read(&[]).is_err());
    }
}
