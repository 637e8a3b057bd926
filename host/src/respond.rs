//! From a request to its answer, by way of an instance of the component.

use std::{convert::Infallible, future::poll_fn, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use tracing::Level;
use wasmtime_wasi_http::{
    Error, WasiBody,
    handler::{ProxyHandler, TrapOrPanicError},
};

use crate::{
    connections::{Connection, Connections},
    errors,
    headers::{Ends, prepare},
    instance::Instances,
    metrics::Metrics,
    watched::Answer,
};

/// Bytes that a request's body may have.
pub const MAX_REQUEST_BODY: u64 = 1 << 20;

/// The answer where too many requests wait for their turn (RFC 9457).
const BUSY: &str = concat!(
    r#"{"type":"about:blank","title":"Service Unavailable","status":503,"#,
    r#""detail":"Too many requests are being answered. Try again in a second."}"#,
);

/// Where a load balancer asks whether requests may come.
const READINESS: &str = "/readyz";

/// The answer there when the server is about to end (RFC 9457).
const ENDING: &str = concat!(
    r#"{"type":"about:blank","title":"Service Unavailable","status":503,"#,
    r#""detail":"This server is about to end. Ask another one."}"#,
);

/// What all requests of a connection have in common.
pub(crate) struct Conversation {
    pub(crate) handler: ProxyHandler<Instances>,
    pub(crate) all: Arc<Connections>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) ends: Ends,
    /// Where requests are counted, if they are.
    pub(crate) metrics: Option<Arc<Metrics>>,
}

/// Has an instance of the component answer a request. Its failures are answered as Spin does:
/// 500, and nothing more.
pub(crate) async fn respond(
    conversation: Arc<Conversation>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let Conversation {
        all, connection, ..
    } = &*conversation;
    connection.asked();
    // Whoever does not read gets no more to read.
    poll_fn(|context| connection.poll_room(context)).await;
    let counted = conversation.metrics.as_ref();
    let counted = counted.map(|metrics| (metrics, request.uri().clone(), Instant::now()));
    let mut answer = match all.are_drained() && request.uri().path() == READINESS {
        true => unavailable(ENDING),
        false => answer(&conversation, request).await,
    };
    if let Some((metrics, asked, started)) = counted {
        metrics.answered(asked.path(), answer.status(), started.elapsed());
    }
    if all.are_drained() {
        // Whoever keeps the connection would send the next request to a server that has gone.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    Ok(answer.map(|body| Answer::new(body, Arc::clone(connection))))
}

async fn answer(conversation: &Conversation, request: Request<Incoming>) -> Response<WasiBody> {
    let Conversation {
        all, connection, ..
    } = conversation;
    let (mut head, body) = request.into_parts();
    if prepare(&mut head, &conversation.ends).is_err() {
        return empty(StatusCode::BAD_REQUEST);
    }
    let Some(body) = bounded(body) else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let Some(permit) = all.permit(connection).await else {
        return unavailable(BUSY);
    };
    // The component goes on with a request whose client has gone: it counts until it is done.
    let request = Request::from_parts(head, body);
    let error = match conversation.handler.handle(permit, request).await {
        Ok(answer) => {
            all.answered_with(connection, answer.status());
            return answer;
        }
        Err(error) => error,
    };
    // A trap has been logged where it happened, with its cause.
    if !error.is::<TrapOrPanicError>() {
        errors::tell(
            Level::ERROR,
            &format!("the component did not answer a request: {error:#}"),
        );
    }
    empty(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A request's body, which ends in an error after [`MAX_REQUEST_BODY`]; none if it is announced
/// to be larger.
fn bounded(body: Incoming) -> Option<WasiBody> {
    let size = body.size_hint();
    if size.lower() > MAX_REQUEST_BODY {
        return None;
    }
    if size.exact() == Some(0) {
        return Some(whole(""));
    }
    let limited = Limited::new(body, MAX_REQUEST_BODY as usize);
    let limited = limited.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => Error::Hyper(*broken),
        Err(_) => Error::HttpRequestBodySize(None),
    });
    Some(limited.boxed_unsync())
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(whole(""));
    *response.status_mut() = status;
    response
}

fn unavailable(problem: &'static str) -> Response<WasiBody> {
    let mut response = Response::new(whole(problem));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let kind = HeaderValue::from_static("application/problem+json");
    headers.insert(CONTENT_TYPE, kind);
    response
}

fn whole(text: &'static str) -> WasiBody {
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
