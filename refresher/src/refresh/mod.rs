//! One refresh: fetch all endpoints, see what changed, build the report, publish it.

pub(crate) mod build;
pub(crate) mod fetch;
pub mod publish;
pub(crate) mod restore;
pub(crate) mod sources;
mod take_over;

use std::sync::Arc;
use std::time::Duration;

use blake3::Hash;
use domain::contract::record::{
    Bodies, Counts, Current, Document, IdentitiesSummary, TypeSummary, VERSION,
};
use domain::incident::IncidentType;
use domain::settings::Settings;
use futures::future::join_all;
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use self::build::{Input, group};
use self::take_over::Moments;
use crate::history::recorder::{Record, Recorder};
use crate::history::retention::Bounds;
use crate::history::{History, Manifest};
use crate::leadership::lease::Leadership;
use crate::refresh::fetch::Upstream;
use crate::refresh::publish::{PublishError, Publisher, Snapshot};
use crate::refresh::sources::{Answer, Clock, Endpoint, Fresh, Source};
use crate::store::{Part, Store, StoreError, parts};
use grouping::Grouped;
use grouping::encode::{Encoded, encode};
use grouping::report::Samples;

/// How much of the report's hash, in hexadecimal, is its entity tag: 128 bits.
pub(crate) const ETAG_DIGITS: usize = 32;

/// How a refresh ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A new snapshot is served.
    Published,
    /// The snapshot is what upstream has: only its freshness was renewed.
    Unchanged,
}

/// Why a refresh did not end well.
#[derive(Debug, Error)]
pub(crate) enum RefreshError {
    /// Redis did not take it.
    #[error("cannot publish: {0}")]
    Publish(#[from] PublishError),
    /// No endpoint gave a usable answer.
    #[error(
        "no endpoint gave a usable answer; the last snapshot, if there is one, stays. The first says: {0}"
    )]
    NothingGood(String),
    /// Without the identity map, now or before, nothing can be attributed.
    #[error("there is no identity map, now or from before, so no report can be built: {0}")]
    NoIdentities(String),
    /// Building the report failed.
    #[error("cannot build the report: {0}")]
    Build(String),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Publish(error.into())
    }
}

impl RefreshError {
    /// Whether this process can do nothing about it, now or later.
    #[must_use]
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Publish(PublishError::Newer(_)))
    }

    /// Whether it is Redis that failed.
    #[must_use]
    pub(crate) const fn is_of_store(&self) -> bool {
        matches!(self, Self::Publish(PublishError::Store(_)))
    }
}

/// Does one refresh after the other, and remembers what the last one was made of.
#[derive(Debug)]
pub(crate) struct Refresher {
    store: Arc<Store>,
    upstream: Upstream,
    publisher: Publisher,
    types: Vec<IncidentType>,
    /// The identity map, then the types in their order.
    sources: Vec<Source>,
    /// What the current snapshot was built of, if this process did that since it leads.
    built: Option<Built>,
    /// Per type, the unattributed and rejected rows that were logged last.
    logged: Vec<(u64, u64)>,
    interval: Duration,
    largest: u64,
    /// By which policy Redis throws keys away, as of the last look.
    eviction: Option<String>,
    /// What this process knew to be served when it took over last, until that is served again.
    lost: Option<Current>,
    /// Where refreshes are recorded, and what recovers when Redis is lost.
    history: Option<Kept>,
}

/// The history and what writes it.
#[derive(Debug)]
struct Kept {
    history: Arc<History>,
    recorder: Recorder,
}

/// One refresh, as all its steps see it.
struct Cycle<'a> {
    leadership: &'a Leadership,
    clock: Clock,
    started: Instant,
    /// When the next one is due.
    deadline: Instant,
    /// How long fetching took.
    fetching: Duration,
    /// Whether any endpoint answered well.
    any_good: bool,
    /// When the snapshot changed and was confirmed that is served again; none for an ordinary refresh.
    recovered: Option<Moments>,
}

/// What identifies a snapshot that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Built {
    /// The hash of each source's answer.
    of: Vec<Option<Hash>>,
    /// The hash of the report and the rows that are not in it.
    contents: Hash,
}

impl Refresher {
    /// Refreshes `store` from `upstream` as `settings` say.
    #[must_use]
    pub(crate) fn new(store: Arc<Store>, upstream: Upstream, settings: &Settings) -> Self {
        let types = settings.incident_types.clone();
        let endpoints = types.iter().cloned().map(Endpoint::Incidents);
        let sources = std::iter::once(Endpoint::Identities).chain(endpoints);
        Self {
            publisher: Publisher::new(Arc::clone(&store), settings.refresh_interval),
            store,
            upstream,
            sources: sources.map(Source::new).collect(),
            built: None,
            logged: vec![(0, 0); types.len()],
            types,
            interval: settings.refresh_interval,
            largest: settings.api_max_body_bytes,
            eviction: None,
            lost: None,
            history: None,
        }
    }

    /// Records every refresh from now on in `history`, within `bounds`, and recovers from it.
    #[must_use]
    pub(crate) fn with_history(mut self, history: History, bounds: Bounds) -> Self {
        let history = Arc::new(history);
        let recorder = Recorder::start(Arc::clone(&history), Arc::clone(&self.store), bounds);
        self.history = Some(Kept { history, recorder });
        self
    }

    /// Ends the recording of what was refreshed, within `limit`.
    pub(crate) async fn end(&mut self, limit: Duration) {
        if let Some(kept) = self.history.take() {
            kept.recorder.end(limit).await;
        }
    }

    /// The snapshot that is served, as far as is known.
    #[must_use]
    pub(crate) fn current(&self) -> Option<&Current> {
        self.publisher.current()
    }

    /// Does one refresh.
    ///
    /// # Errors
    /// When nothing could be fetched or published; then the last snapshot stays.
    pub(crate) async fn refresh(
        &mut self,
        leadership: &Leadership,
    ) -> Result<Outcome, RefreshError> {
        let started = Instant::now();
        let deadline = started + self.interval;
        let clock = Clock {
            ms: self.store.now_ms().await?,
            at: started,
        };
        let fetched = self.fetch(clock, deadline).await;
        let cycle = Cycle {
            leadership,
            clock,
            started,
            deadline,
            fetching: started.elapsed(),
            any_good: fetched.iter().any(Option::is_some),
            recovered: None,
        };
        let outcome = match self.publish(&cycle, fetched, false).await {
            Err(RefreshError::Publish(PublishError::Store(
                error @ (StoreError::Conflict | StoreError::Missing),
            ))) => {
                tracing::warn!(%error, "publishing the whole snapshot anew");
                self.built = None;
                self.publisher.look().await?;
                self.publisher.distrust();
                let nothing = self.sources.iter().map(|_| None).collect();
                self.publish(&cycle, nothing, true).await?
            }
            result => result?,
        };
        match self.failure(&cycle) {
            Some(error) => Err(error),
            None => Ok(outcome),
        }
    }

    /// Asks all endpoints; what each answered, if that can be used.
    async fn fetch(&mut self, clock: Clock, deadline: Instant) -> Vec<Option<Fresh>> {
        let upstream = &self.upstream;
        let fetches = self.sources.iter().map(|source| {
            let accept = source.acceptor(clock);
            async move {
                let path = source.endpoint.path();
                upstream.fetch(&path, deadline, accept).await
            }
        });
        let results = join_all(fetches).await;
        let noted = self.sources.iter_mut().zip(results);
        noted
            .map(|(source, result)| match result {
                Ok(Answer { good, fresh }) => {
                    source.note(Ok(good));
                    Some(fresh)
                }
                Err(error) => {
                    source.note(Err(error));
                    None
                }
            })
            .collect()
    }

    /// What is wrong although Redis took all that there was.
    fn failure(&self, cycle: &Cycle<'_>) -> Option<RefreshError> {
        let failures = |source: &Source| source.failure.clone();
        if !cycle.any_good {
            let first = self.sources.iter().find_map(failures);
            return Some(RefreshError::NothingGood(first.unwrap_or_default()));
        }
        let identities = &self.sources[0];
        identities
            .good
            .is_none()
            .then(|| RefreshError::NoIdentities(failures(identities).unwrap_or_default()))
    }

    /// Publishes what was fetched, in place of what was not the last good answer. `anew` when the
    /// snapshot in Redis is not what it should be.
    async fn publish(
        &mut self,
        cycle: &Cycle<'_>,
        fetched: Vec<Option<Fresh>>,
        anew: bool,
    ) -> Result<Outcome, RefreshError> {
        let of: Vec<_> = self.sources.iter().map(Source::hash).collect();
        let is_same = self.built.as_ref().is_some_and(|built| built.of == of);
        let has_identities = self.sources[0].good.is_some();
        let nothing_new = is_same || !cycle.any_good || !has_identities;
        if let Some(current) = self.current().filter(|_| nothing_new && !anew) {
            let record = self.renewed(current.clone(), cycle);
            self.send(cycle, record, Vec::new(), &[]).await?;
            return Ok(Outcome::Unchanged);
        }
        if !has_identities {
            return match self.failure(cycle) {
                Some(error) => Err(error),
                None => Err(RefreshError::NoIdentities(String::new())),
            };
        }
        let mut grouped = self.group(fetched).await?;
        let samples = std::mem::take(&mut grouped.report.samples);
        let built = Built {
            of,
            contents: grouped.contents,
        };
        let shown = self.built.as_ref().map(|built| built.contents);
        let same_contents = self.current().filter(|_| shown == Some(built.contents));
        let outcome = match same_contents {
            Some(current) => {
                let record = self.summarised(current.clone(), &grouped, cycle);
                self.send(cycle, record, Vec::new(), &samples).await?;
                Outcome::Unchanged
            }
            None => {
                self.send_new(cycle, grouped, &samples).await?;
                Outcome::Published
            }
        };
        self.built = Some(built);
        Ok(outcome)
    }

    async fn group(&self, fetched: Vec<Option<Fresh>>) -> Result<Grouped, RefreshError> {
        let inputs = self.sources.iter().zip(fetched).map(|(source, fresh)| {
            let input = match (fresh, &source.good) {
                (Some(fresh), _) => Input::Fresh(fresh),
                (None, Some(good)) => Input::Kept(good.clone()),
                (None, None) => Input::Nothing,
            };
            (Arc::clone(&source.endpoint), input)
        });
        let inputs = inputs.collect();
        let (types, largest) = (self.types.clone(), self.largest);
        let grouped = spawn_blocking(move || group(&types, inputs, largest));
        let grouped = grouped
            .await
            .map_err(|error| RefreshError::Build(error.to_string()))?;
        grouped.ok_or_else(|| RefreshError::NoIdentities("the last good one is damaged".to_owned()))
    }

    /// Publishes a new generation.
    async fn send_new(
        &mut self,
        cycle: &Cycle<'_>,
        grouped: Grouped,
        samples: &[Samples],
    ) -> Result<(), RefreshError> {
        let encoded = spawn_blocking(move || {
            let encoded = encode(&grouped.report);
            encoded.map(|encoded| (grouped, encoded))
        });
        let (grouped, encoded) = encoded
            .await
            .map_err(|error| RefreshError::Build(error.to_string()))?
            .map_err(|error| RefreshError::Build(error.to_string()))?;
        let generation = self.publisher.next_generation().await?;
        let keys = &self.store.keys;
        let mut bodies = vec![Part {
            key: keys.employees(generation),
            value: grouped.report.employees.clone(),
        }];
        let mut record = Current {
            version: VERSION,
            generation,
            etag: grouped.hash.to_hex()[..ETAG_DIGITS].to_owned(),
            published_at_ms: cycle
                .recovered
                .map_or_else(|| cycle.clock.now_ms(), |was| was.published_ms),
            checked_at_ms: cycle.recovered.map_or(0, |was| was.checked_ms),
            recovered_at_ms: cycle.recovered.map(|_| cycle.clock.now_ms()),
            employees: 0,
            report: Bodies::default(),
            unattributed: Bodies::default(),
            rejected: Bodies::default(),
            types: Vec::new(),
            identities: IdentitiesSummary {
                entries: 0,
                rejected: 0,
                freshness: self.sources[0].freshness(),
            },
        };
        for Encoded {
            document,
            encoding,
            body,
        } in encoded
        {
            let of = match document {
                Document::Report => &mut record.report,
                Document::Unattributed => &mut record.unattributed,
                Document::Rejected => &mut record.rejected,
            };
            of.set(encoding, body.len() as u64);
            bodies.extend(parts(&body, |number| {
                keys.block(generation, document, encoding, number)
            }));
        }
        let record = self.summarised(record, &grouped, cycle);
        self.send(cycle, record, bodies, samples).await
    }

    /// `record` with the freshness of all sources as it is now.
    fn renewed(&self, mut record: Current, cycle: &Cycle<'_>) -> Current {
        record.identities.freshness = self.sources[0].freshness();
        for (kind, source) in self.types.iter().zip(&self.sources[1..]) {
            if let Some(summary) = record
                .types
                .iter_mut()
                .find(|found| found.name == kind.name)
            {
                summary.freshness = source.freshness();
            }
        }
        if cycle.any_good {
            record.checked_at_ms = cycle.clock.now_ms();
            record.recovered_at_ms = None;
        }
        record
    }

    /// `record` with what `grouped` says of the types and the identity map.
    fn summarised(&self, mut record: Current, grouped: &Grouped, cycle: &Cycle<'_>) -> Current {
        record.employees = grouped.report.employee_count;
        record.identities.entries = grouped.entries;
        record.identities.rejected = grouped.rejected_entries;
        let counts = self.types.iter().zip(&grouped.report.counts);
        record.types = counts
            .zip(&self.sources[1..])
            .map(|((kind, counts), source)| TypeSummary {
                name: kind.name.clone(),
                counts: *counts,
                freshness: source.freshness(),
            })
            .collect();
        self.renewed(record, cycle)
    }

    /// Publishes `record` with its new bodies and those kept answers that Redis lacks.
    async fn send(
        &mut self,
        cycle: &Cycle<'_>,
        record: Current,
        bodies: Vec<Part>,
        samples: &[Samples],
    ) -> Result<(), RefreshError> {
        let kept = self
            .sources
            .iter()
            .filter_map(|source| source.good.as_ref());
        let snapshot = Snapshot {
            payloads: self.publisher.payload_parts(kept),
            record,
            bodies,
        };
        let bytes = snapshot.bytes();
        self.publisher
            .publish(cycle.leadership, snapshot, cycle.deadline)
            .await?;
        self.log(cycle, bytes, samples);
        if cycle.recovered.is_none() {
            self.record(cycle);
        }
        Ok(())
    }

    /// Has the history record what is served now.
    fn record(&self, cycle: &Cycle<'_>) {
        if let (Some(kept), Some(current)) = (&self.history, self.publisher.current()) {
            let (at_ms, token) = (cycle.clock.now_ms(), cycle.leadership.token);
            let manifest = Manifest::new(at_ms, token, self.types.clone(), current.clone());
            let answers = self.sources.iter().filter_map(|source| source.good.clone());
            kept.recorder.record(Record {
                manifest,
                answers: answers.collect(),
            });
        }
    }

    /// One line about the refresh, and one about each type of which rows are newly left out.
    fn log(&mut self, cycle: &Cycle<'_>, bytes: usize, samples: &[Samples]) {
        let Some(current) = self.publisher.current() else {
            return;
        };
        for ((kind, logged), samples) in current.types.iter().zip(&mut self.logged).zip(samples) {
            let counts = kind.counts;
            let left_out = (counts.unattributed, counts.rejected);
            if std::mem::replace(logged, left_out) != left_out && left_out != (0, 0) {
                log_left_out(kind, samples);
            }
        }
        let totals = current.totals();
        let mut stale: Vec<&str> = Vec::new();
        let failing = self
            .sources
            .iter()
            .filter(|source| source.failure.is_some());
        stale.extend(failing.map(|source| source.endpoint.name()));
        tracing::info!(
            generation = current.generation,
            seconds = cycle.started.elapsed().as_secs_f64(),
            fetching = cycle.fetching.as_secs_f64(),
            employees = current.employees,
            fetched = totals.fetched,
            reported = totals.reported,
            unattributed = totals.unattributed,
            rejected = totals.rejected,
            types = types(current),
            stale = stale.join(" "),
            written_bytes = bytes,
            "refreshed"
        );
    }
}

/// Each type's rows: all, those in the report, and those that are not.
fn types(current: &Current) -> String {
    let type_ = |kind: &TypeSummary| {
        let Counts {
            fetched,
            reported,
            unattributed,
            rejected,
        } = kind.counts;
        format!(
            "{}={fetched}:{reported}+{unattributed}+{rejected}",
            kind.name
        )
    };
    let types: Vec<String> = current.types.iter().map(type_).collect();
    types.join(" ")
}

fn log_left_out(kind: &TypeSummary, samples: &Samples) {
    let Counts {
        unattributed,
        rejected,
        ..
    } = kind.counts;
    if let Some(sample) = &samples.unattributed {
        tracing::warn!(
            kind = kind.name,
            unattributed,
            ?sample,
            "rows whose address the identity map lacks"
        );
    }
    if let Some((reason, sample)) = &samples.rejected {
        tracing::warn!(
            kind = kind.name,
            rejected,
            reason = reason.text(),
            ?sample,
            "rows that cannot be used"
        );
    }
}
