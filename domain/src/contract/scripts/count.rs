//! Adds to the counters of the service what has no other script.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::counters::Counted;
use crate::contract::keys::Keys;

/// `KEYS`: counters. `ARGV`: a field and an amount, and so on. Returns `OK`.
static SCRIPT: Script = Script::new("count", include_str!("count.lua"));

/// Adds to the [counters](crate::contract::counters).
#[derive(Debug)]
pub struct Count<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// What is added.
    pub counted: &'a [Counted],
}

impl Call for Count<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![self.keys.counters().into()]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        arguments(self.counted).collect()
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.bytes().map(|_| ())
    }
}

/// What is counted, as arguments of a script.
pub(super) fn arguments(counted: &[Counted]) -> impl Iterator<Item = Argument<'_>> {
    counted
        .iter()
        .flat_map(|(field, amount)| [field.as_str().into(), (*amount).into()])
}
