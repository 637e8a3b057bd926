//! Publishing: the blocks of a snapshot are written first, then one script makes its record the
//! current one. Readers see the old snapshot or the new one, never something in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::contract::counters::Counted;
use domain::contract::keys::Keys;
use domain::contract::record::{BLOCK_BYTES, Current, RecordError, VERSION};
use domain::contract::scripts::{NextGeneration, Publish, Unstage};
use grouping::report::Report;
use redis::{Cmd, Pipeline};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::answer::Answer;
use crate::backoff::Backoff;
use crate::leadership::lease::Leadership;
use crate::store::{Store, StoreError, millis};

/// Superseded blocks stay at least this long, for readers that have begun.
const SHORTEST_STAY: Duration = Duration::from_secs(120);

/// The first and the longest wait before a refused publish is tried again.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Blocks that are on their way at the same time.
const BLOCKS_AT_ONCE: usize = 4;

/// Keys that are deleted by one command.
const KEYS_AT_ONCE: usize = 500;

/// How long a block of a snapshot stays that is not published, in milliseconds.
const STAGED_MS: u64 = 600_000;

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

/// A block of a snapshot, ready to be written.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub value: Bytes,
}

/// Cuts a body into blocks, which share its bytes.
pub fn blocks(body: &Bytes, key: impl Fn(u32) -> String) -> Vec<Block> {
    (0..body.len())
        .step_by(BLOCK_BYTES)
        .zip(0..)
        .map(|(start, number)| Block {
            key: key(number),
            value: body.slice(start..body.len().min(start + BLOCK_BYTES)),
        })
        .collect()
}

/// What finds the parts of `report`, which is published as this generation: its employees, and their rows in
/// the order of time.
pub fn indexes(keys: &Keys, generation: u64, report: &Report) -> Vec<Block> {
    let mut all = vec![Block {
        key: keys.employees(generation),
        value: report.employees.clone(),
    }];
    all.extend(blocks(&report.lanes, |number| {
        keys.lanes(generation, number)
    }));
    all.extend(blocks(&report.employee_rows, |number| {
        keys.employee_rows(generation, number)
    }));
    all
}

/// A record and what of its snapshot Redis does not have yet.
#[derive(Debug)]
pub struct Snapshot {
    /// What readers find first.
    pub record: Current,
    /// Blocks of new bodies: they belong to this generation alone.
    pub bodies: Vec<Block>,
    /// Blocks of newly kept answers: another snapshot may have the same ones.
    pub payloads: Vec<Block>,
    /// What is counted with it.
    pub counted: Vec<Counted>,
}

impl Snapshot {
    /// How many bytes are to be written.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.bodies.iter().chain(&self.payloads);
        blocks.map(|block| block.value.len()).sum()
    }
}

/// The current record as it is stored, which is what a change is based on.
#[derive(Debug, Default)]
struct Known {
    raw: Vec<u8>,
    /// None when there is no record, or none that this release can read.
    record: Option<Current>,
    /// What an earlier release has left, in place of a record of this one.
    earlier: Option<Current>,
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
    pub(crate) fn current(&self) -> Option<&Current> {
        self.known.record.as_ref()
    }

    /// The record that an earlier release has left: to be replaced.
    pub(crate) fn earlier(&self) -> Option<&Current> {
        self.known.earlier.as_ref()
    }

    /// Takes note that there has been this generation, whatever Redis knows.
    pub(crate) fn note_generation(&mut self, generation: u64) {
        self.newest = self.newest.max(generation);
    }

    /// Reads the current record anew.
    ///
    /// # Errors
    /// When it cannot be read, or a newer release wrote it.
    pub async fn reload(&mut self) -> Result<(), PublishError> {
        let raw = current(&self.store).await?;
        let (mut record, mut earlier) = (None, None);
        if !raw.is_empty() {
            match Current::parse(&raw) {
                Ok(parsed) => record = Some(parsed),
                Err(error @ RecordError::Version(version)) if version > VERSION => {
                    return Err(PublishError::Newer(error));
                }
                Err(error) => {
                    tracing::warn!(%error, "the current record cannot be used: it will be replaced");
                    earlier = Current::parse_earlier(&raw);
                }
            }
        }
        self.set(raw, record, earlier);
        Ok(())
    }

    fn set(&mut self, raw: Vec<u8>, record: Option<Current>, earlier: Option<Current>) {
        let found = record.as_ref().or(earlier.as_ref());
        let (keys, generation) = found.map_or_else(Default::default, |found| {
            (found.keys(&self.store.keys), found.generation)
        });
        self.note_generation(generation);
        self.known = Known {
            raw,
            record,
            earlier,
            keys,
            is_whole: true,
        };
    }

    /// Takes no block for granted that the current record names, so that all are written anew.
    pub(crate) const fn invalidate(&mut self) {
        self.known.is_whole = false;
    }

    /// A generation for contents that have not been published yet.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn next_generation(&mut self) -> Result<u64, StoreError> {
        let draw = NextGeneration {
            keys: &self.store.keys,
            known: self.newest,
        };
        self.newest = self.store.control.call(&draw).await?;
        Ok(self.newest)
    }

    /// Those blocks of the `answers` that Redis does not have, as far as this refresher knows.
    pub(crate) fn missing_payloads<'a>(
        &self,
        answers: impl Iterator<Item = &'a Answer>,
    ) -> Vec<Block> {
        let there: HashSet<&String> = self.known.keys.iter().collect();
        answers
            .flat_map(|answer| {
                let hash = answer.hash.to_hex();
                blocks(&answer.packed, |number| {
                    self.store.keys.payload(&hash, number)
                })
            })
            .filter(|block| !self.known.is_whole || !there.contains(&block.key))
            .collect()
    }

    /// Writes the blocks and makes the record current. What passes by itself (no memory left, a
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
        let [first, longest] = WAITS;
        let mut backoff = Backoff::new(first, longest);
        let mut result = self.try_publish(leadership, &snapshot).await;
        while let Err(error) = result {
            let wait = backoff.wait();
            if !error.is_passing() || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::warn!(%error, ?wait, "cannot publish yet: the old snapshot stays, trying again");
            sleep(wait).await;
            result = self.publish_again(leadership, &snapshot).await;
        }
        let raw = snapshot.record.to_json().into_bytes();
        self.set(raw, Some(snapshot.record), None);
        Ok(())
    }

    /// As [`Self::try_publish`], after a try that may have succeeded with only its answer lost: then nothing is
    /// staged, since what is staged expires.
    async fn publish_again(
        &self,
        leadership: &Leadership,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        let record = snapshot.record.to_json();
        match current(&self.store).await? == record.as_bytes() {
            true => self.keep(leadership, snapshot, &record).await,
            false => self.try_publish(leadership, snapshot).await,
        }
    }

    async fn try_publish(
        &self,
        leadership: &Leadership,
        snapshot: &Snapshot,
    ) -> Result<(), StoreError> {
        for blocks in [&snapshot.bodies, &snapshot.payloads] {
            if let Err(error) = self.stage(blocks).await {
                self.discard(snapshot).await;
                return Err(error);
            }
        }
        let record = snapshot.record.to_json();
        let (expected, counted) = (&self.known.raw, &snapshot.counted);
        let made = self.make_current(leadership, snapshot, &record, expected, counted);
        match made.await {
            // An earlier try did it, late.
            Err(StoreError::Conflict) if current(&self.store).await? == record.as_bytes() => {
                self.keep(leadership, snapshot, &record).await
            }
            Err(error @ (StoreError::Fenced | StoreError::Conflict | StoreError::OutOfMemory)) => {
                self.discard(snapshot).await;
                Err(error)
            }
            result => result,
        }
    }

    /// Keeps what the current record names from expiring: a later try may have staged it in place of what was there.
    async fn keep(
        &self,
        leadership: &Leadership,
        snapshot: &Snapshot,
        record: &str,
    ) -> Result<(), StoreError> {
        let made = self.make_current(leadership, snapshot, record, record.as_bytes(), &[]);
        made.await
    }

    async fn make_current(
        &self,
        leadership: &Leadership,
        snapshot: &Snapshot,
        record: &str,
        expected: &[u8],
        counted: &[Counted],
    ) -> Result<(), StoreError> {
        let keys = snapshot.record.keys(&self.store.keys);
        let own: HashSet<&String> = keys.iter().collect();
        let superseded = self.known.keys.iter().filter(|key| !own.contains(key));
        let superseded: Vec<String> = superseded.cloned().collect();
        let publish = Publish {
            keys: &self.store.keys,
            holder: &leadership.holder,
            token: leadership.token,
            expected,
            record,
            snapshot: &keys,
            superseded: &superseded,
            superseded_for_ms: millis(self.superseded_for),
            counted,
        };
        self.store.control.call(&publish).await
    }

    /// Writes blocks of a snapshot that is not published yet: they go by themselves if it never is.
    async fn stage(&self, blocks: &[Block]) -> Result<(), StoreError> {
        for some in blocks.chunks(BLOCKS_AT_ONCE) {
            let mut pipeline = Pipeline::with_capacity(some.len());
            for Block { key, value } in some {
                pipeline.pset_ex(key, value.as_ref(), STAGED_MS).ignore();
            }
            self.store.bodies.pipeline::<()>(&pipeline).await?;
        }
        Ok(())
    }

    /// Deletes blocks that were staged for nothing. Those that meanwhile belong to a current snapshot
    /// stay.
    ///
    /// # Errors
    /// When Redis cannot be told; they then go by themselves.
    pub async fn unstage(&self, blocks: &[Block]) -> Result<(), StoreError> {
        for some in blocks.chunks(KEYS_AT_ONCE) {
            let parts: Vec<&str> = some.iter().map(|block| block.key.as_str()).collect();
            self.store.bodies.call(&Unstage { parts: &parts }).await?;
        }
        Ok(())
    }

    /// Deletes what was written for nothing: it would take up memory for minutes.
    async fn discard(&self, snapshot: &Snapshot) {
        for blocks in [&snapshot.bodies, &snapshot.payloads] {
            if let Err(error) = self.unstage(blocks).await {
                tracing::debug!(%error, "blocks that were written for nothing stay until they expire");
            }
        }
    }
}

/// The current record as it is stored; empty if there is none.
///
/// # Errors
/// When Redis cannot be asked.
pub(crate) async fn current(store: &Store) -> Result<Vec<u8>, StoreError> {
    let found: Option<Vec<u8>> = store.control.query(&Cmd::get(store.keys.current())).await?;
    Ok(found.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_blocks() {
        let key = |number| format!("k{number}");
        assert!(blocks(&Bytes::new(), key).is_empty());
        let body = Bytes::from(vec![7; 2 * BLOCK_BYTES + 1]);
        let cut = blocks(&body, key);
        let sizes: Vec<_> = cut
            .iter()
            .map(|block| (block.key.as_str(), block.value.len()))
            .collect();
        assert_eq!(sizes, [("k0", BLOCK_BYTES), ("k1", BLOCK_BYTES), ("k2", 1)]);
    }
}
