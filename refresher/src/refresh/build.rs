//! Building: the stages that only compute, from upstream's answers to bodies that are ready to be
//! published. They run on threads of their own, so that the lease is kept meanwhile.

use blake3::Hash;
use bytes::Bytes;
use domain::contract::record::Counts;
use domain::incident::IncidentType;
use grouping::attribute::{Identities, RejectedEntry};
use grouping::endpoint::PerEndpoint;
use grouping::group;
use grouping::report::{Report, Samples, TooLarge};
use grouping::rows::Run;
use rayon::prelude::*;
use thiserror::Error;

use crate::answer::Answer;

/// How much of the report's hash, in hexadecimal, is its entity tag: 128 bits.
const ETAG_DIGITS: usize = 32;

/// What is parsed already of the answers that a report is made of: what has just arrived and is not
/// what was there before.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) identities: Option<Identities>,
    /// Of each type, in the configured order; or nothing at all.
    pub(crate) runs: Vec<Option<Run>>,
}

/// Documents that are ready to be compressed, and what the record says of them.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) report: Report,
    /// Of all documents.
    pub(crate) contents: Hash,
    pub(crate) facts: Facts,
    pub(crate) left_out: LeftOut,
}

/// Samples of what is not in the report, for the log.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Rows of each type, in the configured order.
    pub(crate) rows: Vec<Samples>,
    /// Entries of the identity map.
    pub(crate) identities: Vec<RejectedEntry>,
}

/// What the record says of the documents.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) etag: String,
    pub(crate) employees: u64,
    /// Of each type, in the configured order.
    pub(crate) counts: Vec<Counts>,
    /// Of each type likewise, how many rows of each priority are in the report.
    pub(crate) priorities: Vec<[u64; 4]>,
    /// Addresses in the identity map.
    pub(crate) identities: u64,
    /// Entries of it that have no employee id.
    pub(crate) rejected_identities: u64,
}

/// Why no report can be made of answers.
#[derive(Debug, Error)]
pub(crate) enum BuildError {
    /// They have no identity map that can be used.
    #[error("it has no identity map")]
    NoIdentities,
    /// They are too many.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Makes the report of the `answers`, of which some are `parsed` already. No answer has more than
/// `largest` bytes.
///
/// # Errors
/// There is no identity map, or too much for a report.
pub(crate) fn build(
    types: &[IncidentType],
    answers: PerEndpoint<Option<Answer>>,
    parsed: Parsed,
    largest: u64,
) -> Result<Built, BuildError> {
    let kept = |answer: Option<Answer>| {
        parse("identities", &answer?, largest, |body| {
            Identities::parse(&body)
        })
    };
    let identities = parsed.identities.or_else(|| kept(answers.identities));
    let identities = identities.ok_or(BuildError::NoIdentities)?;
    let mut runs = parsed.runs;
    runs.resize_with(types.len(), || None);
    types
        .par_iter()
        .zip(answers.incidents)
        .zip(&mut runs)
        .for_each(|((kind, answer), run)| {
            if let (None, Some(answer)) = (&run, answer) {
                *run = parse(&kind.name, &answer, largest, |body| Run::parse(kind, body));
            }
        });
    let mut grouped = group(types, &identities, runs)?;
    Ok(Built {
        contents: grouped.contents,
        facts: Facts {
            etag: grouped.hash.to_hex()[..ETAG_DIGITS].to_owned(),
            employees: grouped.report.employee_count,
            counts: std::mem::take(&mut grouped.report.counts),
            priorities: std::mem::take(&mut grouped.report.priorities),
            identities: identities.entries(),
            rejected_identities: identities.rejected(),
        },
        left_out: LeftOut {
            rows: std::mem::take(&mut grouped.report.samples),
            identities: identities.samples().to_vec(),
        },
        report: grouped.report,
    })
}

fn parse<T, E: ToString>(
    endpoint: &str,
    answer: &Answer,
    largest: u64,
    parse: impl Fn(Bytes) -> Result<T, E>,
) -> Option<T> {
    let body = answer.body(largest).map_err(|error| error.to_string());
    // Only good answers are kept; but a newer release, or another type of that name, may differ.
    body.and_then(|body| parse(body).map_err(|error| error.to_string()))
        .inspect_err(|error| {
            tracing::error!(endpoint, %error, "the last good answer cannot be used");
        })
        .ok()
}
