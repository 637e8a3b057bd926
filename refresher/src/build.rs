//! Building: the stages that only compute, from upstream's answers to bodies that are ready to be
//! published. They run on threads of their own, so that the lease is kept meanwhile.

use std::io;
use std::sync::Arc;

use blake3::{Hash, Hasher};
use bytes::Bytes;
use domain::incident::IncidentType;
use domain::record::{Document, Encoding};

use crate::attribute::Identities;
use crate::compress::compress;
use crate::parallel::in_parallel;
use crate::report::Report;
use crate::rows::Run;
use crate::sources::{Content, Endpoint, Fresh, Good};

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
    pub report: Report,
    /// Of the report's bytes.
    pub hash: Hash,
    /// Of all documents.
    pub contents: Hash,
    /// Addresses in the identity map.
    pub entries: u64,
    /// Entries of it that have no employee id.
    pub rejected_entries: u64,
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

/// A document in one encoding.
#[derive(Debug)]
pub struct Encoded {
    /// Which document.
    pub document: Document,
    /// In which encoding.
    pub encoding: Encoding,
    /// Its bytes.
    pub body: Bytes,
}

/// The documents of a report in all encodings in which they are served; the rows that could not be
/// used only as they are, for operators.
///
/// # Errors
/// When there is no memory left to compress with.
pub fn encode(report: &mut Report, threads: usize) -> io::Result<Vec<Encoded>> {
    let mut work = Vec::new();
    for (document, body) in [
        (Document::Report, std::mem::take(&mut report.json)),
        (
            Document::Unattributed,
            std::mem::take(&mut report.unattributed),
        ),
        (Document::Rejected, std::mem::take(&mut report.rejected)),
    ] {
        let body = Bytes::from(body);
        // The slowest first, so that the others run beside it.
        let encodings: &[Encoding] = match document {
            Document::Rejected => &[Encoding::Identity],
            _ => &[
                Encoding::Brotli,
                Encoding::Gzip,
                Encoding::Zstd,
                Encoding::Identity,
            ],
        };
        work.extend(
            encodings
                .iter()
                .map(|encoding| (document, *encoding, body.clone())),
        );
    }
    let encoded = in_parallel(threads, work, |(document, encoding, body)| {
        let body = match encoding {
            Encoding::Identity => body,
            _ => compress(encoding, &body, 1)?.into(),
        };
        Ok(Encoded {
            document,
            encoding,
            body,
        })
    });
    encoded.into_iter().collect()
}
