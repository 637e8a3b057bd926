//! The HTTP server: connections in, each to one of the threads that answer.

use std::{io, net::SocketAddr, num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tracing::Level;

use crate::{
    connections::{Connection, Connections, NoPlace},
    engine::Program,
    errors,
    instance::{Instances, Reuse},
    limits::Limits,
    manifest::Application,
    metrics::{Metrics, Scrape},
    worker::Worker,
};

/// A component behind a socket that is listened to.
pub struct Server {
    listener: TcpListener,
    workers: Vec<Worker>,
    connections: Arc<Connections>,
    instances: Instances,
    metrics: Option<Arc<Metrics>>,
    limits: Limits,
}

/// How a server does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads that answer requests.
    pub threads: NonZeroUsize,
    /// Whether requests are counted, for [`Server::scrape`].
    pub has_metrics: bool,
}

impl Server {
    /// Has the requests that come in on `listener` answered by instances of `program`, which get
    /// what `application` allows them.
    ///
    /// # Errors
    /// When the system does not give it the threads.
    pub fn new(
        listener: TcpListener,
        program: Program,
        application: Application,
        reuse: Reuse,
        limits: Limits,
        options: Options,
    ) -> io::Result<Self> {
        let connections = Arc::new(Connections::new(limits.clone()));
        let instances = Instances::new(program, application, reuse);
        let metrics = options.has_metrics.then(|| Arc::new(Metrics::new()));
        let worker = |number| {
            let (name, instances) = (format!("worker-{number}"), instances.clone());
            let (all, metrics) = (Arc::clone(&connections), metrics.clone());
            Worker::start(name, instances, all, metrics, limits.clone())
        };
        let threads = 0..options.threads.get();
        let workers = threads.map(worker).collect::<io::Result<_>>()?;
        Ok(Self {
            listener,
            workers,
            connections,
            instances,
            metrics,
            limits,
        })
    }

    /// What can be asked for this server's metrics, if it has any.
    #[must_use]
    pub fn scrape(&self) -> Option<Scrape> {
        Some(Scrape {
            metrics: self.metrics.clone()?,
            connections: Arc::clone(&self.connections),
            instances: self.instances.clone(),
        })
    }

    /// Answers requests until `shutdown` is ready and for [`Limits::drain_time`] more, in which it says
    /// that it is about to end; then lets those in flight finish within [`Limits::shutdown_grace`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        {
            let mut serving = pin!(async {
                tokio::join!(self.accept(), self.connections.sweep());
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
        let ended = join_all(self.workers.into_iter().map(Worker::end)).await;
        if ended.contains(&false) {
            let grace = self.limits.shutdown_grace;
            tracing::warn!("some requests were still in flight after {grace:?}: they are cut");
        }
    }

    async fn accept(&self) {
        loop {
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    if let Some(connection) = self.place(client).await {
                        self.hand_over(stream, client, connection);
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

    /// Gives a connection to the thread that has the fewest.
    fn hand_over(&self, stream: TcpStream, client: SocketAddr, connection: Arc<Connection>) {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.load()) else {
            return;
        };
        if let Err(error) = worker.take(stream, client, Arc::clone(&connection)) {
            errors::tell(Level::ERROR, &format!("a connection is lost: {error}"));
            self.connections.leave(&connection);
        }
    }
}
