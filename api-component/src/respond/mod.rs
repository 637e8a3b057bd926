//! Last station: the answer itself, a module for each kind of resource.

pub(crate) mod dashboard;
pub(crate) mod document;
pub(crate) mod employee;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod shutdown;
pub(crate) mod status;
pub(crate) mod timeline;

use domain::contract::record::Current;

use crate::conditional::http_date;
use crate::reply::Reply;

/// What the body of every resource but the simplest is.
const JSON: &str = "application/json";

/// What an answer about incidents depends on, beside its address.
const VARY: &str = "Authorization, Accept-Encoding";

/// A part of the snapshot that a client may have already.
struct Representation<'a> {
    record: &'a Current,
    /// Its strong entity tag, with quotes.
    etag: String,
    /// The request's fields on which it depends.
    vary: &'static str,
    /// Redis's clock.
    now_ms: u64,
}

impl Representation<'_> {
    /// The head that 200 and 304 have in common (RFC 9110, section 15.4.5). What is not as it should be
    /// with the contents is said in structured fields (RFC 9651).
    fn reply(&self, status: u16) -> Reply {
        let (record, now_ms) = (self.record, self.now_ms);
        let age_s = now_ms.saturating_sub(record.checked_at_ms) / 1000;
        let mut reply = Reply::new(status)
            .with("etag", self.etag.as_str())
            .with("last-modified", http_date(record.published_at_ms))
            .with("age", age_s.to_string())
            .with("cache-control", "private, no-cache")
            .with("vary", self.vary);
        if record.recovered_at_ms.is_some() {
            reply = reply.with("incidents-recovered", "?1");
        }
        if is_stale(record, now_ms) {
            reply = reply.with("incidents-stale", "?1");
        }
        let missing: Vec<String> = record.missing().map(|name| format!("\"{name}\"")).collect();
        match missing.is_empty() {
            true => reply,
            false => reply.with("incidents-missing", missing.join(", ")),
        }
    }
}

/// Whether something in a snapshot is older than the last refresh, or the last refresh is too long ago.
fn is_stale(record: &Current, now_ms: u64) -> bool {
    record.is_stale() || record.is_overdue(now_ms)
}
