//! Restoring: a refresher that begins to lead takes over the last good answers from the snapshot
//! that is served, so that an endpoint that fails right then costs nothing.

use bytes::Bytes;
use domain::contract::record::{Current, Freshness, Payload};
use domain::incident::IncidentType;
use grouping::endpoint::PerEndpoint;
use redis::Cmd;

use crate::answer::Answer;
use crate::refresh::source::Source;
use crate::store::{Store, StoreError};

/// Gives each of `sources` (whose types are `types`) the answer that `record` keeps of it, unless it
/// has a newer one. What is gone or damaged is logged and left out. No answer has more than `largest`
/// bytes.
///
/// # Errors
/// When Redis cannot be read.
pub(crate) async fn restore(
    store: &Store,
    record: &Current,
    types: &[IncidentType],
    sources: &mut PerEndpoint<Source>,
    largest: u64,
) -> Result<(), StoreError> {
    let identities = &record.identities.freshness;
    restore_one(store, &mut sources.identities, identities, largest).await?;
    for (kind, source) in types.iter().zip(&mut sources.incidents) {
        if let Some(summary) = record.types.iter().find(|found| found.name == kind.name) {
            restore_one(store, source, &summary.freshness, largest).await?;
        }
    }
    Ok(())
}

async fn restore_one(
    store: &Store,
    source: &mut Source,
    freshness: &Freshness,
    largest: u64,
) -> Result<(), StoreError> {
    let (Some(at_ms), Some(payload)) = (freshness.good_at_ms, &freshness.payload) else {
        return Ok(());
    };
    let own = source.answer.as_ref();
    if own.is_some_and(|own| own.at_ms > at_ms || own.payload() == *payload) {
        return Ok(());
    }
    let endpoint = &source.name;
    let Some(packed) = read_payload(store, payload).await? else {
        tracing::warn!(endpoint, "the kept answer is gone from Redis");
        return Ok(());
    };
    match Answer::verified(payload, packed, at_ms, largest).await {
        Ok(answer) => source.answer = Some(answer),
        Err(error) => tracing::warn!(endpoint, %error, "the kept answer is damaged: not used"),
    }
    Ok(())
}

/// Reads a kept answer, still compressed; `None` when a block of it is gone.
async fn read_payload(store: &Store, payload: &Payload) -> Result<Option<Bytes>, StoreError> {
    let mut whole = Vec::new();
    for number in 0..payload.blocks() {
        let key = store.keys.payload(&payload.hash, number);
        let block: Option<Vec<u8>> = store.bodies.query(&Cmd::get(key)).await?;
        match block {
            Some(block) => whole.extend_from_slice(&block),
            None => return Ok(None),
        }
    }
    Ok((whole.len() as u64 == payload.stored_bytes).then(|| whole.into()))
}
