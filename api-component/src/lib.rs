//! The Spin component: answers HTTP by reading what the refresher left in Redis.
//!
//! A request goes from station to station, a module each, and any of them may end its way with a
//! problem: [`router`] → [`limit`] → [`auth`] → [`snapshot`] → [`respond`]. Only [`store`] talks
//! to Redis. All work that can be done once per refresh was done by the refresher: what is left is
//! to check, to read and to copy.
//!
//! An instance serves many requests, some of them at the same time, and may vanish after any of
//! them. What it keeps between them (a connection, the last record, some bodies, a verified
//! credential) only saves work.

mod auth;
mod bodies;
mod conditional;
mod config;
mod limit;
mod negotiate;
mod outgoing;
mod problem;
mod reply;
mod respond;
mod router;
mod snapshot;
mod store;

use std::rc::Rc;

use domain::contract::scripts::Admission;
use http::Method;
use http::request::Parts;
use spin_sdk::http::Request;
use spin_sdk::http_service;
use spin_sdk::wasip3::http::types::{ErrorCode, Response};

use auth::{Attempt, Verdict};
use limit::Scope;
use problem::Problem;
use reply::Reply;
use respond::{document, employee, health, shutdown, status};
use router::{Resource, Route};
use snapshot::Snapshot;
use store::Store;

/// Answers a request. What it may carry in its body is not looked at.
#[http_service]
async fn handle(request: Request) -> Result<Response, ErrorCode> {
    let (request, _) = request.into_parts();
    let mut reply = answer(&request).await.unwrap_or_else(Reply::from);
    if request.method == Method::HEAD {
        reply = reply.without_body();
    }
    outgoing::send(reply)
}

async fn answer(request: &Parts) -> Result<Reply, Problem> {
    match router::route(&request.method, request.uri.path())? {
        Route::Healthz => Ok(health::alive()),
        Route::Readyz => health::ready().await,
        Route::Protected(resource) => protected(request, resource).await,
    }
}

async fn protected(request: &Parts, resource: Resource<'_>) -> Result<Reply, Problem> {
    let config = config::load().await?;
    let mut store = Store::new(config.clone());
    let scope = Scope::of(resource, &request.headers, &config.settings);
    let attempt = Attempt::of(&request.headers, &config.account);
    let memory = attempt.memory();
    let (now_ms, current, verified) =
        match store.admit(&scope, attempt.knowledge(), &memory).await? {
            Admission::Admitted {
                now_ms,
                current,
                verified,
            } => (now_ms, current, verified),
            Admission::RateLimited { limit, wait_ms } => return Err(scope.too_many(limit, wait_ms)),
            Admission::LockedOut { wait_ms } => return Err(limit::locked_out(wait_ms)),
        };
    match attempt.check(&config.account, verified) {
        Verdict::Refused => return Err(auth::refusal()),
        Verdict::RefusedAtFullPrice => {
            store.renew_patience();
            // What cannot be counted is not told either: who makes Redis fail could guess on.
            store.note_failure(&scope).await?;
            return Err(auth::refusal());
        }
        Verdict::Accepted => {}
        Verdict::AcceptedAtFullPrice => {
            // The check may have taken all the time there was. If this fails, the next request is
            // checked at full price again.
            store.renew_patience();
            let _ = store.remember(&scope, &memory).await;
        }
    }
    match resource {
        Resource::Document(document) => {
            let snapshot = snapshot(&mut store, &config, current).await?;
            document::respond(request, store, snapshot, now_ms, document).await
        }
        Resource::Employee(id) => {
            let snapshot = snapshot(&mut store, &config, current).await?;
            employee::respond(request, store, snapshot, now_ms, id).await
        }
        Resource::Status => {
            let snapshot = snapshot::read(current)?;
            let record = snapshot.as_ref().map(|snapshot| &snapshot.record);
            let reports = store.reports().await?;
            Ok(status::respond(record, &reports, now_ms))
        }
        Resource::Shutdown => shutdown::respond(request, &mut store, &config.settings).await,
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
