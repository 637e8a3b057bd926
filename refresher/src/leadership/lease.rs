//! The lease: of several refreshers one leads, the others stand by and take over when it is gone.
//!
//! A task of its own renews it, so that it is kept also while a refresh computes. Whoever loses it
//! learns so here; and Redis itself refuses what a former leader still tries to publish.

use std::sync::Arc;
use std::time::Duration;

use domain::contract::scripts::{Holding, LEASE_TERM_MS, ReleaseLease, TakeLease};
use redis::Cmd;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::nodes;
use crate::store::{Store, StoreError, millis};

/// How long the lease runs unless it is renewed.
pub const TERM: Duration = Duration::from_millis(LEASE_TERM_MS);

/// How often it is renewed, and tried for while Redis cannot be asked.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is tried for while another has it: whoever gives it up is followed at once.
const TRY_EVERY: Duration = Duration::from_millis(250);

/// How long giving it up may take at the end.
const RELEASE: Duration = Duration::from_millis(700);

/// The right to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The name of the process that has it.
    pub holder: Arc<str>,
    /// The fencing token: greater than that of every leader before.
    pub token: u64,
}

/// What is known of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing yet.
    Unknown,
    /// Nothing: it is not tried for.
    Aside,
    /// It is another's.
    Other,
    /// It is ours.
    Ours(u64),
}

/// This process's side of the lease.
#[derive(Debug)]
pub struct Lease {
    holder: Arc<str>,
    state: watch::Receiver<State>,
    failure: watch::Receiver<Option<StoreError>>,
    is_aside: watch::Sender<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Lease {
    /// Begins to try for the lease.
    #[must_use]
    pub fn seek(store: Arc<Store>) -> Self {
        let holder: Arc<str> = nodes::id(std::process::id()).into();
        let (told, state) = watch::channel(State::Unknown);
        let (told_failure, failure) = watch::channel(None);
        let (is_aside, asked_aside) = watch::channel(false);
        let stop = CancellationToken::new();
        let keeper = Keeper {
            store,
            holder: Arc::clone(&holder),
            told,
            newest: 0,
            until: None,
            failure: told_failure,
            is_aside: asked_aside,
        };
        let task = tokio::spawn(keeper.keep(stop.clone()));
        Self {
            holder,
            state,
            failure,
            is_aside,
            stop,
            task,
        }
    }

    /// Who this process is.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Waits until this process leads.
    pub async fn gained(&mut self) -> Leadership {
        loop {
            if let State::Ours(token) = *self.state.borrow_and_update() {
                return Leadership {
                    holder: Arc::clone(&self.holder),
                    token,
                };
            }
            self.changed().await;
        }
    }

    /// Waits until `leadership` is over.
    pub async fn lost(&mut self, leadership: &Leadership) {
        while *self.state.borrow_and_update() == State::Ours(leadership.token) {
            self.changed().await;
        }
    }

    async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The keeper has ended, so nothing will change any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whether this process steps aside: it then gives the lease up, and does not try for it.
    pub(crate) fn step_aside(&self, aside: bool) {
        self.is_aside.send_replace(aside);
    }

    /// Why Redis does not let this process try for the lease, if it does not.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    /// Gives the lease up, in bounded time.
    pub async fn release(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the keeper of the lease panicked");
        }
    }
}

struct Keeper {
    store: Arc<Store>,
    holder: Arc<str>,
    told: watch::Sender<State>,
    /// The newest token that was seen, also should Redis have forgotten it: so that a lease which is
    /// taken anew is known for a new one.
    newest: u64,
    /// Until when it is surely ours.
    until: Option<Instant>,
    /// Why Redis failed the last time, if it did.
    failure: watch::Sender<Option<StoreError>>,
    /// Whether it is to be given up, and not to be tried for.
    is_aside: watch::Receiver<bool>,
}

impl Keeper {
    async fn keep(mut self, stop: CancellationToken) {
        while stop
            .run_until_cancelled(async {
                let is_aside = *self.is_aside.borrow();
                match is_aside {
                    true => self.step_aside().await,
                    false => self.renew().await,
                }
                sleep(self.pause()).await;
            })
            .await
            .is_some()
        {}
        self.release().await;
    }

    async fn step_aside(&mut self) {
        self.release().await;
        self.tell(State::Aside);
    }

    /// Gives the lease up if it may be ours.
    async fn release(&mut self) {
        if self.until.take().is_none() {
            return;
        }
        let release = ReleaseLease {
            keys: &self.store.keys,
            holder: &self.holder,
        };
        match timeout(RELEASE, self.store.control.call(&release)).await {
            Ok(Ok(_)) => tracing::info!("gave the lease up"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot give the lease up; it runs out"),
            Err(_) => tracing::warn!("cannot give the lease up in time; it runs out"),
        }
    }

    fn pause(&self) -> Duration {
        match *self.told.borrow() {
            State::Other => TRY_EVERY,
            State::Ours(_) | State::Unknown | State::Aside => EVERY,
        }
    }

    async fn renew(&mut self) {
        let asked = Instant::now();
        let take = TakeLease {
            keys: &self.store.keys,
            holder: &self.holder,
            term_ms: millis(TERM),
            known_token: self.newest,
        };
        match self.store.control.call(&take).await {
            Ok(Holding { token, is_ours }) => {
                self.newest = self.newest.max(token);
                if self.failure.send_replace(None).is_some() {
                    tracing::info!("Redis answers again");
                }
                self.until = is_ours.then(|| asked + TERM);
                self.tell(if is_ours {
                    State::Ours(token)
                } else {
                    State::Other
                });
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: StoreError) {
        if self.failure.borrow().is_none() {
            tracing::error!(%error, "cannot renew the lease; trying again every second");
        }
        self.failure.send_replace(Some(error));
        // A second before it ends, so that a slow answer does not keep a former leader at work.
        if self
            .until
            .is_some_and(|until| Instant::now() + EVERY >= until)
        {
            self.until = None;
            self.tell(State::Unknown);
        }
    }

    fn tell(&self, state: State) {
        let changed = self.told.send_if_modified(|told| {
            let changes = *told != state;
            told.clone_from(&state);
            changes
        });
        if changed {
            match state {
                State::Ours(token) => tracing::info!(holder = %self.holder, token, "leads"),
                State::Other => {
                    tracing::info!(holder = %self.holder, "stands by: another refresher leads")
                }
                State::Aside => tracing::warn!(holder = %self.holder, "steps aside"),
                State::Unknown => {
                    tracing::warn!(holder = %self.holder, "leads no more: Redis cannot confirm it")
                }
            }
        }
    }
}

/// Who holds the lease, or held it last; empty if nobody ever did.
///
/// # Errors
/// When Redis cannot be asked.
pub(crate) async fn holder(store: &Store) -> Result<String, StoreError> {
    let ask = Cmd::hget(store.keys.lease(), "holder");
    let found: Option<String> = store.control.query(&ask).await?;
    Ok(found.unwrap_or_default())
}

/// Whether anybody's lease runs. One that runs for longer than a term was written before the clock
/// went back, and says nothing.
///
/// # Errors
/// When Redis cannot be asked.
pub(crate) async fn has_leader(store: &Store) -> Result<bool, StoreError> {
    let ask = Cmd::hget(store.keys.lease(), "expires_ms");
    let expires_ms: Option<u64> = store.control.query(&ask).await?;
    let left_ms = expires_ms
        .unwrap_or(0)
        .saturating_sub(store.now_ms().await?);
    Ok((1..=millis(TERM)).contains(&left_ms))
}
