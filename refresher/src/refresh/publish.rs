//! Publishing: the parts of a snapshot are written first, then one script makes its record the
//! current one. Readers see the old snapshot or the new one, never something in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::contract::record::{Current, RecordError, VERSION};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::leadership::lease::Leadership;
use crate::refresh::sources::Good;
use crate::store::{Change, Part, Store, StoreError, parts};

/// Superseded parts stay at least this long, for readers that have begun.
const SHORTEST_STAY: Duration = Duration::from_secs(120);

/// The first and the longest wait before a refused publish is tried again.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Why nothing could be published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Redis did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A newer release has published: this one must not replace what it cannot read.
    #[error(transparent)]
    Newer(RecordError),
}

/// A record and the parts of it that Redis does not have yet.
#[derive(Debug)]
pub struct Snapshot {
    /// What readers find first.
    pub record: Current,
    /// New bodies: they belong to this generation alone.
    pub bodies: Vec<Part>,
    /// New kept answers: another snapshot may have the same ones.
    pub payloads: Vec<Part>,
}

impl Snapshot {
    /// How many bytes are to be written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let parts = self.bodies.iter().chain(&self.payloads);
        parts.map(|part| part.value.len()).sum()
    }
}

/// The current record as it is stored, which is what a change is based on.
#[derive(Debug, Default)]
struct Known {
    raw: Vec<u8>,
    /// None when there is no record, or none that this release can read.
    record: Option<Current>,
    /// The snapshot's keys.
    keys: Vec<String>,
    /// Whether all of them are there, as far as is known.
    is_whole: bool,
}

/// Publishes one snapshot after the other.
#[derive(Debug)]
pub struct Publisher {
    store: Arc<Store>,
    superseded_for: Duration,
    known: Known,
    /// The newest generation ever seen, also should Redis have forgotten it.
    newest: u64,
}

impl Publisher {
    /// Publishes to `store`, about every `interval`.
    #[must_use]
    pub fn new(store: Arc<Store>, interval: Duration) -> Self {
        Self {
            store,
            superseded_for: (2 * interval).max(SHORTEST_STAY),
            known: Known::default(),
            newest: 0,
        }
    }

    /// The current record, as far as this refresher knows.
    #[must_use]
    pub(crate) fn current(&self) -> Option<&Current> {
        self.known.record.as_ref()
    }

    /// Takes note that there has been this generation, wherever that was learnt.
    pub(crate) fn knows_of(&mut self, generation: u64) {
        self.newest = self.newest.max(generation);
    }

    /// Reads the current record anew.
    ///
    /// # Errors
    /// When it cannot be read, or a newer release wrote it.
    pub async fn look(&mut self) -> Result<(), PublishError> {
        let raw = self.store.current().await?;
        let record = match raw.is_empty() {
            true => None,
            false => match Current::parse(&raw) {
                Ok(record) => Some(record),
                Err(error @ RecordError::Version(version)) if version > VERSION => {
                    return Err(PublishError::Newer(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "the current record cannot be used: it will be replaced");
                    None
                }
            },
        };
        self.learn(raw, record);
        Ok(())
    }

    fn learn(&mut self, raw: Vec<u8>, record: Option<Current>) {
        let keys = record
            .as_ref()
            .map_or_else(Vec::new, |record| record.keys(&self.store.keys));
        self.newest = record
            .as_ref()
            .map_or(self.newest, |record| self.newest.max(record.generation));
        self.known = Known {
            raw,
            record,
            keys,
            is_whole: true,
        };
    }

    /// A generation for contents that have not been published yet.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn next_generation(&mut self) -> Result<u64, StoreError> {
        self.newest = self.store.next_generation(self.newest).await?;
        Ok(self.newest)
    }

    /// Those parts of the kept answers that Redis does not have, as far as this refresher knows.
    #[must_use]
    pub(crate) fn payload_parts<'a>(&self, kept: impl Iterator<Item = &'a Good>) -> Vec<Part> {
        let there: HashSet<&String> = self.known.keys.iter().collect();
        kept.flat_map(|good| {
            let hash = good.hash.to_hex();
            parts(&good.packed, |number| {
                self.store.keys.payload(&hash, number)
            })
        })
        .filter(|part| !self.known.is_whole || !there.contains(&part.key))
        .collect()
    }

    /// Takes no part for granted that the current record names, so that all is written anew.
    pub(crate) fn distrust(&mut self) {
        self.known.is_whole = false;
    }

    /// Writes the parts and makes the record current. What passes by itself (no memory left, a
    /// replica that takes over) is tried again until `deadline`.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], [`StoreError::Conflict`] or [`StoreError::Missing`] at once; others
    /// when the time is up. The old snapshot then stays.
    pub async fn publish(
        &mut self,
        leadership: &Leadership,
        snapshot: Snapshot,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let [mut wait, longest] = WAITS;
        loop {
            match self.try_publish(leadership, &snapshot).await {
                Ok(()) => break,
                Err(error) if error.is_passing() && Instant::now() + wait < deadline => {
                    tracing::warn!(%error, ?wait, "cannot publish yet: the old snapshot stays, trying again");
                    sleep(wait).await;
                    wait = (2 * wait).min(longest);
                }
                Err(error) => return Err(error),
            }
        }
        let raw = snapshot.record.to_json().into_bytes();
        self.learn(raw, Some(snapshot.record));
        Ok(())
    }

    async fn try_publish(
        &self,
        leadership: &Leadership,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        for parts in [&snapshot.bodies, &snapshot.payloads] {
            if let Err(error) = self.store.stage(parts).await {
                self.give_back(snapshot).await;
                return Err(error);
            }
        }
        let record = snapshot.record.to_json();
        let keys = snapshot.record.keys(&self.store.keys);
        let own: HashSet<&String> = keys.iter().collect();
        let superseded = self.known.keys.iter().filter(|key| !own.contains(key));
        let superseded: Vec<String> = superseded.cloned().collect();
        let change = Change {
            expected: &self.known.raw,
            record: &record,
            keys: &keys,
            superseded: &superseded,
            superseded_for: self.superseded_for,
        };
        match self.store.publish(leadership, &change).await {
            // An earlier try did it, and only its answer was lost.
            Err(StoreError::Conflict) if self.store.current().await? == record.as_bytes() => Ok(()),
            Err(error @ (StoreError::Fenced | StoreError::Conflict | StoreError::OutOfMemory)) => {
                self.give_back(snapshot).await;
                Err(error)
            }
            result => result,
        }
    }

    /// Deletes what was written for nothing: it would take up memory for minutes.
    async fn give_back(&self, snapshot: &Snapshot) {
        for parts in [&snapshot.bodies, &snapshot.payloads] {
            if let Err(error) = self.store.unstage(parts).await {
                tracing::debug!(%error, "parts that were written for nothing stay until they expire");
            }
        }
    }
}
