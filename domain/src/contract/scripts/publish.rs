//! Makes a written snapshot the current one, or only renews its record.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values, count};
use crate::contract::counters::Counted;
use crate::contract::keys::Keys;

/// `KEYS`: lease, current, refresh-asked, counters, then the keys of the snapshot, then those of the
/// superseded one. `ARGV`: holder, token, the record that is expected to be current (or ""), the new record,
/// how many keys the snapshot has, for how many milliseconds superseded keys stay, then a field of the
/// counters and an amount, and so on. Returns `OK`, or an error `FENCED`, `CONFLICT` or `MISSING`.
static SCRIPT: Script = Script::new("publish", include_str!("publish.lua"));

/// Makes a record the current one. Redis refuses with the error [`FENCED`](super::FENCED) when another
/// refresher leads, with [`CONFLICT`](super::CONFLICT) when the current record is not the expected one,
/// and with [`MISSING`](super::MISSING) when a part of the snapshot is not there.
#[derive(Debug)]
pub struct Publish<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who publishes.
    pub holder: &'a str,
    /// The token of its lease.
    pub token: u64,
    /// The record that must be current, as it is stored; empty for none.
    pub expected: &'a [u8],
    /// The new record.
    pub record: &'a str,
    /// All keys of the snapshot.
    pub snapshot: &'a [String],
    /// Keys that are of no more use.
    pub superseded: &'a [String],
    /// How long those stay, for readers that have begun, in milliseconds.
    pub superseded_for_ms: u64,
    /// What is counted with it.
    pub counted: &'a [Counted],
}

impl Call for Publish<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let mut names = Vec::with_capacity(4 + self.snapshot.len() + self.superseded.len());
        names.push(self.keys.lease().into());
        names.push(self.keys.current().into());
        names.push(self.keys.refresh_asked().into());
        names.push(self.keys.counters().into());
        let parts = self.snapshot.iter().chain(self.superseded);
        names.extend(parts.map(|name| name.as_str().into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let mut arguments = vec![
            self.holder.into(),
            self.token.into(),
            Argument::Bytes(self.expected),
            self.record.into(),
            self.snapshot.len().into(),
            self.superseded_for_ms.into(),
        ];
        arguments.extend(count::arguments(self.counted));
        arguments
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.bytes().map(|_| ())
    }
}
