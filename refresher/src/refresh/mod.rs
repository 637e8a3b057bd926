//! One refresh: fetch all endpoints, decide what is to be done, do it.

mod build;
pub(crate) mod fetch;
mod log;
pub mod publish;
mod record;
pub(crate) mod restore;
pub(crate) mod source;
mod take_over;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use blake3::Hash;
use bytes::Bytes;
use domain::contract::counters::RefreshOutcome;
use domain::contract::record::{Current, Freshness};
use domain::contract::scripts::Count;
use domain::incident::IncidentType;
use domain::settings::Settings;
use futures::future::{join, join_all};
use grouping::attribute::Identities;
use grouping::encode::encode;
use grouping::endpoint::PerEndpoint;
use grouping::rows::Run;
use thiserror::Error;
use tokio::time::Instant;

use self::build::{BuildError, LeftOut};
pub(crate) use self::build::{Built, Parsed, build};
use self::fetch::{Budget, FetchError, Upstream};
use self::log::Log;
use self::publish::{Block, PublishError, Publisher, Snapshot, blocks, indexes};
use self::record::Timestamps;
use self::source::{Source, accept, sources};
use self::tally::Tally;
use crate::alerts::{Mailbox, Published};
use crate::answer::Answer;
use crate::history::recorder::{Recorder, Recording};
use crate::history::retention::Bounds;
use crate::history::{History, Manifest};
use crate::leadership::lease::Leadership;
use crate::store::{Clock, Store, StoreError, millis};

/// How a refresh ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A new snapshot is served.
    Published,
    /// The snapshot is what upstream has: only its record was renewed.
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
    /// No type's rows are known, now or from before: a report of them would say that there are none.
    #[error(
        "there are no incidents of any type, now or from before, so no report is made. The first says: {0}"
    )]
    NoIncidents(String),
    /// Building the report failed.
    #[error("cannot build the report: {0}")]
    Build(String),
    /// It takes longer than any refresh may.
    #[error("the refresh got nowhere for {} s", .0.as_secs())]
    Stalled(Duration),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Publish(error.into())
    }
}

impl RefreshError {
    /// Whether this process can do nothing about it, now or later.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Publish(PublishError::Newer(_)))
    }

    /// Whether it is Redis that failed.
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
    sources: PerEndpoint<Source>,
    /// How many entries the last good identity map had: an empty one does not replace it.
    map_entries: u64,
    /// What the current snapshot was made of, if this process made it since it leads.
    made: Option<Made>,
    log: Log,
    tally: Tally,
    interval: Duration,
    /// The largest answer, in bytes.
    largest: u64,
    /// By which policy Redis throws keys away, as of the last look.
    eviction: Option<String>,
    /// What this process knew to be served when it took over last, until that is served again.
    lost: Option<Current>,
    /// Where refreshes are recorded, and what recovers when Redis is lost.
    history: Option<Kept>,
    /// Where what is published is left for whoever looks for new incidents.
    alerts: Option<Mailbox>,
}

/// The history and what writes it.
#[derive(Debug)]
struct Kept {
    history: Arc<History>,
    recorder: Recorder,
}

/// One refresh, as all its steps see it.
struct RefreshContext<'a> {
    leadership: &'a Leadership,
    clock: Clock,
    started: Instant,
    /// When the next one is due.
    deadline: Instant,
    /// How long fetching took.
    fetching: Duration,
    /// Those of the snapshot that is served again; none for an ordinary refresh.
    recovered: Option<Timestamps>,
}

/// What a snapshot was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    /// The hash of each source's answer.
    of: PerEndpoint<Option<Hash>>,
    /// The hash of all documents.
    contents: Hash,
}

/// What is to be done with what was fetched.
enum Plan {
    /// The answers are those that this snapshot was made of: its record is renewed.
    Renew(Box<Current>),
    /// Other answers, but the same documents: this snapshot's record counts anew.
    Recount(Box<Current>, Box<Built>),
    /// Other documents: a new generation.
    Replace(Box<Built>),
}

impl Refresher {
    /// Refreshes `store` from `upstream` as `settings` say.
    pub(crate) fn new(store: Arc<Store>, upstream: Upstream, settings: &Settings) -> Self {
        let types = settings.incident_types.clone();
        Self {
            publisher: Publisher::new(Arc::clone(&store), settings.refresh_interval),
            store,
            upstream,
            sources: sources(&types),
            map_entries: 0,
            made: None,
            log: Log::new(types.len()),
            tally: Tally::default(),
            types,
            interval: settings.refresh_interval,
            largest: settings.api_max_body_bytes,
            eviction: None,
            lost: None,
            history: None,
            alerts: None,
        }
    }

    /// Records every refresh from now on in `history`, within `bounds`, and recovers from it.
    pub(crate) fn with_history(mut self, history: History, bounds: Bounds) -> Self {
        let history = Arc::new(history);
        let recorder = Recorder::start(Arc::clone(&history), Arc::clone(&self.store), bounds);
        self.history = Some(Kept { history, recorder });
        self
    }

    /// Leaves what is published in `mailbox`, if there is one.
    pub(crate) fn with_alerts(mut self, mailbox: Option<Mailbox>) -> Self {
        self.alerts = mailbox;
        self
    }

    /// Ends the recording of what was refreshed, within `limit`.
    pub(crate) async fn end(&mut self, limit: Duration) {
        if let Some(kept) = self.history.take() {
            kept.recorder.end(limit).await;
        }
    }

    /// Waits until nothing computes any more: a stage that got stuck may still be at it.
    pub(crate) async fn idle(&self) {
        self.upstream.threads.wait().await;
    }

    /// The snapshot that is served, as far as is known.
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
        match self.attempt(leadership, started).await {
            Ok(outcome) => match self.failure() {
                Some(error) => Err(error),
                None => Ok(outcome),
            },
            Err(error) => {
                self.count_failure(started.elapsed()).await;
                Err(error)
            }
        }
    }

    /// Counts a refresh that came to nothing after so long.
    pub(crate) async fn count_failure(&mut self, took: Duration) {
        self.tally.note(RefreshOutcome::Failed, took);
        let count = Count {
            keys: &self.store.keys,
            counted: &self.tally.all(),
        };
        // Where Redis is away, it is counted with the next one.
        match self.store.control.call(&count).await {
            Ok(()) => self.tally.clear(),
            Err(error) => tracing::debug!(%error, "a failed refresh could not be counted yet"),
        }
    }

    /// Fetches and publishes what there is.
    async fn attempt(
        &mut self,
        leadership: &Leadership,
        started: Instant,
    ) -> Result<Outcome, RefreshError> {
        let deadline = started + self.interval;
        let clock = self.store.clock().await?;
        let parsed = self.fetch(clock, deadline).await;
        let context = RefreshContext {
            leadership,
            clock,
            started,
            deadline,
            fetching: started.elapsed(),
            recovered: None,
        };
        let plan = self.decide(parsed).await?;
        match self.carry_out(&context, plan).await {
            Err(RefreshError::Publish(PublishError::Store(
                error @ (StoreError::Conflict | StoreError::Missing),
            ))) => {
                tracing::warn!(%error, "publishing the whole snapshot anew");
                self.publisher.reload().await?;
                self.publish_anew(&context).await
            }
            result => result,
        }
    }

    /// Asks all endpoints; what was parsed of their answers.
    async fn fetch(&mut self, clock: Clock, deadline: Instant) -> Parsed {
        let (upstream, budget) = (&self.upstream, Budget::new(self.largest));
        let PerEndpoint {
            identities,
            incidents,
        } = &self.sources;
        let (last, entries) = (identities.answer.clone(), self.map_entries);
        let map = upstream.fetch(&identities.path, &budget, deadline, move |body: Bytes| {
            let has_entries = last.is_some() && entries > 0;
            accept(last.as_ref(), clock, &body, |body| {
                parse_map(body, has_entries)
            })
        });
        let types = self.types.iter().zip(incidents).map(|(kind, source)| {
            let (kind, last) = (kind.clone(), source.answer.clone());
            upstream.fetch(&source.path, &budget, deadline, move |body: Bytes| {
                let parse = |body: &Bytes| Ok(Run::parse(&kind, body.clone())?);
                accept(last.as_ref(), clock, &body, parse)
            })
        });
        let (map, types) = join(map, join_all(types)).await;
        let identities = note(&mut self.sources.identities, map);
        if let Some(identities) = &identities {
            self.map_entries = identities.entries();
        }
        let sources = self.sources.incidents.iter_mut().zip(types);
        Parsed {
            identities,
            runs: sources
                .map(|(source, fetched)| note(source, fetched))
                .collect(),
        }
    }

    /// What is to be done with what was fetched.
    async fn decide(&self, parsed: Parsed) -> Result<Plan, RefreshError> {
        let is_same = self
            .made
            .as_ref()
            .is_some_and(|made| made.of == self.hashes());
        if let Some(current) = self.current()
            && (is_same || self.failure().is_some())
        {
            return Ok(Plan::Renew(current.clone().into()));
        }
        let built = self.build(parsed).await?;
        let shown = self.made.as_ref().map(|made| made.contents);
        Ok(match self.current() {
            Some(current) if shown == Some(built.contents) => {
                Plan::Recount(current.clone().into(), built.into())
            }
            _ => Plan::Replace(built.into()),
        })
    }

    async fn carry_out(
        &mut self,
        context: &RefreshContext<'_>,
        plan: Plan,
    ) -> Result<Outcome, RefreshError> {
        let (freshness, times) = (self.freshness(), self.timestamps(context));
        match plan {
            Plan::Renew(current) => {
                let record = record::renewed(&current, &self.types, freshness, times);
                self.publish(context, record, Vec::new(), &LeftOut::default())
                    .await?;
                Ok(Outcome::Unchanged)
            }
            Plan::Recount(current, built) => {
                let Built {
                    facts,
                    left_out,
                    contents,
                    ..
                } = *built;
                let record = record::recounted(&current, &self.types, &facts, freshness, times);
                self.publish(context, record, Vec::new(), &left_out).await?;
                self.set_made(contents);
                Ok(Outcome::Unchanged)
            }
            Plan::Replace(built) => {
                let Built {
                    report,
                    facts,
                    left_out,
                    contents,
                } = *built;
                let generation = self.publisher.next_generation().await?;
                let mut bodies = indexes(&self.store.keys, generation, &report);
                let (lanes, json) = (report.lanes.clone(), report.json.clone());
                let encoded = self.compute(move || encode(&report, generation)).await?;
                let encoded = encoded.map_err(|error| RefreshError::Build(error.to_string()))?;
                let record =
                    record::new(generation, &self.types, &facts, &encoded, freshness, times);
                for made in &encoded {
                    bodies.extend(blocks(&made.body, |number| {
                        let (document, encoding) = (made.document, made.encoding);
                        self.store
                            .keys
                            .block(generation, document, encoding, number)
                    }));
                }
                self.publish(context, record, bodies, &left_out).await?;
                self.set_made(contents);
                self.leave(lanes, json);
                Ok(Outcome::Published)
            }
        }
    }

    /// Publishes what the last good answers give as a new generation, all of it: the snapshot in Redis
    /// is not what it should be.
    async fn publish_anew(
        &mut self,
        context: &RefreshContext<'_>,
    ) -> Result<Outcome, RefreshError> {
        self.publisher.invalidate();
        self.replace(context).await
    }

    /// Publishes what the last good answers give as a new generation.
    async fn replace(&mut self, context: &RefreshContext<'_>) -> Result<Outcome, RefreshError> {
        self.made = None;
        let built = self.build(Parsed::default()).await?;
        self.carry_out(context, Plan::Replace(built.into())).await
    }

    async fn build(&self, parsed: Parsed) -> Result<Built, RefreshError> {
        if let Some(error) = self.failure().filter(|_| !self.is_buildable()) {
            return Err(error);
        }
        let (types, largest) = (self.types.clone(), self.largest);
        let answers = self.sources.as_ref().map(|source| source.answer.clone());
        self.compute(move || build(&types, answers, parsed, largest))
            .await?
            .map_err(|error| match error {
                BuildError::NoIdentities => {
                    RefreshError::NoIdentities("the last good one is damaged".to_owned())
                }
                BuildError::TooLarge(error) => RefreshError::Build(error.to_string()),
            })
    }

    /// Makes `record` the current one, with its new bodies and those kept answers that Redis lacks.
    async fn publish(
        &mut self,
        context: &RefreshContext<'_>,
        record: Current,
        bodies: Vec<Block>,
        left_out: &LeftOut,
    ) -> Result<(), RefreshError> {
        let outcome = match self.failure() {
            Some(_) => RefreshOutcome::Failed,
            None if bodies.is_empty() => RefreshOutcome::Renewed,
            None => RefreshOutcome::Replaced,
        };
        let answers = self
            .sources
            .iter()
            .filter_map(|source| source.answer.as_ref());
        let snapshot = Snapshot {
            payloads: self.publisher.missing_payloads(answers),
            counted: match context.recovered {
                // That was no refresh.
                Some(_) => Vec::new(),
                None => self.tally.with(outcome, context.started.elapsed()),
            },
            record,
            bodies,
        };
        let bytes = snapshot.bytes();
        self.publisher
            .publish(context.leadership, snapshot, context.deadline)
            .await?;
        if context.recovered.is_none() {
            self.tally.clear();
        }
        let failing = self
            .sources
            .iter()
            .filter(|source| source.failure.is_some());
        let stale: Vec<&str> = failing.map(|source| source.name.as_str()).collect();
        if let Some(current) = self.publisher.current() {
            self.log
                .refreshed(context, current, bytes, &stale, left_out);
        }
        if context.recovered.is_none() {
            self.record(context);
        }
        Ok(())
    }

    /// Has the history record what is served now.
    fn record(&self, context: &RefreshContext<'_>) {
        if let (Some(kept), Some(current)) = (&self.history, self.publisher.current()) {
            let (at_ms, token) = (context.clock.now_ms(), context.leadership.token);
            let answers = self.sources.iter();
            kept.recorder.record(Recording {
                manifest: Manifest::new(at_ms, token, self.types.clone(), current.clone()),
                answers: answers.filter_map(|source| source.answer.clone()).collect(),
            });
        }
    }

    /// Leaves what was published for whoever looks for new incidents.
    fn leave(&self, lanes: Bytes, report: Bytes) {
        if let (Some(mailbox), Some(current)) = (&self.alerts, self.publisher.current()) {
            mailbox.put(Published {
                record: current.clone(),
                lanes,
                report,
            });
        }
    }

    /// What is wrong although Redis took all that there was.
    fn failure(&self) -> Option<RefreshError> {
        let identities = &self.sources.identities;
        if !self.is_any_good() {
            let first = self
                .sources
                .iter()
                .find_map(|source| source.failure.clone());
            return Some(RefreshError::NothingGood(first.unwrap_or_default()));
        }
        if identities.answer.is_none() {
            let failure = identities.failure.clone();
            return Some(RefreshError::NoIdentities(failure.unwrap_or_default()));
        }
        let incidents = &self.sources.incidents;
        if incidents.iter().all(|source| source.answer.is_none()) {
            let first = incidents.iter().find_map(|source| source.failure.clone());
            return Some(RefreshError::NoIncidents(first.unwrap_or_default()));
        }
        None
    }

    /// Whether there is what a report is made of: the identity map, and the rows of at least one type.
    fn is_buildable(&self) -> bool {
        let incidents = &self.sources.incidents;
        self.sources.identities.answer.is_some()
            && incidents.iter().any(|source| source.answer.is_some())
    }

    /// Whether any endpoint answered well.
    fn is_any_good(&self) -> bool {
        self.sources.iter().any(|source| source.failure.is_none())
    }

    fn hashes(&self) -> PerEndpoint<Option<Hash>> {
        let hash = |source: &Source| source.answer.as_ref().map(|answer| answer.hash);
        self.sources.as_ref().map(hash)
    }

    fn freshness(&self) -> PerEndpoint<Freshness> {
        self.sources.as_ref().map(Source::freshness)
    }

    /// The times of a record that is published now: any endpoint that answered well confirms it.
    fn timestamps(&self, context: &RefreshContext<'_>) -> Timestamps {
        let (now_ms, interval_ms) = (context.clock.now_ms(), millis(self.interval));
        if let Some(before) = context.recovered {
            return Timestamps {
                recovered_ms: Some(now_ms),
                interval_ms,
                ..before
            };
        }
        let current = self.current().map(Timestamps::of);
        let (checked_ms, recovered_ms) = match current {
            _ if self.is_any_good() => (now_ms, None),
            Some(current) => (current.checked_ms, current.recovered_ms),
            None => (0, None),
        };
        Timestamps {
            published_ms: now_ms,
            checked_ms,
            interval_ms,
            recovered_ms,
        }
    }

    /// Runs `work`, which only computes, on a thread of its own.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RefreshError> {
        let done = self.upstream.threads.spawn_blocking(work).await;
        done.map_err(|error| RefreshError::Build(error.to_string()))
    }

    fn set_made(&mut self, contents: Hash) {
        self.made = Some(Made {
            of: self.hashes(),
            contents,
        });
    }
}

/// Notes what came of asking for `source`; what was parsed of its answer.
fn note<T>(source: &mut Source, fetched: Result<(Answer, Option<T>), FetchError>) -> Option<T> {
    match fetched {
        Ok((answer, parsed)) => {
            source.note(Ok(answer));
            parsed
        }
        Err(error) => {
            source.note(Err(error));
            None
        }
    }
}

/// Parses an identity map. An empty one is refused where there was one with entries, and one of nothing
/// but rejected entries always.
fn parse_map(body: &Bytes, has_entries: bool) -> Result<Identities, FetchError> {
    let identities = Identities::parse(body)?;
    match (identities.entries(), identities.rejected()) {
        (0, 0) if has_entries => Err(FetchError::NoIdentities),
        (0, rejected @ 1..) => Err(FetchError::UnusableIdentities(rejected)),
        _ => Ok(identities),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_map_is_good_at_first_but_not_after_a_full_one() {
        let parse = |body: &'static str, has_entries| {
            parse_map(&Bytes::from_static(body.as_bytes()), has_entries)
        };
        assert_eq!(parse("{}", false).unwrap().entries(), 0);
        assert!(matches!(parse("{}", true), Err(FetchError::NoIdentities)));
        assert_eq!(parse(r#"{"1.2.3.4":5}"#, true).unwrap().entries(), 1);
        for has_entries in [false, true] {
            let rejected = parse(r#"{"1.2.3.4":77.0}"#, has_entries);
            assert!(matches!(rejected, Err(FetchError::UnusableIdentities(1))));
        }
    }
}
