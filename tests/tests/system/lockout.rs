//! Repeated wrong passwords lock the address out that they come from, and nobody else.

use std::time::{Duration, Instant};

use end_to_end::{Answer, Client, ID, PASSWORD, Redis, host, keys, until};
use reqwest::Method;

/// Three guesses an hour, and a proxy that says who the client is.
const THREE: [(&str, &str); 2] = [
    ("wrong_password_limits", "3 per hour"),
    ("trusted_proxies", "127.0.0.0/8"),
];

/// Two addresses that clients come from.
const GUESSER: &str = "198.51.100.7";
const USER: &str = "198.51.100.8";

/// The answer to a request for the status from `address`. There is no snapshot, which it says.
async fn ask(client: &Client, address: &str, account: Option<(&str, &str)>) -> Answer {
    let fields = [("x-forwarded-for", address)];
    client
        .try_send(Method::GET, "/status", account, &fields)
        .await
        .expect("an answer")
}

async fn right(client: &Client, address: &str) -> u16 {
    ask(client, address, Some((ID, PASSWORD)))
        .await
        .status
        .as_u16()
}

async fn wrong(client: &Client, address: &str) -> u16 {
    ask(client, address, Some((ID, "wrong")))
        .await
        .status
        .as_u16()
}

/// Calls Redis about the counter of the wrong passwords from `address`.
async fn counter(redis: &Redis, command: &str, address: &str, argument: Option<u64>) -> i64 {
    let mut connection = redis.connection().await;
    redis::cmd(command)
        .arg(keys().failures(0, address))
        .arg(argument)
        .query_async(&mut connection)
        .await
        .expect("a number")
}

/// That everything from `address` is refused, the right password as well, all in the same words.
async fn is_locked_out(client: &Client, address: &str) {
    let accounts = [
        Some((ID, PASSWORD)),
        Some((ID, "wrong")),
        Some((ID, "another")),
        None,
    ];
    for account in accounts {
        let answer = ask(client, address, account).await;
        let detail = answer.problem(429);
        assert!(detail.contains("wrong passwords"), "{detail}");
        assert!(!detail.contains(address), "{detail}");
        let wait: u64 = answer.header("retry-after").parse().expect("seconds");
        // As whole seconds are never too short, that of a window that has just begun is one more.
        assert!((1..=3601).contains(&wait), "{wait}");
        assert_eq!(answer.header("www-authenticate"), "");
    }
}

#[tokio::test]
async fn guessing_locks_the_guesser_out_and_nobody_else() {
    let redis = Redis::start().await;
    let hosts = [host(&redis, &THREE).await, host(&redis, &THREE).await];
    let [one, other] = hosts.each_ref().map(|host| &host.client);
    // The hosts share the count.
    assert_eq!(wrong(one, GUESSER).await, 401);
    assert_eq!(wrong(other, GUESSER).await, 401);
    assert_eq!(wrong(one, GUESSER).await, 401);
    for client in [one, other] {
        is_locked_out(client, GUESSER).await;
        assert_eq!(right(client, USER).await, 200);
    }
    // What was refused is not counted, so that the lock-out ends when it was said to.
    assert_eq!(counter(&redis, "GET", GUESSER, None).await, 3);

    let window = Duration::from_millis(2500);
    let began = Instant::now();
    assert_eq!(counter(&redis, "PEXPIRE", GUESSER, Some(2500)).await, 1);
    let refused = ask(one, GUESSER, Some((ID, PASSWORD))).await;
    let told = Instant::now();
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((2..=3).contains(&wait), "{wait}");
    until("the lock-out ends", Duration::from_secs(30), async || {
        let asked = Instant::now();
        match right(one, GUESSER).await {
            200 => Some(()),
            status => {
                assert_eq!(status, 429);
                assert!(asked < told + Duration::from_secs(wait), "too late");
                None
            }
        }
    })
    .await;
    assert!(began.elapsed() >= window, "too early");
}

#[tokio::test]
async fn no_credential_is_no_guess() {
    let redis = Redis::start().await;
    let host = host(&redis, &THREE).await;
    let client = &host.client;
    for _ in 0..5 {
        assert_eq!(ask(client, USER, None).await.status, 401);
        let fields = [("x-forwarded-for", USER), ("authorization", "Basic !!!")];
        let broken = client.try_send(Method::GET, "/status", None, &fields).await;
        assert_eq!(broken.expect("an answer").status, 401);
    }
    assert_eq!(right(client, USER).await, 200);
    assert_eq!(counter(&redis, "EXISTS", USER, None).await, 0);
}

/// argon2id of `s3cret`, as cheap as can be.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$TZ2FYnZYwjJ4jJ048ZXy17zdyhLkCzyTjO7hbBmHTs0";

/// The settings of [`THREE`], with a hash in place of the password.
const THREE_AT_A_HASH: [(&str, &str); 3] = [THREE[0], THREE[1], ("service_password", HASH)];

#[tokio::test]
async fn who_was_right_from_an_address_is_let_through_whoever_guesses_there() {
    for (settings, password) in [(&THREE[..], PASSWORD), (&THREE_AT_A_HASH, "s3cret")] {
        let redis = Redis::start().await;
        let hosts = [host(&redis, settings).await, host(&redis, settings).await];
        let [one, other] = hosts.each_ref().map(|host| &host.client);
        let ask = async |client, address, password| {
            let answer = ask(client, address, Some((ID, password))).await;
            answer.status.as_u16()
        };
        // A colleague's right password does not give a guesser beside it new guesses, nor do its own
        // mistakes lock the colleague out.
        assert_eq!(ask(one, USER, "wrong").await, 401);
        assert_eq!(ask(one, USER, password).await, 200);
        assert_eq!(ask(one, USER, "another").await, 401);
        assert_eq!(ask(other, USER, password).await, 200);
        assert_eq!(counter(&redis, "GET", USER, None).await, 2);
        assert_eq!(ask(other, USER, "a third").await, 401);
        for client in [one, other] {
            assert_eq!(ask(client, USER, "a fourth").await, 429);
            assert_eq!(ask(client, USER, password).await, 200);
        }
        assert_eq!(counter(&redis, "GET", USER, None).await, 3);
        // It is known from there, and from nowhere else.
        for client in [one, other, one] {
            assert_eq!(ask(client, GUESSER, "wrong").await, 401);
        }
        for client in [one, other] {
            is_locked_out(client, GUESSER).await;
            assert_eq!(ask(client, GUESSER, password).await, 429);
        }
        // For a day after its last use, by what holds no password.
        let names: Vec<String> = redis.ask("KEYS {incidents}:known:*").await;
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].ends_with(USER) && !names[0].contains(password));
        let day = 86_400_000;
        redis
            .ask::<i64>(&format!("PEXPIRE {} 1000000", names[0]))
            .await;
        assert_eq!(ask(one, USER, password).await, 200);
        let left: i64 = redis.ask(&format!("PTTL {}", names[0])).await;
        assert!((day - 60_000..=day).contains(&left), "{left}");
        redis.ask::<i64>(&format!("DEL {}", names[0])).await;
        for client in [one, other] {
            assert_eq!(ask(client, USER, password).await, 429);
        }
    }
}

#[tokio::test]
async fn guesses_at_a_hash_are_counted_as_well() {
    let redis = Redis::start().await;
    let hosts = [
        host(&redis, &THREE_AT_A_HASH).await,
        host(&redis, &THREE_AT_A_HASH).await,
    ];
    let [one, other] = hosts.each_ref().map(|host| &host.client);
    let ask = async |client, address, password| {
        let answer = ask(client, address, Some((ID, password))).await;
        answer.status.as_u16()
    };
    for (password, status) in [("wrong", 401), ("wronger", 401), ("s3cret", 200)] {
        assert_eq!(ask(one, USER, password).await, status);
    }
    // What is right is no guess, although it was counted as one while it was checked.
    assert_eq!(counter(&redis, "GET", USER, None).await, 2);
    // Another host has not verified it, but Redis remembers it.
    assert_eq!(ask(other, USER, "s3cret").await, 200);

    for client in [one, other, one] {
        assert_eq!(ask(client, GUESSER, "wrong").await, 401);
    }
    for client in [one, other] {
        is_locked_out(client, GUESSER).await;
        assert_eq!(ask(client, GUESSER, "s3cret").await, 429);
        assert_eq!(ask(client, USER, "s3cret").await, 200);
    }
    assert_eq!(counter(&redis, "GET", GUESSER, None).await, 3);
}

#[tokio::test]
async fn a_counter_never_runs_longer_than_its_window() {
    let redis = Redis::start().await;
    let limit = ("dashboard_rate_limits", "2 per hour");
    let host = host(&redis, &[THREE[0], THREE[1], limit]).await;
    let client = &host.client;
    let hour = 3_600_000;
    let mut connection = redis.connection().await;
    for request in [200, 200, 429] {
        assert_eq!(right(client, USER).await, request);
    }
    // As after Redis's clock was set back, or somebody's PERSIST.
    for left in [10 * hour, -1] {
        let name = keys().limit("status", 0, USER);
        lives(&mut connection, &name, left).await;
        assert_eq!(right(client, USER).await, 429);
        let mended: i64 = time_left(&mut connection, &name).await;
        assert!((1..=hour).contains(&mended), "{mended}");
    }

    assert_eq!(wrong(client, GUESSER).await, 401);
    assert_eq!(wrong(client, GUESSER).await, 401);
    let name = keys().failures(0, GUESSER);
    let mut set = redis::cmd("SET");
    set.arg(&name)
        .arg(3)
        .exec_async(&mut connection)
        .await
        .expect("it is set");
    for left in [10 * hour, -1] {
        lives(&mut connection, &name, left).await;
        is_locked_out(client, GUESSER).await;
        let mended: i64 = time_left(&mut connection, &name).await;
        assert!((1..=hour).contains(&mended), "{mended}");
    }
    // What is no number there locks nobody out: what holds it up is the rate limit.
    set = redis::cmd("SET");
    set.arg(&name)
        .arg("nonsense")
        .exec_async(&mut connection)
        .await
        .expect("it is set");
    let refused = ask(client, GUESSER, Some((ID, PASSWORD))).await;
    assert!(refused.problem(429).contains("2 per hour"));
}

async fn time_left(connection: &mut redis::aio::MultiplexedConnection, name: &str) -> i64 {
    let mut command = redis::cmd("PTTL");
    command.arg(name);
    command.query_async(connection).await.expect("a time")
}

/// Has a key live for so many milliseconds; for ever, if that is negative.
async fn lives(connection: &mut redis::aio::MultiplexedConnection, name: &str, ms: i64) {
    let mut command = redis::cmd(if ms < 0 { "PERSIST" } else { "PEXPIRE" });
    command.arg(name);
    if ms >= 0 {
        command.arg(ms);
    }
    command.exec_async(connection).await.expect("it is there");
}
