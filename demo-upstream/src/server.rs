//! The HTTP server: `identities` and `incidents/<type>/` behind Basic auth.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::control;
use crate::fault::{Effect, Fault, FaultError};
use crate::generate::{Dataset, IDENTITIES, Payload};
use crate::journal::InFlight;
use crate::outgoing::{Body, BrokenOff, Outgoing};
use crate::reply::{coded, html, json, not_allowed, plain, redirect, unauthorized};
use crate::socket::{Ending, Socket};
pub use crate::state::Config;
use crate::state::State;

/// Connections served at a time; further ones wait.
const MOST_CONNECTIONS: usize = 4096;

/// How long a connection may be idle, or take to send a request's head.
const IDLE: Duration = Duration::from_secs(60);

/// How long to wait when the system cannot accept a connection, say for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What an endless body begins with, and repeats.
const ENDLESS: (&str, &str) = (
    r#"{"results":[{"priority":"low","employee_id":1,"timestamp":1629939474.1346128}"#,
    r#",{"priority":"low","employee_id":1,"timestamp":1629939474.1346128}"#,
);

/// A server that listens but does not answer yet.
pub struct Server {
    listener: TcpListener,
    state: Arc<State>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A fault for an endpoint that there is not.
    #[error(transparent)]
    Fault(#[from] FaultError),
}

impl Server {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a fault names no endpoint.
    pub async fn bind(config: Config, dataset: Dataset) -> Result<Self, StartError> {
        let address = config.listen;
        let state = Arc::new(State::new(config, dataset)?);
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Listen { address, source })?;
        Ok(Self { listener, state })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is done; then ends every connection at once.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                accepted = accepted => accepted,
                () = &mut stop => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let state = Arc::clone(&self.state);
                    connections.spawn(async move {
                        serve(state, stream, peer).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}

/// Answers the requests of one connection.
async fn serve(state: Arc<State>, stream: TcpStream, peer: SocketAddr) {
    // Small answers leave at once; a failure to set this only costs time.
    let _ = stream.set_nodelay(true);
    let ending = Ending::default();
    let service = service_fn(|request| answer(&state, &ending, peer, request));
    let socket = TokioIo::new(Socket::new(stream, ending.clone()));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(socket, service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection of {peer} ended: {error}");
    }
}

/// Answers a request. An error ends the connection without an answer.
async fn answer(
    state: &State,
    ending: &Ending,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, BrokenOff> {
    if !state.authorized(request.headers()) {
        state.journal.unauthorized();
        return Ok(unauthorized());
    }
    let path = request.uri().path().to_owned();
    if let Some(control) = path.strip_prefix("/control/")
        && state.control
    {
        if !peer.ip().to_canonical().is_loopback() {
            let text = "only from the same machine\n";
            return Ok(plain(StatusCode::FORBIDDEN, text));
        }
        return Ok(control::answer(state, control, request).await);
    }
    let Some((endpoint, complete)) = endpoint(&path) else {
        let text = "no such endpoint; there are /identities and /incidents/<type>/\n";
        return Ok(plain(StatusCode::NOT_FOUND, text));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(not_allowed("GET, HEAD"));
    }
    if !complete {
        state.journal.redirected(&endpoint);
        let query = request.uri().query();
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        let target = format!("{path}/{query}");
        return Ok(redirect(StatusCode::PERMANENT_REDIRECT, &target));
    }
    let in_flight = state.journal.begin(&endpoint, request.headers());
    data(state, ending, &endpoint, in_flight).await
}

/// The endpoint that a path names, and whether it is the path that answers with data; without its
/// trailing slash, an incident type's path only redirects.
fn endpoint(path: &str) -> Option<(String, bool)> {
    if matches!(path, "/identities" | "/identities/") {
        return Some((IDENTITIES.to_owned(), true));
    }
    let name = path.strip_prefix("/incidents/")?;
    let (name, complete) = match name.strip_suffix('/') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let exists = name != IDENTITIES && Dataset::endpoints().iter().any(|known| known == name);
    exists.then(|| (name.to_owned(), complete))
}

/// Answers with an endpoint's data, or with what goes wrong.
async fn data(
    state: &State,
    ending: &Ending,
    endpoint: &str,
    in_flight: InFlight,
) -> Result<Response<Body>, BrokenOff> {
    let fault = state.plans().strike(endpoint);
    let planned = fault.as_ref().and_then(Fault::latency);
    let latency = planned.unwrap_or_else(|| state.latency());
    tokio::time::sleep(latency).await;
    let effect = fault.map(|fault| fault.effect).unwrap_or_default();
    tracing::debug!(endpoint, ?latency, ?effect, "answering");
    let payload = state.payload(endpoint, effect == Effect::Stale);
    Ok(match effect {
        Effect::None | Effect::Stale => {
            json(Outgoing::whole(&payload, in_flight), Some(payload.len()))
        }
        Effect::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            plain(status, "upstream has a problem\n")
        }
        Effect::Reset => {
            ending.reset();
            return Err(BrokenOff);
        }
        Effect::ResetMidway => {
            ending.reset();
            json(Outgoing::half(&payload, in_flight), Some(payload.len()))
        }
        Effect::Truncate => json(Outgoing::half(&payload, in_flight), Some(payload.len())),
        Effect::TruncateChunked => json(Outgoing::half(&payload, in_flight), None),
        Effect::Html => html(),
        Effect::WrongBody => {
            let payload = Payload::from(Bytes::from_static(br#"{"message":"it works"}"#));
            json(Outgoing::whole(&payload, in_flight), Some(payload.len()))
        }
        Effect::Endless => {
            let (beginning, repeated) = ENDLESS;
            let repeated = Bytes::from(repeated.repeat(1000));
            json(
                Outgoing::endless(beginning.into(), repeated, in_flight),
                None,
            )
        }
        Effect::Drip(rate) => {
            let dripping = Outgoing::dripping(&payload, rate, in_flight);
            json(dripping, Some(payload.len()))
        }
        Effect::Hang => std::future::pending().await,
        Effect::Coded(label) => coded(&payload, &label).ok_or(BrokenOff)?,
        Effect::Redirect(target) => redirect(StatusCode::TEMPORARY_REDIRECT, &target),
    })
}
