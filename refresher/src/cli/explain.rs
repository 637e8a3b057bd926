//! `refresher explain`: reads what the served snapshot was made of, and tells a person or a program
//! where a row went.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use domain::contract::record::{Current, Freshness};
use domain::incident::IncidentType;
use grouping::attribute::RejectedEntry;
use grouping::endpoint::PerEndpoint;
use grouping::explain::{
    Basis, Concerns, EndpointState, Explained, Explanation, Question, explain,
};
use grouping::report::Fate;
use serde_json::{Value, json};

use super::arguments::{OutputFormat, RowOptions};
use super::setup::{block_on, open_history, open_store, recorded_at};
use crate::configuration;
use crate::history::Recorded;
use crate::refresh::publish::current;
use crate::refresh::restore::restore;
use crate::refresh::source::{Source, sources};
use crate::store::Store;

/// Tells where the rows that are meant went.
///
/// # Errors
/// There is no such row, or no snapshot, or it cannot be read.
pub(crate) fn explain_rows(path: &Path, options: RowOptions) -> Result<()> {
    let settings = configuration::read(path)?;
    let largest = settings.api_max_body_bytes;
    let basis = match options.at {
        Some(at_ms) => {
            let history = open_history(&settings)?;
            let recorded = block_on(recorded_at(&history, at_ms))?;
            of_the_past(recorded, largest)?
        }
        None => {
            let store = open_store(&settings)?;
            block_on(served(&store, settings.incident_types, largest))?
        }
    };
    let question = Question {
        kind: options.kind,
        conditions: options.conditions,
        limit: options.limit,
    };
    let explanation = explain(&basis, &question)?;
    match options.format {
        OutputFormat::Text => console::print(text(&explanation))?,
        OutputFormat::Json => console::print(format!("{}\n", document(&explanation)))?,
    }
    if explanation.matches == 0 {
        bail!("no row is like that");
    }
    Ok(())
}

/// What the snapshot in Redis was made of. No answer has more than `largest` bytes.
async fn served(store: &Store, types: Vec<IncidentType>, largest: u64) -> Result<Basis> {
    let raw = current(store).await?;
    if raw.is_empty() {
        bail!("there is no snapshot yet: the log of the refresher says why");
    }
    let record = Current::parse(&raw)?;
    let mut restored = sources(&types);
    restore(store, &record, &types, &mut restored, largest).await?;
    let freshness = PerEndpoint {
        identities: Some(record.identities.freshness),
        incidents: types
            .iter()
            .map(|kind| {
                let mut summaries = record.types.iter();
                let summary = summaries.find(|summary| summary.name == kind.name)?;
                Some(summary.freshness.clone())
            })
            .collect(),
    };
    Ok(Basis {
        generation: record.generation,
        now_ms: store.now_ms().await?,
        endpoints: restored
            .zip(freshness)
            .try_map(|(source, freshness)| endpoint_state(&source, freshness, largest))?,
        etag: record.etag,
        types,
    })
}

/// What a snapshot of the history was made of. No answer has more than `largest` bytes.
fn of_the_past(recorded: Recorded, largest: u64) -> Result<Basis> {
    let Recorded { manifest, answers } = recorded;
    let endpoints = answers
        .zip(manifest.freshness())
        .try_map(|(answer, freshness)| {
            let answer = answer.map(|answer| answer.body(largest)).transpose()?;
            Ok::<_, io::Error>(EndpointState { answer, freshness })
        })?;
    Ok(Basis {
        generation: manifest.record.generation,
        now_ms: manifest.at_ms,
        endpoints,
        etag: manifest.record.etag,
        types: manifest.types,
    })
}

/// The restored answer of `source`, of which the record says `freshness`.
fn endpoint_state(
    source: &Source,
    freshness: Option<Freshness>,
    largest: u64,
) -> Result<EndpointState> {
    let name = &source.name;
    let Some(freshness) = freshness else {
        bail!(
            "the snapshot knows no type `{name}`: INCIDENTS_TYPES is not what the refresher was told, \
             or has not been refreshed since"
        );
    };
    let answer = match &source.answer {
        Some(answer) => Some(
            answer
                .body(largest)
                .with_context(|| format!("the kept answer of `{name}` is damaged"))?,
        ),
        None if freshness.payload.is_some() => bail!(
            "the kept answer of `{name}` is gone from Redis, or damaged: try again after the next refresh"
        ),
        None => None,
    };
    Ok(EndpointState { answer, freshness })
}

/// For a person.
fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    for row in &explanation.rows {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{} {} upstream: {}\n  {}\n",
            row.kind.name,
            row.position,
            row.row,
            verdict(row, explanation)
        );
        if let Some(stale) = stale(&row.freshness, explanation.now_ms) {
            let _ = writeln!(text, "  The type {} is stale: {stale}.", row.kind.name);
        }
    }
    let told = explanation.rows.len() as u64;
    if told < explanation.matches {
        let _ = writeln!(
            text,
            "{} more rows match (--limit).",
            explanation.matches - told
        );
    }
    if explanation.matches == 0 {
        text += &searched(explanation);
    }
    if !explanation.is_that_report {
        text += "Note: the kept answers and these settings do not give the report that is served. It \
                 was made with another INCIDENTS_TYPES or by another release; the next refresh mends \
                 that.\n";
    }
    text
}

fn verdict(row: &Explained, explanation: &Explanation) -> String {
    let field = &row.kind.field;
    let map = || {
        let since = age(&explanation.identities, explanation.now_ms);
        let stale = match stale(&explanation.identities, explanation.now_ms) {
            Some(stale) => format!("; stale: {stale}"),
            None => String::new(),
        };
        format!(
            "the identity map ({} entries, {since}{stale})",
            explanation.entries
        )
    };
    match row.fate {
        Fate::Reported {
            employee,
            priority,
            position,
            of,
        } => {
            let because = match &row.concerns {
                Concerns::Address(address) => {
                    format!("{} says that {address} is theirs", map())
                }
                _ => format!("`{field}` says so"),
            };
            format!(
                "Reported under employee {employee}, since {because}: {position} of {of} in the group \
                 `{priority}`, generation {}.",
                explanation.generation
            )
        }
        Fate::Unattributed { position, of } => {
            let address = match &row.concerns {
                Concerns::Address(address) => address,
                _ => "",
            };
            let lacks = match row.rejected_entry {
                None => format!("lacks {address}"),
                Some(_) => format!("has no usable entry for {address}"),
            };
            format!(
                "Unattributed, since {} {lacks}: {position} of {of} unattributed {} rows, \
                 generation {}.{} It is attributed as soon as the map has it.",
                map(),
                row.kind.name,
                explanation.generation,
                rejected_entry(row)
            )
        }
        Fate::Rejected {
            reason,
            position,
            of,
        } => format!(
            "Rejected: {reason}; {position} of {of} rejected {} rows, generation {}.{} The identity must \
             be in `{field}` ({}).",
            row.kind.name,
            explanation.generation,
            rejected_entry(row),
            row.kind.identity.name()
        ),
    }
}

/// What is wrong with the identity map's entry for the row's address, if something is.
fn rejected_entry(row: &Explained) -> String {
    let told = |RejectedEntry { entry, reason }: &RejectedEntry| {
        format!(" The map has its address, but the entry {entry} cannot be used: {reason}.")
    };
    row.rejected_entry.as_ref().map(told).unwrap_or_default()
}

fn searched(explanation: &Explanation) -> String {
    let mut text = "No row is like that. Searched:\n".to_owned();
    for kind in &explanation.searched {
        let _ = write!(
            text,
            "  {}: {} rows, {}",
            kind.name,
            kind.rows,
            age(&kind.freshness, explanation.now_ms)
        );
        if let Some(stale) = stale(&kind.freshness, explanation.now_ms) {
            let _ = write!(text, "; stale: {stale}");
        }
        text.push('\n');
    }
    text
}

/// How old an endpoint's last good answer is.
fn age(freshness: &Freshness, now_ms: u64) -> String {
    match freshness.good_at_ms {
        Some(at_ms) => format!("{} s old", now_ms.saturating_sub(at_ms) / 1000),
        None => "never fetched".to_owned(),
    }
}

/// Since when an endpoint is stale, and why; none if it is not.
fn stale(freshness: &Freshness, now_ms: u64) -> Option<String> {
    let error = freshness.error.as_deref().unwrap_or("it was not fetched");
    let since = match freshness.good_at_ms {
        Some(at_ms) => format!("since {} ({})", date(at_ms), age(freshness, now_ms)),
        None => "there never was a good answer".to_owned(),
    };
    freshness.stale.then(|| format!("{since}; {error}"))
}

fn date(at_ms: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms))
}

/// For a program.
fn document(explanation: &Explanation) -> Value {
    let now_ms = explanation.now_ms;
    let rows: Vec<Value> = explanation
        .rows
        .iter()
        .map(|row| row_document(row, now_ms))
        .collect();
    let searched: Vec<Value> = explanation
        .searched
        .iter()
        .map(|kind| json!({ "type": kind.name, "rows": kind.rows, "freshness": freshness_document(&kind.freshness, now_ms) }))
        .collect();
    json!({
        "generation": explanation.generation,
        "is_that_report": explanation.is_that_report,
        "identities": {
            "entries": explanation.entries,
            "freshness": freshness_document(&explanation.identities, now_ms),
        },
        "matches": explanation.matches,
        "rows": rows,
        "searched": searched,
    })
}

fn row_document(row: &Explained, now_ms: u64) -> Value {
    let (verdict, position, of) = match row.fate {
        Fate::Reported { position, of, .. } => ("reported", position, of),
        Fate::Unattributed { position, of } => ("unattributed", position, of),
        Fate::Rejected { position, of, .. } => ("rejected", position, of),
    };
    let mut document = json!({
        "type": row.kind.name,
        "upstream_position": row.position,
        // As a text: it may not be JSON.
        "row": row.row,
        "verdict": verdict,
        "position": position,
        "of": of,
        "freshness": freshness_document(&row.freshness, now_ms),
    });
    match row.fate {
        Fate::Reported {
            employee, priority, ..
        } => {
            document["employee"] = employee.into();
            document["priority"] = priority.name().into();
        }
        Fate::Rejected { reason, .. } => document["reason"] = reason.to_string().into(),
        Fate::Unattributed { .. } => {}
    }
    match &row.concerns {
        Concerns::Employee => document["because"] = json!({ "field": row.kind.field }),
        Concerns::Address(address) => {
            document["because"] = json!({ "field": row.kind.field, "address": address });
        }
        Concerns::Nobody => {}
    }
    if let Some(RejectedEntry { entry, reason }) = &row.rejected_entry {
        document["because"]["rejected_entry"] =
            json!({ "entry": entry, "reason": reason.to_string() });
    }
    document
}

fn freshness_document(freshness: &Freshness, now_ms: u64) -> Value {
    json!({
        "age_s": freshness.good_at_ms.map(|at_ms| now_ms.saturating_sub(at_ms) / 1000),
        "stale": freshness.stale,
        "error": freshness.error,
    })
}
