//! The history in a bucket, at a real S3 server that checks every signature.

use std::fs;
use std::path::Path;
use std::time::Duration;

use domain::contract::history::HistoryStatus;
use end_to_end::{
    Answer, Certificates, FIRST_VERSION, Host, Process, Redis, TempDir, Upstream, host, keys, mark,
    program, refresher, stored_snapshot, until, version_in,
};
use serde_json::json;
use tokio::process::Command;

const BOUND: Duration = Duration::from_secs(60);

/// Where the history is kept: a bucket, and a prefix in it.
const STORE: &str = "s3://incidents/of/ours";

/// The one account of the server.
const ACCOUNT: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "historian"),
    ("AWS_SECRET_ACCESS_KEY", "canary-s3"),
];

/// An S3 server with a bucket.
struct S3 {
    process: Process,
    url: String,
    buckets: TempDir,
}

impl S3 {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With the server's certificate of `certificates`, it speaks TLS.
    async fn start_with(certificates: Option<&Certificates>) -> Self {
        let buckets = TempDir::new().expect("a temporary folder");
        fs::create_dir(buckets.path().join("incidents")).expect("the folder is ours");
        let (process, url) = Self::launch(buckets.path(), "127.0.0.1:0", certificates).await;
        Self {
            process,
            url,
            buckets,
        }
    }

    async fn launch(
        buckets: &Path,
        listen: &str,
        certificates: Option<&Certificates>,
    ) -> (Process, String) {
        let mut command = Command::new(program("test-s3"));
        command.arg("--root").arg(buckets);
        command.args(["--listen", listen]).envs(ACCOUNT);
        if let Some(certificates) = certificates {
            command.arg("--certificate").arg(certificates.bundle());
        }
        let mut process = Process::start(command);
        let url = process.ready().await;
        (process, url)
    }

    /// Starts it again at the same address, with all that it had.
    async fn start_again(&mut self) {
        let listen = self.url.trim_start_matches("http://").to_owned();
        (self.process, self.url) = Self::launch(self.buckets.path(), &listen, None).await;
    }

    /// The settings of who keeps the history here, with these keys.
    fn settings<'a>(&'a self, account: [(&'a str, &'a str); 2]) -> Vec<(&'a str, &'a str)> {
        let place = [
            ("HISTORY_STORE", STORE),
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("AWS_REGION", "us-east-1"),
        ];
        place.into_iter().chain(account).collect()
    }
}

async fn serves(host: &Host, version: u64) -> Answer {
    until("the version is served", BOUND, async || {
        let answer = host.client.get("/incidents").await;
        let is_it = answer.status == 200 && version_in(&answer.body) == version;
        is_it.then_some(answer)
    })
    .await
}

/// Waits until Redis is told of the history what is meant.
async fn history(redis: &Redis, what: &str, condition: impl Fn(&HistoryStatus) -> bool) {
    until(what, BOUND, async || {
        let told: Option<String> = redis.ask(&format!("GET {}", keys().history())).await;
        condition(&HistoryStatus::parse(told?.as_bytes())?).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bucket_recovers_the_service_and_tells_the_past() {
    let (s3, upstream) = (S3::start().await, Upstream::start().await);
    let mut redis = Redis::start().await;
    let settings = s3.settings(ACCOUNT);
    let host = host(&redis, &[]).await;
    let mut filling = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    let mut served = Vec::new();
    for version in FIRST_VERSION..FIRST_VERSION + 2 {
        mark(&upstream, version).await;
        let report = serves(&host, version).await;
        let at_ms = stored_snapshot(&redis).await.checked_at_ms;
        history(&redis, "it is recorded", |history| {
            assert_eq!(history.store, "s3");
            history.error.is_none() && history.recorded_ms >= Some(at_ms)
        })
        .await;
        served.push((at_ms + 200, report));
    }
    filling.kill().await;
    redis.stop().await;
    upstream.fault("all", json!({"effect": "hang"})).await;
    redis.start_again().await;
    let _again = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    let newest = serves(&host, FIRST_VERSION + 1).await;
    assert_eq!(newest.header("incidents-recovered"), "?1");
    assert_eq!(newest.body, served[1].1.body);

    for (at_ms, report) in &served {
        let at = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
        let mut replay = refresher(&["replay", "--at", &at], &redis, &upstream, &settings);
        let replayed = replay.output().await.expect("it can be run");
        assert!(replayed.status.success(), "{replayed:?}");
        assert!(replayed.stdout == report.body, "another report at {at}");
    }
    let mut list = refresher(&["history", "--verify"], &redis, &upstream, &settings);
    let list = list.output().await.expect("it can be run");
    assert!(list.status.success(), "{list:?}");
    assert!(list.stdout.len() > 100);
}

#[tokio::test]
async fn a_bucket_that_refuses_or_is_away_is_told_and_costs_no_refresh() {
    let (mut s3, upstream) = (S3::start().await, Upstream::start().await);
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    mark(&upstream, FIRST_VERSION).await;

    let wrong = [ACCOUNT[0], ("AWS_SECRET_ACCESS_KEY", "guessed")];
    let settings = s3.settings(wrong);
    let mut refused = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    serves(&host, FIRST_VERSION).await;
    history(&redis, "it is refused", |history| {
        let told = history.error.as_deref().unwrap_or_default();
        told.contains("denies access") && history.failures > 0
    })
    .await;
    refused.kill().await;
    assert!(!refused.log().contains("guessed"), "{}", refused.log());

    for (name, value, told) in [
        (wrong[1].0, wrong[1].1, "denies access"),
        ("AWS_ACCESS_KEY_ID", "somebody", "denies access"),
        ("HISTORY_STORE", "s3://elsewhere/x", "no such bucket"),
    ] {
        let settings = [s3.settings(ACCOUNT), vec![(name, value)]].concat();
        let mut list = refresher(&["history"], &redis, &upstream, &settings);
        let list = list.output().await.expect("it can be run");
        let log = String::from_utf8_lossy(&list.stderr);
        assert!(log.contains(told), "{name}={value}: {log}");
    }

    let settings = s3.settings(ACCOUNT);
    let going_on = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    history(&redis, "all is well", |history| {
        history.error.is_none() && history.recorded_ms.is_some()
    })
    .await;
    s3.process.kill().await;
    mark(&upstream, FIRST_VERSION + 1).await;
    serves(&host, FIRST_VERSION + 1).await;
    history(&redis, "it is away", |history| history.error.is_some()).await;
    s3.start_again().await;
    mark(&upstream, FIRST_VERSION + 2).await;
    serves(&host, FIRST_VERSION + 2).await;
    history(&redis, "it is back", |history| history.error.is_none()).await;
    for log in [going_on.log(), refused.log()] {
        assert!(!log.contains("canary"), "{log}");
    }
}

#[tokio::test]
async fn a_bucket_behind_tls_is_believed_by_its_issuer_alone() {
    let (certificates, redis) = (Certificates::make(), Redis::start().await);
    let (s3, upstream) = (
        S3::start_with(Some(&certificates)).await,
        Upstream::start().await,
    );
    let settings = s3.settings(ACCOUNT);
    let mut suspicious = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    history(
        &redis,
        "a stranger's certificate is not believed",
        |history| history.error.is_some() && history.recorded_ms.is_none(),
    )
    .await;
    suspicious.kill().await;

    let issuer = certificates.issuer().to_string_lossy().into_owned();
    let trusting = [&settings[..], &[("SSL_CERT_FILE", &*issuer)]].concat();
    let _trusting = Process::start(refresher(&["run"], &redis, &upstream, &trusting));
    history(&redis, "it is recorded", |history| {
        history.error.is_none() && history.recorded_ms.is_some()
    })
    .await;
    let mut list = refresher(&["history", "--verify"], &redis, &upstream, &trusting);
    let list = list.output().await.expect("it can be run");
    assert!(list.status.success(), "{list:?}");
    assert!(list.stdout.len() > 50, "{list:?}");
}
