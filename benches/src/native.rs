//! `native-server`: the component's work as a native program, to see what the sandbox costs. Only
//! `GET /incidents`, and only for the benchmark.

use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use domain::contract::document::{Document, Encoding};
use domain::contract::keys::Keys;
use domain::contract::record::Current;
use domain::contract::scripts::{Admission, Admit, CredentialCheck};
use domain::settings::client_address::counting_key;
use domain::settings::credentials::{Account, Credentials, ExpectedPassword};
use domain::settings::rate_limit::RateLimit;
use futures::stream;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use refresher::store::call;
use tokio::net::TcpListener;

struct App {
    redis: MultiplexedConnection,
    keys: Keys,
    account: Account,
    limits: Vec<RateLimit>,
    failure_limits: Vec<RateLimit>,
    record: Mutex<Option<(Vec<u8>, Arc<Current>)>>,
    bodies: Mutex<Vec<(u64, Encoding, Bytes)>>,
}

/// The one thing that can go wrong here, and what it is answered with.
struct Unavailable;

impl<E: std::error::Error> From<E> for Unavailable {
    fn from(_: E) -> Self {
        Self
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let redis = redis::Client::open(variable("REDIS_URL")?)?;
    let limits = variable("INCIDENTS_API_RATE_LIMITS")?;
    let app = App {
        redis: redis.get_multiplexed_async_connection().await?,
        keys: Keys::new("incidents"),
        account: Account {
            id: variable("SERVICE_ID")?,
            password: ExpectedPassword::parse(&variable("SERVICE_PASSWORD")?)?,
        },
        limits: RateLimit::parse_list(&limits).context("the limits cannot be read")?,
        // The default, as the component has it here.
        failure_limits: vec![RateLimit::parse("10 per 10 minutes")?],
        record: Mutex::default(),
        bodies: Mutex::default(),
    };
    let router = Router::new()
        .route("/incidents", get(incidents))
        .with_state(Arc::new(app));
    let listener = TcpListener::bind(variable("LISTEN")?).await?;
    axum::serve(
        listener,
        router.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await?;
    Ok(())
}

async fn incidents(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let answer = app.answer(peer, &headers).await;
    answer.unwrap_or_else(|Unavailable| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

impl App {
    async fn answer(
        self: &Arc<Self>,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Response, Unavailable> {
        // As the component does with a plain password: it is compared first, and answered after.
        let presented = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| Credentials::from_header(value.as_bytes()));
        let credential = match &presented {
            None => CredentialCheck::None,
            Some(presented) if self.account.verify(presented) => CredentialCheck::Right,
            Some(_) => CredentialCheck::Wrong,
        };
        let request = Admit {
            keys: &self.keys,
            scope: "incidents",
            client: &counting_key(peer.ip()),
            limits: &self.limits,
            failure_limits: &self.failure_limits,
            credential,
            mac: None,
        };
        let (now_ms, raw) = match call(&mut self.redis.clone(), &request).await? {
            Admission::Admitted {
                now_ms, current, ..
            } => (now_ms, current),
            Admission::RateLimited { wait_ms, .. } | Admission::LockedOut { wait_ms } => {
                let wait = (wait_ms / 1000 + 1).to_string();
                let answer = (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait)]);
                return Ok(answer.into_response());
            }
            Admission::Busy { .. } => return Err(Unavailable),
        };
        if credential != CredentialCheck::Right {
            let challenge = "Basic realm=\"incidents\", charset=\"UTF-8\"";
            let answer = (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, challenge)],
            );
            return Ok(answer.into_response());
        }
        let record = self.record(raw)?;
        let accepted = headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let encoding = Encoding::ALL
            .into_iter()
            .find(|encoding| accepted.contains(encoding.name()))
            .unwrap_or(Encoding::Identity);
        let etag = match encoding {
            Encoding::Identity => format!("\"{}\"", record.etag),
            coding => format!("\"{}-{}\"", record.etag, coding.name()),
        };
        let known = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let mut answer = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.body(&record, encoding).await?,
        };
        let age = now_ms.saturating_sub(record.checked_at_ms) / 1000;
        let fields: [(HeaderName, String); 4] = [
            (header::ETAG, etag),
            (header::AGE, age.to_string()),
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
            (header::VARY, "Authorization, Accept-Encoding".to_owned()),
        ];
        for (name, value) in fields {
            answer
                .headers_mut()
                .insert(name, HeaderValue::try_from(value)?);
        }
        Ok(answer)
    }

    fn record(&self, raw: Vec<u8>) -> Result<Arc<Current>, Unavailable> {
        let mut known = self.record.lock().map_err(|_| Unavailable)?;
        match &*known {
            Some((same, record)) if *same == raw => Ok(Arc::clone(record)),
            _ => {
                let record = Arc::new(Current::parse(&raw)?);
                *known = Some((raw, Arc::clone(&record)));
                Ok(record)
            }
        }
    }

    fn kept(&self, generation: u64, encoding: Encoding) -> Result<Option<Bytes>, Unavailable> {
        let kept = self.bodies.lock().map_err(|_| Unavailable)?;
        let found = kept
            .iter()
            .find(|kept| kept.0 == generation && kept.1 == encoding);
        Ok(found.map(|kept| kept.2.clone()))
    }

    async fn body(
        self: &Arc<Self>,
        record: &Current,
        encoding: Encoding,
    ) -> Result<Response, Unavailable> {
        let body = record.report.get(encoding).ok_or(Unavailable)?;
        let generation = record.generation;
        let key = move |keys: &Keys, n| keys.block(generation, Document::Report, encoding, n);
        let mut answer = if body.blocks() == 1 {
            let bytes = match self.kept(generation, encoding)? {
                Some(bytes) => bytes,
                None => {
                    let read: Vec<u8> = self.redis.clone().get(key(&self.keys, 0)).await?;
                    let bytes = Bytes::from(read);
                    let mut kept = self.bodies.lock().map_err(|_| Unavailable)?;
                    kept.push((generation, encoding, bytes.clone()));
                    bytes
                }
            };
            Response::new(Body::from(bytes))
        } else {
            let app = Arc::clone(self);
            let blocks = stream::try_unfold(0, move |n| {
                let app = Arc::clone(&app);
                async move {
                    if n == body.blocks() {
                        return Ok(None);
                    }
                    let block: Vec<u8> = app.redis.clone().get(key(&app.keys, n)).await?;
                    Ok::<_, redis::RedisError>(Some((Bytes::from(block), n + 1)))
                }
            });
            Response::new(Body::from_stream(blocks))
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.bytes));
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if encoding != Encoding::Identity {
            headers.insert(
                header::CONTENT_ENCODING,
                HeaderValue::from_static(encoding.name()),
            );
        }
        Ok(answer)
    }
}
