//! The HTTP server: connections in, requests to instances of the component, answers out.

use std::{
    convert::Infallible, future::poll_fn, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::Level;
use wasmtime_wasi_http::{
    Error, WasiBody,
    handler::{ProxyHandler, TrapOrPanicError},
};

use crate::{
    connections::{Connection, Connections, NoPlace},
    engine::Program,
    errors,
    headers::{Ends, prepare},
    instance::{Instances, Reuse},
    limits::Limits,
    manifest::Application,
    watched::{Answer, Socket},
};

/// Bytes that a request's body may have.
pub const MAX_REQUEST_BODY: u64 = 1 << 20;

/// Bytes that are kept of what a client sends before it is asked for, and of small answers before
/// they are sent: a head has to fit.
const BUFFER: usize = 64 << 10;

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

/// A component behind a socket that is listened to.
pub struct Server {
    listener: TcpListener,
    handler: ProxyHandler<Instances>,
    connections: Arc<Connections>,
    limits: Limits,
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
            connections: Arc::new(Connections::new(limits.clone())),
            limits,
        }
    }

    /// Answers requests until `shutdown` is ready and for [`Limits::drain_time`] more, in which it says
    /// that it is about to end; then lets those in flight finish within [`Limits::shutdown_grace`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let ending = GracefulShutdown::new();
        // What is in it ends when this function does.
        let mut tasks = JoinSet::new();
        {
            let mut serving = pin!(async {
                tokio::join!(self.accept(&ending, &mut tasks), self.connections.sweep());
            });
            tokio::select! {
                () = &mut serving => {}
                () = shutdown => {}
            }
            self.connections.drain();
            let _ = timeout(self.limits.drain_time, serving).await;
        }
        // Nobody is to wait in the queue of a socket that nobody accepts from.
        drop(self.listener);
        let grace = self.limits.shutdown_grace;
        if timeout(grace, ending.shutdown()).await.is_err() {
            tracing::warn!("some requests were still in flight after {grace:?}: they are cut");
        }
        self.handler.state().stop();
    }

    async fn accept(&self, ending: &GracefulShutdown, tasks: &mut JoinSet<()>) {
        loop {
            // Those that have ended meanwhile.
            while tasks.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    if let Some(connection) = self.place(client).await {
                        tasks.spawn(self.converse(stream, client, connection, ending));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: one may be free soon.
                    errors::tell(Level::WARN, &format!("cannot accept a connection: {error}"));
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// A place for a newcomer, as soon as there is one; none if it has used up its share.
    async fn place(&self, client: SocketAddr) -> Option<Arc<Connection>> {
        loop {
            match self.connections.admit(client.ip()) {
                Ok(connection) => return Some(connection),
                Err(NoPlace::OverShare) => return None,
                Err(NoPlace::Full) => self.connections.one_has_left().await,
            }
        }
    }

    /// Speaks HTTP/1.1 on a connection, until the client or a time limit ends it, or it has to give
    /// way.
    fn converse(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        connection: Arc<Connection>,
        ending: &GracefulShutdown,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Both only improve a connection: it works without them.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ =
            socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(self.limits.stall_timeout));

        let ends = Ends::new(client, stream.local_addr().ok());
        let (all, handler) = (Arc::clone(&self.connections), self.handler.clone());
        let own = Arc::clone(&connection);
        let service = service_fn(move |request| {
            let (all, own) = (Arc::clone(&all), Arc::clone(&own));
            respond(handler.clone(), all, own, ends.clone(), request)
        });
        let speaking = http1::Builder::new()
            .max_buf_size(BUFFER)
            // Whoever has asked all that it wants still gets its answers.
            .half_close(true)
            .serve_connection(
                TokioIo::new(Socket::new(stream, Arc::clone(&connection))),
                service,
            );
        let speaking = ending.watch(speaking);
        let all = Arc::clone(&self.connections);
        async move {
            tokio::select! {
                ended = speaking => if let Err(error) = ended {
                    tracing::debug!("a connection ended: {error}");
                },
                () = connection.closed() => {
                    tracing::debug!("a connection is closed: its client keeps it waiting");
                }
            }
            all.leave(&connection);
        }
    }
}

/// Has an instance of the component answer a request. Its failures are answered as Spin does:
/// 500, and nothing more.
async fn respond(
    handler: ProxyHandler<Instances>,
    all: Arc<Connections>,
    connection: Arc<Connection>,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    connection.asked();
    // Whoever does not read gets no more to read.
    poll_fn(|context| connection.poll_room(context)).await;
    let mut answer = match all.are_drained() && request.uri().path() == READINESS {
        true => unavailable(ENDING),
        false => answer(handler, &all, &connection, &ends, request).await,
    };
    if all.are_drained() {
        // Whoever keeps the connection would send the next request to a server that has gone.
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    Ok(answer.map(|body| Answer::new(body, connection)))
}

async fn answer(
    handler: ProxyHandler<Instances>,
    all: &Connections,
    connection: &Connection,
    ends: &Ends,
    request: Request<Incoming>,
) -> Response<WasiBody> {
    let (mut head, body) = request.into_parts();
    if prepare(&mut head, ends).is_err() {
        return empty(StatusCode::BAD_REQUEST);
    }
    let Some(body) = bounded(body) else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let Some(permit) = all.permit(connection).await else {
        return unavailable(BUSY);
    };
    // The component goes on with a request whose client has gone: it counts until it is done.
    let handling = tokio::spawn(async move {
        let answer = handler.handle((), Request::from_parts(head, body)).await;
        drop(permit);
        answer
    });
    let error = match handling.await {
        Ok(Ok(answer)) => {
            all.answered_with(connection, answer.status());
            return answer;
        }
        Ok(Err(error)) => error,
        Err(error) => wasmtime::Error::new(error),
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
