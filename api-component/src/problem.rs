//! Answers that are errors: problem documents (RFC 9457) that say what to do about them.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

use crate::reply::{Field, Reply, field};

/// Why a request gets no ordinary answer. Every station on its way may end it with one.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    fields: Vec<Field>,
}

/// The members of a problem document. Its type is `about:blank`: the status says it all.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem. `detail` is for a person: what is wrong and what to do, without secret and
    /// address.
    pub(crate) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            fields: Vec::new(),
        }
    }

    /// The service cannot answer now.
    pub(crate) fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// Adds a field to the head.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.fields.push(field(name, value));
        self
    }

    /// Says after how many seconds it is worth trying again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with("retry-after", seconds.to_string())
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let document = Document {
            r#type: "about:blank",
            title: problem.status.canonical_reason().unwrap_or("Error"),
            status: problem.status.as_u16(),
            detail: &problem.detail,
        };
        // A struct of texts and numbers always serialises.
        let json = serde_json::to_vec(&document).unwrap_or_default();
        let mut reply = Self::new(problem.status.as_u16())
            .uncached()
            .containing("application/problem+json", json);
        reply.fields.extend(problem.fields);
        reply
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
