//! The recorder: writes every refresh into the history, off the refresh's way, so that a slow store
//! delays nothing and a broken one is only told about.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use blake3::Hash;
use domain::contract::history::HistoryStatus;
use redis::Cmd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::retention::{self, Bounds};
use super::{History, HistoryError, Manifest};
use crate::answer::Answer;
use crate::store::{Store, StoreError};

/// Refreshes that wait to be recorded; they share the answers with the refresher.
const QUEUE: usize = 4;

/// How often what is too old or too much is removed.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Answers that are known to be kept, so that they are not looked for again.
const MOST_KNOWN: usize = 4096;

/// A refresh that is to be recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    /// What it came to.
    pub(crate) manifest: Manifest,
    /// The answers that it was made of.
    pub(crate) answers: Vec<Answer>,
}

/// The background task that records.
#[derive(Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Recording>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins to record into `history`, within `bounds`, and to tell `store` how that goes.
    #[must_use]
    pub(crate) fn start(history: Arc<History>, store: Arc<Store>, bounds: Bounds) -> Self {
        let (queue, recordings) = mpsc::channel(QUEUE);
        let writer = Writer {
            status: HistoryStatus {
                store: history.kind.to_owned(),
                ..HistoryStatus::default()
            },
            history,
            store,
            bounds,
            known: HashSet::new(),
            tidied: None,
        };
        Self {
            queue,
            task: tokio::spawn(writer.write_all(recordings)),
        }
    }

    /// Has a refresh recorded. Where the store is so slow that the queue is full, it is left out.
    pub(crate) fn record(&self, recording: Recording) {
        if self.queue.try_send(recording).is_err() {
            tracing::warn!("the history's store is too slow: this refresh is not recorded");
        }
    }

    /// Ends once everything is recorded, but within `limit`.
    pub(crate) async fn end(self, limit: Duration) {
        drop(self.queue);
        if timeout(limit, self.task).await.is_err() {
            tracing::warn!("the last refreshes could not be recorded in time");
        }
    }
}

struct Writer {
    history: Arc<History>,
    store: Arc<Store>,
    bounds: Bounds,
    status: HistoryStatus,
    known: HashSet<Hash>,
    /// When too old and too large things were last removed.
    tidied: Option<Instant>,
}

impl Writer {
    async fn write_all(mut self, mut recordings: mpsc::Receiver<Recording>) {
        while let Some(recording) = recordings.recv().await {
            let result = self.write(&recording).await;
            let is_well = result.is_ok();
            self.note(result, recording.manifest.at_ms);
            if let Err(error) = tell(&self.store, &self.status).await {
                tracing::debug!(%error, "the state of the history could not be told");
            }
            if is_well {
                self.tidy().await;
            }
        }
    }

    async fn write(&mut self, recording: &Recording) -> Result<(), HistoryError> {
        for good in &recording.answers {
            if !self.known.contains(&good.hash) {
                self.history.put_answer(good).await?;
                if self.known.len() >= MOST_KNOWN {
                    self.known.clear();
                }
                self.known.insert(good.hash);
            }
        }
        self.history.append(&recording.manifest).await
    }

    fn note(&mut self, result: Result<(), HistoryError>, at_ms: u64) {
        match result {
            Ok(()) => {
                if self.status.error.take().is_some() {
                    tracing::info!("refreshes are recorded again");
                }
                self.status.recorded_ms = Some(at_ms);
            }
            Err(error) => {
                // What was there may be gone with whatever has happened to the store.
                self.known.clear();
                self.status.failures += 1;
                let said = Some(error.to_string());
                if self.status.error != said {
                    tracing::error!(%error, "a refresh could not be recorded; the service goes on");
                    self.status.error = said;
                }
            }
        }
    }

    async fn tidy(&mut self) {
        if self
            .tidied
            .is_some_and(|tidied| tidied.elapsed() < TIDY_EVERY)
        {
            return;
        }
        self.tidied = Some(Instant::now());
        match retention::apply(&self.history, self.bounds).await {
            Ok((0, 0)) => {}
            Ok((manifests, answers)) => {
                // What went may be among those known.
                self.known.clear();
                tracing::info!(
                    manifests,
                    answers,
                    "removed from the history: old, or too much"
                );
            }
            Err(error) => tracing::warn!(%error, "the history could not be tidied"),
        }
    }
}

/// Tells the state of the history to whoever asks for the service's status.
async fn tell(store: &Store, status: &HistoryStatus) -> Result<(), StoreError> {
    let tell = Cmd::set(store.keys.history(), status.to_json());
    store.control.query(&tell).await
}
