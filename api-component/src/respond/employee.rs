//! One employee's part of the report.

use std::ops::Range;
use std::rc::Rc;

use domain::contract::document::{Document, Encoding};
use domain::contract::record::{Bodies, Current};
use domain::contract::scripts::EmployeePart;
use http::StatusCode;
use http::request::Parts;

use super::{JSON, Representation};
use crate::problem::Problem;
use crate::reply::{Body, Reply, Rest};
use crate::snapshot::{self, Snapshot};
use crate::store::{Pieces, Store, StoreError, StoredBody};
use crate::{conditional, negotiate};

/// Answers with the four groups of the employee that the path names as `id`, as they stand in the
/// report.
///
/// # Errors
/// 404 when it has none; 503 when they cannot be read.
pub(crate) async fn respond(
    request: &Parts,
    mut store: Store,
    mut snapshot: Rc<Snapshot>,
    now_ms: u64,
    id: &str,
) -> Result<Reply, Problem> {
    let employee = employee_id(id).ok_or_else(not_found)?;
    let report = snapshot.record.report.identity.ok_or(StoreError::Damaged)?;
    let only_identity = Bodies {
        identity: Some(report),
        ..Bodies::default()
    };
    negotiate::encoding(&request.headers, &only_identity)?;
    if conditional::lists(&request.headers, &etag(&snapshot.record, employee)) {
        return Ok(representation(&snapshot.record, employee, now_ms).reply(304));
    }
    let found = match find(&mut store, &snapshot.record, employee).await {
        // Superseded so long ago that it is gone: there must be a newer one.
        Err(StoreError::Missing) => {
            snapshot = snapshot::current(&mut store).await?;
            find(&mut store, &snapshot.record, employee).await
        }
        found => found,
    };
    let (report, part) = found?.ok_or_else(not_found)?;
    let representation = representation(&snapshot.record, employee, now_ms);
    let changed_at_ms = snapshot.record.published_at_ms;
    if conditional::not_modified(&request.headers, &representation.etag, changed_at_ms) {
        return Ok(representation.reply(304));
    }
    let reply = representation.reply(200);
    let EmployeePart { range, bytes } = part;
    match bytes {
        Some(groups) => Ok(reply.containing(JSON, groups)),
        None => {
            let reply = reply.describing(JSON, range.end - range.start);
            let body = body(store, report, range).await?;
            Ok(Reply { body, ..reply })
        }
    }
}

/// The employee that `id` names. Each has one path: no leading zeros, no signs.
fn employee_id(id: &str) -> Option<u64> {
    let canonical = !id.starts_with(['0', '+']) || id == "0";
    id.parse().ok().filter(|_| canonical)
}

/// The report, and the part of it that is the employee's.
async fn find(
    store: &mut Store,
    record: &Current,
    employee: u64,
) -> Result<Option<(StoredBody, EmployeePart)>, StoreError> {
    let report = StoredBody {
        generation: record.generation,
        document: Document::Report,
        encoding: Encoding::Identity,
        size: record.report.identity.ok_or(StoreError::Damaged)?,
    };
    let part = store.employee(record, &report, employee).await?;
    match &part {
        Some(EmployeePart {
            bytes: Some(groups),
            ..
        }) if !(groups.starts_with(b"{") && groups.ends_with(b"}")) => Err(StoreError::Damaged),
        _ => Ok(part.map(|part| (report, part))),
    }
}

/// A part that is too long to come with the place where it lies: sent while it is read.
async fn body(mut store: Store, report: StoredBody, range: Range<u64>) -> Result<Body, StoreError> {
    let first = store.piece(&report, range.clone()).await?;
    let rest = range.start + first.len() as u64..range.end;
    let rest = Rest::Pieces(Pieces::new(store, report, rest));
    Ok(Body::Streamed { first, rest })
}

fn etag(record: &Current, employee: u64) -> String {
    format!("\"{}-e{employee}\"", record.etag)
}

fn representation(record: &Current, employee: u64, now_ms: u64) -> Representation<'_> {
    Representation {
        record,
        etag: etag(record, employee),
        vary: super::VARY,
        now_ms,
    }
}

fn not_found() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "No incident is reported for this employee. An employee's id is a whole number; \
         /incidents has all of them.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_employee_has_one_path() {
        for (id, expected) in [
            ("0", Some(0)),
            ("775", Some(775)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("007", None),
            ("00", None),
            ("+7", None),
            ("-7", None),
            ("7.0", None),
            ("%37", None),
            ("", None),
            ("ten", None),
        ] {
            assert_eq!(employee_id(id), expected, "{id}");
        }
    }
}
