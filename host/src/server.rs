//! The HTTP server: connections in, requests to instances of the component, answers out.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use wasmtime_wasi_http::{
    Error, WasiBody,
    handler::{ProxyHandler, TrapOrPanicError},
};

use crate::{
    engine::Program,
    headers::{client_address, prepare},
    instance::{Instances, Reuse},
    manifest::Application,
};

/// Bytes that a request's body may have.
pub const MAX_REQUEST_BODY: u64 = 1 << 20;

/// Connections that may be open at once; more wait to be accepted. Each has one request at a
/// time, so that this also bounds the instances of the component.
pub const MAX_CONNECTIONS: usize = 1000;

/// How the server treats its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a client may take to send a request's header, and keep a connection without one.
    pub header_timeout: Duration,
    /// How long a client may read nothing of an answer that waits for it (Linux only).
    pub stall_timeout: Duration,
    /// How long the requests in flight have when the server ends.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// The requests of a server's life, counted.
#[derive(Debug, Default)]
pub struct Work {
    begun: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
}

impl Work {
    /// How many the component has begun to answer.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many wait for the beginning of their answer.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun.load(Ordering::Relaxed).saturating_sub(ended)
    }

    /// Counts a request as in flight until the return value is dropped.
    pub(crate) fn begin(&self) -> InFlight<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }
}

/// A request in flight. Dropped without an answer, its client has given up.
pub(crate) struct InFlight<'a>(&'a Work);

impl InFlight<'_> {
    /// The component has begun to answer it.
    pub(crate) fn answered(self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A component behind a socket that is listened to.
pub struct Server {
    listener: TcpListener,
    handler: ProxyHandler<Instances>,
    limits: Limits,
    work: Arc<Work>,
}

impl Server {
    /// Has the requests that come in on `listener` answered by instances of `program`, which get
    /// what `application` allows them.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        program: Program,
        application: Application,
        reuse: Reuse,
        limits: Limits,
    ) -> Self {
        Self {
            listener,
            handler: ProxyHandler::new(Instances::new(program, application, reuse)),
            limits,
            work: Arc::default(),
        }
    }

    /// What it does, as it goes on.
    #[must_use]
    pub fn work(&self) -> Arc<Work> {
        Arc::clone(&self.work)
    }

    /// Answers requests until `shutdown` is ready, then lets those in flight finish within
    /// [`Limits::shutdown_grace`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let connections = GracefulShutdown::new();
        // What is in it ends when this function does.
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = self.accept(&connections, &mut tasks) => {}
            () = shutdown => {}
        }
        // Nobody is to wait in the queue of a socket that nobody accepts from.
        drop(self.listener);
        let grace = self.limits.shutdown_grace;
        if timeout(grace, connections.shutdown()).await.is_err() {
            tracing::warn!("some requests were still in flight after {grace:?}: they are cut");
        }
        self.handler.state().stop();
    }

    async fn accept(&self, connections: &GracefulShutdown, tasks: &mut JoinSet<()>) {
        loop {
            if tasks.len() >= MAX_CONNECTIONS {
                tasks.join_next().await;
            }
            // Those that have ended meanwhile.
            while tasks.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    tasks.spawn(self.converse(stream, client, connections));
                }
                Err(error) => {
                    // Out of file descriptors, mostly: one may be free soon.
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

impl Server {
    /// Speaks HTTP/1.1 on a connection, until the client or a time limit ends it.
    fn converse(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        connections: &GracefulShutdown,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Both only improve a connection: it works without them.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ =
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.limits.stall_timeout));

        let (handler, work) = (self.handler.clone(), Arc::clone(&self.work));
        let client = client_address(client);
        let service = service_fn(move |request| {
            respond(handler.clone(), Arc::clone(&work), client.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .serve_connection(TokioIo::new(stream), service);
        connections.watch(connection).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!("a connection ended: {error}");
            }
        })
    }
}

/// Has an instance of the component answer a request. Its failures are answered as Spin does:
/// 500, and nothing more.
async fn respond(
    handler: ProxyHandler<Instances>,
    work: Arc<Work>,
    client: HeaderValue,
    request: Request<Incoming>,
) -> Result<Response<WasiBody>, Infallible> {
    let (mut head, body) = request.into_parts();
    if prepare(&mut head, &client).is_err() {
        return Ok(empty(StatusCode::BAD_REQUEST));
    }
    let Some(body) = bounded(body) else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let in_flight = work.begin();
    let answer = handler.handle((), Request::from_parts(head, body)).await;
    in_flight.answered();
    Ok(answer.unwrap_or_else(|error| {
        // A trap has been logged where it happened, with its cause.
        if !error.is::<TrapOrPanicError>() {
            tracing::error!("the component did not answer a request: {error:#}");
        }
        empty(StatusCode::INTERNAL_SERVER_ERROR)
    }))
}

/// A request's body, which ends in an error after [`MAX_REQUEST_BODY`]; none if it is announced
/// to be larger.
fn bounded(body: Incoming) -> Option<WasiBody> {
    let size = body.size_hint();
    if size.lower() > MAX_REQUEST_BODY {
        return None;
    }
    if size.exact() == Some(0) {
        return Some(no_body());
    }
    let limited = Limited::new(body, MAX_REQUEST_BODY as usize);
    let limited = limited.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(broken) => Error::Hyper(*broken),
        Err(_) => Error::HttpRequestBodySize(None),
    });
    Some(limited.boxed_unsync())
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(no_body());
    *response.status_mut() = status;
    response
}

fn no_body() -> WasiBody {
    Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}
