//! The HTTP server: connections in, each a task that has requests answered.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::Level;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::{
    connections::{Connection, Connections, NoPlace},
    engine::Program,
    errors,
    headers::Ends,
    instance::{Instances, Reuse},
    limits::Limits,
    manifest::Application,
    metrics::{Metrics, Scrape},
    respond::{Conversation, respond},
    watched::Socket,
};

/// Bytes that are kept of what a client sends before it is asked for, and of small answers before
/// they are sent: a head has to fit.
const BUFFER: usize = 64 << 10;

/// A component behind a socket that is listened to.
pub struct Server {
    listener: TcpListener,
    handler: ProxyHandler<Instances>,
    connections: Arc<Connections>,
    metrics: Option<Arc<Metrics>>,
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
            metrics: None,
            limits,
        }
    }

    /// Has requests counted from now on; what it gives can be asked for the numbers.
    pub fn count(&mut self) -> Scrape {
        let metrics = self.metrics.insert(Arc::new(Metrics::new()));
        Scrape {
            metrics: Arc::clone(metrics),
            connections: Arc::clone(&self.connections),
            instances: self.handler.state().clone(),
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

        let conversation = Arc::new(Conversation {
            handler: self.handler.clone(),
            all: Arc::clone(&self.connections),
            connection: Arc::clone(&connection),
            ends: Ends::new(client, stream.local_addr().ok()),
            metrics: self.metrics.clone(),
        });
        let service = service_fn(move |request| respond(Arc::clone(&conversation), request));
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
