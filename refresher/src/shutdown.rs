//! The end: by a signal, or because the service was shut down as a whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

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

/// Waits until the service is shut down by command; what was asked before this call does not count.
/// While Redis cannot be asked, nothing is known, and it waits.
pub async fn commanded(store: Arc<Store>) {
    let called = Instant::now();
    let mut since = None;
    loop {
        if since.is_none() {
            // Redis's time of the call, even if Redis answers only now.
            let passed = |now: u64| now.saturating_sub(millis(called.elapsed()));
            since = store.now_ms().await.ok().map(passed);
        }
        if let Some(since) = since
            && let Ok(Some(at)) = store.shut_down_ms().await
            && at > since
        {
            tracing::info!("the service has been shut down by command: stopping");
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
