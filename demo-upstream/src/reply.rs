//! The answers, apart from what they say: data, short texts, redirects.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, StatusCode, header};

use crate::generate::Payload;
use crate::outgoing::{self, Body, Outgoing};

/// 200 with `outgoing`; without a length it goes out in chunks.
pub(crate) fn json(outgoing: Outgoing, length: Option<u64>) -> Response<Body> {
    let mut response = Response::new(outgoing.into_body());
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// 200 with the data and `label` as its content coding; `None` where it cannot be made.
pub(crate) fn coded(payload: &Payload, label: &str) -> Option<Response<Body>> {
    let body = payload.to_vec();
    let body = match label {
        "gzip" | "x-gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&body).ok()?;
            encoder.finish().ok()?
        }
        "zstd" => zstd::bulk::compress(&body, 1).ok()?,
        _ => body,
    };
    let mut response = Response::new(outgoing::text(body));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    let label = HeaderValue::from_str(label).ok()?;
    headers.insert(header::CONTENT_ENCODING, label);
    Some(response)
}

/// 200 with a page, as a proxy's log-in.
pub(crate) fn html() -> Response<Body> {
    let page = "<!DOCTYPE html><html><body><h1>Log in</h1></body></html>\n";
    let mut response = Response::new(outgoing::text(page));
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A short text with `status`.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(outgoing::text(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// 405, and the methods that there are.
pub(crate) fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("use {methods}\n"));
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

/// 401, and the scheme that is asked for.
pub(crate) fn unauthorized() -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "credentials are required\n");
    let challenge = HeaderValue::from_static(r#"Basic realm="upstream", charset="UTF-8""#);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// `status` with a `Location`; 404 where `target` cannot be one.
pub(crate) fn redirect(status: StatusCode, target: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(target) else {
        return plain(StatusCode::NOT_FOUND, "no such endpoint\n");
    };
    let mut response = plain(status, "");
    response.headers_mut().insert(header::LOCATION, location);
    response
}
