//! What a busy machine would falsify: a program of its own, since those are run one after the other.

use std::time::{Duration, Instant};

use end_to_end::{Client, HASH, HASHED_PASSWORD as RIGHT, ID, Redis, host};
use futures::future::join_all;
use reqwest::Method;

/// Where the user comes from.
const USER: &str = "198.51.100.1";

async fn status(client: &Client, address: &str, password: &str) -> u16 {
    let fields = [("x-forwarded-for", address)];
    let answer = client.try_send(Method::GET, "/status", Some((ID, password)), &fields);
    answer.await.expect("an answer").status.as_u16()
}

#[tokio::test]
async fn while_many_guess_who_is_known_is_served() {
    const GUESSERS: usize = 100;
    let redis = Redis::start().await;
    let settings = [
        ("service_password", HASH),
        ("trusted_proxies", "127.0.0.0/8"),
        ("wrong_password_limits", "10 per hour"),
    ];
    let host = host(&redis, &settings).await;
    let client = &host.client;
    assert_eq!(status(client, USER, RIGHT).await, 200);
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
            let resident = host.process.memory("VmRSS").expect("it runs");
            largest = largest.max(resident);
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
