//! Rate limits: counted in Redis, over all replicas together, before the password, and true to
//! what they promise.

use std::time::{Duration, Instant};

use end_to_end::{
    Answer, Client, ID, PASSWORD, Redis, System, Upstream, host, keys, refresher, until,
};
use futures::future::join_all;
use reqwest::Method;

/// Limits as they are shipped.
const SHIPPED: [(&str, &str); 3] = [
    ("incidents_api_rate_limits", "20 per minute"),
    ("default_rate_limits", "5 per second, 1000 per day"),
    ("dashboard_rate_limits", "20 per second, 100000 per day"),
];

fn seconds(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("seconds")
}

/// Lets a window end as soon as possible: nothing but Redis's clock counts.
async fn shorten(redis: &Redis, scope: &str, ms: u64) {
    let mut connection = redis.connection().await;
    let changed: u64 = redis::cmd("PEXPIRE")
        .arg(keys().limit(scope, 0, "127.0.0.1"))
        .arg(ms)
        .query_async(&mut connection)
        .await
        .expect("a number");
    assert_eq!(changed, 1, "nothing was counted for {scope}");
}

#[tokio::test]
async fn the_21st_request_of_a_minute_is_one_too_many_and_retry_after_is_true() {
    let upstream = Upstream::start().await;
    let system = System::start_with(upstream, &[], &SHIPPED).await;
    let client = &system.host.client;
    for request in 1..=20 {
        let answer = client.get("/incidents").await;
        assert_eq!(answer.status, 200, "{request}");
    }
    let refused = client.get("/incidents").await;
    let detail = refused.problem(429);
    assert!(detail.contains("20 per minute"), "{detail}");
    let wait = seconds(&refused);
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        "\"20 per minute\";q=20;w=60"
    );
    assert_eq!(
        refused.header("ratelimit"),
        format!("\"20 per minute\";r=0;t={wait}")
    );
    // Not even 304, HEAD or a wrong password gets around it, and nothing of the report is told.
    for (method, account) in [
        (Method::HEAD, Some((ID, PASSWORD))),
        (Method::GET, Some((ID, "wrong"))),
        (Method::GET, None),
    ] {
        let fields = [("if-none-match", "*")];
        let answer = client
            .try_send(method, "/incidents", account, &fields)
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("etag"), "");
    }
    // Other resources are counted for themselves.
    assert_eq!(client.get("/incidents/unattributed").await.status, 200);
    assert_eq!(client.get("/status").await.status, 200);
    assert_eq!(client.get_as_stranger("/healthz").await.status, 200);

    // It is served again when the window ends, and not a moment before; asking meanwhile makes it
    // no later, and who has waited as long as was said is not refused.
    let window = Duration::from_millis(2500);
    let began = Instant::now();
    shorten(&system.redis, "incidents", 2500).await;
    let refused = client.get("/incidents").await;
    let told = Instant::now();
    let _ = refused.problem(429);
    let wait = seconds(&refused);
    assert!((2..=3).contains(&wait), "{wait}");
    until("it is served again", Duration::from_secs(30), async || {
        let asked = Instant::now();
        let answer = client.get("/incidents").await;
        if answer.status == 200 {
            return Some(());
        }
        let _ = answer.problem(429);
        assert!(asked < told + Duration::from_secs(wait), "too late");
        None
    })
    .await;
    assert!(
        began.elapsed() >= window,
        "too early: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn two_hosts_on_one_redis_share_their_limits() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = end_to_end::Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(Duration::from_secs(30)).await.success());
    let hosts = [host(&redis, &SHIPPED).await, host(&redis, &SHIPPED).await];
    let requests = (0..50).map(|request| hosts[request % 2].client.get("/incidents"));
    let answers = join_all(requests).await;
    let count = |status: u16| answers.iter().filter(|a| a.status == status).count();
    assert_eq!((count(200), count(429)), (20, 30));
}

#[tokio::test]
async fn guessing_is_limited_like_any_request() {
    let redis = Redis::start().await;
    let host = host(&redis, &[("incidents_api_rate_limits", "7 per minute")]).await;
    for guess in 1..=7 {
        let password = format!("guess {guess}");
        let account = Some((ID, password.as_str()));
        let answer = host
            .client
            .try_send(Method::GET, "/incidents", account, &[])
            .await;
        assert_eq!(answer.expect("an answer").status, 401);
    }
    let answer = host.client.get("/incidents").await;
    let _ = answer.problem(429);
}

#[tokio::test]
async fn of_several_limits_the_longest_wait_is_told() {
    let redis = Redis::start().await;
    let limits = [(
        "dashboard_rate_limits",
        "3 per hour; 100/2 days; 50 per second",
    )];
    let host = host(&redis, &limits).await;
    for _ in 0..3 {
        assert_eq!(host.client.get("/status").await.status, 200);
    }
    let refused = host.client.get("/status").await;
    let detail = refused.problem(429);
    assert!(detail.contains("3 per hour"), "{detail}");
    assert!((3590..=3600).contains(&seconds(&refused)));
    let policies = refused.header("ratelimit-policy");
    assert_eq!(policies.matches(";q=").count(), 3, "{policies}");
    assert!(policies.contains("q=100;w=172800"), "{policies}");
}

/// The answer to a request that claims to come for somebody else.
async fn for_client(client: &Client, field: &str, value: &str) -> u16 {
    let answer = client.send(Method::GET, "/status", &[(field, value)]).await;
    answer.status.as_u16()
}

#[tokio::test]
async fn nobody_gets_a_limit_of_another_by_a_forged_header() {
    let redis = Redis::start().await;
    let limit = ("dashboard_rate_limits", "2 per hour");
    let open = host(&redis, &[limit]).await;
    for (request, field) in ["x-forwarded-for", "spin-client-addr", "forwarded"]
        .iter()
        .enumerate()
    {
        let status = for_client(&open.client, field, "198.51.100.7").await;
        assert_eq!(status, if request < 2 { 200 } else { 429 }, "{field}");
    }

    let another = Redis::start().await;
    let trusting = [limit, ("trusted_proxies", "127.0.0.0/8")];
    let behind = host(&another, &trusting).await;
    let field = "x-forwarded-for";
    for client in ["198.51.100.7", "198.51.100.8", "2001:db8::1"] {
        for expected in [200, 200, 429] {
            // What is in front of the proxy's own word is the client's own.
            let value = format!("192.0.2.{expected}, {client}");
            let status = for_client(&behind.client, field, &value).await;
            assert_eq!(status, expected, "{client}");
        }
    }
    // IPv6 clients have a whole network to choose addresses from.
    let status = for_client(&behind.client, field, "2001:db8::2").await;
    assert_eq!(status, 429);
}

#[tokio::test]
async fn the_standard_header_of_proxies_is_understood_however_addresses_are_spelled() {
    let redis = Redis::start().await;
    let settings = [
        ("dashboard_rate_limits", "2 per hour"),
        ("trusted_proxies", "127.0.0.0/8, ::FFFF:10.0.0.1/128"),
        ("trusted_proxy_header", "Forwarded"),
    ];
    let host = host(&redis, &settings).await;
    let ask = async |field, value| for_client(&host.client, field, value).await;
    // RFC 7239: one client, in all the ways in which it may be written.
    for (value, expected) in [
        ("for=198.51.100.7", 200),
        ("For=\"198.51.100.7:4711\";proto=http;by=203.0.113.43", 200),
        ("for=192.0.2.1, for=198.51.100.7", 429),
        ("for=\"[::ffff:198.51.100.7]\"", 429),
        ("for=198.51.100.7, for=10.0.0.1", 429),
        ("for=\"[2001:DB8::1]:80\"", 200),
        ("for=\"[2001:db8:0:0::2]\"", 200),
        ("for=\"[2001:db8::3]\"", 429),
    ] {
        assert_eq!(ask("forwarded", value).await, expected, "{value}");
    }
    // What is no address is the proxy's own, and another header says nothing.
    for expected in [200, 200, 429] {
        assert_eq!(ask("forwarded", "for=unknown").await, expected);
    }
    assert_eq!(ask("x-forwarded-for", "198.51.100.9").await, 429);
}
