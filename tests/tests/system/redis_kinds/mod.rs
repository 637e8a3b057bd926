//! Redis as operators run it: with passwords and rights, TLS, a Sentinel, a cluster, and too little
//! memory.

mod access;
mod clock;
mod cluster;
mod failover;
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use end_to_end::{
    Client, ID, PASSWORD, Process, Redis, Upstream, incidents_in, refresher, until, version_in,
};
use reqwest::Method;
use tokio::task::JoinHandle;

const BOUND: Duration = Duration::from_secs(60);

/// The report, where there is a whole one: else the answer says that the store is away, or it breaks
/// off, so that nobody takes it for whole.
async fn report(client: &Client) -> Option<Bytes> {
    let account = Some((ID, PASSWORD));
    let read = client.try_send(Method::GET, "/incidents", account, &[]);
    let answer = read.await.ok()?;
    if answer.status != 200 {
        let _ = answer.problem(503);
        return None;
    }
    Some(answer.body)
}

/// Waits until the report of `version` is served.
async fn serves(client: &Client, version: u64) {
    until("the version is served", BOUND, async || {
        let report = report(client).await?;
        (version_in(&report) == version).then_some(())
    })
    .await;
}

/// Reads the report over and over until told to stop: it must be whole, and no older than before. The
/// task ends with how often there was one.
fn read_on(client: Client) -> (Arc<AtomicBool>, JoinHandle<usize>) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let reader = tokio::spawn(async move {
        let (mut newest, mut whole) = (0, 0);
        while !told.load(Ordering::Relaxed) {
            let Some(report) = report(&client).await else {
                continue;
            };
            assert!(incidents_in(&report) > 1000);
            let version = version_in(&report);
            assert!(version >= newest, "{version} after {newest}");
            (newest, whole) = (version, whole + 1);
        }
        whole
    });
    (stop, reader)
}

/// The log of `refresher once` with these `settings`, which must fail.
async fn refused(redis: &Redis, upstream: &Upstream, settings: &[(&str, &str)]) -> String {
    let mut refresher = Process::start(refresher(&["once"], redis, upstream, settings));
    let status = refresher.exit(BOUND).await;
    assert_eq!(status.code(), Some(1), "{}", refresher.log());
    refresher.log()
}
