//! Every fault in turn, while clients read without pause: what they get is always a whole snapshot,
//! never older than one they have seen, and as new as it can be within one refresh of the fault's end.
//! Faults, requests and outcomes are counted and printed as a table.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use domain::contract::history::HistoryStatus;
use domain::contract::node::State;
use end_to_end::{
    Answer, Client, Clock, FIRST_VERSION, ID, Mode, PASSWORD, Process, Proxy, Redis, Signal,
    TempDir, Upstream, incidents_in, keys, mark, on_a_small_disk, refresher, stored_snapshot,
    until, version_in,
};
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// From the start of one refresh to that of the next.
const REFRESH: &str = "6";

/// Within one refresh, all is to be as before; the rest is for a busy machine.
const RECOVERY: Duration = Duration::from_secs(6 + 4);

const BOUND: Duration = Duration::from_secs(30);

/// How often a reader asks: other tests are to get on, too.
const ASKS_EVERY: Duration = Duration::from_millis(10);

/// An hour, by which clocks jump.
const JUMP: i64 = 3600;

/// Clients that read at the same time.
const READERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Fault {
    OneEndpointFails,
    UpstreamHangs,
    UpstreamLies,
    UpstreamIsSlow,
    LeaderIsKilled,
    LeaderIsPaused,
    HostIsKilled,
    HostIsPaused,
    RedisRefuses,
    RedisIsSilent,
    RedisIsPaused,
    RedisIsEmptied,
    AllIsLostButHistory,
    HistoryCannotBeWritten,
    ClockIsSetAhead,
    ClockIsSetBack,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::OneEndpointFails,
        Self::UpstreamHangs,
        Self::UpstreamLies,
        Self::UpstreamIsSlow,
        Self::LeaderIsKilled,
        Self::LeaderIsPaused,
        Self::HostIsKilled,
        Self::HostIsPaused,
        Self::RedisRefuses,
        Self::RedisIsSilent,
        Self::RedisIsPaused,
        Self::RedisIsEmptied,
        Self::AllIsLostButHistory,
        Self::HistoryCannotBeWritten,
        Self::ClockIsSetAhead,
        Self::ClockIsSetBack,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::OneEndpointFails => "upstream: one endpoint answers 503",
            Self::UpstreamHangs => "upstream: all endpoints hang",
            Self::UpstreamLies => "upstream: web pages, torn and wrong bodies",
            Self::UpstreamIsSlow => "upstream: bytes drip",
            Self::LeaderIsKilled => "refresher: the leader, kill -9",
            Self::LeaderIsPaused => "refresher: the leader, SIGSTOP, SIGCONT",
            Self::HostIsKilled => "host: kill -9, started again",
            Self::HostIsPaused => "host: SIGSTOP, SIGCONT",
            Self::RedisRefuses => "Redis: its port is closed",
            Self::RedisIsSilent => "Redis: accepts, never answers",
            Self::RedisIsPaused => "Redis: SIGSTOP, SIGCONT",
            Self::RedisIsEmptied => "Redis: kill -9, comes back empty",
            Self::AllIsLostButHistory => "Redis and refreshers lost, upstream hangs",
            Self::HistoryCannotBeWritten => "history: its disk is full",
            Self::ClockIsSetAhead => "clocks: all an hour ahead",
            Self::ClockIsSetBack => "clocks: all an hour back, leader killed",
        }
    }

    /// Whether clients may have to do without a snapshot meanwhile. To a host that was paused while it
    /// waited for Redis, Redis has taken too long.
    const fn takes_the_snapshot_away(self) -> bool {
        matches!(
            self,
            Self::HostIsPaused
                | Self::RedisRefuses
                | Self::RedisIsSilent
                | Self::RedisIsPaused
                | Self::RedisIsEmptied
                | Self::AllIsLostButHistory
        )
    }

    /// Whether clients may get no answer at all meanwhile.
    const fn takes_the_host_away(self) -> bool {
        matches!(self, Self::HostIsKilled)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_costs_a_reader_more_than_time() {
    let mut service = Service::start().await;
    let readers = Readers::start(&service);
    service.news().await;
    readers.see(service.version, "at the beginning").await;
    let mut table = Table::new();
    for fault in Fault::ALL {
        let name = fault.name();
        let before = readers.begin(fault);
        service.suffer(fault).await;
        let ended = Instant::now();
        service.news().await;
        readers.see(service.version, name).await;
        let recovery = ended.elapsed();
        let seen = readers.tally().since(&before);
        table.add(name, &seen, recovery);
        assert!(recovery < RECOVERY, "{name}: {recovery:?}");
        if !fault.takes_the_snapshot_away() {
            assert_eq!(seen.away, 0, "{name}: 503 although the snapshot was there");
        }
        assert!(seen.whole + seen.unchanged > 0, "{name}: nothing was read");
    }
    readers.end().await;
    table.print();
}

/// The whole service: two refreshers and a host, with a proxy in front of Redis and one clock for all.
struct Service {
    clock: Arc<Clock>,
    redis: Redis,
    proxy: Proxy,
    upstream: Upstream,
    refreshers: Vec<Process>,
    host: end_to_end::Service,
    clients: watch::Sender<Client>,
    history: TempDir,
    version: u64,
}

/// A host that gets to Redis through the proxy, as its supervisor does.
async fn supervised_host(redis: &Redis, upstream: &Upstream, proxy: &Proxy) -> end_to_end::Service {
    let url = proxy.url();
    let (settings, variables) = ([("REDIS_URL", url)], [("redis_url", url)]);
    end_to_end::Service::start("serve", redis, upstream, &settings, &variables).await
}

impl Service {
    async fn start() -> Self {
        let clock = Arc::new(Clock::right());
        let redis = Redis::start_by(Arc::clone(&clock)).await;
        let proxy = Proxy::start(&redis).await;
        let upstream = Upstream::start().await;
        mark(&upstream, FIRST_VERSION).await;
        let host = supervised_host(&redis, &upstream, &proxy).await;
        let mut service = Self {
            clients: watch::Sender::new(host.client.clone()),
            host,
            clock,
            redis,
            proxy,
            upstream,
            refreshers: Vec::new(),
            history: TempDir::new().expect("a temporary folder"),
            version: FIRST_VERSION,
        };
        for _ in 0..2 {
            service.add_refresher();
        }
        until("a snapshot is served", BOUND, async || {
            let answer = service.host.client.get_as_stranger("/readyz").await;
            answer.status.is_success().then_some(())
        })
        .await;
        service
    }

    fn add_refresher(&mut self) {
        let history = self.history.path().to_string_lossy().into_owned();
        let settings = [
            ("REDIS_URL", self.proxy.url().to_owned()),
            ("DEFAULT_CACHE_REFRESH", REFRESH.to_owned()),
            ("API_TIMEOUT", "2".to_owned()),
            ("HISTORY_STORE", history),
        ];
        let settings = settings
            .each_ref()
            .map(|(key, value)| (*key, value.as_str()));
        let mut command = refresher(&["run"], &self.redis, &self.upstream, &settings);
        self.clock.give(&mut command);
        self.refreshers
            .push(Process::start(on_a_small_disk(&command)));
    }

    /// Something new upstream, which everybody is to see.
    async fn news(&mut self) {
        self.version += 1;
        mark(&self.upstream, self.version).await;
    }

    /// Which of the refreshers leads.
    async fn leader(&self) -> usize {
        until("one of the refreshers leads", BOUND, async || {
            let mut connection = self.redis.connection().await;
            let holder: Option<String> = redis::cmd("HGET")
                .arg(keys().lease())
                .arg("holder")
                .query_async(&mut connection)
                .await
                .ok()?;
            let id = holder?.split(':').nth(1)?.parse().ok();
            self.refreshers
                .iter()
                .position(|process| process.id() == id)
        })
        .await
    }

    /// A fault from its beginning to its end.
    async fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::OneEndpointFails => self.upstream_does("denial", &["status-503"]).await,
            Fault::UpstreamHangs => self.upstream_does("all", &["hang"]).await,
            Fault::UpstreamLies => {
                let lies = [
                    "html",
                    "truncate",
                    "truncate-chunked",
                    "wrong-body",
                    "reset",
                ];
                self.upstream_does("all", &lies).await;
            }
            Fault::UpstreamIsSlow => self.upstream_does("all", &["drip-10"]).await,
            Fault::LeaderIsKilled => {
                let leader = self.leader().await;
                self.refreshers.remove(leader).kill().await;
                self.add_refresher();
            }
            Fault::LeaderIsPaused => self.pause_leader().await,
            Fault::HostIsKilled => self.replace_host().await,
            Fault::HostIsPaused => {
                self.host.signal_host(Signal::STOP);
                self.miss_host().await;
                self.host.signal_host(Signal::CONT);
            }
            Fault::RedisRefuses => self.cut_off_redis(Mode::Refusing).await,
            Fault::RedisIsSilent => self.cut_off_redis(Mode::Silent).await,
            Fault::RedisIsPaused => {
                let before = self.given_up();
                self.redis.freeze();
                self.give_up(before).await;
                self.redis.thaw();
            }
            Fault::RedisIsEmptied => {
                self.redis.stop().await;
                self.redis.start_again().await;
            }
            Fault::AllIsLostButHistory => self.lose_all().await,
            Fault::HistoryCannotBeWritten => self.fill_the_disk().await,
            Fault::ClockIsSetAhead => self.clock.set(JUMP),
            Fault::ClockIsSetBack => {
                self.clock.set(-JUMP);
                let leader = self.leader().await;
                self.refreshers.remove(leader).kill().await;
                self.add_refresher();
            }
        }
    }

    /// Each effect until a refresh has met it.
    async fn upstream_does(&self, endpoint: &str, effects: &[&str]) {
        for effect in effects {
            self.upstream
                .fault(endpoint, json!({ "effect": effect }))
                .await;
            let asked = self.upstream.requests("denial").await;
            until("a refresh has met it", BOUND, async || {
                (self.upstream.requests("denial").await > asked).then_some(())
            })
            .await;
        }
        self.upstream.mend("all").await;
    }

    /// The leader is paused until another one leads and has published; then it goes on, and does not
    /// know yet that it leads no more.
    async fn pause_leader(&mut self) {
        let leader = self.leader().await;
        self.refreshers[leader].signal(Signal::STOP);
        until("another one leads", BOUND, async || {
            (self.leader().await != leader).then_some(())
        })
        .await;
        self.news().await;
        let asked = self.upstream.requests("denial").await;
        until("it refreshes", BOUND, async || {
            (self.upstream.requests("denial").await > asked).then_some(())
        })
        .await;
        self.refreshers[leader].signal(Signal::CONT);
    }

    async fn replace_host(&mut self) {
        self.host.signal_host(Signal::KILL);
        let status = self.host.refresher.exit(BOUND).await;
        assert_eq!(status.code(), Some(1), "its supervisor ends with it");
        self.host = supervised_host(&self.redis, &self.upstream, &self.proxy).await;
        self.clients.send_replace(self.host.client.clone());
    }

    /// Nobody gets to Redis, until the lease there has run out as well.
    async fn cut_off_redis(&self, mode: Mode) {
        let before = self.given_up();
        self.proxy.set(mode);
        self.give_up(before).await;
        until("the lease has run out", BOUND, async || {
            let lease = keys().lease();
            let expires_ms: u64 = self.redis.ask(&format!("HGET {lease} expires_ms")).await;
            let (seconds, micros): (u64, u64) = self.redis.ask("TIME").await;
            (seconds * 1000 + micros / 1000 > expires_ms).then_some(())
        })
        .await;
        self.proxy.set(Mode::Open);
    }

    /// How often a leader has given up for want of Redis.
    fn given_up(&self) -> usize {
        let refreshers = self.refreshers.iter();
        refreshers
            .map(|process| process.logged("leads no more"))
            .sum()
    }

    /// Waits until Redis's absence is felt by all: the leader gives up, and clients are sent away.
    async fn give_up(&self, before: usize) {
        until("the leader gives up", BOUND, async || {
            (self.given_up() > before).then_some(())
        })
        .await;
        until("a client is sent away", BOUND, async || {
            let answer = self.host.client.get("/incidents").await;
            (answer.status == 503).then_some(())
        })
        .await;
    }

    /// Waits until the leader has noted that the host does not answer.
    async fn miss_host(&self) {
        let host = self.host.host_id();
        until("the host is missed", BOUND, async || {
            let mut connection = self.redis.connection().await;
            let states: HashMap<String, String> = redis::cmd("HGETALL")
                .arg(keys().node_states())
                .query_async(&mut connection)
                .await
                .ok()?;
            let is_it = |id: &str| id.split(':').nth(1) == Some(&host.to_string());
            let (_, state) = states.iter().find(|(id, _)| is_it(id))?;
            (state == State::Hanging.name()).then_some(())
        })
        .await;
    }

    /// Redis comes back empty, no refresher has anything in memory, and upstream says nothing: the
    /// last snapshot is served all the same, and marked.
    async fn lose_all(&mut self) {
        // What is served has been published, and is recorded beside that: nothing else can come back.
        let published_ms = stored_snapshot(&self.redis).await.published_at_ms;
        until("what is served is in the history", BOUND, async || {
            let recorded_ms = self.history_status().await?.recorded_ms?;
            (recorded_ms >= published_ms).then_some(())
        })
        .await;
        for mut refresher in self.refreshers.drain(..) {
            refresher.kill().await;
        }
        self.redis.stop().await;
        self.upstream
            .fault("all", json!({ "effect": "hang" }))
            .await;
        self.redis.start_again().await;
        for _ in 0..2 {
            self.add_refresher();
        }
        let expected = self.version;
        until("the history is served", BOUND, async || {
            let client = &self.host.client;
            let account = Some((ID, PASSWORD));
            let answer = client
                .try_send(Method::GET, "/incidents", account, &[])
                .await;
            let answer = answer.ok().filter(|answer| answer.status == 200)?;
            assert_eq!(answer.header("incidents-recovered"), "?1");
            assert_eq!(version_in(&answer.body), expected);
            Some(())
        })
        .await;
        self.upstream.mend("all").await;
    }

    /// The state of the history, as it is told.
    async fn history_status(&self) -> Option<HistoryStatus> {
        let mut connection = self.redis.connection().await;
        let told: Option<Vec<u8>> = redis::cmd("GET")
            .arg(keys().history())
            .query_async(&mut connection)
            .await
            .ok()?;
        HistoryStatus::parse(&told?)
    }

    /// What is to be recorded finds no place, until there is some again.
    async fn fill_the_disk(&mut self) {
        for refresher in &self.refreshers {
            refresher.limit_files(Some(0));
        }
        self.news().await;
        let failing = async |failing: bool| {
            until("the history's state is told", BOUND, async || {
                let status = self.history_status().await?;
                (status.error.is_some() == failing).then_some(())
            })
            .await;
        };
        failing(true).await;
        for refresher in &self.refreshers {
            refresher.limit_files(None);
        }
        failing(false).await;
    }
}

/// What clients got.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// 200 with a whole snapshot.
    whole: u64,
    /// Of these, marked as taken from the history.
    recovered: u64,
    /// 304.
    unchanged: u64,
    /// 503 with Retry-After.
    away: u64,
    /// No answer at all.
    none: u64,
    /// The longest that one took.
    longest: Duration,
}

impl Tally {
    fn since(&self, before: &Self) -> Self {
        Self {
            whole: self.whole - before.whole,
            recovered: self.recovered - before.recovered,
            unchanged: self.unchanged - before.unchanged,
            away: self.away - before.away,
            none: self.none - before.none,
            longest: self.longest,
        }
    }
}

/// What all readers know together.
#[derive(Debug, Default)]
struct Seen {
    tally: Mutex<Tally>,
    /// The report that each entity tag stands for: a hash of it.
    reports: Mutex<HashMap<String, u64>>,
    hasher: RandomState,
    /// The newest version that each reader has seen.
    versions: [AtomicU64; READERS],
    may_be_gone: AtomicBool,
    stop: AtomicBool,
}

impl Seen {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nobody panics with it")
    }
}

/// Clients that read the report over and over.
struct Readers {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(service: &Service) -> Self {
        let seen = Arc::new(Seen::default());
        let reader = |number| Reader {
            number,
            seen: Arc::clone(&seen),
            client: service.clients.subscribe(),
            etag: String::new(),
        };
        let tasks = (0..READERS).map(|number| tokio::spawn(reader(number).read_on()));
        Self {
            tasks: tasks.collect(),
            seen,
        }
    }

    /// What has been seen up to now, as `fault` begins.
    fn begin(&self, fault: Fault) -> Tally {
        let gone = fault.takes_the_host_away();
        self.seen.may_be_gone.store(gone, Ordering::Relaxed);
        self.seen.tally().longest = Duration::ZERO;
        self.tally()
    }

    fn tally(&self) -> Tally {
        *self.seen.tally()
    }

    /// Waits until every reader has seen `version`.
    async fn see(&self, version: u64, when: &str) {
        until(&format!("{version} is seen: {when}"), BOUND, async || {
            assert!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "{when}: a reader got what it should not: see above"
            );
            let versions = self.seen.versions.iter();
            versions
                .map(|newest| newest.load(Ordering::Relaxed))
                .all(|newest| newest >= version)
                .then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a reader got only what it should");
        }
    }
}

struct Reader {
    number: usize,
    seen: Arc<Seen>,
    client: watch::Receiver<Client>,
    /// Of the last whole answer.
    etag: String,
}

impl Reader {
    async fn read_on(mut self) {
        let codings = ["identity", "gzip", "zstd", "br"].iter().cycle();
        let mut pace = interval(ASKS_EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (turn, coding) in codings.enumerate() {
            pace.tick().await;
            if self.seen.stop.load(Ordering::Relaxed) {
                return;
            }
            self.read(turn, coding).await;
        }
    }

    async fn read(&mut self, turn: usize, coding: &str) {
        let conditional = turn % 2 == 1 && !self.etag.is_empty();
        let mut fields = vec![("accept-encoding", coding)];
        let etag = format!("\"{}{}\"", self.etag, suffix(coding));
        if conditional {
            fields.push(("if-none-match", &etag));
        }
        let client = self.client.borrow_and_update().clone();
        let account = Some((ID, PASSWORD));
        let begun = Instant::now();
        let answer = client
            .try_send(Method::GET, "/incidents", account, &fields)
            .await;
        let took = begun.elapsed();
        match answer {
            Ok(answer) => self.check(&answer, coding, conditional),
            Err(error) => {
                assert!(
                    self.seen.may_be_gone.load(Ordering::Relaxed),
                    "no answer: {error:?}"
                );
                self.seen.tally().none += 1;
                // There is a new host, or will be.
                let _ = tokio::time::timeout(BOUND, self.client.changed()).await;
            }
        }
        let mut tally = self.seen.tally();
        tally.longest = tally.longest.max(took);
    }

    /// Every answer is a whole snapshot no older than before, the news that there is none, or a 503
    /// that says when to come again.
    fn check(&mut self, answer: &Answer, coding: &str, conditional: bool) {
        match answer.status.as_u16() {
            200 => self.check_whole(answer, coding),
            304 => {
                assert!(conditional, "{answer:?}");
                assert_eq!(tag(answer, coding), self.etag);
                self.seen.tally().unchanged += 1;
            }
            _ => {
                let _ = answer.problem(503);
                let wait: u64 = answer.header("retry-after").parse().expect("seconds");
                assert!((1..=60).contains(&wait), "{answer:?}");
                self.seen.tally().away += 1;
            }
        }
    }

    fn check_whole(&mut self, answer: &Answer, coding: &str) {
        let body = answer.decoded();
        let etag = tag(answer, coding);
        let hash = self.seen.hasher.hash_one(&body);
        let known = {
            let mut reports = self.seen.reports.lock().expect("nobody panics with it");
            reports.insert(etag.clone(), hash)
        };
        match known {
            Some(known) => assert_eq!(known, hash, "{etag} stands for two reports"),
            None => assert!(incidents_in(&body) > 1000, "the report is not whole"),
        }
        let version = version_in(&body);
        let newest = &self.seen.versions[self.number];
        let recovered = answer.header("incidents-recovered") == "?1";
        let before = newest.load(Ordering::Relaxed);
        assert!(
            version >= before || recovered,
            "{version} after {before}, and not marked"
        );
        newest.store(version, Ordering::Relaxed);
        self.etag = etag;
        let mut tally = self.seen.tally();
        tally.whole += 1;
        tally.recovered += u64::from(recovered);
    }
}

/// What a coding adds to the entity tag.
fn suffix(coding: &str) -> String {
    match coding {
        "identity" => String::new(),
        coding => format!("-{coding}"),
    }
}

/// The entity tag of the report, whatever its coding.
fn tag(answer: &Answer, coding: &str) -> String {
    let tag = answer.header("etag").trim_matches('"');
    tag.strip_suffix(&suffix(coding)).unwrap_or(tag).to_owned()
}

/// Faults, requests and outcomes, for a person.
struct Table(String);

impl Table {
    fn new() -> Self {
        let mut table = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "\n| fault | 200 | recovered | 304 | 503 | no answer | longest answer | as new as can be after |"
        );
        let _ = writeln!(table, "|---|---:|---:|---:|---:|---:|---:|---:|");
        Self(table)
    }

    fn add(&mut self, name: &str, seen: &Tally, recovery: Duration) {
        let Tally {
            whole,
            recovered,
            unchanged,
            away,
            none,
            longest,
        } = seen;
        let _ = writeln!(
            self.0,
            "| {name} | {whole} | {recovered} | {unchanged} | {away} | {none} | {:.2} s | {:.1} s |",
            longest.as_secs_f64(),
            recovery.as_secs_f64()
        );
    }

    /// Not by way of `eprintln`, which the test's harness keeps to itself.
    fn print(&self) {
        let _ = std::io::stderr().write_all(self.0.as_bytes());
    }
}
