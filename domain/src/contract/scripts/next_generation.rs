//! Draws the next generation.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: generation. `ARGV`: the last generation that the caller knows. Returns the next.
static SCRIPT: Script = Script::new("next_generation", include_str!("next_generation.lua"));

/// Draws a generation that is greater than all before, and than the known one.
#[derive(Debug)]
pub struct NextGeneration<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// The last generation that the caller knows (0 for none), in case Redis was emptied.
    pub known: u64,
}

impl Call for NextGeneration<'_> {
    type Reply = u64;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![self.keys.generation().into()]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![self.known.into()]
    }

    fn parse(mut values: Values<'_>) -> Option<u64> {
        values.count()
    }
}
