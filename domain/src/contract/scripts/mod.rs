//! The scripts that run inside Redis: each is one atomic step of the protocol between refresher and
//! component, and has a type with its keys, its arguments and its reply.
//!
//! A module a script, beside its Lua. Whoever talks to Redis sends what a [`Call`] holds (`EVALSHA`, and
//! `EVAL` where Redis does not know the script yet) and lets it read the reply.
//!
//! Invariants of the Lua: it uses nothing newer than Redis 6.0 (or Valkey), takes all keys as `KEYS`,
//! and reads the time from Redis itself, so that no machine's clock is trusted but that of the one Redis.

mod admit;
mod ask_refresh;
mod count;
mod find_employee;
mod find_employee_rows;
mod find_rows;
mod lease;
mod next_generation;
mod note_alerts;
mod publish;
mod read_counters;
mod read_rows;
mod settle_check;
mod status;
mod take_alerts;
mod unstage;

use std::borrow::Cow;
use std::sync::OnceLock;

use thiserror::Error;

pub use admit::{Admission, Admit, CredentialCheck};
pub use ask_refresh::AskRefresh;
pub use count::Count;
pub use find_employee::{EmployeePart, FindEmployee};
pub use find_employee_rows::{EmployeeFound, FindEmployeeRows};
pub use find_rows::{Bound, FindRows, Found, LaneSearch, Order};
pub use lease::{Holding, LEASE_TERM_MS, ReleaseLease, TakeLease};
pub use next_generation::NextGeneration;
pub use note_alerts::NoteAlerts;
pub use publish::Publish;
pub use read_counters::{Counts, ReadCounters};
pub use read_rows::ReadRows;
pub use settle_check::SettleCheck;
pub use status::{ReadStatus, Reports};
pub use take_alerts::TakeAlerts;
pub use unstage::Unstage;

/// The code of the error with which a script says that a part of a generation is not there.
pub const MISSING: &str = "MISSING";

/// The code of the error with which a script says that something in Redis cannot be what it is.
pub const DAMAGED: &str = "DAMAGED";

/// The code of the error with which [`Publish`], [`NoteAlerts`] and [`TakeAlerts`] say that another refresher leads.
pub const FENCED: &str = "FENCED";

/// The code of the error with which [`Publish`] says that the current record is not the expected one.
pub const CONFLICT: &str = "CONFLICT";

/// A script and the hash by which Redis knows it once it has seen it.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    source: &'static str,
    sha1: OnceLock<String>,
}

impl Script {
    const fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            sha1: OnceLock::new(),
        }
    }

    /// Its Lua, for `EVAL`.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        self.source
    }

    /// The hash of its Lua in hexadecimal, for `EVALSHA`.
    #[must_use]
    pub fn sha1(&self) -> &str {
        self.sha1
            .get_or_init(|| sha1_smol::Sha1::from(self.source).digest().to_string())
    }
}

/// An argument of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Argument<'a> {
    /// A number.
    Integer(i64),
    /// Text, or any bytes.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl From<u64> for Argument<'_> {
    /// Redis's integers are signed: none of ours gets that large.
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Argument<'_> {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A value of a script's reply. Lists come flattened, since Spin hands them to a component so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// A number.
    Integer(i64),
    /// Text (a status, too) or any bytes.
    Bytes(Vec<u8>),
}

/// The values of a reply that are still to be read.
pub struct Values<'a>(&'a mut dyn Iterator<Item = Value>);

impl Values<'_> {
    fn integer(&mut self) -> Option<i64> {
        match self.0.next()? {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// A number that is not below zero.
    fn count(&mut self) -> Option<u64> {
        u64::try_from(self.integer()?).ok()
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.0.next()? {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A script replied what this release does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the script `{0}` replies what it should not: run the same release everywhere")]
pub struct ReplyError(pub &'static str);

/// One run of a script.
pub trait Call {
    /// What it answers.
    type Reply;

    /// Which script.
    fn script(&self) -> &'static Script;

    /// Its `KEYS`.
    fn keys(&self) -> Vec<Cow<'_, str>>;

    /// Its `ARGV`.
    fn arguments(&self) -> Vec<Argument<'_>>;

    /// Its reply, of the values that Redis sends; `None` if it is none. Values after it are not looked at.
    fn parse(values: Values<'_>) -> Option<Self::Reply>;

    /// Its reply, of the values that Redis sends.
    ///
    /// # Errors
    /// When they are no reply of this script.
    fn reply(&self, values: impl IntoIterator<Item = Value>) -> Result<Self::Reply, ReplyError> {
        let mut values = values.into_iter();
        Self::parse(Values(&mut values)).ok_or(ReplyError(self.script().name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_known_by_their_sha1() {
        // `printf 'return 1' | sha1sum`
        assert_eq!(
            Script::new("one", "return 1").sha1(),
            "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
        );
    }

    #[test]
    fn numbers_that_redis_cannot_hold_are_cut_off() {
        assert_eq!(Argument::from(7_u64), Argument::Integer(7));
        assert_eq!(Argument::from(u64::MAX), Argument::Integer(i64::MAX));
        assert_eq!(Argument::from(7_usize), Argument::Integer(7));
    }

    #[test]
    fn values_are_of_the_kind_that_is_asked_for() {
        let mut values = vec![
            Value::Integer(-1),
            Value::Integer(-1),
            Value::Integer(2),
            Value::Bytes(b"x".to_vec()),
            Value::Nil,
        ]
        .into_iter();
        let mut values = Values(&mut values);
        assert_eq!(values.integer(), Some(-1));
        assert_eq!(values.count(), None);
        assert_eq!(values.count(), Some(2));
        assert_eq!(values.bytes().as_deref(), Some(&b"x"[..]));
        assert_eq!(values.bytes(), None);
        assert_eq!(values.bytes(), None);
    }
}
