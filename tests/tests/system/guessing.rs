//! Guessing at a password that is stored as a hash: each check is costly, so that they are counted before
//! they are made, few are made at a time, and whoever is known is never made to wait for them.

use std::time::{Duration, Instant};

use end_to_end::{
    Answer, Client, HASH, HASHED_PASSWORD as RIGHT, Host, ID, Redis, host, keys, until,
};
use futures::future::join_all;
use reqwest::Method;

const BOUND: Duration = Duration::from_secs(30);

/// Where clients come from in these tests.
const USER: &str = "198.51.100.1";
const GUESSER: &str = "198.51.100.7";

async fn guarded(redis: &Redis, limit: &str) -> Host {
    let settings = [
        ("service_password", HASH),
        ("trusted_proxies", "127.0.0.0/8"),
        ("wrong_password_limits", limit),
    ];
    host(redis, &settings).await
}

async fn ask(client: &Client, address: &str, password: &str) -> Answer {
    let fields = [("x-forwarded-for", address)];
    client
        .try_send(Method::GET, "/status", Some((ID, password)), &fields)
        .await
        .expect("an answer")
}

async fn status(client: &Client, address: &str, password: &str) -> u16 {
    ask(client, address, password).await.status.as_u16()
}

/// The names of the keys that match a pattern, as Redis has them now.
async fn names(redis: &Redis, pattern: &str) -> Vec<String> {
    redis.ask(&format!("KEYS {{incidents}}:{pattern}")).await
}

#[tokio::test]
async fn an_address_gets_no_more_checks_than_its_limit_however_many_guesses_it_sends_at_a_time() {
    let redis = Redis::start().await;
    let hosts = [
        guarded(&redis, "10 per hour").await,
        guarded(&redis, "10 per hour").await,
    ];
    let mut counted = 0;
    for round in 0..10 {
        let guesses = (0..50).map(async |guess| {
            let client = &hosts[guess % 2].client;
            let answer = ask(client, GUESSER, &format!("guess {round} {guess}")).await;
            match answer.status.as_u16() {
                401 => 1,
                // Too many are checked at the moment.
                503 => {
                    assert!(answer.problem(503).contains("passwords"));
                    assert_eq!(answer.header("retry-after"), "1");
                    0
                }
                _ => {
                    let _ = answer.problem(429);
                    0
                }
            }
        });
        counted += join_all(guesses).await.into_iter().sum::<u64>();
        assert!(counted <= 10, "{counted} guesses were checked");
        let failures: u64 = redis
            .ask(&format!("GET {}", keys().failures(0, GUESSER)))
            .await;
        assert_eq!(failures, counted, "each is counted, and nothing else");
        if counted == 10 {
            break;
        }
    }
    assert_eq!(counted, 10);
    for host in &hosts {
        assert_eq!(status(&host.client, GUESSER, "one more").await, 429);
        assert_eq!(status(&host.client, USER, RIGHT).await, 200);
    }
}

#[tokio::test]
async fn many_first_requests_with_the_right_password_are_all_served_after_one_check() {
    let redis = Redis::start().await;
    let limit = "1 per hour";
    let hosts = [guarded(&redis, limit).await, guarded(&redis, limit).await];
    // As a browser sends them that has just asked for the password. What has to wait for a check for too
    // long is told so, and is served then.
    let requests = (0..6).map(async |request| {
        let client = &hosts[request % 2].client;
        until("it is served", BOUND, async || {
            let answer = ask(client, USER, RIGHT).await;
            match answer.status.as_u16() {
                200 => Some(()),
                _ => {
                    assert_eq!(answer.header("retry-after"), "1");
                    let _ = answer.problem(503);
                    None
                }
            }
        })
        .await;
    });
    join_all(requests).await;
    // A right one is no guess.
    assert_eq!(names(&redis, "failures:*").await, [""; 0]);
    assert_eq!(names(&redis, "check-permit:*").await, [""; 0]);
    assert_eq!(status(&hosts[0].client, USER, "wrong").await, 401);
    assert_eq!(status(&hosts[0].client, USER, "wronger").await, 429);
}

#[tokio::test]
async fn one_is_checked_at_a_time_over_all_addresses_and_a_permit_runs_out_by_itself() {
    let redis = Redis::start().await;
    let host = guarded(&redis, "1000 per hour").await;
    let client = &host.client;
    assert_eq!(status(client, USER, RIGHT).await, 200);
    let mut connection = redis.connection().await;
    // As if an instance had died in the middle of its check.
    let permit = keys().check_permit(0);
    redis::cmd("SET")
        .arg(&permit)
        .arg(&["another", "PX", "60000"])
        .exec_async(&mut connection)
        .await
        .expect("it is set");
    let began = Instant::now();
    let refused = ask(client, GUESSER, "wrong").await;
    assert!(refused.problem(503).contains("being checked"));
    assert_eq!(refused.header("retry-after"), "1");
    assert!(began.elapsed() < Duration::from_secs(2));
    // It was no guess, and no request of the client's either.
    assert_eq!(names(&redis, "failures:*").await, [""; 0]);
    // Who is known needs no check.
    assert_eq!(status(client, USER, RIGHT).await, 200);
    let lasting: i64 = redis.ask(&format!("PTTL {permit}")).await;
    assert!(lasting > 0);
    redis.ask::<i64>(&format!("PEXPIRE {permit} 300")).await;
    until("a permit is free again", BOUND, async || {
        (status(client, GUESSER, "wrong").await == 401).then_some(())
    })
    .await;
    // A permit that is taken by a check always ends.
    redis.ask::<i64>(&format!("DEL {permit}")).await;
    let guesses = async {
        for guess in 0..20 {
            let _ = ask(client, GUESSER, &format!("guess {guess}")).await;
        }
    };
    let taken = until("a permit is taken", BOUND, async || {
        let taken = names(&redis, "check-permit:*").await;
        let ms: i64 = redis.ask(&format!("PTTL {}", taken.first()?)).await;
        (ms != -2).then_some(ms)
    });
    let ((), seen) = tokio::join!(guesses, taken);
    assert!((1..=10_000).contains(&seen), "{seen}");
}

#[tokio::test]
async fn a_credential_that_is_used_is_never_checked_again() {
    let redis = Redis::start().await;
    let hosts = [
        guarded(&redis, "10 per hour").await,
        guarded(&redis, "10 per hour").await,
    ];
    assert_eq!(status(&hosts[0].client, USER, RIGHT).await, 200);
    let verified = names(&redis, "verified:*").await;
    assert_eq!(verified.len(), 1, "{verified:?}");
    let name = &verified[0];
    assert!(!name.contains(RIGHT));
    // Each use renews it: by the instance that knows the credential itself, and by one that does not.
    for host in [&hosts[0], &hosts[1]] {
        redis.ask::<i64>(&format!("PEXPIRE {name} 20000")).await;
        assert_eq!(status(&host.client, USER, RIGHT).await, 200);
        let left: i64 = redis.ask(&format!("PTTL {name}")).await;
        assert!(left > 250_000, "{left}");
    }
    // A wrong one renews nothing.
    redis.ask::<i64>(&format!("PEXPIRE {name} 20000")).await;
    assert_eq!(status(&hosts[0].client, USER, "wrong").await, 401);
    let left: i64 = redis.ask(&format!("PTTL {name}")).await;
    assert!(left <= 20_000, "{left}");
}
