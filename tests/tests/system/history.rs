//! The history: what was served is served again when Redis is lost, and any moment can be rebuilt.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use bytes::Bytes;
use domain::contract::history::HistoryStatus;
use domain::contract::record::Current;
use end_to_end::{
    Answer, FIRST_VERSION, Host, Process, Redis, TempDir, Upstream, host, keys, mark,
    on_a_small_disk, refresher, stored_snapshot, until, version_in,
};
use serde_json::json;

const BOUND: Duration = Duration::from_secs(30);

/// A service that keeps a history.
struct Service {
    redis: Redis,
    upstream: Upstream,
    refresher: Process,
    host: Host,
    history: TempDir,
}

impl Service {
    /// Starts one, and waits until the first version of the report is recorded.
    async fn start() -> Self {
        let redis = Redis::start().await;
        let upstream = Upstream::start().await;
        mark(&upstream, FIRST_VERSION).await;
        let history = TempDir::new().expect("a temporary folder");
        let refresher = begin(&redis, &upstream, history.path());
        let service = Self {
            host: host(&redis, &[]).await,
            redis,
            upstream,
            refresher,
            history,
        };
        service.recorded(FIRST_VERSION).await;
        service
    }

    /// Waits until `version` is served and recorded; the report.
    async fn recorded(&self, version: u64) -> Answer {
        let answer = self.serves(version).await;
        let generation = stored_snapshot(&self.redis).await.generation;
        until("it is recorded", BOUND, async || {
            let names = self.manifests();
            let name = names.last()?.to_string_lossy().into_owned();
            name.contains(&format!("-{generation}-")).then_some(())
        })
        .await;
        answer
    }

    async fn serves(&self, version: u64) -> Answer {
        until("the version is served", BOUND, async || {
            let answer = self.host.client.get("/incidents").await;
            let is_it = answer.status == 200 && version_in(&answer.body) == version;
            is_it.then_some(answer)
        })
        .await
    }

    /// Redis comes back empty, upstream answers nothing, and a refresher begins anew.
    async fn starts_with_nothing_but_history(&mut self) {
        self.redis.stop().await;
        let hang = json!({"effect": "hang"});
        self.upstream.fault("all", hang).await;
        self.redis.start_again().await;
        self.refresher = begin(&self.redis, &self.upstream, self.history.path());
    }

    /// The manifests, the newest last.
    fn manifests(&self) -> Vec<PathBuf> {
        files(&self.history.path().join("manifests"))
    }

    /// What Redis is told of the history.
    async fn status(&self, what: &str, condition: impl Fn(&HistoryStatus) -> bool) {
        until(what, BOUND, async || {
            let mut connection = self.redis.connection().await;
            let told: Option<Vec<u8>> = redis::cmd("GET")
                .arg(keys().history())
                .query_async(&mut connection)
                .await
                .expect("a text");
            condition(&HistoryStatus::parse(&told?)?).then_some(())
        })
        .await;
    }

    /// Runs a task that looks into the history.
    async fn task(&self, arguments: &[&str]) -> Output {
        let folder = self.history.path().to_string_lossy();
        let settings = [("HISTORY_STORE", folder.as_ref()), ("RUST_LOG", "error")];
        let mut command = refresher(arguments, &self.redis, &self.upstream, &settings);
        command.output().await.expect("it can be run")
    }

    /// What a snapshot in Redis says of itself.
    async fn record(&self) -> Option<Current> {
        let mut connection = self.redis.connection().await;
        let raw: Option<Vec<u8>> = redis::cmd("GET")
            .arg(keys().current())
            .query_async(&mut connection)
            .await
            .expect("a text");
        raw.map(|raw| Current::parse(&raw).expect("a record"))
    }
}

fn begin(redis: &Redis, upstream: &Upstream, history: &Path) -> Process {
    let folder = history.to_string_lossy();
    let settings = [("HISTORY_STORE", folder.as_ref())];
    Process::start(on_a_small_disk(&refresher(
        &["run"],
        redis,
        upstream,
        &settings,
    )))
}

/// All files below a folder, by their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    // Something that is being written has not got its name yet.
    found.retain(|path| !path.to_string_lossy().contains('#'));
    found.sort_unstable();
    found
}

fn stdout(output: &Output) -> Bytes {
    Bytes::copy_from_slice(&output.stdout)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_last_snapshot_is_served_again_before_upstream_answers() {
    let mut service = Service::start().await;
    let before = service.recorded(FIRST_VERSION).await;
    let generation = stored_snapshot(&service.redis).await.generation;

    // All that remains is the history.
    service.refresher.kill().await;
    service.starts_with_nothing_but_history().await;
    let again = service.serves(FIRST_VERSION).await;
    assert_eq!(again.body, before.body);
    assert_eq!(again.header("etag"), before.header("etag"));
    assert_eq!(
        again.header("last-modified"),
        before.header("last-modified")
    );
    let record = stored_snapshot(&service.redis).await;
    assert!(record.recovered_at_ms.is_some(), "{record:?}");
    assert!(record.is_stale() && record.generation > generation);
    let recovered = |error: &Option<String>| {
        error
            .as_deref()
            .is_some_and(|error| error.contains("recovered"))
    };
    assert!(recovered(&record.identities.freshness.error), "{record:?}");
    assert!(recovered(&record.types[0].freshness.error), "{record:?}");

    service.upstream.mend("all").await;
    until("upstream confirms it", BOUND, async || {
        let record = service.record().await?;
        (record.recovered_at_ms.is_none() && !record.is_stale()).then_some(())
    })
    .await;
    let after = service.host.client.get("/incidents").await;
    assert_eq!(after.header("etag"), before.header("etag"));
}

#[tokio::test]
async fn a_refresher_that_lives_serves_again_what_redis_has_lost() {
    let mut service = Service::start().await;
    let before = service.recorded(FIRST_VERSION).await;
    service
        .upstream
        .fault("all", json!({"effect": "hang"}))
        .await;
    service.redis.stop().await;
    service.redis.start_again().await;
    let again = service.serves(FIRST_VERSION).await;
    assert_eq!(again.body, before.body);
    let record = stored_snapshot(&service.redis).await;
    assert!(record.recovered_at_ms.is_some(), "{record:?}");
    assert!(service.refresher.logged("Redis has lost the snapshot") > 0);
}

#[tokio::test]
async fn any_moment_is_rebuilt_byte_for_byte() {
    let service = Service::start().await;
    let mut served = Vec::new();
    for version in FIRST_VERSION..FIRST_VERSION + 4 {
        mark(&service.upstream, version).await;
        let report = service.recorded(version).await;
        let unattributed = service.host.client.get("/incidents/unattributed").await;
        let record = stored_snapshot(&service.redis).await;
        // The moment of its refresh is in the name of the newest manifest of this generation.
        served.push((record.checked_at_ms, report, unattributed));
    }
    // Answers that did not change are kept once: the map, six types, and four versions of the other.
    let objects = files(&service.history.path().join("objects"));
    assert_eq!(objects.len(), 1 + 6 + 4, "{objects:?}");
    for (at_ms, report, unattributed) in &served {
        // By then it was recorded.
        let at = format!("{}.{:03}", (at_ms + 200) / 1000, (at_ms + 200) % 1000);
        let replayed = service.task(&["replay", "--at", &at]).await;
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        assert_eq!(stdout(&replayed), report.body);
        let out = service.history.path().join("out.json");
        let file = out.to_string_lossy();
        let arguments = ["replay", "--at", &at, "--document", "unattributed", "--out"];
        let replayed = service.task(&[&arguments[..], &[&file]].concat()).await;
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        assert_eq!(fs::read(&out).expect("a file"), unattributed.body);
    }
    // A row of the past is explained by the past.
    let (at_ms, report, _) = &served[0];
    let at = format!("{}.{:03}", (at_ms + 200) / 1000, (at_ms + 200) % 1000);
    let of_old = format!("version={}", version_in(&report.body));
    let asked = ["explain", "--type", "other", "--where", &of_old];
    let explained = service.task(&[&asked[..], &["--at", &at]].concat()).await;
    assert!(explained.status.success(), "{}", stderr(&explained));
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains(&of_old["version=".len()..]), "{text}");
    assert_eq!(service.task(&asked).await.status.code(), Some(1));

    let nothing = service.task(&["replay", "--at", "1000"]).await;
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        stderr(&nothing).contains("nothing at or before"),
        "{nothing:?}"
    );

    let list = service
        .task(&["history", "--verify", "--limit", "1000"])
        .await;
    assert!(list.status.success(), "{}", stderr(&list));
    let list = String::from_utf8(list.stdout).expect("a text");
    for (_, report, _) in &served {
        assert!(
            list.contains(report.header("etag").trim_matches('"')),
            "{list}"
        );
    }
}

#[tokio::test]
async fn whatever_is_damaged_is_told_and_passed_over() {
    let mut service = Service::start().await;
    let first = service.recorded(FIRST_VERSION).await;
    mark(&service.upstream, FIRST_VERSION + 1).await;
    let known = files(&service.history.path().join("objects"));
    let count = |service: &Service| files(&service.history.path().join("objects")).len();
    service.recorded(FIRST_VERSION + 1).await;
    // Two refreshes of the second version: one is to be torn, and the other to miss an answer.
    let recorded = service.manifests().len();
    until("another refresh is recorded", BOUND, async || {
        (service.manifests().len() > recorded).then_some(())
    })
    .await;
    service.refresher.kill().await;
    assert_eq!(count(&service), known.len() + 1);
    let newest = files(&service.history.path().join("objects"))
        .into_iter()
        .find(|path| !known.contains(path))
        .expect("an answer that only the second version has");
    let whole = fs::read(&newest).expect("a file");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    for (damage, told) in [
        (Some(&flipped[..]), "damaged"),
        (Some(&whole[..whole.len() / 2]), "damaged"),
        (None, "missing"),
    ] {
        match damage {
            Some(bytes) => fs::write(&newest, bytes).expect("it can be written"),
            None => fs::remove_file(&newest).expect("it is there"),
        }
        let list = service.task(&["history", "--verify"]).await;
        assert_eq!(list.status.code(), Some(1));
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        assert!(
            list.contains("cannot be rebuilt") && list.contains(told),
            "{list}"
        );
        let replayed = service.task(&["replay", "--at", "99999999999"]).await;
        assert_eq!(replayed.status.code(), Some(1));
        assert!(stderr(&replayed).contains(told), "{}", stderr(&replayed));
        assert!(replayed.stdout.is_empty());
    }
    // Torn manifests as well: what is whole is served, and that is the first version.
    let manifest = service.manifests().pop().expect("a manifest");
    let bytes = fs::read(&manifest).expect("a file");
    fs::write(&manifest, &bytes[..bytes.len() / 2]).expect("it can be written");
    service.starts_with_nothing_but_history().await;
    let again = service.serves(FIRST_VERSION).await;
    assert_eq!(again.body, first.body);
    let log = service.refresher.log();
    assert!(
        log.contains("passed over") && log.contains("is missing"),
        "{log}"
    );
    assert!(log.contains("is damaged"), "{log}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_costs_no_refresh() {
    let service = Service::start().await;
    service.status("all is well", |s| s.error.is_none()).await;
    service.refresher.limit_files(Some(0));
    mark(&service.upstream, FIRST_VERSION + 1).await;
    service.serves(FIRST_VERSION + 1).await;
    service
        .status("it is told", |s| {
            let told = s.error.as_deref().unwrap_or_default();
            s.failures > 0 && told.contains("store fails")
        })
        .await;
    mark(&service.upstream, FIRST_VERSION + 2).await;
    service.serves(FIRST_VERSION + 2).await;
    service.refresher.limit_files(None);
    service
        .status("all is well again", |s| s.error.is_none())
        .await;
    service.recorded(FIRST_VERSION + 2).await;
    let list = service.task(&["history", "--verify"]).await;
    assert!(list.status.success(), "{}", stderr(&list));
}

#[tokio::test]
async fn the_history_is_for_its_user_alone() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let folder = TempDir::new().expect("a temporary folder");
    let history = folder.path().join("kept/here");
    let settings = [("HISTORY_STORE", history.to_str().expect("a text"))];
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &settings));
    assert!(once.exit(BOUND).await.success(), "{}", once.log());
    let (mut left, mut files) = (vec![history], 0);
    while let Some(path) = left.pop() {
        let found = fs::metadata(&path).expect("it is there");
        let mode = found.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        if found.is_dir() {
            let entries = fs::read_dir(path).expect("a folder");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            files += 1;
        }
    }
    assert!(files > 8, "{files}");
}
