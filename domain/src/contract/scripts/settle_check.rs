//! Says what came of checking a credential that [`Admit`](super::Admit) gave a permit for.

use std::borrow::Cow;

use super::admit::{KNOWN_MS, PERMITS, VERIFIED_MS};
use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: verified, known, counters, the permits, one counter for each limit of wrong passwords. `ARGV`: `right` or
/// `wrong`, the MAC of the credential, how long a verified one is remembered, how long it is known from an
/// address, how many permits there are. Returns 1.
static SCRIPT: Script = Script::new("settle_check", include_str!("settle_check.lua"));

/// Gives the permit back. A right credential is remembered, and no longer counts as a guess; all that were
/// wrong still do.
#[derive(Debug)]
pub struct SettleCheck<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who sent the credential.
    pub client: &'a str,
    /// For how many limits that client's wrong passwords are counted.
    pub failure_limits: usize,
    /// Stands for the credential.
    pub mac: &'a str,
    /// Whether it is the account.
    pub right: bool,
}

impl Call for SettleCheck<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let mac = Some(self.mac);
        let mut names = vec![
            self.keys.verified(mac).into(),
            self.keys.known(mac, self.client).into(),
            self.keys.counters().into(),
        ];
        names.extend((0..PERMITS).map(|permit| self.keys.check_permit(permit).into()));
        let counters = 0..self.failure_limits;
        names.extend(counters.map(|limit| self.keys.failures(limit, self.client).into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let outcome = if self.right { "right" } else { "wrong" };
        vec![
            outcome.into(),
            self.mac.into(),
            VERIFIED_MS.into(),
            KNOWN_MS.into(),
            PERMITS.into(),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.integer().map(|_| ())
    }
}
