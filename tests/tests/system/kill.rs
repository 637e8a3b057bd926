//! The refresher is killed in the middle of a publish, as by a power failure: readers never notice.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::contract::document::{Document, Encoding};
use domain::contract::record::{Current, VERSION};
use domain::settings::credentials::Secret;
use end_to_end::{
    Client, FIRST_VERSION, PREFIX, Process, Proxy, Redis, Signal, System, Upstream, host,
    incidents_in, keys, mark, refresher, stored_snapshot, until, version_in,
};
use refresher::leadership::lease::Lease;
use refresher::refresh::publish::{Block, Publisher, Snapshot};
use refresher::store::Store;
use reqwest::Method;
use serde_json::json;
use tokio::time::timeout;

/// Cuts that are spread evenly over the publish.
const EVEN: u64 = 14;

/// The last bytes of a publish, in which the snapshot becomes the current one, and the size of the
/// steps in which they are gone through.
const END: u64 = 9000;
const STEP: u64 = 900;

const BOUND: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_is_cut_off_anywhere_leaves_a_whole_snapshot() {
    let upstream = Upstream::start_with(&["--per-type", "4000"]).await;
    let redis = Redis::start().await;
    let mut version = FIRST_VERSION;
    mark(&upstream, version).await;
    once(&redis, &upstream, &redis.url()).await;
    let host = host(&redis, &[]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_on(host.client.clone(), Arc::clone(&stop)));

    version += 1;
    mark(&upstream, version).await;
    let proxy = Proxy::start(&redis).await;
    once(&redis, &upstream, proxy.url()).await;
    let whole = proxy.sent();
    assert!(whole > 500_000, "{whole} bytes are too few steps");

    let mut last = stored_snapshot(&redis).await;
    let mut records = HashMap::from([(last.etag.clone(), last.totals().reported)]);
    let (mut before_the_flip, mut after_it) = (0, 0);
    let even = (1..=EVEN).map(|part| whole * part / (EVEN + 1));
    let end = (0..=END / STEP).map(|step| whole - END + step * STEP);
    let behind = [whole + STEP, whole + 3 * STEP];
    for cut in even.chain(end).chain(behind) {
        // Something new, so that there is a whole report to publish, of the same size.
        version += 1;
        mark(&upstream, version).await;
        let proxy = Proxy::cut_after(&redis, cut).await;
        let settings = [("REDIS_URL", proxy.url())];
        let mut refresher = Process::start(refresher(&["run"], &redis, &upstream, &settings));
        timeout(BOUND, proxy.cut())
            .await
            .unwrap_or_else(|_| panic!("not {cut} bytes: {}", refresher.log()));
        refresher.kill().await;
        drop(proxy);
        let found = stored_snapshot(&redis).await;
        records.insert(found.etag.clone(), found.totals().reported);
        assert!(found.generation >= last.generation);
        if found.generation == last.generation {
            before_the_flip += 1;
        } else {
            after_it += 1;
        }
        last = found;
        end_lease(&redis).await;
    }
    eprintln!("killed {before_the_flip} times before the flip, {after_it} times after it");
    assert!(before_the_flip >= 20, "{before_the_flip}");
    assert!(after_it >= 1, "{after_it}");
    let (staged, published) = (generations(&redis).await, after_it + 2);
    assert!(staged > published, "nothing was left behind: {staged}");

    // Whoever comes next takes up the work, as if nothing had been.
    version += 1;
    mark(&upstream, version).await;
    once(&redis, &upstream, &redis.url()).await;
    let newest = stored_snapshot(&redis).await;
    assert!(newest.generation > last.generation);
    until("the newest is served", BOUND, async || {
        let answer = host.client.get("/incidents").await;
        (answer.header("etag") == format!("\"{}\"", newest.etag)).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let seen = reader.await.expect("the reader saw only whole snapshots");
    assert!(seen.len() > 1, "{seen:?}");
    for (etag, incidents) in seen {
        if let Some(reported) = records.get(&etag) {
            assert_eq!(incidents, *reported, "{etag}");
        }
    }
}

/// Of how many generations there is something in Redis, published or not.
async fn generations(redis: &Redis) -> usize {
    let mut connection = redis.connection().await;
    let pattern = "{incidents}:*:report:*:0";
    let names: Vec<String> = redis::cmd("KEYS")
        .arg(pattern)
        .query_async(&mut connection)
        .await
        .expect("names");
    let generations = names.iter().map(|name| name.split(':').nth(1));
    generations.collect::<HashSet<_>>().len()
}

/// One refresh, from which the lease is given back.
async fn once(redis: &Redis, upstream: &Upstream, url: &str) {
    let settings = [("REDIS_URL", url)];
    let mut refresher = Process::start(refresher(&["once"], redis, upstream, &settings));
    let status = refresher.exit(BOUND).await;
    assert!(status.success(), "{}", refresher.log());
}

/// Lets the lease of a killed refresher run out. Another test waits for that.
async fn end_lease(redis: &Redis) {
    let mut connection = redis.connection().await;
    redis::cmd("HSET")
        .arg(keys().lease())
        .arg("expires_ms")
        .arg(0)
        .exec_async(&mut connection)
        .await
        .expect("it is a hash");
}

/// Reads the report over and over, in each coding, until told to `stop`: each time it must be
/// whole, be what its entity tag stands for, and no older than before. How many incidents there
/// were under each tag.
async fn read_on(client: Client, stop: Arc<AtomicBool>) -> HashMap<String, u64> {
    let hasher = RandomState::new();
    let mut seen: HashMap<String, (u64, u64)> = HashMap::new();
    let mut newest = 0;
    for coding in ["identity", "gzip", "zstd", "br"].iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let accept = [("accept-encoding", *coding)];
        let answer = client.send(Method::GET, "/incidents", &accept).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let etag = answer.header("etag").trim_matches('"');
        let etag = etag.strip_suffix(&format!("-{coding}")).unwrap_or(etag);
        let body = answer.decoded();
        let hash = hasher.hash_one(&body);
        let known = seen.get(etag).copied();
        let (expected, incidents) = known.unwrap_or_else(|| (hash, incidents_in(&body)));
        assert_eq!(hash, expected, "{etag} stands for two reports");
        let version = version_in(&body);
        assert!(version >= newest, "{version} after {newest}");
        newest = version;
        seen.insert(etag.to_owned(), (hash, incidents));
    }
    let hashes: HashSet<u64> = seen.values().map(|(hash, _)| *hash).collect();
    assert_eq!(hashes.len(), seen.len(), "one report under two tags");
    seen.into_iter()
        .map(|(etag, (_, incidents))| (etag, incidents))
        .collect()
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_is_killed() {
    let mut system = System::start().await;
    let standby = standby(&system).await;
    let before = system.host.client.get("/status").await.json();

    let killed = Instant::now();
    let former = leader(&system.redis).await;
    system.refresher.kill().await;
    until("the second leads", BOUND, async || {
        (leader(&system.redis).await != former).then_some(())
    })
    .await;
    // A lease runs for 4 s, and is tried for four times a second.
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let row = json!({"priority": "low", "reported_by": 7, "timestamp": 1.5});
    system.upstream.serve_rows("denial", &[row]).await;
    let after = system
        .status("the second has published", |status| {
            status["snapshot"]["types"][0]["fetched"] == 1
        })
        .await;
    // And refreshes at once; the rest is for a busy machine.
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(standby.logged(" token="), 1, "{}", standby.log());
    let generation = |status: &serde_json::Value| status["snapshot"]["generation"].as_u64();
    assert!(generation(&after) > generation(&before), "{after}");
    stored_snapshot(&system.redis).await;
}

#[tokio::test]
async fn a_standby_takes_over_at_once_when_the_leader_ends() {
    let mut system = System::start().await;
    let _standby = standby(&system).await;
    let former = leader(&system.redis).await;
    system.refresher.signal(Signal::TERM);
    assert!(system.refresher.exit(BOUND).await.success());
    let ended = Instant::now();
    until("the second leads", BOUND, async || {
        let now = leader(&system.redis).await;
        (now != former && !now.is_empty()).then_some(())
    })
    .await;
    let took = ended.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// A second refresher, which stands by.
async fn standby(system: &System) -> Process {
    let standby = Process::start(refresher(&["run"], &system.redis, &system.upstream, &[]));
    until("the second stands by", BOUND, async || {
        (standby.logged("stands by") > 0).then_some(())
    })
    .await;
    standby
}

/// Who leads, by what Redis says; empty for nobody.
async fn leader(redis: &Redis) -> String {
    redis.ask(&format!("HGET {} holder", keys().lease())).await
}

/// The publish was carried out, but its answer was lost: when it is tried again, all blocks are staged anew, which
/// expire, and none of them may.
#[tokio::test]
async fn a_publish_whose_answer_was_lost_stays_when_it_is_tried_again() {
    let redis = Redis::start().await;
    let url = Secret::new(redis.url());
    let store = Arc::new(Store::new(&url, PREFIX).expect("an address"));
    let leadership = Lease::seek(Arc::clone(&store)).gained().await;
    let mut publishers = [0, 1].map(|_| Publisher::new(Arc::clone(&store), BOUND));
    for publisher in &mut publishers {
        publisher.reload().await.expect("Redis answers");
    }
    let generation = publishers[0].next_generation().await.expect("a number");
    let keys = keys();
    let record = format!(
        r#"{{"version":{VERSION},"generation":{generation},"etag":"e","published_at_ms":1,
        "checked_at_ms":1,"employees":0,"report":{{}},"unattributed":{{}},"rejected":{{}},
        "types":[],"identities":{{"entries":0,"rejected":0,"stale":false}}}}"#
    );
    let mut record = Current::parse(record.as_bytes()).expect("a record");
    record.report.set(Encoding::Identity, 2);
    let block = keys.block(generation, Document::Report, Encoding::Identity, 0);
    let bodies = [(keys.employees(generation), ""), (block, "{}")];
    // Neither knows of a snapshot: the second is in the place of the first, which got no answer.
    for publisher in &mut publishers {
        let bodies = bodies.iter().map(|(key, value)| Block {
            key: key.clone(),
            value: Bytes::from_static(value.as_bytes()),
        });
        let snapshot = Snapshot {
            record: record.clone(),
            bodies: bodies.collect(),
            payloads: Vec::new(),
            counted: Vec::new(),
        };
        let deadline = tokio::time::Instant::now() + BOUND;
        let published = publisher.publish(&leadership, snapshot, deadline).await;
        published.expect("it is published");
        assert_eq!(stored_snapshot(&redis).await, record);
    }
}
