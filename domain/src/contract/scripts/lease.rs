//! Takes, renews or gives up the lease of the leading refresher.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: lease. `ARGV`: `take` or `release`, the holder, and for `take` the term in milliseconds and
/// the last token that the caller knows of. `take` returns `[token, 1]` to the holder, `[token of the
/// other, 0]` while another one's lease runs; `release` returns 1 if it was the holder's.
static SCRIPT: Script = Script::new("lease", include_str!("lease.lua"));

/// How long a lease runs unless it is renewed, in milliseconds.
pub const LEASE_TERM_MS: u64 = 4_000;

/// Takes or renews the lease. A new holder gets a token greater than all before, and than the known one.
/// A lease that would run for longer than the term was written before the clock went back: it is cut to
/// that term, so that a leader that is gone is missed no longer than ever.
#[derive(Debug)]
pub struct TakeLease<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who wants it.
    pub holder: &'a str,
    /// How long it runs unless it is renewed, in milliseconds.
    pub term_ms: u64,
    /// The last token that the caller knows of (0 for none), in case Redis was emptied.
    pub known_token: u64,
}

/// How the lease stands after a try to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The token of whoever has it.
    pub token: u64,
    /// Whether the caller has it.
    pub is_ours: bool,
}

impl Call for TakeLease<'_> {
    type Reply = Holding;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![self.keys.lease().into()]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![
            "take".into(),
            self.holder.into(),
            self.term_ms.into(),
            self.known_token.into(),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<Holding> {
        Some(Holding {
            token: values.count()?,
            is_ours: values.integer()? == 1,
        })
    }
}

/// Gives the lease up. Answers whether it was the holder's.
#[derive(Debug)]
pub struct ReleaseLease<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who gives it up.
    pub holder: &'a str,
}

impl Call for ReleaseLease<'_> {
    type Reply = bool;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![self.keys.lease().into()]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec!["release".into(), self.holder.into()]
    }

    fn parse(mut values: Values<'_>) -> Option<bool> {
        values.integer().map(|released| released == 1)
    }
}
