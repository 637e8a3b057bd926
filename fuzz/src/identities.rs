//! The identity map: every entry is counted, and each address leads to the employee that a plain model
//! finds.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use domain::incident::IncidentType;
use grouping::attribute::Identities;
use grouping::report::Report;
use grouping::rows::Run;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in their order, also those whose name stands twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                std::iter::from_fn(|| map.next_entry().transpose()).collect()
            }
        }
        deserializer.deserialize_map(Collect).map(Members)
    }
}

/// Reads an identity map and asks it for all of its addresses.
///
/// # Panics
/// When it says something else than the model.
pub fn check(data: &[u8]) {
    let identities = Identities::parse(data);
    let (Ok(identities), Ok(Members(members))) = (identities, serde_json::from_slice(data)) else {
        return;
    };
    let entries = identities.entries() + identities.rejected();
    assert_eq!(entries, members.len() as u64);
    let map = model(&members);
    let Some(kind) = IncidentType::defaults()
        .into_iter()
        .find(|kind| kind.name == "probing")
    else {
        return;
    };
    for (name, _) in members.iter().take(50) {
        let row = serde_json::json!({ "priority": "low", "ip": name, "timestamp": 1 });
        let body = serde_json::json!({ "results": [row] }).to_string();
        let run = Run::parse(&kind, Bytes::from(body)).expect("a row");
        let types = std::slice::from_ref(&kind);
        let report = Report::build(types, vec![Some(run)], &identities).expect("a report");
        let found: HashMap<u64, serde::de::IgnoredAny> =
            serde_json::from_slice(&report.json).expect("a report");
        let found = found.into_keys().next();
        assert_eq!(found, map.get(&normal(name)).copied(), "{name:?}");
    }
}

/// Employees by address.
fn model(members: &[(String, &RawValue)]) -> HashMap<String, u64> {
    let mut map = HashMap::new();
    for (name, value) in members {
        let digits = value.get().trim_matches('"');
        let id = digits
            .parse::<u64>()
            .ok()
            .filter(|id| id.to_string() == digits);
        if let Some(id) = id.filter(|_| !name.trim().is_empty()) {
            map.insert(normal(name), id);
        }
    }
    map
}

/// An address in one spelling; anything else without blanks at its edges.
fn normal(name: &str) -> String {
    domain::address::parse(name)
        .map_or_else(|| name.trim().to_owned(), |address| address.to_string())
}
