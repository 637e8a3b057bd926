//! The record of a snapshot: built once, whole, from what a refresh has found.

use domain::contract::document::Document;
use domain::contract::record::{
    Bodies, Current, Freshness, IdentitiesSummary, TypeSummary, VERSION,
};
use domain::incident::IncidentType;
use grouping::encode::Encoded;
use grouping::endpoint::PerEndpoint;

use super::build::Facts;

/// When a snapshot changed last, and when it was confirmed. Milliseconds, of Redis's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timestamps {
    pub(super) published_ms: u64,
    pub(super) checked_ms: u64,
    /// How often it is to be confirmed.
    pub(super) interval_ms: u64,
    /// When it was taken from the history; none once upstream has confirmed it.
    pub(super) recovered_ms: Option<u64>,
}

impl Timestamps {
    /// Those of a snapshot that is served.
    pub(super) const fn of(record: &Current) -> Self {
        Self {
            published_ms: record.published_at_ms,
            checked_ms: record.checked_at_ms,
            interval_ms: record.interval_ms,
            recovered_ms: record.recovered_at_ms,
        }
    }
}

/// The record of a new generation.
pub(super) fn new(
    generation: u64,
    types: &[IncidentType],
    facts: &Facts,
    encoded: &[Encoded],
    freshness: PerEndpoint<Freshness>,
    times: Timestamps,
) -> Current {
    Current {
        version: VERSION,
        generation,
        etag: facts.etag.clone(),
        published_at_ms: times.published_ms,
        checked_at_ms: times.checked_ms,
        interval_ms: times.interval_ms,
        recovered_at_ms: times.recovered_ms,
        employees: facts.employees,
        report: bodies(encoded, Document::Report),
        unattributed: bodies(encoded, Document::Unattributed),
        rejected: bodies(encoded, Document::Rejected),
        summary: bodies(encoded, Document::Summary),
        types: type_summaries(types, facts, freshness.incidents),
        identities: identities_summary(facts, freshness.identities),
    }
}

/// The record of a generation whose documents come out the same of other answers.
pub(super) fn recounted(
    current: &Current,
    types: &[IncidentType],
    facts: &Facts,
    freshness: PerEndpoint<Freshness>,
    times: Timestamps,
) -> Current {
    Current {
        checked_at_ms: times.checked_ms,
        interval_ms: times.interval_ms,
        recovered_at_ms: times.recovered_ms,
        employees: facts.employees,
        types: type_summaries(types, facts, freshness.incidents),
        identities: identities_summary(facts, freshness.identities),
        ..current.clone()
    }
}

/// The record of a generation that is made of the same answers as before.
pub(super) fn renewed(
    current: &Current,
    types: &[IncidentType],
    freshness: PerEndpoint<Freshness>,
    times: Timestamps,
) -> Current {
    let of = |summary: &TypeSummary| {
        let place = types.iter().position(|kind| kind.name == summary.name);
        let renewed = place.and_then(|place| freshness.incidents.get(place));
        TypeSummary {
            freshness: renewed.unwrap_or(&summary.freshness).clone(),
            ..summary.clone()
        }
    };
    Current {
        checked_at_ms: times.checked_ms,
        interval_ms: times.interval_ms,
        recovered_at_ms: times.recovered_ms,
        types: current.types.iter().map(of).collect(),
        identities: IdentitiesSummary {
            freshness: freshness.identities,
            ..current.identities
        },
        ..current.clone()
    }
}

fn bodies(encoded: &[Encoded], document: Document) -> Bodies {
    let mut bodies = Bodies::default();
    for made in encoded.iter().filter(|made| made.document == document) {
        bodies.set(made.encoding, made.body.len() as u64);
    }
    bodies
}

fn type_summaries(
    types: &[IncidentType],
    facts: &Facts,
    freshness: Vec<Freshness>,
) -> Vec<TypeSummary> {
    let rows = facts.counts.iter().zip(&facts.priorities);
    let types = types.iter().zip(rows).zip(freshness);
    types
        .map(|((kind, (counts, priorities)), freshness)| TypeSummary {
            name: kind.name.clone(),
            counts: *counts,
            priorities: *priorities,
            freshness,
        })
        .collect()
}

fn identities_summary(facts: &Facts, freshness: Freshness) -> IdentitiesSummary {
    IdentitiesSummary {
        entries: facts.identities,
        rejected: facts.rejected_identities,
        freshness,
    }
}
