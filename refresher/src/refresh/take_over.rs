//! Taking over: what a refresher does when it begins to lead, before it asks upstream. Where Redis has
//! lost the snapshot, the last good one is served again at once, from memory or from the history.

use std::time::Duration;

use domain::contract::record::Current;
use redis::InfoDict;
use tokio::time::{Instant, timeout};

use super::record::Timestamps;
use super::{RefreshContext, RefreshError, Refresher};
use crate::history::Recorded;
use crate::leadership::lease::Leadership;
use crate::refresh::restore::restore;
use crate::store::Store;

/// How long it may take to find the last good snapshot in the history, until upstream is asked.
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

/// What is said of an endpoint whose last good answer is served again after Redis was lost, and after the
/// service was upgraded.
const RECOVERED: &str = "recovered after Redis was lost; upstream has not answered since";
const UPGRADED: &str = "taken over from an earlier release; upstream has not answered since";

impl Refresher {
    /// Takes over where another refresher, or an earlier run, has left off. Where Redis has lost the
    /// snapshot, the last good one is served again at once: upstream may take its time.
    ///
    /// # Errors
    /// When Redis cannot be read or written, or holds what a newer release wrote.
    pub(crate) async fn take_over(&mut self, leadership: &Leadership) -> Result<(), RefreshError> {
        self.made = None;
        if let Some(mailbox) = &self.alerts {
            // What another leader has published meanwhile is newer.
            mailbox.clear();
        }
        self.warn_of_eviction().await;
        if self.lost.is_none() {
            self.lost = self.publisher.current().cloned();
        }
        self.publisher.reload().await?;
        if let Some(lost) = &self.lost
            && is_older(self.publisher.current(), lost)
        {
            tracing::warn!(
                generation = lost.generation,
                "Redis has lost the snapshot: serving it again"
            );
            let times = Timestamps::of(lost);
            self.publisher.invalidate();
            self.serve_again(leadership, times, RECOVERED).await?;
            self.lost = None;
            return Ok(());
        }
        self.lost = None;
        match self.publisher.current() {
            Some(record) => {
                self.map_entries = record.identities.entries;
                let (types, sources) = (&self.types, &mut self.sources);
                restore(&self.store, record, types, sources, self.largest).await?;
                Ok(())
            }
            None => match self.publisher.earlier().cloned() {
                Some(earlier) => self.upgrade(leadership, &earlier).await,
                None => self.recover(leadership).await,
            },
        }
    }

    /// Tells, once, that Redis is set to throw away what it should keep.
    async fn warn_of_eviction(&mut self) {
        let policy = eviction(&self.store).await;
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

    /// Serves in this release's format what an earlier one has left: nobody else could read it.
    async fn upgrade(
        &mut self,
        leadership: &Leadership,
        earlier: &Current,
    ) -> Result<(), RefreshError> {
        self.map_entries = earlier.identities.entries;
        let (types, sources) = (&self.types, &mut self.sources);
        restore(&self.store, earlier, types, sources, self.largest).await?;
        if !self.is_buildable() {
            return self.recover(leadership).await;
        }
        tracing::info!(
            generation = earlier.generation,
            "an earlier release has left a snapshot: serving it in this one's format"
        );
        self.serve_again(leadership, Timestamps::of(earlier), UPGRADED)
            .await
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
        self.publisher.note_generation(manifest.record.generation);
        self.map_entries = manifest.record.identities.entries;
        self.sources.identities.answer = answers.identities;
        for (kind, answer) in manifest.types.iter().zip(answers.incidents) {
            let mut sources = self.sources.incidents.iter_mut();
            if let Some(source) = sources.find(|source| source.name == kind.name) {
                source.answer = answer;
            }
        }
        tracing::warn!(
            generation = manifest.record.generation,
            "Redis has no snapshot: serving the last one of the history"
        );
        self.publisher.invalidate();
        self.serve_again(leadership, Timestamps::of(&manifest.record), RECOVERED)
            .await
    }

    /// Publishes what the last good answers give, marked as what it is, and `why`.
    async fn serve_again(
        &mut self,
        leadership: &Leadership,
        times: Timestamps,
        why: &str,
    ) -> Result<(), RefreshError> {
        if !self.is_buildable() {
            return Ok(());
        }
        for source in self.sources.iter_mut() {
            source.failure.get_or_insert_with(|| why.to_owned());
        }
        let started = Instant::now();
        let context = RefreshContext {
            leadership,
            clock: self.store.clock().await?,
            started,
            deadline: started + self.interval,
            fetching: Duration::ZERO,
            recovered: Some(times),
        };
        self.replace(&context).await?;
        Ok(())
    }
}

/// Whether Redis, which has `found`, has lost what was known to be current once. A lower generation alone does not
/// show it: where Redis was emptied, another leader may have begun them anew since.
fn is_older(found: Option<&Current>, lost: &Current) -> bool {
    found.is_none_or(|found| {
        found.generation < lost.generation && found.checked_at_ms < lost.checked_at_ms
    })
}

/// The policy by which Redis would throw parts of the snapshot away when its memory is used up; `None`
/// if it would not, or does not tell.
async fn eviction(store: &Store) -> Option<String> {
    let mut info = redis::cmd("INFO");
    info.arg("memory");
    // It tells nothing that matters to a user who may not ask.
    let info: InfoDict = store.control.query(&info).await.ok()?;
    let policy: String = info.get("maxmemory_policy")?;
    let bound: u64 = info.get("maxmemory")?;
    (bound > 0 && policy != "noeviction").then_some(policy)
}
