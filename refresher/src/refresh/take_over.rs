//! Taking over: what a refresher does when it begins to lead, before it asks upstream. Where Redis has
//! lost the snapshot, the last good one is served again at once, from memory or from the history.

use std::time::Duration;

use domain::contract::record::Current;
use tokio::time::{Instant, timeout};

use super::{Cycle, RefreshError, Refresher};
use crate::history::Recorded;
use crate::leadership::lease::Leadership;
use crate::refresh::restore::restore;
use crate::refresh::sources::{Clock, Source};

/// How long it may take to find the last good snapshot in the history, until upstream is asked.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

/// What is said of an endpoint whose last good answer is served again.
const UNCONFIRMED: &str = "recovered after Redis was lost; upstream has not answered since";

/// When a snapshot changed last, and when it was confirmed: milliseconds of Redis's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub(super) published_ms: u64,
    pub(super) checked_ms: u64,
}

impl Moments {
    const fn of(record: &Current) -> Self {
        Self {
            published_ms: record.published_at_ms,
            checked_ms: record.checked_at_ms,
        }
    }
}

impl Refresher {
    /// Takes over where another refresher, or an earlier run, has left off. Where Redis has lost the
    /// snapshot, the last good one is served again at once: upstream may take its time.
    ///
    /// # Errors
    /// When Redis cannot be read or written, or holds what a newer release wrote.
    pub(crate) async fn take_over(&mut self, leadership: &Leadership) -> Result<(), RefreshError> {
        self.built = None;
        self.warn_of_eviction().await;
        if self.lost.is_none() {
            self.lost = self.publisher.current().cloned();
        }
        self.publisher.look().await?;
        let found = self.publisher.current().map(|record| record.generation);
        if let Some(lost) = &self.lost
            && found < Some(lost.generation)
        {
            tracing::warn!(
                generation = lost.generation,
                "Redis has lost the snapshot: serving it again"
            );
            let moments = Moments::of(lost);
            self.serve_again(leadership, moments).await?;
            self.lost = None;
            return Ok(());
        }
        self.lost = None;
        match self.publisher.current() {
            Some(record) => {
                restore(&self.store, record, &mut self.sources, self.largest).await?;
                Ok(())
            }
            None => self.recover(leadership).await,
        }
    }

    /// Tells, once, that Redis is set to throw away what it should keep.
    async fn warn_of_eviction(&mut self) {
        let policy = self.store.eviction().await;
        if self.eviction != policy
            && let Some(policy) = &policy
        {
            tracing::warn!(
                policy,
                "Redis may throw parts of the snapshot away: set its maxmemory-policy to noeviction"
            );
        }
        self.eviction = policy;
    }

    /// Serves the newest whole snapshot of the history, if there is one.
    async fn recover(&mut self, leadership: &Leadership) -> Result<(), RefreshError> {
        let Some(kept) = &self.history else {
            return Ok(());
        };
        let recorded = match timeout(RECOVERY_LIMIT, kept.history.newest_whole()).await {
            Ok(Ok(Some(recorded))) => recorded,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot recover from the history");
                return Ok(());
            }
            Err(_) => {
                tracing::error!("cannot recover from the history: it takes too long");
                return Ok(());
            }
        };
        let Recorded { manifest, answers } = recorded;
        self.publisher.knows_of(manifest.record.generation);
        let mut answers = answers.into_iter();
        self.sources[0].good = answers.next().flatten();
        for (kind, answer) in manifest.types.iter().zip(answers) {
            let of_kind = |source: &&mut Source| source.endpoint.name() == kind.name;
            if let Some(source) = self.sources[1..].iter_mut().find(of_kind) {
                source.good = answer;
            }
        }
        tracing::warn!(
            generation = manifest.record.generation,
            "Redis has no snapshot: serving the last one of the history"
        );
        self.serve_again(leadership, Moments::of(&manifest.record))
            .await
    }

    /// Publishes what the last good answers give, marked as what it is.
    async fn serve_again(
        &mut self,
        leadership: &Leadership,
        moments: Moments,
    ) -> Result<(), RefreshError> {
        if self.sources[0].good.is_none() {
            return Ok(());
        }
        for source in &mut self.sources {
            source.failure.get_or_insert_with(|| UNCONFIRMED.to_owned());
        }
        let started = Instant::now();
        let cycle = Cycle {
            leadership,
            clock: Clock {
                ms: self.store.now_ms().await?,
                at: started,
            },
            started,
            deadline: started + self.interval,
            fetching: Duration::ZERO,
            any_good: false,
            recovered: Some(moments),
        };
        self.publisher.distrust();
        let nothing = self.sources.iter().map(|_| None).collect();
        self.publish(&cycle, nothing, true).await?;
        Ok(())
    }
}
