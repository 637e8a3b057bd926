//! What the log says of a refresh.

use domain::contract::record::{Counts, Current, TypeSummary};
use grouping::report::Samples;

use super::RefreshContext;
use super::build::LeftOut;

/// What was logged last, so that nothing is said twice.
#[derive(Debug)]
pub(super) struct Log {
    /// Per type, the unattributed and rejected rows.
    left_out: Vec<(u64, u64)>,
    /// The rejected entries of the identity map.
    rejected_identities: u64,
}

impl Log {
    pub(super) fn new(types: usize) -> Self {
        Self {
            left_out: vec![(0, 0); types],
            rejected_identities: 0,
        }
    }

    /// One line about the refresh that made `current` the record and wrote so many bytes, and one about
    /// each type of which rows are newly left out.
    pub(super) fn refreshed(
        &mut self,
        context: &RefreshContext<'_>,
        current: &Current,
        bytes: usize,
        stale: &[&str],
        left_out: &LeftOut,
    ) {
        for ((kind, logged), samples) in current
            .types
            .iter()
            .zip(&mut self.left_out)
            .zip(&left_out.rows)
        {
            let counts = kind.counts;
            let found = (counts.unattributed, counts.rejected);
            if std::mem::replace(logged, found) != found && found != (0, 0) {
                log_left_out(kind, samples);
            }
        }
        let rejected = current.identities.rejected;
        if std::mem::replace(&mut self.rejected_identities, rejected) != rejected
            && !left_out.identities.is_empty()
        {
            tracing::warn!(
                rejected,
                samples = ?left_out.identities,
                "entries of the identity map whose value is no employee id"
            );
        }
        let totals = current.totals();
        tracing::info!(
            generation = current.generation,
            seconds = context.started.elapsed().as_secs_f64(),
            fetching = context.fetching.as_secs_f64(),
            employees = current.employees,
            fetched = totals.fetched,
            reported = totals.reported,
            unattributed = totals.unattributed,
            rejected = totals.rejected,
            types = types(current),
            stale = stale.join(" "),
            written_bytes = bytes,
            "refreshed"
        );
    }
}

/// Each type's rows: all, those in the report, and those that are not.
fn types(current: &Current) -> String {
    let type_ = |kind: &TypeSummary| {
        let Counts {
            fetched,
            reported,
            unattributed,
            rejected,
        } = kind.counts;
        format!(
            "{}={fetched}:{reported}+{unattributed}+{rejected}",
            kind.name
        )
    };
    let types: Vec<String> = current.types.iter().map(type_).collect();
    types.join(" ")
}

fn log_left_out(kind: &TypeSummary, samples: &Samples) {
    let Counts {
        unattributed,
        rejected,
        ..
    } = kind.counts;
    if let Some(sample) = &samples.unattributed {
        tracing::warn!(
            kind = kind.name,
            unattributed,
            ?sample,
            "rows whose address the identity map lacks"
        );
    }
    if let Some((reason, sample)) = &samples.rejected {
        tracing::warn!(
            kind = kind.name,
            rejected,
            %reason,
            ?sample,
            "rows that cannot be used"
        );
    }
}
