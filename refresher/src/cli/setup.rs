//! What several commands begin with: from the settings to the store, the refresher and the history.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, SecondsFormat};
use domain::contract::node::Kind;
use domain::settings::{Settings, without_password};
use rustix::fs::Mode;

use crate::history::retention::Bounds;
use crate::history::{History, HistoryError, Manifest, Recorded};
use crate::leadership::lease::Lease;
use crate::nodes::heartbeat::{Activity, Heartbeat};
use crate::refresh::fetch::Upstream;
use crate::refresh::{Built, Parsed, Refresher, build};
use crate::store::Store;
use crate::{configuration, tls};

/// How much longer a leader may take than a refresh should, before it counts as hanging.
const STALL_GRACE: Duration = Duration::from_secs(10);

/// Why nothing can be asked by HTTPS.
pub(super) const NO_CERTIFICATES: &str =
    "cannot prepare for HTTPS: check the system's certificates (ca-certificates)";

/// Redis as the settings name it; does not connect yet.
///
/// # Errors
/// The address is not one of a Redis.
pub(super) fn open_store(settings: &Settings) -> Result<Store> {
    tls::prepare();
    Ok(Store::new(&settings.redis_url, &settings.redis_key_prefix)?)
}

/// The same for a command that lasts: its log says which Redis it uses.
///
/// # Errors
/// The address is not one of a Redis.
pub(super) fn store(settings: &Settings) -> Result<Arc<Store>> {
    tracing::info!(
        redis = without_password(&settings.redis_url),
        "uses this Redis"
    );
    Ok(Arc::new(open_store(settings)?))
}

/// The history that the settings name.
///
/// # Errors
/// There is none, or it cannot be opened.
pub(super) fn open_history(settings: &Settings) -> Result<History> {
    tls::prepare();
    let place = settings.history_store.as_ref();
    let place = place.context("no history is kept: HISTORY_STORE is none")?;
    Ok(History::open(place, settings.api_max_body_bytes)?)
}

/// The last refresh at or before a moment.
///
/// # Errors
/// There is none, or its manifest is damaged, or the store fails.
pub(super) async fn manifest_at(history: &History, at_ms: u64) -> Result<Manifest> {
    let entry = history.newest_at(at_ms).await?;
    let entry = entry.with_context(|| {
        format!(
            "the history has nothing at or before {}; `refresher history` lists what there is",
            time(at_ms)
        )
    })?;
    Ok(history.read(&entry).await?)
}

/// What was served at a moment: that of the last refresh at or before it.
///
/// # Errors
/// There is none, or it is damaged, or the store fails.
pub(super) async fn recorded_at(history: &History, at_ms: u64) -> Result<Recorded> {
    let manifest = manifest_at(history, at_ms).await?;
    Ok(history.load(manifest).await?)
}

/// Builds the documents of `recorded` again, and checks that its report is what was served. No answer in it
/// has more than `largest` bytes.
///
/// # Errors
/// It is not what was served.
pub(super) fn rebuilt(recorded: Recorded, largest: u64) -> Result<Built, HistoryError> {
    let Recorded { manifest, answers } = recorded;
    let differs = |why: &str| {
        let generation = manifest.record.generation;
        HistoryError::Damaged(format!("generation {generation}"), why.to_owned())
    };
    let built = build(&manifest.types, answers, Parsed::default(), largest)
        .map_err(|error| differs(&error.to_string()))?;
    match built.facts.etag == manifest.record.etag {
        true => Ok(built),
        false => Err(differs("what is built of it is not what was served")),
    }
}

/// The store and what refreshes it.
///
/// # Errors
/// The settings do not say enough for a refresh.
pub(super) fn refresher(path: &Path, settings: &Settings) -> Result<(Arc<Store>, Refresher)> {
    let upstream = configuration::upstream(path, settings)?;
    let store = store(settings)?;
    let upstream = Upstream::new(upstream, settings).context(NO_CERTIFICATES)?;
    let refresher = Refresher::new(Arc::clone(&store), upstream, settings);
    Ok((store, refresher))
}

/// Gives the refresher its history. Without one it still serves what upstream has: that is told, and
/// it goes on.
pub(super) fn with_history(refresher: Refresher, settings: &Settings) -> Refresher {
    let Some(place) = &settings.history_store else {
        return refresher;
    };
    // What is recorded is for this user alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match History::open(place, settings.api_max_body_bytes) {
        Ok(history) => {
            let bounds = Bounds {
                max_age: settings.history_max_age,
                max_bytes: settings.history_max_bytes,
            };
            refresher.with_history(history, bounds)
        }
        Err(error) => {
            tracing::error!(%error, "goes on without a history: nothing is recorded");
            refresher
        }
    }
}

/// Begins to report this process.
pub(super) fn heartbeat(
    store: &Arc<Store>,
    lease: &Lease,
    activity: &Activity,
    settings: &Settings,
) -> Heartbeat {
    let stall = stall(settings);
    let (store, activity) = (Arc::clone(store), activity.clone());
    Heartbeat::start(store, lease.holder(), Kind::Refresher, activity, stall)
}

/// A leader that gets nowhere for longer than this hangs: two refreshes were due, or upstream had all the
/// time that it may have, and some seconds more.
pub(super) fn stall(settings: &Settings) -> Duration {
    let endpoints = settings.incident_types.len() + 1;
    let rounds = u32::try_from(endpoints.div_ceil(settings.max_workers)).unwrap_or(u32::MAX);
    let interval = settings.refresh_interval;
    let upstream = interval.saturating_add(settings.api_timeout.saturating_mul(rounds));
    (2 * interval).max(upstream).saturating_add(STALL_GRACE)
}

/// A time for a person and for `--at`.
pub(super) fn time(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Runs `task` to its end. What still computes then is not waited for.
///
/// # Errors
/// Those of the task, or there are no threads to be had.
pub(super) fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let result = runtime.block_on(task);
    runtime.shutdown_background();
    result
}
