//! `refresher replay`: a document as it was served at a moment in the past, byte for byte.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use domain::contract::record::Document;

use super::setup::{block_on, open_history, recorded_at, time};
use crate::configuration;
use crate::history::replay::rebuild;

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
        None => {
            let mut stdout = io::stdout().lock();
            let written = stdout.write_all(&body).and_then(|()| stdout.flush());
            written.context("cannot write to standard output")
        }
        Some(file) => {
            write_whole(file, &body).with_context(|| format!("cannot write {}", file.display()))
        }
    }
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
