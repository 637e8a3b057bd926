//! Notes that an Alertmanager has taken the first alerts of its list.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: lease, counters, the list of the Alertmanager, then those of the others. `ARGV`: holder, token, how
/// many alerts leave the list, and how many of them were taken. Returns `OK`, or an error `FENCED`.
static SCRIPT: Script = Script::new("take_alerts", include_str!("take_alerts.lua"));

/// Takes alerts off the list of an Alertmanager. Redis refuses with the error [`FENCED`](super::FENCED) when
/// another refresher leads: that one has to hand them over again.
#[derive(Debug)]
pub struct TakeAlerts<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who leads.
    pub holder: &'a str,
    /// The token of its lease.
    pub token: u64,
    /// The short name of the Alertmanager.
    pub receiver: &'a str,
    /// Those of the others.
    pub others: &'a [&'a str],
    /// How many alerts are done with: the first ones.
    pub done: usize,
    /// How many of them it has taken.
    pub taken: usize,
}

impl Call for TakeAlerts<'_> {
    type Reply = ();

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let mut names = vec![
            self.keys.lease().into(),
            self.keys.counters().into(),
            self.keys.alerts_waiting(self.receiver).into(),
        ];
        let others = self.others.iter();
        names.extend(others.map(|receiver| self.keys.alerts_waiting(receiver).into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![
            self.holder.into(),
            self.token.into(),
            self.done.into(),
            self.taken.into(),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<()> {
        values.bytes().map(|_| ())
    }
}
