//! Who may use Redis, and whether it is the one that is meant.

use end_to_end::{
    Certificates, Client, FakeAlertmanager, Metrics, Process, Redis, Upstream, host, mark,
    refresher, server_command, until,
};
use redis::RedisResult;

use super::{BOUND, refused, serves};

/// Where the users and their rights are written down for operators.
const DOCUMENTATION: &str = include_str!("../../../../docs/deployment.md");

/// The rule that the documentation has for the user `name`, with this `password`.
fn documented(name: &str, password: &str) -> String {
    let start = format!("ACL SETUSER {name} on >PASSWORD ");
    let mut rules = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix(&start));
    let rights = rules.next().expect("docs/deployment.md has the user");
    assert_eq!(rules.next(), None, "{name} is there twice");
    format!("SETUSER {name} on >{password} {rights}")
}

/// Defines a user.
async fn grant(redis: &Redis, rule: &str) {
    let mut connection = redis.connection().await;
    let words: Vec<&str> = rule.split_whitespace().collect();
    let done: RedisResult<()> = redis::cmd("ACL")
        .arg(words)
        .query_async(&mut connection)
        .await;
    done.unwrap_or_else(|error| panic!("{rule}: {error}"));
}

#[tokio::test]
async fn two_users_with_the_rights_that_they_need_are_enough() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let nobody = "SETUSER nobody on >canary-3".to_owned();
    let filling = documented("refresher", "canary-1");
    let serving = documented("component", "canary-2");
    for rule in [filling, serving, nobody] {
        grant(&redis, &rule).await;
    }
    let url = |login: &str| format!("redis://{login}@{}", redis.address());
    mark(&upstream, 1).await;
    let own = url("refresher:canary-1");
    let fake = FakeAlertmanager::start(&[]).await;
    let mut filling = Process::start(refresher(
        &["run"],
        &redis,
        &upstream,
        &[
            ("REDIS_URL", &own),
            ("ALERTMANAGER_URLS", &fake.url),
            ("ALERT_PRIORITIES", "low, medium, high, critical"),
        ],
    ));
    let secret = url("component:canary-2");
    let limits = ("incidents_api_rate_limits", "1000 per day");
    let host = host(&redis, &[("redis_secret_url", &secret), limits]).await;
    serves(&host.client, 1).await;
    mark(&upstream, 2).await;
    serves(&host.client, 2).await;
    assert_eq!(host.client.get("/incidents/1").await.status, 200);
    assert_eq!(host.client.get("/incidents/unattributed").await.status, 200);
    assert_eq!(host.client.get("/status").await.status, 200);
    assert_eq!(host.client.get_as_stranger("/status").await.status, 401);
    let metrics = Metrics::of(&host.client).await;
    assert_eq!(metrics.sum("incidents_refused_requests_total"), 1.0);
    assert!(metrics.sum("incidents_refreshes_total") > 0.0);
    until("alerts are handed over", BOUND, async || {
        let metrics = Metrics::of(&host.client).await;
        let handed_over = metrics.value("incidents_alerts_handed_over_total") > 0.0;
        (handed_over && metrics.value("incidents_alerts_waiting") == 0.0).then_some(())
    })
    .await;
    assert_eq!(host.client.get("/shutdown").await.status, 200);
    let status = filling.exit(BOUND).await;
    assert!(status.success(), "{}", filling.log());
    // What was denied stands in the log of Redis itself. That a client's library tells its name, where
    // Redis knows how, is nothing that matters.
    let denied: Vec<redis::Value> = redis.ask("ACL LOG").await;
    let mut denied = denied.iter().map(|entry| format!("{entry:?}"));
    let matters = denied.find(|entry| !entry.contains("client|setinfo"));
    assert_eq!(matters, None);

    // A user without rights, and one who is unknown.
    for login in ["nobody:canary-3", "stranger:canary-4"] {
        let log = refused(&redis, &upstream, &[("REDIS_URL", &url(login))]).await;
        assert!(log.contains("denies access"), "{log}");
        assert!(log.contains("ACL") && !log.contains("canary"), "{log}");
    }
}

#[tokio::test]
async fn tls_is_spoken_by_all_and_only_with_a_redis_that_is_trusted() {
    let certificates = Certificates::make();
    let redis = Redis::start_with_tls(&certificates).await;
    let upstream = Upstream::start().await;
    mark(&upstream, 1).await;
    let (server, environment) = server_command(&redis, "127.0.0.1:0");
    let mut command = refresher(&["run", "--server", &server], &redis, &upstream, &[]);
    command
        .envs(environment)
        .env("SSL_CERT_FILE", certificates.issuer());
    let mut service = Process::start(command);
    let client = Client::new(&service.ready().await);
    serves(&client, 1).await;
    assert_eq!(client.get("/incidents/1").await.status, 200);

    let others = Certificates::make();
    let others = others.issuer();
    let trusts_others = ("SSL_CERT_FILE", others.to_str().expect("a text"));
    let log = refused(&redis, &upstream, &[trusts_others]).await;
    assert!(log.contains("Redis is not trusted"), "{log}");
    assert!(log.contains("SSL_CERT_FILE"), "{log}");
    // Without TLS there is nobody.
    let plain = redis.url().replace("rediss://", "redis://");
    let log = refused(&redis, &upstream, &[("REDIS_URL", &plain)]).await;
    assert!(log.contains("Redis cannot be reached"), "{log}");
    until("it still leads", BOUND, async || {
        service.is_running().then_some(())
    })
    .await;
}
