//! What this host tells Prometheus of itself, on an address of its own: requests, instances, connections.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tracing::Level;

use crate::{connections::Connections, errors, instance::Instances};

/// The path that Prometheus asks for by default.
const PATH: &str = "/metrics";

/// OpenMetrics, which Prometheus reads as well as its own older format.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The most that a counted request may have taken and still count in each bucket, in seconds.
const BOUNDS_S: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Routes that are told apart: a client can make up as many paths as it likes.
const MOST_ROUTES: usize = 32;

/// What the others are called.
const OTHER: &str = "other";

/// Connections of those who ask for metrics.
const MOST_SCRAPES: usize = 8;

/// How long one of them may take to ask.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is counted. It costs a request nothing where nobody is to see it.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Histogram,
    connections: Gauge,
    instances: Gauge,
    instance_memory: Gauge,
    routes: RwLock<BTreeSet<String>>,
}

/// What requests are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("host"),
            requests: Family::default(),
            durations: Histogram::new(BOUNDS_S),
            connections: Gauge::default(),
            instances: Gauge::default(),
            instance_memory: Gauge::default(),
            routes: RwLock::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests that were answered, by the first segment of the path and the status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to the head of its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "connections",
            "Connections that are open",
            self.connections.clone(),
        );
        registry.register(
            "instances",
            "Instances of the component that there are",
            self.instances.clone(),
        );
        registry.register_with_unit(
            "instance_memory",
            "Memory that all instances of the component use together",
            Unit::Bytes,
            self.instance_memory.clone(),
        );
        self
    }

    /// A request for `path` has been answered with `status` after `duration`.
    pub(crate) fn answered(&self, path: &str, status: StatusCode, duration: Duration) {
        let route = self.route(path, status);
        let status = status.as_u16();
        self.requests
            .get_or_create(&Answered { route, status })
            .inc();
        self.durations.observe(duration.as_secs_f64());
    }

    /// The first segment of a path; a new one is only learnt of an answer that says that it is there.
    fn route(&self, path: &str, status: StatusCode) -> String {
        let end = path[1.min(path.len())..].find('/');
        let route = end.map_or(path, |end| &path[..=end]);
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let (is_known, is_full) = (routes.contains(route), routes.len() >= MOST_ROUTES);
        drop(routes);
        let is_there = status.is_success() || status.is_redirection();
        if !is_known && (is_full || !is_there) {
            return OTHER.to_owned();
        }
        if !is_known {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            routes.insert(route.to_owned());
        }
        route.to_owned()
    }

    /// All of it as text.
    fn text(&self, connections: &Connections, instances: &Instances) -> String {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.connections.set(number(connections.count()));
        self.instances.set(number(instances.count()));
        self.instance_memory.set(number(instances.memory()));
        let mut text = String::new();
        // A string takes all that is written.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

/// What can be asked for metrics for as long as its server runs.
pub struct Scrape {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) instances: Instances,
}

impl Scrape {
    /// Answers those who ask for `/metrics` at `listener`, which is nobody's business but the operator's: there
    /// is no password. It ends when it is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let all = Arc::new(self);
        let places = Arc::new(Semaphore::new(MOST_SCRAPES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    errors::tell(Level::WARN, &format!("cannot accept a scrape: {error}"));
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let own = Arc::clone(&all);
            let speaking = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                // Whoever keeps a connection would keep a place.
                .keep_alive(false)
                .serve_connection(
                    TokioIo::new(stream),
                    service_fn(move |request| own.answer(&request)),
                );
            tokio::spawn(async move {
                let _ = speaking.await;
                drop(place);
            });
        }
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<> {
        let asked = (request.method(), request.uri().path());
        let mut answer = Response::default();
        if asked == (&Method::GET, PATH) {
            let kind = http::HeaderValue::from_static(MEDIA_TYPE);
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            let text = self.metrics.text(&self.connections, &self.instances);
            *answer.body_mut() = Full::from(text);
        } else {
            *answer.status_mut() = StatusCode::NOT_FOUND;
            *answer.body_mut() = Full::from("Ask for GET /metrics.\n");
        }
        std::future::ready(Ok(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_paths_make_no_series() {
        let metrics = Metrics::new();
        let route = |path: &str, status| metrics.route(path, status);
        assert_eq!(route("/incidents/775", StatusCode::NOT_FOUND), OTHER);
        assert_eq!(route("/incidents/775", StatusCode::OK), "/incidents");
        assert_eq!(route("/incidents", StatusCode::NOT_FOUND), "/incidents");
        assert_eq!(route("/", StatusCode::OK), "/");
        assert_eq!(route("", StatusCode::BAD_REQUEST), OTHER);
        for number in 0..MOST_ROUTES {
            route(&format!("/{number}"), StatusCode::NOT_MODIFIED);
        }
        assert_eq!(route("/new", StatusCode::OK), OTHER);
        assert_eq!(route("/incidents", StatusCode::OK), "/incidents");
    }
}
