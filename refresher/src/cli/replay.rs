//! `refresher replay`: a document as it was served at a moment in the past, byte for byte.

use std::path::Path;

use anyhow::Result;
use domain::contract::document::Document;
use grouping::encode::summary;

use super::output::Output;
use super::setup::{block_on, open_history, rebuilt, recorded_at, time};
use crate::configuration;

/// Rebuilds `document` as it was served at `at_ms` and writes it into `out`, or to standard output.
///
/// # Errors
/// There is none of that time, or it cannot be rebuilt byte for byte, or written.
pub(crate) fn replay(
    config: &Path,
    at_ms: u64,
    document: Document,
    out: Option<&Path>,
) -> Result<()> {
    let settings = configuration::read(config)?;
    let history = open_history(&settings)?;
    let recorded = block_on(recorded_at(&history, at_ms))?;
    let (generation, at_ms) = (recorded.manifest.record.generation, recorded.manifest.at_ms);
    let report = rebuilt(recorded, settings.api_max_body_bytes)?.report;
    let body = match document {
        Document::Report => report.json,
        Document::Unattributed => report.unattributed,
        Document::Rejected => report.rejected,
        Document::Summary => summary(&report, generation),
    };
    tracing::info!(generation, at = time(at_ms), "rebuilt");
    let mut output = Output::open(out)?;
    output.write(&body)?;
    output.finish()
}
