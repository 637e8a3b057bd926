//! Building: the stages that only compute, from upstream's answers to bodies that are ready to be
//! published. They run on threads of their own, so that the lease is kept meanwhile.

use std::sync::Arc;

use domain::incident::IncidentType;
use grouping::Grouped;
use grouping::attribute::Identities;
use grouping::rows::Run;
use rayon::prelude::*;

use crate::refresh::sources::{Content, Endpoint, Fresh, Good};

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

/// Parses what is not parsed yet, and builds the report. Answers may have `largest` bytes. `None`
/// without an identity map.
#[must_use]
pub(crate) fn group(
    types: &[IncidentType],
    inputs: Vec<(Arc<Endpoint>, Input)>,
    largest: u64,
) -> Option<Grouped> {
    let mut identities = None;
    let mut runs: Vec<Option<Run>> = types.iter().map(|_| None).collect();
    let contents = inputs
        .into_par_iter()
        .with_max_len(1)
        .map(|(endpoint, input)| {
            let content = parse(&endpoint, input, largest);
            (endpoint, content)
        });
    for (endpoint, content) in contents.collect::<Vec<_>>() {
        match (&*endpoint, content) {
            (_, Some(Content::Identities(found))) => identities = Some(found),
            (Endpoint::Incidents(kind), Some(Content::Run(run))) => {
                if let Some(place) = types.iter().position(|known| known == kind) {
                    runs[place] = Some(run);
                }
            }
            _ => {}
        }
    }
    let identities: Identities = identities?;
    Some(grouping::group(types, &identities, runs))
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
