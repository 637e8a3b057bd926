//! Puts a refresh command on the stream unless one stands there already.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: refresh-asked, commands. `ARGV`: after how many milliseconds another one may be put there.
/// Returns 1 if it was put there.
static SCRIPT: Script = Script::new("ask_refresh", include_str!("ask_refresh.lua"));

/// A wish for a snapshot. Answers whether it was put on the stream: otherwise somebody's is there.
#[derive(Debug)]
pub struct AskRefresh<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// How long it stands before another one may follow it, in milliseconds.
    pub stands_ms: u64,
}

impl Call for AskRefresh<'_> {
    type Reply = bool;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![
            self.keys.refresh_asked().into(),
            self.keys.commands().into(),
        ]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![self.stands_ms.into()]
    }

    fn parse(mut values: Values<'_>) -> Option<bool> {
        values.integer().map(|put| put == 1)
    }
}
