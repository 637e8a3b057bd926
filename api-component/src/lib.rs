//! The Spin component: answers HTTP by reading what the refresher left in Redis.
//!
//! All work that can be done once per refresh was done by the refresher: what is left is to check,
//! to read and to copy. A request passes these modules in turn, and each may end it with a
//! [`problem`]:
//!
//! ```text
//! router → limit → auth → snapshot → respond
//! ```
//!
//! - [`router`]: which resource is meant; [`limit`]: whether this client may ask again; [`auth`]:
//!   whether it knows the password; [`snapshot`]: what is served; [`respond`]: the answer, a module
//!   for each kind of resource, by way of [`negotiate`] (the coding), [`conditional`] (304) and
//!   [`cache`] (bodies that the instance has already).
//! - [`timeline`] answers questions about incidents of all employees.
//! - [`store`] is the one module that talks to Redis; [`config`] reads the settings.
//! - [`incoming`] takes a request from the host; [`reply`] is an answer, [`problem`] one that is an error,
//!   [`exposition`] writes metrics, [`outgoing`] hands an answer to the host.
//!
//! Invariants:
//!
//! - A request is counted and its credential checked before anything of the snapshot is told.
//! - One round trip to Redis, but for bodies that the instance has not cached, for questions to the
//!   timeline, for the state of the service, and for credentials that have to be checked by hashing.
//! - Nothing waits for Redis without a deadline: within a second, an answer has begun or is a 503.
//! - An instance serves many requests, some at the same time, and may vanish after any of them. What
//!   it keeps (a connection, the last record, some bodies, a verified credential) only saves work.

mod auth;
mod cache;
mod conditional;
mod config;
mod exposition;
mod incoming;
mod limit;
mod negotiate;
mod outgoing;
mod problem;
mod reply;
mod respond;
mod router;
mod snapshot;
mod store;
mod timeline;

use std::rc::Rc;

use http::Method;
use http::request::Parts;
use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};

use auth::Credential;
use limit::Admitted;
use problem::Problem;
use reply::Reply;
use respond::{dashboard, document, employee, health, metrics, openapi, shutdown, status};
use router::{Resource, Route};
use snapshot::Snapshot;
use store::{Store, StoreError};

/// Exports [`handle`] as `wasi:http/handler`. `spin_sdk::http_service` would do that too, but asks the host for
/// all that there is of a request, and converts it.
// Natively, where the unit tests run, a linker does not take the name under which a component exports it.
#[cfg(target_arch = "wasm32")]
mod export {
    use spin_sdk::wasip3::exports::http::handler::Guest;
    use spin_sdk::wasip3::http::service;
    use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};

    struct Component;

    service::export!(Component);

    impl Guest for Component {
        async fn handle(request: Request) -> Result<Response, ErrorCode> {
            super::handle(request).await
        }
    }
}

/// Answers a request.
///
/// # Errors
/// When no answer can be made at all.
pub async fn handle(request: Request) -> Result<Response, ErrorCode> {
    let head = incoming::head(&request)?;
    drop(request);
    let mut reply = answer(&head).await.unwrap_or_else(Reply::from);
    if head.method == Method::HEAD {
        reply = reply.without_body();
    }
    // A field's value that HTTP does not know comes from what was read.
    outgoing::send(reply)
        .or_else(|_| outgoing::send(Reply::from(Problem::from(StoreError::Damaged))))
}

async fn answer(request: &Parts) -> Result<Reply, Problem> {
    match router::route(&request.method, request.uri.path())? {
        Route::Healthz => Ok(health::alive()),
        Route::Readyz => health::ready().await,
        Route::Openapi => openapi::respond(request).await,
        Route::Protected(resource) => protected(request, resource).await,
    }
}

async fn protected(request: &Parts, resource: Resource<'_>) -> Result<Reply, Problem> {
    let config = config::load().await?;
    let mut store = Store::new(config.location.clone());
    let scope = limit::scope(resource, &request.headers, &config.settings);
    let credential = Credential::of(&request.headers, &config.account);
    let (check, mac) = (credential.check(), credential.mac());
    let Admitted {
        now_ms,
        current,
        right,
    } = limit::admit(&mut store, &scope, check, mac.as_deref()).await?;
    auth::check(&mut store, &scope, &credential, &config.account, right).await?;
    match resource {
        Resource::Document(document) => {
            let snapshot = snapshot(&mut store, &config, current).await?;
            document::respond(request, store, snapshot, now_ms, document).await
        }
        Resource::Employee(id) => {
            let snapshot = snapshot(&mut store, &config, current).await?;
            employee::respond(request, store, snapshot, now_ms, id).await
        }
        Resource::Timeline => {
            let snapshot = snapshot(&mut store, &config, current).await?;
            let settings = &config.settings;
            respond::timeline::respond(request, store, snapshot, now_ms, settings).await
        }
        Resource::Dashboard => dashboard::respond(request, None),
        Resource::DashboardFile(path) => dashboard::respond(request, Some(path)),
        Resource::Status => {
            let snapshot = snapshot::read(current)?;
            let record = snapshot.as_ref().map(|snapshot| &snapshot.record);
            let reports = store.reports().await?;
            Ok(status::respond(record, &reports, now_ms))
        }
        Resource::Metrics => {
            let snapshot = snapshot::read(current)?;
            let record = snapshot.as_ref().map(|snapshot| &snapshot.record);
            let (reports, counts) = (store.reports().await?, store.counts().await?);
            Ok(metrics::respond(record, &reports, &counts, now_ms))
        }
        Resource::Shutdown => {
            shutdown::respond(request, &mut store, &config.settings, now_ms).await
        }
    }
}

/// The snapshot whose record an admission brought along, or the very first one.
async fn snapshot(
    store: &mut Store,
    config: &config::Config,
    record: Vec<u8>,
) -> Result<Rc<Snapshot>, Problem> {
    match snapshot::read(record)? {
        Some(snapshot) => Ok(snapshot),
        None => snapshot::first(store, config.settings.snapshot_wait).await,
    }
}
