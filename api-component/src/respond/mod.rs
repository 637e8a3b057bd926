//! Last station: the answer itself, a module for each kind of resource.

pub(crate) mod document;
pub(crate) mod employee;
pub(crate) mod health;
pub(crate) mod shutdown;
pub(crate) mod status;

use domain::contract::record::Current;

use crate::conditional::http_date;
use crate::reply::Reply;

/// What the body of every resource but the simplest is.
const JSON: &str = "application/json";

/// A part of the snapshot that a client may have already.
struct Representation<'a> {
    record: &'a Current,
    /// Its strong entity tag, with quotes.
    etag: String,
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
            .with("vary", "Authorization, Accept-Encoding");
        if record.recovered_at_ms.is_some() {
            reply = reply.with("incidents-recovered", "?1");
        }
        if record.is_stale() {
            reply = reply.with("incidents-stale", "?1");
        }
        match missing_types(record) {
            missing if missing.is_empty() => reply,
            missing => reply.with("incidents-missing", missing),
        }
    }
}

/// The types that upstream has never given a good answer for, as a list of strings.
fn missing_types(record: &Current) -> String {
    let missing = record
        .types
        .iter()
        .filter(|kind| kind.freshness.good_at_ms.is_none());
    let names: Vec<String> = missing.map(|kind| format!("\"{}\"", kind.name)).collect();
    names.join(", ")
}
