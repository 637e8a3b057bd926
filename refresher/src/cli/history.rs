//! `refresher history`: which refreshes the history has.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::json;

use super::arguments::OutputFormat;
use super::setup::{block_on, open_history, time};
use crate::configuration;
use crate::history::{Entry, History, HistoryError, Manifest};

/// Lists the newest `limit` refreshes of `range`; with `verify`, all that they are made of is checked.
///
/// # Errors
/// There is no history, or some of what is listed cannot be rebuilt.
pub(crate) fn list(
    config: &Path,
    range: &RangeInclusive<u64>,
    limit: usize,
    format: OutputFormat,
    verify: bool,
) -> Result<()> {
    let settings = configuration::read(config)?;
    let history = open_history(&settings)?;
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
            console::print(line(entry, &manifest, format) + "\n")?;
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
            history.answer(&payload, 0).await?;
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
