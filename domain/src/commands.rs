//! What the component may ask of the refreshers, as it travels on the commands stream.

use thiserror::Error;

/// A command lives this long on the stream, in milliseconds; an older one is not carried out.
pub const EXPIRY_MS: u64 = 60_000;

/// The consumer group of the refreshers.
pub const GROUP: &str = "refreshers";

/// The stream entry's field that names the command.
pub const FIELD: &str = "command";

/// The field of a refresh command that holds the generation that its sender had seen, 0 for none.
pub const SEEN_FIELD: &str = "seen";

/// Something to be done once by one refresher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Refresh now, unless a generation after `seen` is there already.
    Refresh {
        /// The newest generation that the sender knew, 0 for none.
        seen: u64,
    },
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
            Self::Refresh { .. } => "refresh",
            Self::Shutdown => "shutdown",
        }
    }

    /// Reads the fields of a stream entry.
    ///
    /// # Errors
    /// When the command is unknown or a field is missing or malformed.
    pub fn from_fields<'a>(
        fields: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<Self, CommandError> {
        let field = |name| {
            fields
                .clone()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        match field(FIELD) {
            Some("refresh") => {
                let seen = field(SEEN_FIELD).unwrap_or("0");
                let seen = seen.parse().map_err(|_| {
                    CommandError(format!("`{SEEN_FIELD}` is `{}`", seen.escape_debug()))
                })?;
                Ok(Self::Refresh { seen })
            }
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
            read(&[("command", "refresh"), ("seen", "7")]),
            Ok(Command::Refresh { seen: 7 })
        );
        assert_eq!(
            read(&[("command", "refresh")]),
            Ok(Command::Refresh { seen: 0 })
        );
        assert!(
            read(&[("command", "refresh"), ("seen", "x")])
                .unwrap_err()
                .to_string()
                .contains("`seen` is `x`")
        );
        assert!(read(&[("command", "dance")]).is_err());
        assert!(read(&[]).is_err());
    }
}
