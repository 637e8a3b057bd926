//! `refresher run`: refreshes while it leads, stands by while another does, until it is told to end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::arguments::ServerOptions;
use super::serve::{Supervised, commanded, unexpected_end};
use super::setup::{NO_CERTIFICATES, block_on, heartbeat, refresher, stall, with_history};
use crate::alerts::Dispatcher;
use crate::configuration;
use crate::leadership::lease::Lease;
use crate::leadership::schedule::Schedule;
use crate::nodes::heartbeat::Activity;
use crate::nodes::monitor::NodeMonitor;
use crate::{server, shutdown};

/// How long the end waits until the last refreshes are recorded.
const RECORDING: Duration = Duration::from_secs(1);

/// Runs until a signal or a command ends it, with `server` beside it.
///
/// # Errors
/// The settings cannot be used, the server ended by itself, or a newer release has published.
pub(crate) fn run(path: &Path, server: Option<&str>, options: ServerOptions) -> Result<()> {
    let settings = configuration::read(path)?;
    let (store, refresher) = refresher(path, &settings)?;
    let words = server.map(server::words).transpose()?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let dispatcher = Dispatcher::new(Arc::clone(&store), &settings).context(NO_CERTIFICATES)?;
        let refresher = with_history(refresher, &settings).with_alerts(dispatcher.mailbox());
        let mut server = words
            .map(|words| Supervised::start(&words, options, &store, &settings))
            .transpose()?;
        let mut lease = Lease::seek(Arc::clone(&store));
        let activity = Activity::new();
        let heartbeat = heartbeat(&store, &lease, &activity, &settings);
        let monitor = NodeMonitor::new(Arc::clone(&store), &settings.nodes_to_probe)
            .context(NO_CERTIFICATES)?;
        let mut schedule = Schedule::new(
            refresher,
            Arc::clone(&store),
            monitor,
            dispatcher,
            activity,
            stall(&settings),
            &settings,
        );
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
