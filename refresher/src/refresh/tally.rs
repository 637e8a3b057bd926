//! What came of refreshes, as it is counted in Redis: together with what it counts, and later where Redis is
//! away.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::contract::counters::{Counted, RefreshOutcome, refreshed};

use crate::store::millis;

/// What Redis has not counted yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By the fields of the counters, so that there are only so many.
    uncounted: BTreeMap<String, u64>,
}

impl Tally {
    /// Notes a refresh that ended so.
    pub(super) fn note(&mut self, outcome: RefreshOutcome, took: Duration) {
        for (field, amount) in refreshed(outcome, millis(took)) {
            let sum = self.uncounted.entry(field).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// All that is to be counted if a refresh ends so.
    pub(super) fn with(&self, outcome: RefreshOutcome, took: Duration) -> Vec<Counted> {
        let mut all = Self {
            uncounted: self.uncounted.clone(),
        };
        all.note(outcome, took);
        all.all()
    }

    /// All that is to be counted.
    pub(super) fn all(&self) -> Vec<Counted> {
        let uncounted = self.uncounted.iter();
        uncounted
            .map(|(field, amount)| (field.clone(), *amount))
            .collect()
    }

    /// Notes that Redis has counted everything.
    pub(super) fn clear(&mut self) {
        self.uncounted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_counted_is_counted_later() {
        let mut tally = Tally::default();
        tally.note(RefreshOutcome::Failed, Duration::from_millis(200));
        tally.note(RefreshOutcome::Failed, Duration::from_secs(400));
        let field = |name: &str, amount| (name.to_owned(), amount);
        assert_eq!(
            tally.with(RefreshOutcome::Renewed, Duration::from_millis(100)),
            [
                field("refresh-ms:250", 2),
                field("refresh-ms:longer", 1),
                field("refresh-ms:sum", 400_300),
                field("refreshes:failed", 2),
                field("refreshes:renewed", 1),
            ]
        );
        assert_eq!(tally.all().len(), 4);
        tally.clear();
        assert!(tally.all().is_empty());
    }
}
