//! Restoring: a refresher that begins to lead takes over the last good answers from the snapshot
//! that is served, so that an endpoint that fails right then costs nothing.

use std::collections::HashMap;

use blake3::Hash;
use domain::contract::record::{Current, Freshness};
use tokio::task::spawn_blocking;

use crate::refresh::sources::{Endpoint, Good, Source};
use crate::store::{Store, StoreError};

/// Gives each of `sources` the answer that `record` keeps of it, unless it has a newer one. What is
/// gone or damaged is logged and left out. No answer has more than `largest` bytes.
///
/// # Errors
/// When Redis cannot be read.
pub(crate) async fn restore(
    store: &Store,
    record: &Current,
    sources: &mut [Source],
    largest: u64,
) -> Result<(), StoreError> {
    let types = record
        .types
        .iter()
        .map(|kind| (kind.name.as_str(), &kind.freshness));
    let types: HashMap<&str, &Freshness> = types.collect();
    for source in sources {
        let (freshness, has_entries) = match &*source.endpoint {
            Endpoint::Identities => {
                let identities = &record.identities;
                (Some(&identities.freshness), identities.entries > 0)
            }
            Endpoint::Incidents(kind) => (types.get(kind.name.as_str()).copied(), false),
        };
        if let Some(freshness) = freshness {
            restore_one(store, source, freshness, has_entries, largest).await?;
        }
    }
    Ok(())
}

async fn restore_one(
    store: &Store,
    source: &mut Source,
    freshness: &Freshness,
    has_entries: bool,
    largest: u64,
) -> Result<(), StoreError> {
    let (Some(at_ms), Some(payload)) = (freshness.good_at_ms, &freshness.payload) else {
        return Ok(());
    };
    let own = source.good.as_ref();
    if own.is_some_and(|own| own.at_ms > at_ms || own.payload() == *payload) {
        return Ok(());
    }
    let endpoint = source.endpoint.name();
    let Ok(hash) = Hash::from_hex(&payload.hash) else {
        tracing::warn!(endpoint, "the kept answer has no valid hash: not used");
        return Ok(());
    };
    let Some(packed) = store.payload(payload).await? else {
        tracing::warn!(endpoint, "the kept answer is gone from Redis");
        return Ok(());
    };
    let good = Good {
        hash,
        packed,
        at_ms,
        has_entries,
    };
    let checked = spawn_blocking(move || {
        let body = good.body(largest)?;
        Ok::<_, std::io::Error>((blake3::hash(&body) == good.hash).then_some(good))
    });
    match checked.await {
        Ok(Ok(Some(good))) => source.good = Some(good),
        Ok(Ok(None)) => tracing::warn!(
            endpoint,
            "the kept answer does not match its hash: not used"
        ),
        Ok(Err(error)) => tracing::warn!(endpoint, %error, "the kept answer is damaged: not used"),
        Err(error) => tracing::error!(endpoint, %error, "cannot check the kept answer"),
    }
    Ok(())
}
