//! The tasks that look into the history: what was served at a moment, and which moments there are.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, SecondsFormat};
use domain::contract::record::Document;
use domain::settings::Settings;
use refresher::configuration;
use refresher::history::replay::rebuild;
use refresher::history::{Entry, History, HistoryError, Manifest, Recorded};
use serde_json::json;

use crate::cli::{OutputFormat, Part};

/// `refresher replay`
pub(crate) fn replay(config: &Path, at_ms: u64, part: Part, out: Option<&Path>) -> Result<()> {
    let settings = configuration::read(config)?;
    let history = open(&settings)?;
    let recorded = block_on(recorded_at(&history, at_ms))?;
    let (generation, at_ms) = (recorded.manifest.record.generation, recorded.manifest.at_ms);
    let document = match part {
        Part::Report => Document::Report,
        Part::Unattributed => Document::Unattributed,
        Part::Rejected => Document::Rejected,
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let body = rebuild(recorded, document, settings.api_max_body_bytes, threads)?;
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

/// What was served at a moment: that of the last refresh at or before it.
///
/// # Errors
/// There is none, or it is damaged, or the store fails.
pub(crate) async fn recorded_at(history: &History, at_ms: u64) -> Result<Recorded> {
    let entry = history.newest_at(at_ms).await?;
    let entry = entry.with_context(|| {
        format!(
            "the history has nothing at or before {}; `refresher history` lists what there is",
            time(at_ms)
        )
    })?;
    let manifest = history.read(&entry).await?;
    Ok(history.load(manifest).await?)
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

/// `refresher history`
pub(crate) fn list(
    config: &Path,
    range: &RangeInclusive<u64>,
    limit: usize,
    format: OutputFormat,
    verify: bool,
) -> Result<()> {
    let settings = configuration::read(config)?;
    let history = open(&settings)?;
    let damaged = block_on(async {
        let mut entries = history.all().await?;
        entries.retain(|entry| range.contains(&entry.at_ms));
        entries.drain(..entries.len().saturating_sub(limit));
        let mut checked = HashSet::new();
        let mut damaged = 0;
        for entry in &entries {
            let manifest = match verify {
                true => check(&history, entry, &mut checked).await,
                false => history.read(entry).await,
            };
            damaged += usize::from(manifest.is_err());
            writeln!(io::stdout(), "{}", line(entry, &manifest, format))
                .context("cannot write to standard output")?;
        }
        Ok(damaged)
    })?;
    if damaged > 0 {
        bail!("{damaged} of the refreshes in the history cannot be rebuilt: see the list");
    }
    Ok(())
}

/// Reads a manifest and, each once, the answers that it names.
async fn check(
    history: &History,
    entry: &Entry,
    checked: &mut HashSet<String>,
) -> Result<Manifest, HistoryError> {
    let manifest = history.read(entry).await?;
    for payload in manifest.answers() {
        if !checked.contains(&payload.hash) {
            history.answer(&payload, 0, false).await?;
            checked.insert(payload.hash);
        }
    }
    Ok(manifest)
}

fn line(entry: &Entry, manifest: &Result<Manifest, HistoryError>, format: OutputFormat) -> String {
    let time = time(entry.at_ms);
    match (manifest, format) {
        (Ok(manifest), OutputFormat::Text) => {
            let record = &manifest.record;
            let totals = record.totals();
            let stale = manifest.stale();
            let stale = match stale.is_empty() {
                true => String::new(),
                false => format!("  stale: {}", stale.join(" ")),
            };
            format!(
                "{time}  generation {}  {}  {} employees, {} rows: {} reported, {} unattributed, {} rejected{stale}",
                record.generation,
                record.etag,
                record.employees,
                totals.fetched,
                totals.reported,
                totals.unattributed,
                totals.rejected
            )
        }
        (Ok(manifest), OutputFormat::Json) => json!({
            "time": time,
            "generation": manifest.record.generation,
            "etag": manifest.record.etag,
            "employees": manifest.record.employees,
            "totals": manifest.record.totals(),
            "stale": manifest.stale(),
        })
        .to_string(),
        (Err(error), OutputFormat::Text) => format!("{time}  cannot be rebuilt: {error}"),
        (Err(error), OutputFormat::Json) => {
            json!({ "time": time, "error": error.to_string() }).to_string()
        }
    }
}

/// The history that `settings` name.
///
/// # Errors
/// There is none, or it cannot be opened.
pub(crate) fn open(settings: &Settings) -> Result<History> {
    refresher::tls::prepare();
    let place = settings.history_store.as_ref();
    let place = place.context("no history is kept: HISTORY_STORE is none")?;
    Ok(History::open(place, settings.api_max_body_bytes)?)
}

/// A time for a person and for `--at`.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(crate) fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let result = runtime.block_on(task);
    runtime.shutdown_background();
    result
}
