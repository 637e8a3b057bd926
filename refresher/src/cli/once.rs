//! `refresher once`: one refresh, for cron and serverless schedulers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::time::timeout;

use super::serve::commanded;
use super::setup::{NO_CERTIFICATES, block_on, heartbeat, refresher, with_history};
use crate::alerts::Dispatcher;
use crate::configuration;
use crate::leadership::lease::{self, Lease};
use crate::nodes::heartbeat::Activity;
use crate::refresh::{Outcome, Refresher};
use crate::shutdown;
use crate::store::Store;

/// How long to wait for the lease: until that of one that was killed has run out.
const LEASE_DEADLINE: Duration = lease::TERM.saturating_add(Duration::from_secs(2));

/// How long the end waits until the refresh is recorded: nobody does it later.
const RECORDING: Duration = Duration::from_secs(30);

/// Refreshes once.
///
/// # Errors
/// The settings cannot be used, another refresher leads, or nothing could be fetched or published.
pub(crate) fn once(path: &Path) -> Result<()> {
    let settings = configuration::read(path)?;
    let (store, refresher) = refresher(path, &settings)?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let dispatcher = Dispatcher::new(Arc::clone(&store), &settings).context(NO_CERTIFICATES)?;
        let mut refresher = with_history(refresher, &settings).with_alerts(dispatcher.mailbox());
        let mut lease = Lease::seek(Arc::clone(&store));
        let activity = Activity::new();
        let heartbeat = heartbeat(&store, &lease, &activity, &settings);
        let result = tokio::select! {
            () = stop.cancelled() => Err(anyhow!("told to end before the refresh was done")),
            () = commanded(&store, &settings) => {
                Err(anyhow!("the service was shut down before the refresh was done"))
            }
            result = refresh_once(&store, &mut refresher, &mut lease, &activity, &dispatcher) => result,
        };
        refresher.end(RECORDING).await;
        tokio::join!(lease.release(), heartbeat.end());
        result
    })
}

/// How long the end waits until new incidents are handed over: what remains then waits for the next run.
const HANDING_OVER: Duration = Duration::from_secs(30);

async fn refresh_once(
    store: &Store,
    refresher: &mut Refresher,
    lease: &mut Lease,
    activity: &Activity,
    dispatcher: &Dispatcher,
) -> Result<()> {
    let Ok(leadership) = timeout(LEASE_DEADLINE, lease.gained()).await else {
        if let Some(error) = lease.failure() {
            return Err(error).context("cannot take the lease, so nothing was refreshed");
        }
        let holder = lease::holder(store).await?;
        bail!("another refresher leads ({holder}), so this one has nothing to do");
    };
    activity.leads(true);
    let refresh = async {
        refresher.take_over(&leadership).await?;
        let outcome = refresher.refresh(&leadership).await;
        dispatcher.run_once(&leadership, HANDING_OVER).await;
        outcome
    };
    let outcome = tokio::select! {
        outcome = refresh => outcome?,
        () = lease.lost(&leadership) => bail!("the lease was lost during the refresh"),
    };
    if let Some(record) = refresher.current() {
        let missing: Vec<&str> = record.missing().collect();
        ensure!(
            missing.is_empty(),
            "a snapshot is served, but upstream never answered well for {}, whose incidents are not in it",
            missing.join(", ")
        );
    }
    match outcome {
        Outcome::Published => tracing::info!("done: a new snapshot is served"),
        Outcome::Unchanged => tracing::info!("done: upstream has nothing new"),
    }
    Ok(())
}
