//! What a whole snapshot is: as clients get it, and as it lies in Redis.

use std::collections::{BTreeMap, HashSet};

use domain::contract::keys::Keys;
use domain::contract::record::Current;
use redis::Pipeline;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::redis::Redis;
use crate::upstream::Upstream;

/// The hash tag of the keys, where nothing else was configured.
pub const PREFIX: &str = "incidents";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Groups {
    low: Group,
    medium: Group,
    high: Group,
    critical: Group,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    count: u64,
    incidents: Vec<IgnoredAny>,
}

/// Checks that `body` is a report whose counts are right, and counts its incidents.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn incidents_in(body: &[u8]) -> u64 {
    let report: BTreeMap<String, Groups> =
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("not a report: {error}"));
    let groups = report.values().flat_map(|employee| {
        [
            &employee.low,
            &employee.medium,
            &employee.high,
            &employee.critical,
        ]
    });
    let counts = groups.map(|group| {
        assert_eq!(group.count, group.incidents.len() as u64);
        group.count
    });
    counts.sum()
}

/// The first of the versions of a report that a test tells apart; they all have as many digits.
pub const FIRST_VERSION: u64 = 1_000_000;

/// Serves a row that tells the report's version, in place of all of the type `other`.
///
/// # Panics
/// When the upstream refuses it.
pub async fn mark(upstream: &Upstream, version: u64) {
    let row = json!({"priority": "low", "identifier": 1, "timestamp": 1, "version": version});
    upstream.serve_rows("other", &[row]).await;
}

/// The version that a report tells.
///
/// # Panics
/// When it tells none.
#[must_use]
pub fn version_in(report: &[u8]) -> u64 {
    let report = std::str::from_utf8(report).expect("a text");
    let (_, rest) = report.split_once("\"version\":").expect("a version");
    let (version, _) = rest.split_once('}').expect("an object");
    version.parse().expect("a number")
}

/// The names of the keys of the service under test.
#[must_use]
pub fn keys() -> Keys {
    Keys::new(PREFIX)
}

/// Checks that the snapshot in `redis` is whole and stays, and that what belongs to no snapshot
/// goes by itself; the record of it.
///
/// # Panics
/// When it is not so.
pub async fn stored_snapshot(redis: &Redis) -> Current {
    let mut connection = redis.connection().await;
    let mut current = redis::cmd("GET");
    current.arg(keys().current());
    loop {
        let raw: Vec<u8> = current.query_async(&mut connection).await.expect("a value");
        let record = Current::parse(&raw).expect("a record");
        let own: HashSet<String> = record.keys(&keys()).into_iter().collect();
        let all: Vec<String> = redis::cmd("KEYS")
            .arg(format!("{{{PREFIX}}}:*"))
            .query_async(&mut connection)
            .await
            .expect("names");
        let parts: Vec<&String> = all.iter().filter(|key| is_part(key)).collect();
        let mut lives = Pipeline::new();
        for key in own.iter().chain(parts.iter().copied()) {
            lives.pttl(key);
        }
        let lives: Vec<i64> = lives.query_async(&mut connection).await.expect("lives");
        let after: Vec<u8> = current.query_async(&mut connection).await.expect("a value");
        if after != raw {
            // Another one was published meanwhile.
            continue;
        }
        for (key, life) in own.iter().chain(parts).zip(lives) {
            match own.contains(key) {
                true => assert_eq!(life, -1, "{key} of the current snapshot is gone or will go"),
                false => assert_ne!(life, -1, "{key} belongs to nothing and stays for ever"),
            }
        }
        return record;
    }
}

/// Whether a key is a body's or a kept answer's.
fn is_part(key: &str) -> bool {
    let rest = key.split_once(":").map_or("", |(_, rest)| rest);
    rest.starts_with("payload:") || rest.starts_with(|first: char| first.is_ascii_digit())
}
