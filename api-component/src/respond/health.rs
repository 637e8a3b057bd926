//! Whether the component is alive, and whether it answers requests: for whoever runs it.

use domain::contract::scripts::CredentialCheck;
use domain::settings::rate_limit::RateLimit;

use crate::problem::Problem;
use crate::reply::Reply;
use crate::store::{Scope, Store, StoreError};
use crate::{config, limit, snapshot};

/// No limit, but counted as one.
const UNLIMITED: RateLimit = RateLimit {
    count: 1 << 53,
    window_ms: 1000,
};

/// Answers that this component is alive, whatever Redis does.
pub(crate) fn alive() -> Reply {
    plain_text("ok\n")
}

/// Answers that requests are being served: there is a snapshot, and Redis takes what a request has to
/// write. So this is counted like any request.
///
/// # Errors
/// 503 when they are not.
pub(crate) async fn ready() -> Result<Reply, Problem> {
    let config = config::load().await?;
    let mut store = Store::new(config.location.clone());
    let scope = Scope {
        name: "readyz",
        limits: &[UNLIMITED],
        failure_limits: &[],
        client: "all".to_owned(),
    };
    let admitted = limit::admit(&mut store, &scope, CredentialCheck::NotNeeded, None).await?;
    let snapshot = snapshot::read(admitted.current)?.ok_or_else(snapshot::none_yet)?;
    snapshot.record.report.identity.ok_or(StoreError::Damaged)?;
    Ok(plain_text("ready\n"))
}

fn plain_text(text: &str) -> Reply {
    Reply::new(200)
        .uncached()
        .containing("text/plain; charset=utf-8", text.into())
}
