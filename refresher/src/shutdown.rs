//! The end: by a signal, or because the service was shut down as a whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::contract::commands::EntryId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::leadership::commands::newest_and_shutdown;
use crate::store::Store;

/// How often to look whether the service has been shut down.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Begins when SIGTERM or SIGINT arrives. The token is cancelled then.
///
/// # Errors
/// When signals cannot be caught.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        told.cancel();
    });
    Ok(stop)
}

/// Waits until the service is shut down by a command that was sent after this call. While Redis
/// cannot be asked, nothing is known, and it waits.
///
/// Places on the stream of commands are compared, not times: so nobody ends for an earlier command
/// because a clock was set back.
pub async fn commanded(store: Arc<Store>) {
    let mut since: Option<EntryId> = None;
    loop {
        if let Ok((newest, shut_down)) = newest_and_shutdown(&store).await {
            // Where Redis was emptied, the stream has begun anew.
            let begun = since.map_or(newest, |since| since.min(newest));
            since = Some(begun);
            if shut_down.is_some_and(|command| command > begun) {
                tracing::info!("the service has been shut down by command: stopping");
                return;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}
