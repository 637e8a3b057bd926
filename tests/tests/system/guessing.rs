//! Guessing at a password that is stored as a hash: each check is costly, so that they are counted before
//! they are made, few are made at a time, and whoever is known is never made to wait for them.

use std::time::{Duration, Instant};

use end_to_end::{Answer, Client, Host, ID, Redis, host, keys, until};
use futures::future::join_all;
use reqwest::Method;

/// argon2id of `s3cret` with the parameters of `refresher hash-password`.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AuRfDuUhfhrZV01wkBnzKA$GzlCPk+ufA05EgN1+2gvO567IcE4TjtNUQ9iyj1pH/Y";

const RIGHT: &str = "s3cret";

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

/// What a process keeps in memory, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .expect("a number")
        << 10
}

#[tokio::test]
async fn while_many_guess_who_is_known_is_served() {
    const GUESSERS: usize = 100;
    let redis = Redis::start().await;
    let host = guarded(&redis, "10 per hour").await;
    let client = &host.client;
    assert_eq!(status(client, USER, RIGHT).await, 200);
    let pid = host.process.id().expect("it runs");
    let end = Instant::now() + Duration::from_secs(5);
    let guesses = join_all((0..GUESSERS).map(async |guesser| {
        let address = format!("203.0.{}.{}", guesser / 200, guesser % 200);
        let mut counts = [0_u64; 3];
        let mut guess = 0;
        while Instant::now() < end {
            guess += 1;
            match status(client, &address, &format!("guess {guess}")).await {
                401 => counts[0] += 1,
                429 => counts[1] += 1,
                503 => counts[2] += 1,
                other => panic!("{other}"),
            }
        }
        counts
    }));
    let served = async {
        let (mut longest, mut largest, mut times) = (Duration::ZERO, 0, 0);
        while Instant::now() < end {
            let began = Instant::now();
            assert_eq!(status(client, USER, RIGHT).await, 200);
            longest = longest.max(began.elapsed());
            largest = largest.max(resident(pid));
            times += 1;
        }
        (times, longest, largest)
    };
    let (counts, (times, longest, largest)) = tokio::join!(guesses, served);
    let [wrong, locked, busy]: [u64; 3] =
        [0, 1, 2].map(|kind| counts.iter().map(|counts| counts[kind]).sum());
    eprintln!(
        "{times} of the user's requests, the longest {longest:?}; {wrong} guesses checked, {locked} \
         refused by address, {busy} since others were checked; the host had at most {} MiB",
        largest >> 20
    );
    assert!(wrong > 0 && busy > 0, "{wrong} {busy}");
    assert!(
        times > 20,
        "only {times} of the user's requests were served"
    );
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    assert!(largest < 300 << 20, "{} MiB", largest >> 20);
}
