//! Answers that are errors: problem documents (RFC 9457) that say what to do about them.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

/// Why a request gets no ordinary answer. Every station on its way may end it with one.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    detail: Cow<'static, str>,
    /// What the head of the answer says besides: names and values.
    pub(crate) fields: Vec<(&'static str, String)>,
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
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Says after how many seconds it is worth trying again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with("retry-after", seconds.to_string())
    }

    /// The document: JSON of the media type `application/problem+json`.
    pub(crate) fn document(&self) -> Vec<u8> {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        // A struct of texts and numbers always serialises.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}
