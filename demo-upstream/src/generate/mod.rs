//! The data: the identity map and the rows of every incident type, made from a seed.
//!
//! The same options give the same bytes. Rows are sorted by timestamp, and a dataset that grows
//! keeps every row that it had, in place.

mod payload;
mod people;
mod rows;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread;

use domain::incident::IncidentType;
use thiserror::Error;

use people::People;
use rows::Rows;

pub use payload::Payload;

/// The endpoint of the identity map; every other endpoint is an incident type's name.
pub const IDENTITIES: &str = "identities";

/// The most employees that a dataset may have: their machines' addresses must fit into 17.0.0.0/8.
pub const MOST_EMPLOYEES: u32 = 1_000_000;

/// The most rows of one type; growth ends there.
pub const MOST_ROWS: u64 = 20_000_000;

/// What a dataset is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Another seed gives other employees, addresses and rows.
    pub seed: u64,
    /// How many employees there are, 1 to [`MOST_EMPLOYEES`].
    pub employees: u32,
    /// How many rows each incident type has at first, up to [`MOST_ROWS`].
    pub per_type: u64,
}

/// Options that no dataset can be made from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// Nobody, or too many.
    #[error("{0} employees; accepted: 1 to {MOST_EMPLOYEES}")]
    Employees(u32),
    /// Too many.
    #[error("{0} rows of each type; accepted: up to {MOST_ROWS}")]
    PerType(u64),
}

/// What every endpoint answers.
#[derive(Debug)]
pub struct Dataset {
    people: People,
    identities: Payload,
    stale_identities: Payload,
    types: Vec<Series>,
}

/// One incident type's rows, and its body now and a while ago.
#[derive(Debug)]
struct Series {
    rows: Rows,
    payload: Payload,
    stale: Payload,
}

impl Dataset {
    /// Makes the data, the types on a thread each.
    ///
    /// # Errors
    /// When an option is out of its bounds.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        let Options {
            seed,
            employees,
            per_type,
        } = *options;
        if !(1..=MOST_EMPLOYEES).contains(&employees) {
            return Err(OptionsError::Employees(employees));
        }
        if per_type > MOST_ROWS {
            return Err(OptionsError::PerType(per_type));
        }
        let people = People::new(seed, employees);
        let types = thread::scope(|scope| {
            let threads: Vec<_> = IncidentType::defaults()
                .into_iter()
                .zip(1..)
                .map(|(kind, stream)| {
                    let people = &people;
                    scope.spawn(move || Series::new(kind, seed, stream, people, per_type))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("generation does not panic"))
                .collect()
        });
        Ok(Self {
            identities: people.identities(),
            stale_identities: people.stale_identities(),
            people,
            types,
        })
    }

    /// The names of all endpoints: `identities`, then the incident types in their order.
    #[must_use]
    pub fn endpoints() -> Vec<String> {
        let types = IncidentType::defaults().into_iter().map(|kind| kind.name);
        std::iter::once(IDENTITIES.to_owned())
            .chain(types)
            .collect()
    }

    /// The body that `endpoint` answers with; `None` when there is no such endpoint.
    #[must_use]
    pub fn payload(&self, endpoint: &str) -> Option<Payload> {
        if endpoint == IDENTITIES {
            return Some(self.identities.clone());
        }
        Some(self.series(endpoint)?.payload.clone())
    }

    /// The body as it was a while ago: without the newest tenth of the machines, or of the rows
    /// that the dataset began with.
    #[must_use]
    pub fn stale_payload(&self, endpoint: &str) -> Option<Payload> {
        if endpoint == IDENTITIES {
            return Some(self.stale_identities.clone());
        }
        Some(self.series(endpoint)?.stale.clone())
    }

    /// Appends rows to every type until each has `per_type`, or [`MOST_ROWS`].
    pub fn grow_to(&mut self, per_type: u64) {
        for series in &mut self.types {
            if series.rows.grow_to(per_type.min(MOST_ROWS), &self.people) {
                series.payload = series.rows.payload();
            }
        }
    }

    /// Writes `identities.json` and a `<type>.json` for each type into `folder`, which must exist.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        for endpoint in Self::endpoints() {
            let payload = self.payload(&endpoint).expect("every endpoint has data");
            let mut file = File::create(folder.join(format!("{endpoint}.json")))?;
            for part in payload.parts() {
                file.write_all(part)?;
            }
        }
        Ok(())
    }

    fn series(&self, endpoint: &str) -> Option<&Series> {
        self.types
            .iter()
            .find(|series| series.rows.name() == endpoint)
    }
}

impl Series {
    fn new(kind: IncidentType, seed: u64, stream: u64, people: &People, per_type: u64) -> Self {
        let mut rows = Rows::new(kind, seed, stream);
        rows.grow_to(per_type - per_type / 10, people);
        let stale = rows.payload();
        rows.grow_to(per_type, people);
        Self {
            payload: rows.payload(),
            rows,
            stale,
        }
    }
}
