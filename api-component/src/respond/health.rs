//! Whether the component is alive, and whether it has something to serve: for whoever runs it.

use crate::config;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::snapshot;
use crate::store::Store;

/// Answers that this component is alive, whatever Redis does.
pub(crate) fn alive() -> Reply {
    well("ok\n")
}

/// Answers that a snapshot is being served.
///
/// # Errors
/// 503 when none is.
pub(crate) async fn ready() -> Result<Reply, Problem> {
    let mut store = Store::new(config::load().await?);
    snapshot::current(&mut store).await?;
    Ok(well("ready\n"))
}

fn well(text: &str) -> Reply {
    Reply::new(200)
        .uncached()
        .containing("text/plain; charset=utf-8", text.into())
}
