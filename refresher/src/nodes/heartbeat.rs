//! The heartbeat of a process, in Redis: that it lives, and what it did last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::contract::node::{BEAT_EVERY_MS, Kind, Node};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::registry;
use crate::store::{Store, StoreError, millis};

/// How long taking itself off the list may take at the end.
const LEAVE: Duration = Duration::from_millis(500);

/// What this process does, as its heartbeats tell it. Clones are of the same process.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<Said>>);

#[derive(Debug)]
struct Said {
    leads: bool,
    last: String,
    /// When something was last brought to its end.
    progress: Instant,
}

impl Activity {
    /// That of a process that has just been started.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Said {
            leads: false,
            last: "was started".to_owned(),
            progress: Instant::now(),
        })))
    }

    /// Something begins. It counts as progress only once it is [`done`](Self::did).
    pub(crate) fn begins(&self, what: &str) {
        what.clone_into(&mut self.said().last);
    }

    /// Something is done, well or not. `what` is for a person, and without secret or address.
    pub(crate) fn did(&self, what: String) {
        let mut said = self.said();
        said.last = what;
        said.progress = Instant::now();
    }

    /// This process begins or ceases to lead.
    pub(crate) fn leads(&self, leads: bool) {
        let mut said = self.said();
        said.leads = leads;
        said.progress = Instant::now();
        said.last = match leads {
            true => "begins to lead",
            false => "stands by",
        }
        .to_owned();
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Words stay words, whatever a thread died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// The task that reports this process.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Begins to report the process `id`, which is a `kind`, to `store`. A leader or a host that
    /// brings nothing to its end for longer than `stall` is to be taken for hanging.
    #[must_use]
    pub(crate) fn start(
        store: Arc<Store>,
        id: &str,
        kind: Kind,
        activity: Activity,
        stall: Duration,
    ) -> Self {
        let heart = Heart {
            store,
            id: id.to_owned(),
            kind,
            failing: false,
            activity,
            started: Instant::now(),
            stall_ms: millis(stall),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(heart.beat_until(stop.clone()));
        Self { stop, task }
    }

    /// Reports it no more, so that it is soon listed as offline: it ended as it should not.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }

    /// Takes the process off the list, in bounded time.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the task of the heartbeat panicked");
        }
    }
}

struct Heart {
    store: Arc<Store>,
    id: String,
    kind: Kind,
    /// Whether the last beat could not be written, so that it is said once.
    failing: bool,
    activity: Activity,
    started: Instant,
    stall_ms: u64,
}

impl Heart {
    async fn beat_until(mut self, stop: CancellationToken) {
        let mut beats = interval(Duration::from_millis(BEAT_EVERY_MS));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop
            .run_until_cancelled(async {
                beats.tick().await;
                let result = self.beat().await;
                self.tell(result);
            })
            .await
            .is_some()
        {}
        let own = [self.id.clone()];
        match timeout(LEAVE, registry::forget(&self.store, &own)).await {
            Ok(Ok(())) => {}
            _ => tracing::debug!("stays on the list of nodes, as offline, for a while"),
        }
    }

    async fn beat(&self) -> Result<(), StoreError> {
        let now_ms = self.store.now_ms().await?;
        let node = self.node(now_ms);
        registry::beat(&self.store, &node).await
    }

    fn tell(&mut self, result: Result<(), StoreError>) {
        match result {
            Ok(()) if std::mem::take(&mut self.failing) => {
                tracing::info!(node = self.id, "the server is reported again");
            }
            Ok(()) => {}
            // Of a refresher, that Redis is away is the lease's to tell.
            Err(error) if self.kind == Kind::Refresher => {
                tracing::debug!(%error, "a heartbeat could not be written");
            }
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::warn!(
                    node = self.id,
                    %error,
                    "the server cannot be reported for /status; trying again every second"
                );
            }
            Err(_) => {}
        }
    }

    /// The process as it is now, which is `now_ms` by Redis's clock.
    fn node(&self, now_ms: u64) -> Node {
        let said = self.activity.said();
        let before = |passed: Duration| now_ms.saturating_sub(millis(passed));
        Node {
            id: self.id.clone(),
            kind: self.kind,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            since_ms: before(self.started.elapsed()),
            beat_ms: now_ms,
            // Who stands by has nothing to do but to live.
            progress_ms: match self.kind == Kind::Refresher && !said.leads {
                true => now_ms,
                false => before(said.progress.elapsed()),
            },
            stall_ms: self.stall_ms,
            last: said.last.clone(),
            leads: said.leads,
            probed: None,
        }
    }
}
