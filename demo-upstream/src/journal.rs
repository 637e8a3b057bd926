//! What was asked: requests per endpoint and how many there were at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};
use serde::Serialize;

/// How many times of requests are kept for each endpoint.
const KEPT: usize = 10_000;

/// The shared record of all requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Records>>);

/// All that is recorded.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Records {
    /// Requests for data that are being answered now.
    in_flight: usize,
    /// The most that were, at a time.
    max_concurrency: usize,
    /// Requests without the right credentials.
    unauthorized: u64,
    endpoints: BTreeMap<String, Record>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Record {
    /// Requests for the data itself.
    count: u64,
    /// Requests that were only sent on to the path with a trailing slash.
    redirected: u64,
    /// When the last requests for data came, in milliseconds since 1970.
    times_ms: VecDeque<u64>,
    /// The last request's headers; never its credentials.
    last_headers: BTreeMap<String, String>,
}

/// A request for data that is being answered.
#[derive(Debug)]
pub(crate) struct InFlight(Journal);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Journal {
    /// A request for data begins; it ends when the returned value is dropped.
    pub(crate) fn begin(&self, endpoint: &str, headers: &HeaderMap) -> InFlight {
        let mut records = self.lock();
        records.in_flight += 1;
        records.max_concurrency = records.max_concurrency.max(records.in_flight);
        let record = records.endpoints.entry(endpoint.to_owned()).or_default();
        record.count += 1;
        if record.times_ms.len() == KEPT {
            record.times_ms.pop_front();
        }
        record.times_ms.push_back(now_ms());
        record.last_headers = headers
            .iter()
            .filter(|(name, _)| *name != header::AUTHORIZATION)
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect();
        InFlight(self.clone())
    }

    /// A request was sent on.
    pub(crate) fn redirected(&self, endpoint: &str) {
        let mut records = self.lock();
        let record = records.endpoints.entry(endpoint.to_owned()).or_default();
        record.redirected += 1;
    }

    /// A request was refused for its credentials.
    pub(crate) fn unauthorized(&self) {
        self.lock().unauthorized += 1;
    }

    /// All that is recorded now.
    pub(crate) fn records(&self) -> Records {
        self.lock().clone()
    }

    /// Forgets all but the requests that are being answered.
    pub(crate) fn clear(&self) {
        let mut records = self.lock();
        *records = Records {
            in_flight: records.in_flight,
            max_concurrency: records.in_flight,
            ..Records::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Counters stay counters, whatever a thread died of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
