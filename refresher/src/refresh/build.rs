//! Building: the stages that only compute, from upstream's answers to bodies that are ready to be
//! published. They run on threads of their own, so that the lease is kept meanwhile.

use std::sync::Arc;

use blake3::{Hash, Hasher};
use domain::incident::IncidentType;

use crate::refresh::sources::{Content, Endpoint, Fresh, Good};
use grouping::attribute::Identities;
use grouping::parallel::in_parallel;
use grouping::report::Report;
use grouping::rows::Run;

/// What there is of an endpoint to build with.
#[derive(Debug)]
pub(crate) enum Input {
    /// Its new answer.
    Fresh(Fresh),
    /// Its last good one.
    Kept(Good),
    /// It never gave one.
    Nothing,
}

/// A report and what identifies it.
#[derive(Debug)]
pub(crate) struct Grouped {
    /// The report.
    pub(crate) report: Report,
    /// Of the report's bytes.
    pub(crate) hash: Hash,
    /// Of all documents.
    pub(crate) contents: Hash,
    /// Addresses in the identity map.
    pub(crate) entries: u64,
    /// Entries of it that have no employee id.
    pub(crate) rejected_entries: u64,
}

/// Parses what is not parsed yet, and builds the report. Answers may have `largest` bytes. `None`
/// without an identity map.
#[must_use]
pub(crate) fn group(
    types: &[IncidentType],
    inputs: Vec<(Arc<Endpoint>, Input)>,
    largest: u64,
    threads: usize,
) -> Option<Grouped> {
    let mut identities = None;
    let mut runs: Vec<Option<Arc<Run>>> = vec![None; types.len()];
    let contents = in_parallel(threads, inputs, |(endpoint, input)| {
        let content = parse(&endpoint, input, largest);
        (endpoint, content)
    });
    for (endpoint, content) in contents {
        match (&*endpoint, content) {
            (_, Some(Content::Identities(found))) => identities = Some(found),
            (Endpoint::Incidents(kind), Some(Content::Run(run))) => {
                if let Some(place) = types.iter().position(|known| known == kind) {
                    runs[place] = Some(Arc::new(run));
                }
            }
            _ => {}
        }
    }
    let identities: Identities = identities?;
    let report = Report::build(types, &runs, &identities, threads);
    // The bodies of all answers go with the runs, before anything is compressed.
    drop(runs);
    let hash = blake3::hash(&report.json);
    let mut contents = Hasher::new();
    for part in [
        hash,
        blake3::hash(&report.unattributed),
        blake3::hash(&report.rejected),
    ] {
        contents.update(part.as_bytes());
    }
    Some(Grouped {
        hash,
        contents: contents.finalize(),
        entries: identities.entries(),
        rejected_entries: identities.rejected(),
        report,
    })
}

fn parse(endpoint: &Endpoint, input: Input, largest: u64) -> Option<Content> {
    let body = match input {
        Input::Fresh(Fresh::Parsed(content)) => return Some(content),
        Input::Fresh(Fresh::Same(body)) => Ok(body),
        Input::Kept(good) => good.body(largest),
        Input::Nothing => return None,
    };
    let parsed = body
        .map_err(|error| error.to_string())
        .and_then(|body| endpoint.parse(body).map_err(|error| error.to_string()));
    // Only good answers are kept; but a newer release, or another type of that name, may differ.
    parsed
        .inspect_err(|error| {
            tracing::error!(endpoint = endpoint.name(), %error, "the last good answer cannot be used");
        })
        .ok()
}
