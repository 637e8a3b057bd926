//! What one writes first in Rust: `serde_json` values in a `BTreeMap`, sorted at the end.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Answers;

type Row = IndexMap<String, Value>;

#[derive(Deserialize)]
struct Answer {
    results: Vec<Row>,
}

#[derive(Serialize, Default)]
struct Employee {
    low: Group,
    medium: Group,
    high: Group,
    critical: Group,
}

#[derive(Serialize, Default)]
struct Group {
    count: usize,
    incidents: Vec<Row>,
}

/// From the bytes to the report, on one thread.
pub(super) fn report(answers: &Answers) -> Result<Vec<u8>> {
    let identities: HashMap<String, u64> = serde_json::from_slice(&answers.identities)?;
    let mut employees: BTreeMap<u64, Employee> = BTreeMap::new();
    for (kind, body) in answers.types.iter().zip(&answers.rows) {
        let Answer { results } = serde_json::from_slice(body)?;
        for row in results {
            let id = match &row[&kind.field] {
                Value::String(address) => identities.get(address).copied(),
                other => other.as_u64(),
            };
            // Nobody has this address.
            let Some(id) = id else { continue };
            let employee = employees.entry(id).or_default();
            let group = match row["priority"].as_str() {
                Some("low") => &mut employee.low,
                Some("medium") => &mut employee.medium,
                Some("high") => &mut employee.high,
                Some("critical") => &mut employee.critical,
                _ => continue,
            };
            let mut incident = Row::with_capacity(row.len() + 1);
            incident.insert("type".to_owned(), kind.name.clone().into());
            incident.extend(row);
            group.incidents.push(incident);
        }
    }
    for employee in employees.values_mut() {
        for group in [
            &mut employee.low,
            &mut employee.medium,
            &mut employee.high,
            &mut employee.critical,
        ] {
            group.count = group.incidents.len();
            let time = |row: &Row| row["timestamp"].as_f64().unwrap_or_default();
            group.incidents.sort_by(|a, b| time(a).total_cmp(&time(b)));
        }
    }
    serde_json::to_vec(&employees).context("it can be written")
}
