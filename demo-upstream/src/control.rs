//! The control API, for tests: faults and payloads set while the server runs, and what was asked.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use crate::fault::{Fault, FaultError};
use crate::outgoing::{self, Body};
use crate::reply::{not_allowed, plain};
use crate::state::State;

/// The largest body that is taken, in bytes: a payload to serve.
const LARGEST: usize = 256 << 20;

/// Answers a request whose path below `/control/` is `path`: `faults/{endpoint}`,
/// `payload/{endpoint}` or `requests`.
pub(crate) async fn answer(
    state: &State,
    path: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let method = request.method().clone();
    let body = match Limited::new(request.into_body(), LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let text = format!("cannot read the body: {error}\n");
            return plain(StatusCode::BAD_REQUEST, text);
        }
    };
    match path.split_once('/') {
        Some(("faults", endpoint)) => match method {
            Method::PUT => done(plan(state, endpoint, &body)),
            Method::DELETE => done(state.plans().clear(endpoint)),
            _ => not_allowed("PUT, DELETE"),
        },
        Some(("payload", endpoint)) => match method {
            Method::PUT => done(state.plans().replace(endpoint, Some(&body))),
            Method::DELETE => done(state.plans().replace(endpoint, None)),
            _ => not_allowed("PUT, DELETE"),
        },
        None if path == "requests" => match method {
            Method::GET => requests(state),
            Method::DELETE => {
                state.journal.clear();
                done(Ok(()))
            }
            _ => not_allowed("GET, DELETE"),
        },
        _ => plain(StatusCode::NOT_FOUND, "no such control\n"),
    }
}

fn plan(state: &State, endpoint: &str, body: &Bytes) -> Result<(), FaultError> {
    let fault: Fault =
        serde_json::from_slice(body).map_err(|error| FaultError::Json(error.to_string()))?;
    state.plans().plan(endpoint, &fault.checked()?)
}

fn done(result: Result<(), FaultError>) -> Response<Body> {
    match result {
        Ok(()) => plain(StatusCode::NO_CONTENT, ""),
        Err(error @ FaultError::Endpoint(_)) => plain(StatusCode::NOT_FOUND, format!("{error}\n")),
        Err(error) => plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

fn requests(state: &State) -> Response<Body> {
    let records = serde_json::to_vec(&state.journal.records()).expect("records are plain data");
    let mut response = Response::new(outgoing::text(records));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
