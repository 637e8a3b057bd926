//! `refresher serve`: only runs a server, and ends it when the service is shut down.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use domain::settings::Settings;

use super::setup::{block_on, store};
use crate::configuration;
use crate::server::{self, Server};
use crate::shutdown;
use crate::store::Store;

/// Runs `server` until a signal or a command ends it.
///
/// # Errors
/// The settings cannot be used, or the server ended by itself.
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

/// Waits for a command to end, where the settings allow it.
pub(super) async fn commanded(store: &Arc<Store>, settings: &Settings) {
    match settings.shutdown_enabled {
        true => shutdown::commanded(Arc::clone(store)).await,
        false => std::future::pending().await,
    }
}

/// Waits until the server, if there is one, ends by itself, which it should not.
pub(super) async fn unexpected_end(server: &mut Option<Server>) -> anyhow::Error {
    match server {
        None => std::future::pending().await,
        Some(server) => match server.ended().await {
            Ok(status) => anyhow!("the server ended by itself with {status}"),
            Err(error) => anyhow!(error).context("cannot wait for the server"),
        },
    }
}
