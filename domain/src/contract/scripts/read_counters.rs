//! Reads the counters of the service, and whether anybody leads.

use std::borrow::Cow;

use super::lease::LEASE_TERM_MS;
use super::{Argument, Call, Script, Value, Values};
use crate::contract::counters::Counters;
use crate::contract::keys::Keys;

/// `KEYS`: lease, counters. `ARGV`: the longest term of a lease in milliseconds, how many bytes a number may
/// have (a longer one counts as absent), then the fields of the counters. Returns
/// `[leads 0|1, value or "", value or "", …]`. A key of the wrong kind counts as absent.
static SCRIPT: Script = Script::new(
    "read_counters",
    concat!(include_str!("shown.lua"), include_str!("read_counters.lua")),
);

/// Bytes that a number has at most: 64 bits, in decimal.
const LONGEST_NUMBER: u64 = 20;

/// Asks for all counters.
#[derive(Debug)]
pub struct ReadCounters<'a> {
    keys: &'a Keys,
    fields: Vec<String>,
}

impl<'a> ReadCounters<'a> {
    /// All that are kept under these names.
    #[must_use]
    pub fn new(keys: &'a Keys) -> Self {
        let fields = Counters::fields();
        Self { keys, fields }
    }
}

/// What is counted, and who is in charge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whether a refresher holds a lease that has not run out.
    pub has_leader: bool,
    /// The counters. What is none counts as 0.
    pub counters: Counters,
}

impl Call for ReadCounters<'_> {
    type Reply = Counts;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        vec![self.keys.lease().into(), self.keys.counters().into()]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let bounds = [LEASE_TERM_MS, LONGEST_NUMBER].map(Argument::from);
        let fields = self.fields.iter().map(|field| field.as_str().into());
        bounds.into_iter().chain(fields).collect()
    }

    fn parse(mut values: Values<'_>) -> Option<Counts> {
        let has_leader = values.integer()? == 1;
        let number = |text: Vec<u8>| std::str::from_utf8(&text).ok()?.parse().ok();
        let counters = Counters::from_values(|| match values.0.next()? {
            Value::Bytes(text) => Some(number(text).unwrap_or(0)),
            _ => None,
        })?;
        Some(Counts {
            has_leader,
            counters,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_counts_as_none() {
        let keys = Keys::new("t");
        let read = ReadCounters::new(&keys);
        let reply = |leads: i64, texts: &[&str]| {
            let texts = texts
                .iter()
                .map(|text| Value::Bytes(text.as_bytes().to_vec()));
            read.reply([Value::Integer(leads)].into_iter().chain(texts))
                .ok()
        };
        let mut texts = vec![""; read.fields.len()];
        assert_eq!(reply(0, &texts), Some(Counts::default()));
        texts[..4].copy_from_slice(&["7", "-1", "1e9", "18446744073709551615"]);
        let counts = reply(1, &texts).unwrap();
        assert!(counts.has_leader);
        assert_eq!(counts.counters.refreshes, [7, 0, 0]);
        assert_eq!(counts.counters.durations[0], u64::MAX);
        assert_eq!(reply(1, &texts[1..]), None);
    }
}
