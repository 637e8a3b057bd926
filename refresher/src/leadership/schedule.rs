//! The schedule: while this refresher leads, a refresh at once, then one at every point of the
//! schedule, and between them those that clients ask for. One at a time, never two.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use domain::settings::Settings;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use crate::alerts::Dispatcher;
use crate::backoff::Backoff;
use crate::leadership::commands::{Commands, RefreshRequest, done};
use crate::leadership::lease::{Leadership, Lease};
use crate::nodes::heartbeat::Activity;
use crate::nodes::monitor::NodeMonitor;
use crate::refresh::{Outcome, RefreshError, Refresher};
use crate::store::Store;

/// The first and the longest wait before a refresh is tried again that Redis did not let happen, or
/// without which there is nothing to serve.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// How long a leader that got nowhere leaves the lease to others, before it tries for it again.
const ASIDE: Duration = Duration::from_secs(10);

/// Requests for a refresh that wait for their turn; more stay on the stream.
const QUEUE: usize = 16;

/// Everything that a refresher does, and when.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// What does the work.
    pub(crate) refresher: Refresher,
    /// Where commands come from.
    pub(crate) store: Arc<Store>,
    /// What monitors the other nodes meanwhile.
    pub(crate) monitor: NodeMonitor,
    /// What hands new incidents over meanwhile.
    pub(crate) dispatcher: Dispatcher,
    /// Where it tells what it does.
    pub(crate) activity: Activity,
    /// From the start of one refresh to that of the next.
    pub(crate) interval: Duration,
    /// A leader that gets nowhere for longer than this gives the lease up.
    pub(crate) stall: Duration,
    /// Whether a command may end the service.
    pub(crate) may_shut_down: bool,
}

impl Schedule {
    /// The schedule that `settings` ask for.
    #[must_use]
    pub(crate) fn new(
        refresher: Refresher,
        store: Arc<Store>,
        monitor: NodeMonitor,
        dispatcher: Dispatcher,
        activity: Activity,
        stall: Duration,
        settings: &Settings,
    ) -> Self {
        Self {
            refresher,
            store,
            monitor,
            dispatcher,
            activity,
            interval: settings.refresh_interval,
            stall,
            may_shut_down: settings.shutdown_enabled,
        }
    }

    /// Refreshes whenever this process leads; ends only with an error that will not pass. Dropped
    /// at any point, it leaves nothing half published.
    ///
    /// # Errors
    /// When a newer release has published.
    pub(crate) async fn run(&mut self, lease: &mut Lease) -> Result<Infallible, RefreshError> {
        loop {
            let leadership = lease.gained().await;
            self.activity.leads(true);
            tokio::select! {
                result = self.lead(&leadership) => match result {
                    Err(error @ RefreshError::Stalled(_)) => {
                        tracing::error!(%error, "gives the lease up, so that another refresher may lead");
                        self.activity.leads(false);
                        lease.step_aside(true);
                        sleep(ASIDE).await;
                        // What is stuck may still compute, and would only have company.
                        self.refresher.idle().await;
                        lease.step_aside(false);
                    }
                    result => return result,
                },
                () = lease.lost(&leadership) => {
                    tracing::warn!("abandons what it was doing: the lease is lost");
                    self.activity.leads(false);
                }
            }
        }
    }

    async fn lead(&mut self, leadership: &Leadership) -> Result<Infallible, RefreshError> {
        let (sender, requests) = mpsc::channel(QUEUE);
        let commands = Commands::new(Arc::clone(&self.store), self.may_shut_down);
        let Self {
            refresher,
            store,
            interval,
            stall,
            monitor,
            dispatcher,
            activity,
            ..
        } = self;
        let mut work = Work {
            refresher,
            store,
            interval: *interval,
            stall: *stall,
            progress: Instant::now(),
            activity,
        };
        tokio::select! {
            () = commands.take(sender) => unreachable!("it never ends"),
            () = monitor.run() => unreachable!("it never ends"),
            () = dispatcher.run(leadership) => unreachable!("it never ends"),
            result = work.refresh_on_time(leadership, requests) => result,
        }
    }
}

/// What the leader is there for, beside which it takes commands, monitors the nodes and hands new incidents over.
struct Work<'a> {
    refresher: &'a mut Refresher,
    store: &'a Store,
    interval: Duration,
    stall: Duration,
    /// When Redis last took what came of a refresh, or this process began to lead.
    progress: Instant,
    activity: &'a Activity,
}

impl Work<'_> {
    async fn refresh_on_time(
        &mut self,
        leadership: &Leadership,
        mut requests: mpsc::Receiver<RefreshRequest>,
    ) -> Result<Infallible, RefreshError> {
        timeout(self.stall, self.take_over(leadership))
            .await
            .unwrap_or(Err(RefreshError::Stalled(self.stall)))?;
        self.progress = Instant::now();
        let mut ticks = interval(self.interval);
        // A late refresh delays, and the next keeps to the schedule.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut retry = Retry::new();
        loop {
            let request = tokio::select! {
                biased;
                _ = ticks.tick() => None,
                () = retry.due() => None,
                Some(request) = requests.recv() => Some(request),
            };
            if request
                .as_ref()
                .is_none_or(|request| self.is_needed(request))
            {
                self.activity.begins("refreshes");
                let started = Instant::now();
                let refresh = self.refresher.refresh(leadership);
                let Ok(result) = timeout_at(self.progress + self.stall, refresh).await else {
                    self.refresher.count_failure(started.elapsed()).await;
                    return Err(RefreshError::Stalled(self.stall));
                };
                if !matches!(&result, Err(error) if error.is_of_store()) {
                    self.progress = Instant::now();
                }
                self.activity.did(self.told(&result));
                let is_urgent = match &result {
                    Ok(_) => false,
                    Err(error) => error.is_of_store() || self.refresher.current().is_none(),
                };
                retry.plan(is_urgent);
                if let Err(error) = result {
                    tracing::error!(%error, "the refresh failed");
                    if error.is_final() {
                        return Err(error);
                    }
                }
            }
            if let Some(request) = request
                && let Err(error) = done(self.store, &request).await
            {
                tracing::warn!(%error, "cannot note that a command is done: it may be done again");
            }
        }
    }

    /// Begins where another leader has left off; tries until Redis can be read.
    async fn take_over(&mut self, leadership: &Leadership) -> Result<(), RefreshError> {
        let mut backoff = backoff();
        loop {
            match self.refresher.take_over(leadership).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => tracing::error!(%error, "cannot read the current snapshot"),
            }
            sleep(backoff.wait()).await;
        }
    }

    /// What came of a refresh, in words that anybody may read who may read the report.
    fn told(&self, result: &Result<Outcome, RefreshError>) -> String {
        let current = self.refresher.current();
        let generation = current.map_or(0, |current| current.generation);
        match result {
            Ok(Outcome::Published) => format!("published generation {generation}"),
            Ok(Outcome::Unchanged) => format!("found generation {generation} unchanged"),
            Err(error) if error.is_of_store() => "could not publish".to_owned(),
            Err(_) => format!("got nothing new; generation {generation} stays"),
        }
    }

    /// Whether what a client asks for has not been done already.
    fn is_needed(&self, request: &RefreshRequest) -> bool {
        let current = self.refresher.current();
        current.is_none_or(|current| current.checked_at_ms < request.sent_ms)
    }
}

fn backoff() -> Backoff {
    let [first, longest] = WAITS;
    Backoff::new(first, longest)
}

/// When to try again before the schedule says so.
#[derive(Debug)]
struct Retry {
    at: Option<Instant>,
    backoff: Backoff,
}

impl Retry {
    fn new() -> Self {
        Self {
            at: None,
            backoff: backoff(),
        }
    }

    /// Plans another try if the last one `failed`: later each time.
    fn plan(&mut self, failed: bool) {
        if failed {
            self.at = Some(Instant::now() + self.backoff.wait());
        } else {
            *self = Self::new();
        }
    }

    async fn due(&mut self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.at = None;
    }
}
