//! A whole document of the snapshot: the report, or the rows that no employee was found for.

use std::rc::Rc;

use domain::contract::record::{Current, Document, Encoding};
use http::Method;
use http::request::Parts;

use super::{JSON, Representation};
use crate::problem::Problem;
use crate::reply::{Body, Reply};
use crate::snapshot::{self, Snapshot};
use crate::store::{Blocks, Part, Store, StoreError};
use crate::{bodies, conditional, negotiate};

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
        let part = part(request, record, document)?;
        let representation = Representation {
            record,
            etag: etag(record, &part),
            now_ms,
        };
        let changed_at_ms = record.published_at_ms;
        if conditional::not_modified(&request.headers, &representation.etag, changed_at_ms) {
            return Ok(representation.reply(304));
        }
        let mut reply = representation.reply(200).describing(JSON, part.body.bytes);
        if part.encoding != Encoding::Identity {
            reply = reply.with("content-encoding", part.encoding.name());
        }
        if request.method == Method::HEAD {
            return Ok(reply);
        }
        if let Some(kept) = bodies::find(record, &part) {
            let body = Body::Whole(kept);
            return Ok(Reply { body, ..reply });
        }
        match store.block(&part, 0).await {
            Ok(first) => {
                let body = body(first, store, record, part);
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
fn part(request: &Parts, record: &Current, document: Document) -> Result<Part, Problem> {
    let made = record.bodies(document);
    let encoding = negotiate::encoding(&request.headers, made)?;
    Ok(Part {
        generation: record.generation,
        document,
        encoding,
        body: made.get(encoding).ok_or(StoreError::Missing)?,
    })
}

/// The strong entity tag. The record's tag is that of the report; other documents may change while
/// the report stays, but not within a generation.
fn etag(record: &Current, part: &Part) -> String {
    let tag = &record.etag;
    let document = match part.document {
        Document::Report => String::new(),
        other => format!("-{}-{}", part.generation, other.name()),
    };
    match part.encoding {
        Encoding::Identity => format!("\"{tag}{document}\""),
        coding => format!("\"{tag}{document}-{}\"", coding.name()),
    }
}

/// The body that begins with the block `first`. One that has no other is kept for later requests;
/// of one that has, the store reads the others while it is sent.
fn body(first: Vec<u8>, store: Store, record: &Current, part: Part) -> Body {
    if part.body.blocks() > 1 {
        let rest = Blocks::after_first(store, part);
        return Body::Streamed { first, rest };
    }
    let whole = Rc::new(first);
    bodies::keep(record, part, &whole);
    Body::Whole(whole)
}
