//! `refresher serve`: only runs a server, and ends it when the service is shut down.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use domain::settings::Settings;

use super::arguments::ServerOptions;
use super::setup::{NO_CERTIFICATES, block_on, store};
use crate::configuration;
use crate::nodes::supervised::ServerHeartbeat;
use crate::server::{self, Server};
use crate::shutdown;
use crate::store::Store;

/// Runs `server` until a signal or a command ends it.
///
/// # Errors
/// The settings cannot be used, or the server ended by itself.
pub(crate) fn serve(path: &Path, server: &str, options: ServerOptions) -> Result<()> {
    let settings = configuration::read(path)?;
    let store = store(&settings)?;
    let words = server::words(server)?;
    block_on(async {
        let stop = shutdown::on_signal().context("cannot catch signals")?;
        let mut server = Some(Supervised::start(&words, options, &store, &settings)?);
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

/// A server that this process runs, and reports in Redis.
pub(super) struct Supervised {
    server: Server,
    heartbeat: ServerHeartbeat,
}

impl Supervised {
    /// Starts `words`, a program and its arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(
        words: &[String],
        options: ServerOptions,
        store: &Arc<Store>,
        settings: &Settings,
    ) -> Result<Self> {
        // `host` has them from there.
        let proxies = settings.trusted_proxies.iter().map(ToString::to_string);
        let environment = [("TRUSTED_PROXIES", proxies.collect::<Vec<_>>().join(","))];
        let server = Server::start(words, &environment, options.health, options.grace)?;
        let pid = server.pid().unwrap_or_default();
        let heartbeat = ServerHeartbeat::start(Arc::clone(store), pid, server.health());
        Ok(Self {
            server,
            heartbeat: heartbeat.context(NO_CERTIFICATES)?,
        })
    }

    /// Ends it, and its being reported, in bounded time.
    pub(super) async fn end(self) {
        let by_itself = self.server.pid().is_none();
        self.server.end().await;
        self.heartbeat.end(by_itself).await;
    }
}

/// Waits until the server, if there is one, ends by itself, which it should not.
pub(super) async fn unexpected_end(supervised: &mut Option<Supervised>) -> anyhow::Error {
    match supervised {
        None => std::future::pending().await,
        Some(supervised) => match supervised.server.ended().await {
            Ok(status) => anyhow!("the server ended by itself with {status}"),
            Err(error) => anyhow!(error).context("cannot wait for the server"),
        },
    }
}
