//! The end: by a signal, or because the service was shut down as a whole.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::contract::commands::EntryId;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::leadership::commands;
use crate::store::Store;

/// How often to look whether the service has been shut down.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The signals that end us in good order.
const ENDS: [(Signal, SignalKind); 4] = [
    (Signal::TERM, SignalKind::terminate()),
    (Signal::INT, SignalKind::interrupt()),
    (Signal::HUP, SignalKind::hangup()),
    (Signal::QUIT, SignalKind::quit()),
];

/// Begins when a signal arrives that is to end us. The token is cancelled then. A signal that is
/// ignored, as `nohup` has it of SIGHUP, stays so.
///
/// # Errors
/// When signals cannot be caught.
pub(crate) fn on_signal() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let ignored = ignored_signals();
    for (number, kind) in ENDS {
        if ignored >> (number.as_raw() - 1) & 1 == 1 {
            continue;
        }
        let (mut arrived, told) = (signal(kind)?, stop.clone());
        tokio::spawn(async move {
            arrived.recv().await;
            tracing::info!(signal = ?number, "stopping");
            told.cancel();
        });
    }
    Ok(stop)
}

/// The signals that are ignored since we were started so, a bit each, the lowest for number 1; none
/// where the system does not tell.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Waits until the service is shut down by a command that was sent after this call. While Redis
/// cannot be asked, nothing is known, and it waits.
///
/// Whoever sees the command first tells all others by the key that outlasts it: leader or not, so that
/// it is carried out wherever anybody is there. Places on the stream of commands are compared, not
/// times: so nobody ends for an earlier command because a clock was set back.
pub(crate) async fn commanded(store: Arc<Store>) {
    let mut since: Option<EntryId> = None;
    loop {
        if let Ok(seen) = commands::seen(&store).await {
            // Where Redis was emptied, the stream has begun anew.
            let begun = since.map_or(seen.newest, |since| since.min(seen.newest));
            since = Some(begun);
            let sent = seen.shutdown_sent.filter(|sent| *sent > begun);
            // One beyond the stream's end was on another, which is gone.
            let shut_down = seen.shut_down.filter(|done| *done <= seen.newest);
            if let Some(sent) = sent
                && shut_down.is_none_or(|done| done < sent)
            {
                tracing::info!("a client shuts the service down");
                // Who is not told so finds it on the stream itself.
                let _ = commands::shut_down(&store, sent).await;
            }
            if shut_down.max(sent).is_some_and(|command| command > begun) {
                tracing::info!("the service has been shut down by command: stopping");
                return;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}
