//! The heartbeat of the server that this process has started: it is asked how it does, and reported.

use std::sync::Arc;
use std::time::Duration;

use domain::contract::node::{Kind, State};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use super::heartbeat::{Activity, Heartbeat};
use super::id;
use super::probe::{self, Prober};
use crate::store::Store;

/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Without a good answer for longer than this, it hangs.
const STALL: Duration = Duration::from_secs(2 * probe::LIMIT.as_secs() + 1);

/// A server that is reported.
#[derive(Debug)]
pub(crate) struct ServerHeartbeat {
    heartbeat: Heartbeat,
    asking: JoinHandle<()>,
}

impl ServerHeartbeat {
    /// Begins to report the server `pid` to `store`, and to ask it at the `/healthz` that `health` has.
    /// While that is not known, the server is only known to live.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn start(
        store: Arc<Store>,
        pid: u32,
        health: watch::Receiver<Option<Url>>,
    ) -> Result<Self, reqwest::Error> {
        let prober = Prober::new()?;
        let activity = Activity::new();
        let heartbeat = Heartbeat::start(store, &id(pid), Kind::Host, activity.clone(), STALL);
        let asking = tokio::spawn(ask(prober, health, activity));
        Ok(Self { heartbeat, asking })
    }

    /// Takes a server that has ended off the list, in bounded time. One that ended `by_itself` stays
    /// on it, as offline.
    pub(crate) async fn end(self, by_itself: bool) {
        self.asking.abort();
        match by_itself {
            true => self.heartbeat.abandon(),
            false => self.heartbeat.end().await,
        }
    }
}

async fn ask(prober: Prober, health: watch::Receiver<Option<Url>>, activity: Activity) {
    let mut rounds = interval(ASK_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let url = health.borrow().clone();
        let Some(url) = url else {
            activity.did("runs; where it answers is not known".to_owned());
            continue;
        };
        match prober.ask(&url).await {
            (State::Healthy, told) => activity.did(told),
            (_, told) => activity.begins(&told),
        }
    }
}
