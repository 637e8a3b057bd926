//! `refresher export`: incidents of a moment, or of a range of time, out of the history, for spreadsheets and
//! programs.

mod collection;

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Result, bail};
use domain::item::{CSV_HEADER, CSV_LINE_END, Item};
use grouping::explain::ExplainError;

use self::collection::{Collection, Filter};
use super::arguments::{ExportFormat, ExportOptions};
use super::output::Output;
use super::setup::{block_on, manifest_at, open_history, rebuilt, time};
use crate::configuration;
use crate::history::{History, Manifest};

/// Manifests that are held in memory at the same time.
const MANIFESTS: usize = 256;

/// How much is written at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// Refreshes one after the other that came to the same: the first, and the time of the last.
struct Span {
    manifest: Manifest,
    until_ms: u64,
}

/// Writes the incidents that the options ask for.
///
/// # Errors
/// The history has nothing of that time, or not all of it; or it cannot be written.
pub(crate) fn export(config: &Path, options: &ExportOptions) -> Result<()> {
    let settings = configuration::read(config)?;
    let history = open_history(&settings)?;
    let range = range(options);
    let (mut collection, mut reports) = (Collection::new(filter(options)), 0);
    block_on(async {
        let spans = match &range {
            Some(range) => spans(&history, range).await?,
            None => vec![moment(&history, options.at.unwrap_or(u64::MAX)).await?],
        };
        check_types(options, &spans)?;
        reports = spans.len();
        for Span { manifest, until_ms } in spans {
            let (at_ms, types) = (manifest.at_ms, manifest.types.clone());
            let recorded = history.load(manifest).await?;
            let built = rebuilt(recorded, settings.api_max_body_bytes)?;
            collection.add(
                &types,
                &built.report,
                &built.facts.priorities,
                at_ms..=until_ms,
            )?;
        }
        Ok(())
    })?;
    collection.sort(options.order);
    let mut output = Output::open(options.out.as_deref())?;
    write(&mut output, &collection, options.format, range.is_some())?;
    output.finish()?;
    let incidents = collection.found().len();
    tracing::info!(reports, incidents, "exported");
    Ok(())
}

/// The range of refreshes that is asked for; none for a single one.
fn range(options: &ExportOptions) -> Option<RangeInclusive<u64>> {
    let is_range = options.from.is_some() || options.to.is_some();
    is_range.then(|| options.from.unwrap_or(0)..=options.to.unwrap_or(u64::MAX))
}

fn filter(options: &ExportOptions) -> Filter {
    Filter {
        priorities: options.priorities.clone(),
        kinds: options.kinds.clone(),
        employees: options.employees.iter().copied().collect(),
        since: options.since,
        until: options.until,
    }
}

/// The last refresh at or before `at_ms`.
async fn moment(history: &History, at_ms: u64) -> Result<Span> {
    let manifest = manifest_at(history, at_ms).await?;
    Ok(Span {
        until_ms: manifest.at_ms,
        manifest,
    })
}

/// The refreshes of `range`.
async fn spans(history: &History, range: &RangeInclusive<u64>) -> Result<Vec<Span>> {
    let mut entries = history.all().await?;
    entries.retain(|entry| range.contains(&entry.at_ms));
    let mut spans: Vec<Span> = Vec::new();
    for some in entries.chunks(MANIFESTS) {
        for manifest in history.read_all(some).await {
            let manifest = manifest?;
            match spans.last_mut() {
                Some(last) if last.manifest.is_of_the_same(&manifest) => {
                    last.until_ms = manifest.at_ms;
                }
                _ => spans.push(Span {
                    until_ms: manifest.at_ms,
                    manifest,
                }),
            }
        }
    }
    if spans.is_empty() {
        bail!("the history has no refresh in that range; `refresher history` lists what there is");
    }
    Ok(spans)
}

/// Checks that there is each type that is asked for.
fn check_types(options: &ExportOptions, spans: &[Span]) -> Result<(), ExplainError> {
    let types = spans.iter().flat_map(|span| &span.manifest.types);
    let known: Vec<&str> = types.map(|kind| kind.name.as_str()).collect();
    let unknown = options
        .kinds
        .iter()
        .find(|kind| !known.contains(&kind.as_str()));
    let Some(name) = unknown else { return Ok(()) };
    let mut listed: Vec<String> = Vec::new();
    for name in known {
        if !listed.iter().any(|listed| listed == name) {
            listed.push(name.to_owned());
        }
    }
    Err(ExplainError::UnknownType {
        name: name.clone(),
        known: listed,
    })
}

/// Writes all that was found; with `times`, also when each was first and last reported.
fn write(
    output: &mut Output,
    collection: &Collection,
    format: ExportFormat,
    times: bool,
) -> Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 8);
    match format {
        ExportFormat::Csv => {
            chunk.extend_from_slice(CSV_HEADER.as_bytes());
            if times {
                chunk.extend_from_slice(b",first_reported,last_reported");
            }
            chunk.extend_from_slice(CSV_LINE_END.as_bytes());
        }
        ExportFormat::Json => chunk.push(b'['),
        ExportFormat::Ndjson => {}
    }
    for (number, found) in collection.found().iter().enumerate() {
        let item = collection.item(found);
        let reported = times.then(|| (time(found.first_ms), time(found.last_ms)));
        match format {
            ExportFormat::Csv => {
                item.write_csv(&mut chunk, Some(collection.identity_field(found)))?;
                if let Some((first, last)) = reported {
                    chunk.extend_from_slice(format!(",{first},{last}").as_bytes());
                }
                chunk.extend_from_slice(CSV_LINE_END.as_bytes());
            }
            ExportFormat::Ndjson => {
                write_json(&mut chunk, item, reported);
                chunk.push(b'\n');
            }
            ExportFormat::Json => {
                if number > 0 {
                    chunk.push(b',');
                }
                chunk.push(b'\n');
                write_json(&mut chunk, item, reported);
            }
        }
        if chunk.len() >= CHUNK {
            output.write(&chunk)?;
            chunk.clear();
        }
    }
    if matches!(format, ExportFormat::Json) {
        chunk.extend_from_slice(b"\n]\n");
    }
    output.write(&chunk)
}

fn write_json(out: &mut Vec<u8>, item: Item<'_>, reported: Option<(String, String)>) {
    item.write_json(out);
    if let Some((first, last)) = reported {
        // In place of the brace that ends the item.
        out.pop();
        let times = format!(r#","first_reported":"{first}","last_reported":"{last}"}}"#);
        out.extend_from_slice(times.as_bytes());
    }
}
