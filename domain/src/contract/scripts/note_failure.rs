//! Counts a wrong password that was found out after its request had been admitted.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;
use crate::settings::rate_limit::RateLimit;

/// `KEYS`: one counter for each limit of wrong passwords. `ARGV`: for each its window in milliseconds.
/// Returns how many there are.
static SCRIPT: Script = Script::new("note_failure", include_str!("note_failure.lua"));

/// Counts a wrong password.
#[derive(Debug)]
pub struct NoteFailure<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who sent it.
    pub client: &'a str,
    /// How many that client may send.
    pub failure_limits: &'a [RateLimit],
}

impl Call for NoteFailure<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let counters = 0..self.failure_limits.len();
        counters
            .map(|limit| self.keys.failures(limit, self.client).into())
            .collect()
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let limits = self.failure_limits.iter();
        limits.map(|limit| limit.window_ms.into()).collect()
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.integer().map(|_| ())
    }
}
