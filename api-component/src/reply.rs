//! An answer as this component thinks of it, before it becomes one of WASI's.

use std::rc::Rc;

use crate::problem::Problem;
use crate::store::{Pieces, StoreError};
use crate::timeline::rows::Rows;

/// A field of an answer's head, as WASI takes it.
pub(crate) type Field = (String, Vec<u8>);

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Body,
}

/// What follows the head.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// Bytes that the instance may keep for later answers.
    Whole(Rc<Vec<u8>>),
    /// More than a piece: sent while the rest is read.
    Streamed {
        /// The first piece, which is here already.
        first: Vec<u8>,
        /// The others.
        rest: Rest,
    },
}

/// What is read of a body while it is sent.
pub(crate) enum Rest {
    /// A document's blocks.
    Pieces(Pieces),
    /// Incidents of the timeline.
    Rows(Box<Rows>),
}

impl Rest {
    /// The next piece; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, StoreError>> {
        match self {
            Self::Pieces(pieces) => pieces.next().await,
            Self::Rows(rows) => rows.next().await,
        }
    }
}

impl Reply {
    /// An answer without a body.
    pub(crate) fn new(status: u16) -> Self {
        let mut fields = Vec::with_capacity(12);
        // Nothing that is served here is to be guessed at.
        fields.push(field("x-content-type-options", "nosniff"));
        Self {
            status,
            fields,
            body: Body::Empty,
        }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push(field(name, value));
        self
    }

    /// Adds a field that shall not be kept anywhere.
    pub(crate) fn uncached(self) -> Self {
        self.with("cache-control", "no-store")
    }

    /// Says what the body is and how long, without adding it. The length is always said: a small
    /// body without it leaves as two packets, the second of which waits for the acknowledgement of
    /// the first.
    pub(crate) fn describing(self, content_type: &str, bytes: u64) -> Self {
        self.with("content-type", content_type)
            .with("content-length", bytes.to_string())
    }

    /// Adds a whole body.
    pub(crate) fn containing(mut self, content_type: &str, bytes: Vec<u8>) -> Self {
        self = self.describing(content_type, bytes.len() as u64);
        self.body = Body::Whole(Rc::new(bytes));
        self
    }

    /// The answer to HEAD instead of GET (RFC 9110, section 9.3.2).
    pub(crate) fn without_body(mut self) -> Self {
        self.body = Body::Empty;
        self
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let reply = Self::new(problem.status.as_u16())
            .uncached()
            .containing("application/problem+json", problem.document());
        let fields = problem.fields.into_iter();
        fields.fold(reply, |reply, (name, value)| reply.with(name, value))
    }
}

/// A field of an answer's head.
fn field(name: &str, value: impl Into<Vec<u8>>) -> Field {
    (name.to_owned(), value.into())
}

#[cfg(test)]
impl Reply {
    /// The value of the field `name`; panics unless it is there exactly once.
    pub(crate) fn value(&self, name: &str) -> &str {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let (_, value) = values.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(values.next().is_none(), "{name} is there twice");
        std::str::from_utf8(value).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match &self.body {
            Body::Whole(bytes) => serde_json::from_slice(bytes).unwrap(),
            _ => panic!("no whole body"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_status_twice_and_is_not_kept() {
        let reply = Reply::from(Problem::unavailable("Wait.").retry_after(3));
        assert_eq!(reply.status, 503);
        assert_eq!(reply.value("content-type"), "application/problem+json");
        assert_eq!(reply.value("cache-control"), "no-store");
        assert_eq!(reply.value("retry-after"), "3");
        assert_eq!(
            reply.json(),
            serde_json::json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "Wait."
            })
        );
    }
}
