//! Counts a request against its limits and answers with all that most requests need.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;
use crate::contract::record::MAX_RECORD_BYTES;
use crate::settings::rate_limit::RateLimit;

/// `KEYS`: current, verified, known, counters, the permits, one counter for each rate limit, then one for each
/// limit of wrong passwords. `ARGV`: what is known of the credential, its MAC (empty where it is not
/// checked by hashing), how long a verified one is remembered, how long it is known from an address, how
/// long a permit lasts (milliseconds), the longest record, how many permits and how many rate limits
/// there are, then for each counter its count and its window in milliseconds.
///
/// A request that is refused is counted by the reason. Returns `[outcome, wait_ms, limiting (0-based; of a busy one: whether this very credential is being
/// checked), now_ms, current or "", right 0|1]`, or an error `DAMAGED`.
static SCRIPT: Script = Script::new("admit", include_str!("admit.lua"));

/// How long a credential that was found right by hashing is remembered after its last use, in
/// milliseconds.
pub(super) const VERIFIED_MS: u64 = 300_000;

/// How long a right credential counts as known from an address after its last use there, in
/// milliseconds: a day.
pub(super) const KNOWN_MS: u64 = 86_400_000;

/// How many credentials are checked by hashing at a time, over all servers of the service. A check occupies a
/// processor for as long as it takes: two of them leave none for anybody else on a machine that has two.
pub(super) const PERMITS: usize = 1;

/// A permit to check a credential is free again after so long, in milliseconds, should its holder be
/// gone: much longer than any check takes.
const PERMIT_MS: u64 = 10_000;

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
    /// What is known of the credential so far. An admitted one that is not known to be right is counted
    /// as a guess. One that was right from this client within a day is admitted although others have
    /// guessed there; it does not end the counting of their guesses.
    pub credential: CredentialCheck,
    /// The keyed hash that stands for the credential; none where it is not checked by hashing.
    pub mac: Option<&'a str>,
}

/// What is known of a credential before Redis is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialCheck {
    /// It is the account.
    Right,
    /// It is not.
    Wrong,
    /// It has to be checked by hashing, unless it is remembered as verified or known from the client. When
    /// it is admitted without being remembered, a permit to check it is taken, and it counts as a guess
    /// until [`SettleCheck`](super::SettleCheck) says what came of it.
    Unknown,
    /// There is none, or none that is well-formed: nobody guesses that way.
    None,
    /// Whatever is asked for needs none.
    NotNeeded,
}

impl CredentialCheck {
    const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::NotNeeded => "unneeded",
        }
    }
}

/// Whether a request is admitted. One that is not does not count towards its limits, and nothing is read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Admitted {
        /// Redis's clock, in milliseconds since the Unix epoch.
        now_ms: u64,
        /// The current record as it is stored; empty if there is none.
        current: Vec<u8>,
        /// Whether the credential is known to be right, from the request itself or since it is
        /// remembered.
        right: bool,
    },
    /// It is one too many.
    RateLimited {
        /// The position of the limit that holds it up longest.
        limit: usize,
        /// When that limit's window ends, in milliseconds from now.
        wait_ms: u64,
    },
    /// As many wrong passwords came from this client as a limit allows: nothing is admitted but a right
    /// credential that is known from there.
    LockedOut {
        /// When it may try again, in milliseconds from now.
        wait_ms: u64,
    },
    /// The credential has to be checked by hashing, and as many are being checked as may be at a time.
    Busy {
        /// Whether this very one is among them, so that it will soon be known.
        same: bool,
    },
}

impl Call for Admit<'_> {
    type Reply = Admission;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let (limits, failures) = (self.limits.len(), self.failure_limits.len());
        let mut names = Vec::with_capacity(4 + PERMITS + limits + failures);
        names.push(self.keys.current().into());
        names.push(self.keys.verified(self.mac).into());
        names.push(self.keys.known(self.mac, self.client).into());
        names.push(self.keys.counters().into());
        names.extend((0..PERMITS).map(|permit| self.keys.check_permit(permit).into()));
        names.extend(
            (0..limits).map(|limit| self.keys.limit(self.scope, limit, self.client).into()),
        );
        names.extend((0..failures).map(|limit| self.keys.failures(limit, self.client).into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let terms = self.limits.iter().chain(self.failure_limits);
        let mut arguments = vec![
            self.credential.name().into(),
            self.mac.unwrap_or_default().into(),
            VERIFIED_MS.into(),
            KNOWN_MS.into(),
            PERMIT_MS.into(),
            MAX_RECORD_BYTES.into(),
            PERMITS.into(),
            self.limits.len().into(),
        ];
        let terms = terms.flat_map(|limit| [limit.count, limit.window_ms]);
        arguments.extend(terms.map(Argument::from));
        arguments
    }

    fn parse(mut values: Values<'_>) -> Option<Admission> {
        let (outcome, wait_ms, limit) = (values.integer()?, values.count()?, values.count()?);
        let (now_ms, current, right) = (values.count()?, values.bytes()?, values.integer()?);
        match outcome {
            0 => Some(Admission::RateLimited {
                limit: usize::try_from(limit).ok()?,
                wait_ms,
            }),
            1 => Some(Admission::Admitted {
                now_ms,
                current,
                right: right == 1,
            }),
            2 => Some(Admission::LockedOut { wait_ms }),
            3 => Some(Admission::Busy { same: limit == 1 }),
            _ => None,
        }
    }
}
