//! `refresher replay`: a document as it was served at a moment in the past, byte for byte.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use domain::contract::document::Document;

use super::setup::{block_on, open_history, recorded_at, time};
use crate::configuration;
use crate::history::{HistoryError, Recorded};
use crate::refresh::{Parsed, build};

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
    let body = rebuild(recorded, document, settings.api_max_body_bytes)?;
    tracing::info!(generation, at = time(at_ms), "rebuilt");
    match out {
        None => Ok(console::print(&body)?),
        Some(file) => {
            write_whole(file, &body).with_context(|| format!("cannot write {}", file.display()))
        }
    }
}

/// Builds a document of `recorded` again. No answer in it has more than `largest` bytes.
fn rebuild(recorded: Recorded, document: Document, largest: u64) -> Result<Bytes, HistoryError> {
    let Recorded { manifest, answers } = recorded;
    let differs = |why: &str| {
        let generation = manifest.record.generation;
        HistoryError::Damaged(format!("generation {generation}"), why.to_owned())
    };
    let built = build(&manifest.types, answers, Parsed::default(), largest)
        .ok_or_else(|| differs("it has no identity map"))?;
    if built.summary.etag != manifest.record.etag {
        return Err(differs("what is built of it is not what was served"));
    }
    Ok(match document {
        Document::Report => built.report.json,
        Document::Unattributed => built.report.unattributed,
        Document::Rejected => built.report.rejected,
    })
}

/// Writes beside the file first, so that it is there whole or not at all.
fn write_whole(file: &Path, body: &[u8]) -> io::Result<()> {
    let mut partial = file.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    let written = fs::write(&partial, body).and_then(|()| fs::rename(&partial, file));
    if written.is_err() {
        // Nothing of it is of use; the error to tell is the first one.
        let _ = fs::remove_file(&partial);
    }
    written
}
