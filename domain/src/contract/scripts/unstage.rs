//! Deletes those parts of a snapshot that still are to go by themselves: staged, and part of no snapshot
//! that is current.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};

/// `KEYS`: the parts. Returns `OK`.
static SCRIPT: Script = Script::new("unstage", include_str!("unstage.lua"));

/// Deletes parts that were staged for nothing.
#[derive(Debug)]
pub struct Unstage<'a> {
    /// Their keys.
    pub parts: &'a [&'a str],
}

impl Call for Unstage<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.parts.iter().map(|&part| part.into()).collect()
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        Vec::new()
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.bytes().map(|_| ())
    }
}
