//! What a busy machine would falsify: a program of its own, since those are run one after the other.

use std::env;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use end_to_end::{Client, HASH, HASHED_PASSWORD as RIGHT, ID, Redis, host};
use futures::future::join_all;
use reqwest::Method;

async fn status(client: &Client, password: &str) -> u16 {
    let answer = client.try_send(Method::GET, "/status", Some((ID, password)), &[]);
    answer.await.expect("an answer").status.as_u16()
}

/// With `GUESSERS=900` in the environment, so many.
#[tokio::test]
async fn while_many_guess_who_is_known_is_served() {
    let guessers = env::var("GUESSERS").map_or(100_u32, |number| number.parse().expect("a number"));
    let redis = Redis::start().await;
    let settings = [
        ("service_password", HASH),
        ("wrong_password_limits", "10 per hour"),
    ];
    let host = host(&redis, &settings).await;
    let client = &host.client;
    assert_eq!(status(client, RIGHT).await, 200);
    // Each has an address of its own.
    let first = Ipv4Addr::new(127, 1, 0, 0).to_bits();
    let guessers: Vec<Client> = (0..guessers)
        .map(|guesser| Client::seen_from(&host.url, Ipv4Addr::from_bits(first + guesser).into()))
        .collect();
    let end = Instant::now() + Duration::from_secs(5);
    let guesses = join_all(guessers.iter().map(async |guesser| {
        let mut counts = [0_u64; 3];
        let mut guess = 0;
        while Instant::now() < end {
            guess += 1;
            match status(guesser, &format!("guess {guess}")).await {
                401 => counts[0] += 1,
                429 => counts[1] += 1,
                503 => counts[2] += 1,
                other => panic!("{other}"),
            }
        }
        counts
    }));
    let served = async {
        let (mut times, mut largest) = (Vec::new(), 0);
        while Instant::now() < end {
            let began = Instant::now();
            assert_eq!(status(client, RIGHT).await, 200);
            times.push(began.elapsed());
            let resident = host.process.memory("VmRSS").expect("it runs");
            largest = largest.max(resident);
        }
        times.sort_unstable();
        (times, largest)
    };
    let (counts, (times, largest)) = tokio::join!(guesses, served);
    let [wrong, locked, busy]: [u64; 3] =
        [0, 1, 2].map(|kind| counts.iter().map(|counts| counts[kind]).sum());
    let part = |part: usize| times[(times.len() * part).div_ceil(100) - 1];
    let (half, most, longest) = (part(50), part(99), part(100));
    eprintln!(
        "{} of the user's requests, half within {half:?}, 99 % within {most:?}, all within {longest:?}; {wrong} guesses checked, {locked} \
         refused by address, {busy} since others were checked; the host had at most {} MiB",
        times.len(),
        largest >> 20
    );
    assert!(wrong > 0 && busy > 0, "{wrong} {busy}");
    assert!(
        times.len() > 20,
        "only {} of the user's requests were served",
        times.len()
    );
    assert!(most < Duration::from_millis(500), "{most:?}");
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    assert!(largest < 300 << 20, "{} MiB", largest >> 20);
}
