//! Explaining: where given rows of upstream's went, and why. A pure function over the answers that a
//! snapshot was made of, which runs the very stages that made it.

use std::collections::HashSet;
use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;
use domain::contract::record::Freshness;
use domain::incident::IncidentType;
use thiserror::Error;

use crate::attribute::{Identities, Key, RejectedEntry, rejected_entries};
use crate::endpoint::PerEndpoint;
use crate::report::{Assigned, Fate, TooLarge};
use crate::rows::{PayloadError, RowAt, Run, is_named};
use crate::scan::{Scan, Scanner, Text, Value};

/// What a snapshot has of one endpoint.
#[derive(Debug, Clone)]
pub struct EndpointState {
    /// Upstream's last good answer; none if there never was one.
    pub answer: Option<Bytes>,
    /// How old that is, and how the endpoint does.
    pub freshness: Freshness,
}

/// What a snapshot was made of.
#[derive(Debug, Clone)]
pub struct Basis {
    /// The snapshot's generation.
    pub generation: u64,
    /// The snapshot's ETag, without quotes.
    pub etag: String,
    /// The time for which ages are told: milliseconds of the clock that the answers' times are of.
    pub now_ms: u64,
    /// The types, in the order in which ties are broken.
    pub types: Vec<IncidentType>,
    /// The endpoints of those types and of the identity map.
    pub endpoints: PerEndpoint<EndpointState>,
}

/// A row is meant whose member `field` is `value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The member's name.
    pub field: String,
    /// The member's value: as its JSON is written, or what a string says.
    pub value: String,
}

/// Why a text is no [`Condition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected FIELD=VALUE, such as internal_ip=17.105.244.255")]
pub struct ConditionError;

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let (field, value) = text.split_once('=').ok_or(ConditionError)?;
        if field.is_empty() {
            return Err(ConditionError);
        }
        Ok(Self {
            field: field.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Which rows are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Only rows of the type of this name.
    pub kind: Option<String>,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
    /// No more rows than this are told of; the others are only counted.
    pub limit: usize,
}

/// Why nothing can be explained.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// The question names a type that is not configured.
    #[error("there is no type `{name}`; configured: {}", .known.join(", "))]
    UnknownType {
        /// The name.
        name: String,
        /// The names of those that there are.
        known: Vec<String>,
    },
    /// The snapshot has no identity map, without which there is no report.
    #[error("the snapshot has no identity map: nothing was attributed yet")]
    NoIdentities,
    /// There is too much for a report.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// An answer cannot be parsed.
    #[error("the kept answer of `{endpoint}` cannot be used: {error}")]
    Unusable {
        /// Whose.
        endpoint: String,
        /// Why.
        error: PayloadError,
    },
}

/// How the row's employee was, or was not, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerns {
    /// The row itself names the employee.
    Employee,
    /// The row has this address, which the identity map is asked for.
    Address(String),
    /// The row cannot be used, so that nothing was looked up.
    Nobody,
}

/// One row that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its type.
    pub kind: IncidentType,
    /// Its position in upstream's answer, from 1.
    pub position: u64,
    /// The row as upstream sent it. It may not be JSON.
    pub row: String,
    /// Whom it concerns.
    pub concerns: Concerns,
    /// Where it went.
    pub fate: Fate,
    /// The identity map's entry for its address, if that cannot be used.
    pub rejected_entry: Option<RejectedEntry>,
    /// How its type's endpoint does.
    pub freshness: Freshness,
}

/// A type whose rows were searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// How its endpoint does.
    pub freshness: Freshness,
}

/// The answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Of the snapshot.
    pub generation: u64,
    /// For when ages are told.
    pub now_ms: u64,
    /// Whether these answers and settings give exactly the snapshot's report.
    pub is_that_report: bool,
    /// Addresses in the identity map.
    pub entries: u64,
    /// How the identity map's endpoint does.
    pub identities: Freshness,
    /// The types that were searched.
    pub searched: Vec<Searched>,
    /// How many rows match.
    pub matches: u64,
    /// The first of them, in the order of types and then of upstream.
    pub rows: Vec<Explained>,
}

/// Says where the rows that are asked for went when the report was made of `basis`, and why.
///
/// # Errors
/// When the question names an unknown type, or an answer is missing or cannot be used.
pub fn explain(basis: &Basis, question: &Question) -> Result<Explanation, ExplainError> {
    let types = &basis.types;
    if let Some(name) = &question.kind
        && types.iter().all(|kind| kind.name != *name)
    {
        return Err(ExplainError::UnknownType {
            name: name.clone(),
            known: types.iter().map(|kind| kind.name.clone()).collect(),
        });
    }
    let map = basis.endpoints.identities.answer.as_ref();
    let map = map.ok_or(ExplainError::NoIdentities)?;
    let identities = Identities::parse(map).map_err(|error| unusable("identities", error))?;
    let runs = runs(basis)?;
    let assigned = Assigned::new(&runs, &identities);
    let (found, matches) = search(types, &runs, question);
    let wanted: HashSet<_> = found.iter().map(|found| (found.run, found.at)).collect();
    let fates = assigned.fates(types, &runs, &wanted);
    let address = |found: &Found| {
        let run = runs[found.run].as_ref()?;
        address(run, found.at)
    };
    let rejected_entries = rejected_entries(map, found.iter().filter_map(address));
    let rows = found.iter().filter_map(|found| {
        let run = runs[found.run].as_ref()?;
        let fate = *fates.get(&(found.run, found.at))?;
        let is_reported = matches!(fate, Fate::Reported { .. });
        let address = address(found).filter(|_| !is_reported).map(Key::new);
        Some(Explained {
            kind: types[found.run].clone(),
            position: found.position,
            row: String::from_utf8_lossy(run.text(found.at)).into_owned(),
            concerns: concerns(run, found.at),
            fate,
            rejected_entry: address.and_then(|address| rejected_entries.get(&address).cloned()),
            freshness: basis.endpoints.incidents[found.run].freshness.clone(),
        })
    });
    let rows = rows.collect();
    let searched = searched(basis, &runs, question);
    let hash = blake3::hash(&assigned.write(types, runs)?.json);
    Ok(Explanation {
        generation: basis.generation,
        now_ms: basis.now_ms,
        is_that_report: !basis.etag.is_empty() && hash.to_hex().starts_with(&basis.etag),
        entries: identities.entries(),
        identities: basis.endpoints.identities.freshness.clone(),
        searched,
        matches,
        rows,
    })
}

fn unusable(endpoint: &str, error: PayloadError) -> ExplainError {
    ExplainError::Unusable {
        endpoint: endpoint.to_owned(),
        error,
    }
}

fn runs(basis: &Basis) -> Result<Vec<Option<Run>>, ExplainError> {
    let parse = |(kind, endpoint): (&IncidentType, &EndpointState)| {
        let run = endpoint
            .answer
            .clone()
            .map(|answer| Run::parse(kind, answer));
        run.transpose().map_err(|error| unusable(&kind.name, error))
    };
    let types = basis.types.iter();
    types.zip(&basis.endpoints.incidents).map(parse).collect()
}

fn searched(basis: &Basis, runs: &[Option<Run>], question: &Question) -> Vec<Searched> {
    let all = basis.types.iter().zip(&basis.endpoints.incidents).zip(runs);
    all.filter(|((kind, _), _)| question.includes(kind))
        .map(|((kind, endpoint), run)| Searched {
            name: kind.name.clone(),
            rows: run.as_ref().map_or(0, Run::fetched),
            freshness: endpoint.freshness.clone(),
        })
        .collect()
}

/// A row that matches.
struct Found {
    run: usize,
    at: RowAt,
    position: u64,
}

/// The first rows that match, and how many do.
fn search(types: &[IncidentType], runs: &[Option<Run>], question: &Question) -> (Vec<Found>, u64) {
    let (mut found, mut matches) = (Vec::new(), 0);
    for (run, (kind, rows)) in types.iter().zip(runs).enumerate() {
        let Some(rows) = rows.as_ref().filter(|_| question.includes(kind)) else {
            continue;
        };
        for (at, position) in rows.in_upstream_order().zip(1..) {
            if question.matches(rows.text(at)) {
                matches += 1;
                if found.len() < question.limit {
                    found.push(Found { run, at, position });
                }
            }
        }
    }
    (found, matches)
}

fn concerns(run: &Run, at: RowAt) -> Concerns {
    match (at, address(run, at)) {
        (RowAt::Rejected(_), _) => Concerns::Nobody,
        (_, None) => Concerns::Employee,
        (_, Some(address)) => Concerns::Address(String::from_utf8_lossy(address).into_owned()),
    }
}

/// The address that a usable row has.
fn address(run: &Run, at: RowAt) -> Option<&[u8]> {
    match at {
        RowAt::Usable(index) => run.address(run.rows[index as usize].identity()),
        RowAt::Rejected(_) => None,
    }
}

impl Question {
    fn includes(&self, kind: &IncidentType) -> bool {
        self.kind.as_ref().is_none_or(|name| *name == kind.name)
    }

    /// Whether `row` is one of those that are meant.
    fn matches(&self, row: &[u8]) -> bool {
        self.conditions.iter().all(|condition| condition.holds(row))
    }
}

impl Condition {
    /// Whether the row has such a member, as far as it is JSON. Of a name that stands twice, the last
    /// one counts, as everywhere.
    fn holds(&self, row: &[u8]) -> bool {
        let mut holds = false;
        // Where the row is broken, what stands before has been seen.
        let _ = self.each_member(row, |is_it| holds = is_it);
        holds
    }

    /// Tells `note`, of each member of that name, whether it has that value.
    fn each_member(&self, row: &[u8], mut note: impl FnMut(bool)) -> Scan<()> {
        let mut scanner = Scanner::new(row);
        if scanner.peek() != Some(b'{') {
            return Ok(());
        }
        scanner.enter()?;
        let mut more = scanner.peek() != Some(b'}');
        while more {
            let name = scanner.name()?;
            let start = scanner.at();
            let value = scanner.value()?;
            if is_named(row, name, self.field.as_bytes()) {
                note(self.is_value(row, start..scanner.at(), value));
            }
            more = scanner.another(b'}')?;
        }
        Ok(())
    }

    fn is_value(&self, row: &[u8], at: Range<usize>, value: Value) -> bool {
        let expected = self.value.as_bytes();
        let says = |escaped| {
            let text = Text {
                start: at.start + 1,
                end: at.end - 1,
                escaped,
            };
            is_named(row, text, expected)
        };
        let is_written = &row[at.clone()] == expected;
        is_written || matches!(value, Value::String { escaped } if says(escaped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(condition: &str, row: &str) -> bool {
        let condition: Condition = condition.parse().unwrap();
        condition.holds(row.as_bytes())
    }

    #[test]
    fn a_value_is_meant_as_it_is_written_or_as_it_reads() {
        let row =
            r#"{"a":1.50,"b":"x","c":"\u0078=y","d\u0065":null,"e":{"f": [1]},"n":NaN,"a":2}"#;
        for meant in [
            "a=2",
            "b=x",
            "b=\"x\"",
            "c=x=y",
            "de=null",
            "e={\"f\": [1]}",
            "n=NaN",
        ] {
            assert!(holds(meant, row), "{meant}");
        }
        // Of a name that stands twice, the last one counts.
        for other in ["a=1.50", "a=2.0", "b=", "g=1", "de=", "e={\"f\":[1]}"] {
            assert!(!holds(other, row), "{other}");
        }
        assert!(!holds("a=1", "[1]") && !holds("a=1", "{}"));
        // Of a broken row, what stands before.
        assert!(holds("a=1", r#"{"a":1,"b":tru,"c":2}"#));
        assert!(!holds("c=2", r#"{"a":1,"b":tru,"c":2}"#));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for wrong in ["", "field", "=value"] {
            assert_eq!(wrong.parse::<Condition>(), Err(ConditionError), "{wrong}");
        }
        let empty: Condition = "a=".parse().unwrap();
        assert_eq!(empty.value, "");
    }
}
