//! A thread that speaks with its share of the connections, and has instances of its own to answer them.
//!
//! From its first byte to its last a request is on one thread: none has to wake another, which costs more
//! than most of what a request does.

use std::{io, net::SocketAddr, sync::Arc, thread};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinSet,
    time::timeout,
};
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::{
    connections::{Connection, Connections},
    headers::Ends,
    instance::Instances,
    limits::Limits,
    metrics::Metrics,
    respond::{Conversation, respond},
    watched::Socket,
};

/// Bytes that are kept of what a client sends before it is asked for, and of small answers before
/// they are sent: a head has to fit.
const BUFFER: usize = 64 << 10;

/// A thread of the server. It ends when nothing can arrive any more.
pub(crate) struct Worker {
    arrivals: UnboundedSender<Arrival>,
    /// Held by each of its connections.
    held: Arc<()>,
    /// Whether all requests in flight were finished in time.
    ended: oneshot::Receiver<bool>,
}

/// A connection that a worker is given, which has a place.
struct Arrival {
    stream: std::net::TcpStream,
    client: SocketAddr,
    connection: Arc<Connection>,
    held: Arc<()>,
}

impl Worker {
    /// Starts a thread whose connections are among `all`.
    ///
    /// # Errors
    /// When the system has no thread, or nothing to wait with.
    pub(crate) fn start(
        name: String,
        instances: Instances,
        all: Arc<Connections>,
        metrics: Option<Arc<Metrics>>,
        limits: Limits,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (arrivals, arriving) = unbounded_channel();
        let (ends, ended) = oneshot::channel();
        thread::Builder::new().name(name).spawn(move || {
            let shared = Shared {
                handler: ProxyHandler::new(instances),
                all,
                metrics,
                limits,
            };
            let in_time = work(&runtime, arriving, &shared);
            // Whoever does not wait for it needs no word.
            let _ = ends.send(in_time);
        })?;
        Ok(Self {
            arrivals,
            held: Arc::default(),
            ended,
        })
    }

    /// How many connections it has.
    pub(crate) fn load(&self) -> usize {
        Arc::strong_count(&self.held) - 1
    }

    /// Hands it a connection.
    ///
    /// # Errors
    /// When the connection cannot be handed over.
    pub(crate) fn take(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        connection: Arc<Connection>,
    ) -> io::Result<()> {
        let arrival = Arrival {
            stream: stream.into_std()?,
            client,
            connection,
            held: Arc::clone(&self.held),
        };
        let gone = |_| io::Error::other("a thread of the server has ended");
        self.arrivals.send(arrival).map_err(gone)
    }

    /// Lets the requests in flight finish within the time that they have, and ends the thread; whether they
    /// did.
    pub(crate) async fn end(self) -> bool {
        drop(self.arrivals);
        self.ended.await.unwrap_or(false)
    }
}

/// What all connections of a worker have in common.
struct Shared {
    handler: ProxyHandler<Instances>,
    all: Arc<Connections>,
    metrics: Option<Arc<Metrics>>,
    limits: Limits,
}

/// What the thread does; whether all requests in flight were finished in time at its end.
fn work(runtime: &Runtime, mut arriving: UnboundedReceiver<Arrival>, shared: &Shared) -> bool {
    runtime.block_on(async {
        let ending = GracefulShutdown::new();
        // What is in it ends when this function does.
        let mut tasks = JoinSet::new();
        while let Some(arrival) = arriving.recv().await {
            // Those that have ended meanwhile.
            while tasks.try_join_next().is_some() {}
            tasks.spawn(converse(arrival, shared, &ending));
        }
        let finished = timeout(shared.limits.shutdown_grace, ending.shutdown()).await;
        shared.handler.state().stop();
        finished.is_ok()
    })
}

/// Speaks HTTP/1.1 on a connection, until the client or a time limit ends it, or it has to give way.
fn converse(
    arrival: Arrival,
    shared: &Shared,
    ending: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    let Arrival {
        stream,
        client,
        connection,
        held,
    } = arrival;
    // Both only improve a connection: it works without them.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(shared.limits.stall_timeout));

    let conversation = Arc::new(Conversation {
        handler: shared.handler.clone(),
        all: Arc::clone(&shared.all),
        connection: Arc::clone(&connection),
        ends: Ends::new(client, stream.local_addr().ok()),
        metrics: shared.metrics.clone(),
    });
    let all = Arc::clone(&shared.all);
    let speaking = TcpStream::from_std(stream).map(|stream| {
        let service = service_fn(move |request| respond(Arc::clone(&conversation), request));
        let speaking = http1::Builder::new()
            .max_buf_size(BUFFER)
            // Whoever has asked all that it wants still gets its answers.
            .half_close(true)
            .serve_connection(
                TokioIo::new(Socket::new(stream, Arc::clone(&connection))),
                service,
            );
        ending.watch(speaking)
    });
    async move {
        match speaking {
            Err(error) => tracing::debug!("a connection cannot be waited for: {error}"),
            Ok(speaking) => tokio::select! {
                ended = speaking => if let Err(error) = ended {
                    tracing::debug!("a connection ended: {error}");
                },
                () = connection.closed() => {
                    tracing::debug!("a connection is closed: its client keeps it waiting");
                }
            },
        }
        all.leave(&connection);
        drop(held);
    }
}
