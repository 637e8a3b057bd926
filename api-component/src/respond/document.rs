//! A whole document of the snapshot: the report, or the rows that no employee was found for.

use std::rc::Rc;

use domain::contract::document::{Document, Encoding};
use domain::contract::record::Current;
use http::Method;
use http::request::Parts;

use super::{JSON, Representation};
use crate::problem::Problem;
use crate::reply::{Body, Reply, Rest};
use crate::snapshot::{self, Snapshot};
use crate::store::{Pieces, Store, StoreError, StoredBody};
use crate::{cache, conditional, negotiate};

/// Answers with `document` in the coding that suits the client.
///
/// # Errors
/// 406 when none does; 503 when it cannot be read.
pub(crate) async fn respond(
    request: &Parts,
    mut store: Store,
    mut snapshot: Rc<Snapshot>,
    now_ms: u64,
    document: Document,
) -> Result<Reply, Problem> {
    let mut tried_again = false;
    loop {
        let record = &snapshot.record;
        let stored = stored_body(request, record, document)?;
        let representation = Representation {
            record,
            etag: etag(record, &stored),
            vary: super::VARY,
            now_ms,
        };
        let changed_at_ms = record.published_at_ms;
        if conditional::not_modified(&request.headers, &representation.etag, changed_at_ms) {
            return Ok(representation.reply(304));
        }
        let mut reply = representation
            .reply(200)
            .describing(JSON, stored.size.bytes);
        if stored.encoding != Encoding::Identity {
            reply = reply.with("content-encoding", stored.encoding.name());
        }
        if request.method == Method::HEAD {
            return Ok(reply);
        }
        if let Some(cached) = cache::get(record, &stored) {
            let body = Body::Whole(cached);
            return Ok(Reply { body, ..reply });
        }
        match store.piece(&stored, 0..stored.size.bytes).await {
            Ok(first) => {
                let body = body(first, store, record, stored);
                return Ok(Reply { body, ..reply });
            }
            // The snapshot was superseded so long ago that it is gone: there must be a newer one.
            Err(StoreError::Missing) if !tried_again => {
                tried_again = true;
                snapshot = snapshot::current(&mut store).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The coding of the document that suits the client.
fn stored_body(
    request: &Parts,
    record: &Current,
    document: Document,
) -> Result<StoredBody, Problem> {
    let made = record.bodies(document);
    // The one that every client accepts unless it says otherwise is always made.
    made.identity.ok_or(StoreError::Damaged)?;
    let encoding = negotiate::encoding(&request.headers, made)?;
    Ok(StoredBody {
        generation: record.generation,
        document,
        encoding,
        size: made.get(encoding).ok_or(StoreError::Damaged)?,
    })
}

/// The strong entity tag. The record's tag is that of the report; other documents may change while
/// the report stays, but not within a generation.
fn etag(record: &Current, stored: &StoredBody) -> String {
    let tag = &record.etag;
    let document = match stored.document {
        Document::Report => String::new(),
        other => format!("-{}-{}", stored.generation, other.name()),
    };
    match stored.encoding {
        Encoding::Identity => format!("\"{tag}{document}\""),
        coding => format!("\"{tag}{document}-{}\"", coding.name()),
    }
}

/// The body that begins with the piece `first`. Where that is all, it is cached for later requests;
/// otherwise the store reads the rest while it is sent.
fn body(first: Vec<u8>, store: Store, record: &Current, stored: StoredBody) -> Body {
    let rest = first.len() as u64..stored.size.bytes;
    if !rest.is_empty() {
        let rest = Rest::Pieces(Pieces::new(store, stored, rest));
        return Body::Streamed { first, rest };
    }
    let whole = Rc::new(first);
    cache::put(record, stored, &whole);
    Body::Whole(whole)
}
