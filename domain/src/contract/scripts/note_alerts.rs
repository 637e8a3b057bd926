//! Keeps which incidents have been seen, and what is to be told of those that are new: in one step, so that none
//! is forgotten.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;

/// `KEYS`: lease, alerts-seen, counters, then the list of each Alertmanager. `ARGV`: holder, token, what has
/// been seen (or "": that stays as it is), how many alerts a list may have, for how many milliseconds lists
/// stay, then the alerts. Returns how many alerts did not fit into a list, or an error `FENCED`.
static SCRIPT: Script = Script::new("note_alerts", include_str!("note_alerts.lua"));

/// How long alerts wait for an Alertmanager, in milliseconds: until a week after this script last ran for it. So
/// the list of one that is no longer configured goes by itself.
const WAIT_MS: u64 = 7 * 86_400_000;

/// Puts alerts on the lists of all Alertmanagers. Redis refuses with the error [`FENCED`](super::FENCED) when
/// another refresher leads. Answers how many did not fit.
#[derive(Debug)]
pub struct NoteAlerts<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// Who leads.
    pub holder: &'a str,
    /// The token of its lease.
    pub token: u64,
    /// Short names of the Alertmanagers.
    pub receivers: &'a [&'a str],
    /// See [`SeenIncidents`](crate::contract::alerts::SeenIncidents); empty where that is as it was.
    pub seen: &'a [u8],
    /// How many alerts may wait for an Alertmanager.
    pub most: u64,
    /// The alerts as they are sent.
    pub alerts: &'a [String],
}

impl Call for NoteAlerts<'_> {
    type Reply = u64;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let mut names = vec![
            self.keys.lease().into(),
            self.keys.alerts_seen().into(),
            self.keys.counters().into(),
        ];
        let lists = self.receivers.iter();
        names.extend(lists.map(|receiver| self.keys.alerts_waiting(receiver).into()));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let mut arguments = vec![
            self.holder.into(),
            self.token.into(),
            Argument::Bytes(self.seen),
            self.most.into(),
            WAIT_MS.into(),
        ];
        arguments.extend(
            self.alerts
                .iter()
                .map(|alert| Argument::from(alert.as_str())),
        );
        arguments
    }

    fn parse(mut values: Values<'_>) -> Option<u64> {
        values.count()
    }
}
