//! What the component may ask of the refreshers, as it travels on the commands stream.

use std::fmt;

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

/// The id of an entry of a stream. Redis lets them only grow within a stream, whatever its clock does
/// (<https://redis.io/docs/latest/develop/data-types/streams/#entry-ids>), so that positions can be
/// compared where times could not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// When it was written: milliseconds of Redis's clock.
    pub ms: u64,
    /// Its place among those of the same millisecond.
    pub sequence: u64,
}

impl EntryId {
    /// Reads an id as Redis writes it; `None` for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, sequence) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

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
    fn ids_are_ordered_by_place() {
        let id = |text: &str| EntryId::parse(text);
        assert!(id("9-0") < id("10-0") && id("10-0") < id("10-2") && id("10-2") < id("10-10"));
        assert_eq!(id("10-2").map(|id| id.to_string()).as_deref(), Some("10-2"));
        assert_eq!((id("x-1"), id("1"), id("")), (None, None, None));
    }

    #[test]
    fn commands_are_read_and_what_is_none_is_named() {
        for command in [Command::Refresh, Command::Shutdown] {
            assert_eq!(read(&[(FIELD, command.name())]), Ok(command));
        }
        assert_eq!(read(&[("command", "shutdown")]), Ok(Command::Shutdown));
        assert_eq!(
            read(&[("by", "whom"), ("command", "refresh")]),
            Ok(Command::Refresh)
        );
        let error = read(&[("command", "dance")]).unwrap_err();
        assert!(error.to_string().contains("`command` is `dance`"));
        assert!(read(&[]).is_err());
    }
}
