//! The tasks that last: each starts what it needs, waits for its end, and cleans up in bounded
//! time.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use domain::settings::Settings;
use refresher::configuration;
use refresher::history::History;
use refresher::history::retention::Bounds;
use refresher::leadership::lease::{self, Lease};
use refresher::leadership::schedule::Schedule;
use refresher::nodes::heartbeat::{Activity, Heartbeat};
use refresher::nodes::monitor::Watch;
use refresher::refresh::fetch::Upstream;
use refresher::refresh::{Outcome, Refresher};
use refresher::server::{self, Server};
use refresher::shutdown;
use refresher::store::{Store, hidden};
use tokio::time::timeout;

/// How long `once` waits for the lease: until that of one that was killed has run out.
const PATIENCE: Duration = lease::TERM.saturating_add(Duration::from_secs(2));

/// How long the end waits until the last refreshes are recorded.
const RECORDING: Duration = Duration::from_secs(1);

/// How long `once` waits for that: nobody does it later.
const RECORDING_ONCE: Duration = Duration::from_secs(30);

/// How much later than two refreshes a leader is taken for hanging.
const STALL_GRACE: Duration = Duration::from_secs(10);

/// `refresher run`
pub(crate) fn run(path: &Path, server: Option<&str>) -> Result<()> {
    let settings = configuration::read(path)?;
    let (store, refresher) = refresher(path, &settings)?;
    let words = server.map(server::words).transpose()?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let refresher = with_history(refresher, &settings);
        let mut server = words.as_deref().map(Server::start).transpose()?;
        let mut lease = Lease::seek(Arc::clone(&store));
        let activity = Activity::new();
        let heartbeat = heartbeat(&store, &lease, &activity, &settings);
        let watch = Watch::new(Arc::clone(&store), &settings.nodes_to_probe).context(
            "cannot prepare for HTTPS: check the system's certificates (ca-certificates)",
        )?;
        let mut schedule = Schedule::new(refresher, Arc::clone(&store), watch, activity, &settings);
        let result = tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = commanded(&store, &settings) => Ok(()),
            error = unexpected_end(&mut server) => Err(error),
            result = schedule.run(&mut lease) => match result {
                Ok(never) => match never {},
                Err(error) => Err(error.into()),
            },
        };
        let server_ended = async {
            if let Some(server) = server {
                server.end().await;
            }
        };
        let recorded = schedule.refresher.end(RECORDING);
        tokio::join!(lease.release(), heartbeat.end(), recorded, server_ended);
        result
    })
}

/// Begins to report this process. A leader hangs that has missed two refreshes, and some seconds more.
fn heartbeat(
    store: &Arc<Store>,
    lease: &Lease,
    activity: &Activity,
    settings: &Settings,
) -> Heartbeat {
    let stall = 2 * settings.refresh_interval + STALL_GRACE;
    Heartbeat::start(Arc::clone(store), lease.holder(), activity.clone(), stall)
}

/// `refresher once`
pub(crate) fn once(path: &Path) -> Result<()> {
    let settings = configuration::read(path)?;
    let (store, refresher) = refresher(path, &settings)?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let mut refresher = with_history(refresher, &settings);
        let mut lease = Lease::seek(Arc::clone(&store));
        let activity = Activity::new();
        let heartbeat = heartbeat(&store, &lease, &activity, &settings);
        let result = tokio::select! {
            () = stop.cancelled() => Err(anyhow!("told to end before the refresh was done")),
            result = refresh_once(&store, &mut refresher, &mut lease, &activity) => result,
        };
        refresher.end(RECORDING_ONCE).await;
        tokio::join!(lease.release(), heartbeat.end());
        result
    })
}

async fn refresh_once(
    store: &Store,
    refresher: &mut Refresher,
    lease: &mut Lease,
    activity: &Activity,
) -> Result<()> {
    let Ok(leadership) = timeout(PATIENCE, lease.gained()).await else {
        let holder = store.holder().await?;
        bail!("another refresher leads ({holder}), so this one has nothing to do");
    };
    activity.leads(true);
    let refresh = async {
        refresher.take_over(&leadership).await?;
        refresher.refresh(&leadership).await
    };
    tokio::select! {
        outcome = refresh => match outcome? {
            Outcome::Published => tracing::info!("done: a new snapshot is served"),
            Outcome::Unchanged => tracing::info!("done: upstream has nothing new"),
        },
        () = lease.lost(&leadership) => bail!("the lease was lost during the refresh"),
    }
    Ok(())
}

/// `refresher serve`
pub(crate) fn serve(path: &Path, server: &str) -> Result<()> {
    let settings = configuration::read(path)?;
    let store = store(&settings)?;
    let words = server::words(server)?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let mut server = Some(Server::start(&words)?);
        let result = tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = commanded(&store, &settings) => Ok(()),
            error = unexpected_end(&mut server) => Err(error),
        };
        if let Some(server) = server {
            server.end().await;
        }
        result
    })
}

fn refresher(path: &Path, settings: &Settings) -> Result<(Arc<Store>, Refresher)> {
    let upstream = configuration::upstream(path, settings)?;
    let store = store(settings)?;
    let upstream = Upstream::new(upstream, settings)
        .context("cannot prepare for HTTPS: check the system's certificates (ca-certificates)")?;
    let refresher = Refresher::new(Arc::clone(&store), upstream, settings);
    Ok((store, refresher))
}

/// Gives the refresher its history. Without one it still serves what upstream has: that is told, and
/// it goes on.
fn with_history(refresher: Refresher, settings: &Settings) -> Refresher {
    let Some(place) = &settings.history_store else {
        return refresher;
    };
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

fn store(settings: &Settings) -> Result<Arc<Store>> {
    refresher::tls::prepare();
    tracing::info!(redis = hidden(&settings.redis_url), "uses this Redis");
    Ok(Arc::new(Store::new(
        &settings.redis_url,
        &settings.redis_key_prefix,
    )?))
}

/// Waits for a command to end, where the settings allow it.
async fn commanded(store: &Arc<Store>, settings: &Settings) {
    match settings.shutdown_enabled {
        true => shutdown::commanded(Arc::clone(store)).await,
        false => std::future::pending().await,
    }
}

/// Waits until the server, if there is one, ends by itself, which it should not.
async fn unexpected_end(server: &mut Option<Server>) -> anyhow::Error {
    match server {
        None => std::future::pending().await,
        Some(server) => match server.ended().await {
            Ok(status) => anyhow!("the server ended by itself with {status}"),
            Err(error) => anyhow!(error).context("cannot wait for the server"),
        },
    }
}

/// Runs `task` to its end. What still computes then is not waited for.
fn block_on(task: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let result = runtime.block_on(task);
    runtime.shutdown_background();
    result
}
