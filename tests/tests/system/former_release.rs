//! What the former release has left, in Redis and in the history, is of use: it is served and rebuilt by
//! this one. Its record had format 1, without a timeline and without a summary. What is in the folder beside
//! this file was written by that release's refresher.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::contract::document::{Document, Encoding};
use domain::contract::record::{Current, VERSION};
use end_to_end::{
    Process, Redis, TempDir, Upstream, host, keys, manifest, refresher, stored_snapshot, until,
};
use serde_json::json;

const BOUND: Duration = Duration::from_secs(30);

/// After the only refresh that its history has.
const AT: &str = "2026-11-26T02:30:00Z";

fn folder() -> PathBuf {
    let root = manifest();
    let root = root.parent().expect("the manifest is in a folder");
    root.join("tests/tests/system/former_release")
}

/// All that it has left in Redis.
fn left() -> BTreeMap<String, Vec<u8>> {
    let json = fs::read(folder().join("redis.json")).expect("a file");
    let left: BTreeMap<String, String> = serde_json::from_slice(&json).expect("texts");
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("a text");
        u8::from_str_radix(pair, 16).expect("two digits")
    };
    let bytes = |text: String| text.as_bytes().chunks(2).map(byte).collect();
    left.into_iter()
        .map(|(key, text)| (key, bytes(text)))
        .collect()
}

/// The report that it served.
fn report() -> Vec<u8> {
    left()[&keys().block(1, Document::Report, Encoding::Identity, 0)].clone()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path() {
            path if path.is_dir() => copy(&path, &to),
            path => {
                fs::copy(path, to).expect("it can be copied");
            }
        }
    }
}

/// An upstream that answers nothing.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.fault("all", json!({"effect": "hang"})).await;
    upstream
}

/// Waits until a record of this release is there; the record.
async fn replaced(redis: &Redis) -> Current {
    until("it is served in this release's format", BOUND, async || {
        let mut connection = redis.connection().await;
        let raw: Option<Vec<u8>> = redis::cmd("GET")
            .arg(keys().current())
            .query_async(&mut connection)
            .await
            .expect("a value");
        Current::parse(&raw?).ok()
    })
    .await
}

#[tokio::test]
async fn its_snapshot_is_replaced_at_once_and_nothing_of_it_stays() {
    let (redis, upstream) = (Redis::start().await, upstream().await);
    let mut connection = redis.connection().await;
    let left = left();
    for (key, value) in &left {
        redis::cmd("SET")
            .arg(key)
            .arg(value)
            .exec_async(&mut connection)
            .await
            .expect("it is set");
    }
    let _refresher = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    let record = replaced(&redis).await;
    assert_eq!((record.version, record.generation), (VERSION, 2));
    let former = Current::parse_earlier(&left[&keys().current()]).expect("a record");
    assert_eq!(record.etag, former.etag);
    assert_eq!(record.checked_at_ms, former.checked_at_ms);
    assert!(record.is_stale() && record.recovered_at_ms.is_some());
    let error = record.identities.freshness.error.as_deref();
    assert!(error.is_some_and(|error| error.contains("earlier release")));

    let record = stored_snapshot(&redis).await;
    let reported: Vec<_> = record.types.iter().map(|kind| kind.priorities).collect();
    assert_eq!(reported[0], [1, 0, 0, 1]);
    for key in former.keys(&keys()) {
        let life: i64 = redis::cmd("PTTL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .expect("a number");
        // What was kept of upstream's answers is this snapshot's now.
        assert_eq!(life < 0, key.contains(":payload:"), "{key}");
    }
    let host = host(&redis, &[]).await;
    let served = host.client.get("/incidents").await;
    assert_eq!(served.body, report());
}

#[tokio::test]
async fn its_history_is_read_and_recovered_from() {
    let (redis, upstream) = (Redis::start().await, upstream().await);
    let history = TempDir::new().expect("a temporary folder");
    copy(&folder().join("history"), history.path());
    let place = history.path().to_string_lossy();
    let settings = [("HISTORY_STORE", place.as_ref()), ("RUST_LOG", "error")];
    let task = async |arguments: &[&str]| {
        let mut command = refresher(arguments, &redis, &upstream, &settings);
        let output = command.output().await.expect("it can be run");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        output.stdout
    };
    assert_eq!(task(&["replay", "--at", AT]).await, report());
    let listed = task(&["history", "--verify"]).await;
    let listed = String::from_utf8(listed).expect("a text");
    assert!(listed.contains("9 reported, 1 unattributed, 1 rejected"));
    let row = ["--type", "executable", "--where", "timestamp=1629939476"];
    let explained = task(&[&["explain", "--at", AT][..], &row].concat()).await;
    assert!(String::from_utf8_lossy(&explained).contains("86"));

    let _refresher = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    let record = replaced(&redis).await;
    assert!(record.generation > 1);
    let host = host(&redis, &[]).await;
    let served = host.client.get("/incidents").await;
    assert_eq!(served.body, report());
}
