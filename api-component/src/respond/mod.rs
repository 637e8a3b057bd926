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
    /// The head that 200 and 304 have in common (RFC 9110, section 15.4.5).
    fn reply(&self, status: u16) -> Reply {
        let age_s = self.now_ms.saturating_sub(self.record.checked_at_ms) / 1000;
        let reply = Reply::new(status)
            .with("etag", self.etag.as_str())
            .with("last-modified", http_date(self.record.published_at_ms))
            .with("age", age_s.to_string())
            .with("cache-control", "private, no-cache")
            .with("vary", "Authorization, Accept-Encoding");
        match self.record.recovered_at_ms {
            // A boolean of structured fields (RFC 9651).
            Some(_) => reply.with("incidents-recovered", "?1"),
            None => reply,
        }
    }
}
