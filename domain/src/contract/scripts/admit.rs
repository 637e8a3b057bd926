//! Counts a request against its limits and answers with all that most requests need.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;
use crate::settings::rate_limit::RateLimit;

/// `KEYS`: current, verified, one counter for each rate limit, then one for each limit of wrong
/// passwords. `ARGV`: how many rate limits there are, what is known of the credential, then for each
/// counter its count and its window in milliseconds.
///
/// Returns `[outcome, wait_ms, limiting (0-based), now_ms, current or "", verified 0|1]`.
static SCRIPT: Script = Script::new("admit", include_str!("admit.lua"));

/// A request that asks to be admitted.
#[derive(Debug)]
pub struct Admit<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Which requests are counted together.
    pub scope: &'a str,
    /// Whose requests: see [`counting_key`](crate::settings::client_address::counting_key).
    pub client: &'a str,
    /// How many requests this client may send to the scope.
    pub limits: &'a [RateLimit],
    /// How many wrong passwords this client may send, to all scopes together.
    pub failure_limits: &'a [RateLimit],
    /// What is known of the credential so far. An admitted [`Wrong`](CredentialCheck::Wrong) one is
    /// counted as a guess; a right one ends the counting of guesses.
    pub credential: CredentialCheck,
    /// The keyed hash by which a verified credential is remembered.
    pub mac: &'a str,
}

/// What is known of a credential before Redis is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialCheck {
    /// It is the account.
    Right,
    /// It is not.
    Wrong,
    /// It has to be checked by hashing, unless it is remembered as verified.
    Unknown,
    /// There is none, or none that is well-formed: nobody guesses that way.
    None,
}

impl CredentialCheck {
    const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
            Self::None => "none",
        }
    }
}

/// Whether a request is admitted. One that is not is not counted, and nothing is read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Admitted {
        /// Redis's clock, in milliseconds since the Unix epoch.
        now_ms: u64,
        /// The current record as it is stored; empty if there is none.
        current: Vec<u8>,
        /// Whether the credential is remembered as verified.
        verified: bool,
    },
    /// It is one too many.
    RateLimited {
        /// The position of the limit that holds it up longest.
        limit: usize,
        /// When that limit's window ends, in milliseconds from now.
        wait_ms: u64,
    },
    /// As many wrong passwords came from this client as a limit allows: not even the right one is
    /// admitted.
    LockedOut {
        /// When it may try again, in milliseconds from now.
        wait_ms: u64,
    },
}

impl Call for Admit<'_> {
    type Reply = Admission;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let (limits, failures) = (self.limits.len(), self.failure_limits.len());
        let mut names = Vec::with_capacity(2 + limits + failures);
        names.push(self.keys.current().into());
        names.push(self.keys.verified(self.mac).into());
        names.extend(
            (0..limits).map(|limit| self.keys.limit(self.scope, limit, self.client).into()),
        );
        names.extend((0..failures).map(|limit| self.keys.failures(limit, self.client).into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let terms = self.limits.iter().chain(self.failure_limits);
        let mut arguments = vec![self.limits.len().into(), self.credential.name().into()];
        arguments
            .extend(terms.flat_map(|limit| [limit.count, limit.window_ms].map(Argument::from)));
        arguments
    }

    fn parse(mut values: Values<'_>) -> Option<Admission> {
        let (outcome, wait_ms, limit) = (values.integer()?, values.count()?, values.count()?);
        let (now_ms, current, verified) = (values.count()?, values.bytes()?, values.integer()?);
        match outcome {
            0 => Some(Admission::RateLimited {
                limit: usize::try_from(limit).ok()?,
                wait_ms,
            }),
            1 => Some(Admission::Admitted {
                now_ms,
                current,
                verified: verified == 1,
            }),
            2 => Some(Admission::LockedOut { wait_ms }),
            _ => None,
        }
    }
}
