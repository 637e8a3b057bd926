//! The soak: the whole service under a steady load for some minutes. Memory, file descriptors, Redis's
//! connections and keys must stay flat. `cargo xtask soak` starts it.

use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use end_to_end::{
    Client, FIRST_VERSION, Host, Process, Redis, TempDir, Upstream, host, incidents_in, mark,
    refresher, until,
};
use reqwest::Method;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// Clients at the same time, and how often each asks: 200 requests a second together.
const CLIENTS: usize = 8;
const ASKS_EVERY: Duration = Duration::from_millis(40);

/// From one refresh to the next. Each has something new, so that superseded bodies pile up to what
/// they always will within the two minutes for which they stay.
const REFRESH: Duration = Duration::from_secs(5);

const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Caches fill and superseded bodies pile up before anything is compared.
const WARM_UP: Duration = Duration::from_secs(180);

/// The shortest soak in which there is something to compare after the warm-up.
const SHORTEST_MINUTES: u64 = 6;

/// What is measured: the name, and how much of it may be gained from the first third to the last, as a
/// part and in units of its own.
const MEASURES: [(&str, f64, f64); 10] = [
    ("host KiB", 0.05, 4096.0),
    ("host fds", 0.0, 4.0),
    ("leader KiB", 0.05, 4096.0),
    ("leader fds", 0.0, 4.0),
    ("standby KiB", 0.05, 2048.0),
    ("standby fds", 0.0, 4.0),
    ("Redis KiB", 0.05, 4096.0),
    ("Redis fds", 0.0, 4.0),
    ("Redis connections", 0.0, 4.0),
    ("Redis keys", 0.02, 10.0),
];

type Sample = [f64; MEASURES.len()];

struct Service {
    redis: Redis,
    upstream: Upstream,
    host: Host,
    refreshers: [Process; 2],
    _history: TempDir,
}

#[tokio::main]
async fn main() -> ExitCode {
    let minutes = env::args().nth(1).and_then(|text| text.parse::<u64>().ok());
    let Some(minutes) = minutes.filter(|minutes| *minutes >= SHORTEST_MINUTES) else {
        eprintln!("usage: soak MINUTES, at least {SHORTEST_MINUTES}");
        return ExitCode::from(2);
    };
    let service = Service::start().await;
    let load = Load::start(&service.host);
    let samples = service.watch(Duration::from_secs(60 * minutes)).await;
    let (answers, wrong) = load.end().await;
    println!("\n{answers} answers in {minutes} minutes, {wrong} of them wrong\n");
    let flat = compare(&samples);
    match flat && wrong == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

impl Service {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let upstream = Upstream::start().await;
        mark(&upstream, FIRST_VERSION).await;
        let history = TempDir::new().expect("a temporary folder");
        let (folder, every) = (
            history.path().to_string_lossy(),
            REFRESH.as_secs().to_string(),
        );
        let settings = [
            ("HISTORY_STORE", folder.as_ref()),
            ("DEFAULT_CACHE_REFRESH", every.as_str()),
        ];
        let begin = || Process::start(refresher(&["run"], &redis, &upstream, &settings));
        let leader = begin();
        until("the first leads", Duration::from_secs(30), async || {
            (leader.logged(" leads ") > 0).then_some(())
        })
        .await;
        let refreshers = [leader, begin()];
        let host = host(&redis, &[]).await;
        until(
            "a snapshot is served",
            Duration::from_secs(30),
            async || {
                let answer = host.client.get_as_stranger("/readyz").await;
                answer.status.is_success().then_some(())
            },
        )
        .await;
        Self {
            redis,
            upstream,
            host,
            refreshers,
            _history: history,
        }
    }

    /// Takes samples for `duration`, while there is something new for each refresh.
    async fn watch(&self, duration: Duration) -> Vec<(Duration, Sample)> {
        let names: Vec<&str> = MEASURES.iter().map(|(name, ..)| *name).collect();
        println!("seconds | {}", names.join(" | "));
        let started = Instant::now();
        let mut samples = Vec::new();
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let news = async {
            let mut pace = interval(REFRESH);
            for version in FIRST_VERSION.. {
                pace.tick().await;
                mark(&self.upstream, version).await;
            }
        };
        let watch = async {
            while started.elapsed() < duration {
                ticks.tick().await;
                let at = started.elapsed();
                let sample = self.sample().await;
                let values: Vec<String> =
                    sample.iter().map(|value| format!("{value:.0}")).collect();
                println!("{:7.0} | {}", at.as_secs_f64(), values.join(" | "));
                samples.push((at, sample));
            }
        };
        tokio::select! {
            () = news => {}
            () = watch => {}
        }
        samples
    }

    async fn sample(&self) -> Sample {
        let [leader, standby] = &self.refreshers;
        let of = |process: &Process| {
            let id = process.id().expect("it runs");
            let resident = process.memory("VmRSS").expect("Linux tells");
            ((resident >> 10) as f64, descriptors(id))
        };
        let (host, leader, standby) = (of(&self.host.process), of(leader), of(standby));
        let (memory, connections, keys) = self.ask_redis().await;
        let redis = of(self.redis.process());
        [
            host.0,
            host.1,
            leader.0,
            leader.1,
            standby.0,
            standby.1,
            memory,
            redis.1,
            connections,
            keys,
        ]
    }

    /// The memory that Redis uses in KiB, its connections and its keys.
    async fn ask_redis(&self) -> (f64, f64, f64) {
        let mut connection = self.redis.connection().await;
        let info: String = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .expect("a text");
        let keys: u64 = redis::cmd("DBSIZE")
            .query_async(&mut connection)
            .await
            .expect("a number");
        let number = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value
                .and_then(|value| value.trim().parse::<f64>().ok())
                .expect("a number")
        };
        let memory = number("used_memory:") / 1024.0;
        (memory, number("connected_clients:"), keys as f64)
    }
}

/// How many files a process has open.
fn descriptors(id: u32) -> f64 {
    let open = fs::read_dir(format!("/proc/{id}/fd")).expect("Linux tells");
    open.count() as f64
}

/// The clients.
struct Load {
    answers: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(host: &Host) -> Self {
        let mut load = Self {
            answers: Arc::default(),
            wrong: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..CLIENTS {
            let asking = ask_on(
                Client::new(&host.url),
                number,
                Arc::clone(&load.answers),
                Arc::clone(&load.wrong),
                Arc::clone(&load.stop),
            );
            load.tasks.spawn(asking);
        }
        load
    }

    /// How many answers there were, and how many of them should not have been.
    async fn end(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("a client goes on to the end");
        }
        (
            self.answers.load(Ordering::Relaxed),
            self.wrong.load(Ordering::Relaxed),
        )
    }
}

/// Asks for one thing after the other, at a steady pace.
async fn ask_on(
    client: Client,
    number: usize,
    answers: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let mut pace = interval(ASKS_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut etag = String::new();
    for turn in number.. {
        pace.tick().await;
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (path, coding) = match turn % 6 {
            0 => ("/incidents/1", "identity"),
            1 => ("/status", "identity"),
            2 => ("/incidents/unattributed", "br"),
            3 => ("/incidents", "zstd"),
            _ => ("/incidents", "gzip"),
        };
        let mut fields = vec![("accept-encoding", coding)];
        if coding == "gzip" && !etag.is_empty() {
            fields.push(("if-none-match", etag.as_str()));
        }
        let answer = client.send(Method::GET, path, &fields).await;
        answers.fetch_add(1, Ordering::Relaxed);
        let is_right = match answer.status.as_u16() {
            200 => path != "/incidents" || incidents_in(&answer.decoded()) > 1000,
            304 => fields.len() > 1,
            _ => false,
        };
        wrong.fetch_add(u64::from(!is_right), Ordering::Relaxed);
        if coding == "gzip" && answer.status == 200 {
            etag = answer.header("etag").to_owned();
        }
    }
}

/// Compares the first third after the warm-up with the last third, and tells.
fn compare(samples: &[(Duration, Sample)]) -> bool {
    let warm = samples.iter().filter(|(at, _)| *at >= WARM_UP);
    let warm: Vec<&Sample> = warm.map(|(_, sample)| sample).collect();
    let third = warm.len() / 3;
    let (first, last) = (&warm[..third.max(1)], &warm[warm.len() - third.max(1)..]);
    let mut all_flat = true;
    println!("| | first third | last third | |\n|---|---:|---:|---|");
    for (index, (name, part, units)) in MEASURES.into_iter().enumerate() {
        let before = median(first, index);
        let after = median(last, index);
        let flat = after <= before * (1.0 + part) + units;
        all_flat &= flat;
        let word = if flat { "flat" } else { "GROWS" };
        println!("| {name} | {before:.0} | {after:.0} | {word} |");
    }
    all_flat
}

fn median(samples: &[&Sample], index: usize) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample[index]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
