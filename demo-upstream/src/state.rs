//! What all connections share: the data, the plans of faults, the journal.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::settings::credentials::{Account, Credentials};
use http::{HeaderMap, header};

use crate::fault::{FaultError, PlannedFault, Plans};
use crate::generate::{Dataset, Payload};
use crate::journal::Journal;

/// How a server behaves.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may ask.
    pub account: Account,
    /// New rows of each type in a minute.
    pub growth: u32,
    /// How many rows of each type the dataset begins with.
    pub per_type: u64,
    /// The shortest and the longest time until an answer begins.
    pub latency: (Duration, Duration),
    /// Faults from the start.
    pub faults: Vec<PlannedFault>,
    /// The seed of latencies and of faults by chance.
    pub seed: u64,
    /// Whether `/control/` is served, to this machine only.
    pub control: bool,
}

/// What all connections share.
pub(crate) struct State {
    account: Account,
    growth: u32,
    per_type: u64,
    latency: (Duration, Duration),
    pub(crate) control: bool,
    started: Instant,
    dataset: Mutex<Dataset>,
    plans: Mutex<Plans>,
    pub(crate) journal: Journal,
}

impl State {
    /// A server's first state.
    pub(crate) fn new(config: Config, dataset: Dataset) -> Result<Self, FaultError> {
        let mut plans = Plans::new(config.seed);
        for planned in &config.faults {
            plans.plan(&planned.endpoint, &planned.fault)?;
        }
        Ok(Self {
            account: config.account,
            growth: config.growth,
            per_type: config.per_type,
            latency: config.latency,
            control: config.control,
            started: Instant::now(),
            dataset: Mutex::new(dataset),
            plans: Mutex::new(plans),
            journal: Journal::default(),
        })
    }

    /// The plans, to look at or to change.
    pub(crate) fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until an answer begins.
    pub(crate) fn latency(&self) -> Duration {
        let (shortest, longest) = self.latency;
        self.plans().latency(shortest, longest)
    }

    /// Whether the request's credentials are right; the comparison takes constant time.
    pub(crate) fn authorized(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(header::AUTHORIZATION);
        header
            .and_then(|value| Credentials::from_header(value.as_bytes()))
            .is_some_and(|presented| self.account.verify(&presented))
    }

    /// The body to answer with now. A dataset that grows does so when it is asked for.
    pub(crate) fn payload(&self, endpoint: &str, stale: bool) -> Payload {
        if let Some(payload) = self.plans().payload(endpoint) {
            return Payload::from(payload);
        }
        let grown = self.started.elapsed().as_millis() * u128::from(self.growth) / 60_000;
        let mut dataset = self.dataset.lock().unwrap_or_else(PoisonError::into_inner);
        dataset.grow_to(self.per_type + grown as u64);
        let payload = if stale {
            dataset.stale_payload(endpoint)
        } else {
            dataset.payload(endpoint)
        };
        payload.expect("the endpoint exists")
    }
}
