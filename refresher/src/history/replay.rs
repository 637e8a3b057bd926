//! Replay: a snapshot of the history is built again, and must be what it was.

use std::sync::Arc;

use bytes::Bytes;
use domain::contract::record::Document;

use super::{HistoryError, Recorded};
use crate::refresh::ETAG_DIGITS;
use crate::refresh::build::{Input, group};
use crate::refresh::sources::Endpoint;

/// Builds a document of `recorded` again. No answer in it has more than `largest` bytes.
///
/// # Errors
/// The report is not the one that was served, which its entity tag tells.
pub(crate) fn rebuild(
    recorded: Recorded,
    document: Document,
    largest: u64,
) -> Result<Bytes, HistoryError> {
    let Recorded { manifest, answers } = recorded;
    let types = manifest.types.iter().cloned().map(Endpoint::Incidents);
    let endpoints = std::iter::once(Endpoint::Identities).chain(types);
    let inputs = endpoints.zip(answers).map(|(endpoint, answer)| {
        let input = answer.map_or(Input::Nothing, Input::Kept);
        (Arc::new(endpoint), input)
    });
    let differs = |why: &str| {
        let generation = manifest.record.generation;
        HistoryError::Damaged(format!("generation {generation}"), why.to_owned())
    };
    let grouped = group(&manifest.types, inputs.collect(), largest)
        .ok_or_else(|| differs("it has no identity map"))?;
    if grouped.hash.to_hex()[..ETAG_DIGITS] != manifest.record.etag {
        return Err(differs("what is built of it is not what was served"));
    }
    Ok(match document {
        Document::Report => grouped.report.json,
        Document::Unattributed => grouped.report.unattributed,
        Document::Rejected => grouped.report.rejected,
    })
}
