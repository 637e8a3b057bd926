//! The host's heartbeat: it tells in Redis that it is there and gets on, for `/status`.
//!
//! This is the host's own business: the component neither needs nor notices it, and whatever becomes
//! of it, requests are served. It reaches no other Redis than the component may. All its times are of
//! Redis's clock; of this machine's, only durations count.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    io,
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use domain::{
    contract::keys::Keys,
    contract::node::{self, BEAT_EVERY_MS, Kind, Node},
    settings::{self, Settings, Sources},
};
use thiserror::Error;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    manifest::{Application, Mount},
    outbound::AllowedHosts,
    redis::{Connection, dial},
    server::Work,
    variables::Values,
};

/// How long a beat may take, so that the next one is not late.
const BEAT: Duration = Duration::from_millis(900);

/// How long the end of a host waits until it is no longer listed.
const FAREWELL: Duration = Duration::from_millis(500);

/// What the component may need for an answer, beside the wait for the very first snapshot
/// (`SNAPSHOT_WAIT`). It gives Redis up after a second; what is slow is to check a costly hash.
const SLOWEST: Duration = Duration::from_secs(10);

/// A host that reports itself.
pub struct Heartbeat {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Begins to report a host that gets on as `work` says.
    #[must_use]
    pub fn start(reported: Reported, work: Arc<Work>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let reporter = Reporter {
            id: id(),
            reported,
            started: Instant::now(),
            since_ms: None,
            progress: Progress::new(work),
            target: None,
            failing: false,
        };
        Self {
            stop,
            task: tokio::spawn(reporter.report(stopped)),
        }
    }

    /// Ends it, in bounded time: a host that ends in good order is no longer listed.
    pub async fn end(self) {
        // Should its task have ended, nobody hears it.
        let _ = self.stop.send(());
        if self.task.await.is_err() {
            tracing::error!("the heartbeat panicked");
        }
    }
}

/// No two hosts have the same.
fn id() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let pid = process::id();
    // Seeded anew by the standard library in each process.
    let random = RandomState::new().hash_one(pid);
    node::id(&name, pid, random)
}

/// The file on this machine that the component sees as its configuration.
fn config_file(mounts: &[Mount]) -> Option<PathBuf> {
    mounts.iter().find_map(|mount| {
        let rest = Path::new(settings::MOUNTED_FILE).strip_prefix(&mount.destination);
        Some(mount.source.join(rest.ok()?))
    })
}

/// Why a host cannot report itself. Never holds a secret.
#[derive(Debug, Error)]
enum BeatError {
    #[error("config/config.yaml cannot be read: {0}")]
    File(io::Error),
    #[error("the settings cannot be used: {0}")]
    Settings(String),
    #[error("allowed_outbound_hosts does not list the Redis of REDIS_URL")]
    NotAllowed,
    #[error("Redis: {0}")]
    Redis(String),
    #[error("Redis does not answer within {BEAT:?}")]
    Slow,
}

impl From<redis::RedisError> for BeatError {
    fn from(error: redis::RedisError) -> Self {
        Self::Redis(error.to_string())
    }
}

/// What the component is told, which says where to report the host.
pub struct Reported {
    file: Option<PathBuf>,
    variables: Values,
    allowed: AllowedHosts,
}

impl Reported {
    /// What the component of `application` is told.
    #[must_use]
    pub fn of(application: &Application) -> Self {
        Self {
            file: config_file(&application.mounts),
            variables: application.variables.clone(),
            allowed: application.allowed_hosts.clone(),
        }
    }

    /// Reads the settings as the component does.
    fn settings(&self) -> Result<Settings, BeatError> {
        let text = match self.file.as_ref().map(fs::read_to_string) {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BeatError::File(error));
            }
            Some(Err(_)) | None => String::new(),
        };
        let value = |name: &str| self.variables.get(name).cloned();
        let sources = Sources {
            overrides: &|key| settings::table::from_variables(key, value).map(Into::into),
            ..Sources::file(&text)
        };
        Settings::read(&sources)
            .map_err(|errors| BeatError::Settings(errors.to_string().replace('\n', "; ")))
    }

    async fn connect(&self) -> Result<Target, BeatError> {
        let settings = self.settings()?;
        let address = redis::parse_redis_url(settings.redis_url.expose())
            .filter(|address| self.allowed.allows(address))
            .ok_or(BeatError::NotAllowed)?;
        Ok(Target {
            connection: dial(address).await?,
            key: Keys::new(&settings.redis_key_prefix).nodes(),
            stall: settings.snapshot_wait + SLOWEST,
        })
    }
}

/// Where the host reports itself.
#[derive(Clone)]
struct Target {
    connection: Connection,
    /// The hash of all nodes.
    key: String,
    /// Without progress for longer than this, the host hangs.
    stall: Duration,
}

/// Whether the host's work gets on.
struct Progress {
    work: Arc<Work>,
    /// As of the last look.
    answered: u64,
    /// When it got on last.
    last: Instant,
}

impl Progress {
    fn new(work: Arc<Work>) -> Self {
        Self {
            work,
            answered: 0,
            last: Instant::now(),
        }
    }

    /// It got on if nobody waits, or somebody was answered since the last look.
    fn look(&mut self, now: Instant) {
        let answered = self.work.answered();
        if answered != self.answered || self.work.in_flight() == 0 {
            self.last = now;
        }
        self.answered = answered;
    }

    /// What was done last, in words.
    fn words(&self) -> String {
        match self.answered {
            0 => "waits for its first request".to_owned(),
            answered => format!("answered {answered} requests"),
        }
    }
}

/// The task that reports.
struct Reporter {
    id: String,
    reported: Reported,
    started: Instant,
    /// When the host was started by Redis's clock; unknown before the first beat.
    since_ms: Option<u64>,
    progress: Progress,
    /// None until Redis is reached, and once it is not.
    target: Option<Target>,
    /// Whether the last beat failed, so that it is said once.
    failing: bool,
}

impl Reporter {
    async fn report(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut ticks = interval(Duration::from_millis(BEAT_EVERY_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let beat = async {
                ticks.tick().await;
                self.progress.look(Instant::now());
                timeout(BEAT, self.beat())
                    .await
                    .unwrap_or(Err(BeatError::Slow))
            };
            let result = tokio::select! {
                result = beat => result,
                _ = &mut stopped => break,
            };
            self.tell(result);
        }
        if self.since_ms.is_some() && timeout(FAREWELL, self.leave()).await.is_err() {
            tracing::debug!("Redis did not hear in time that this host ends");
        }
    }

    /// Where to report: by the connection that there is, or a new one.
    async fn target(&mut self) -> Result<Target, BeatError> {
        if let Some(target) = &self.target {
            return Ok(target.clone());
        }
        let target = self.reported.connect().await?;
        Ok(self.target.insert(target).clone())
    }

    async fn beat(&mut self) -> Result<(), BeatError> {
        let mut target = self.target().await?;
        let (seconds, microseconds): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut target.connection)
            .await?;
        let (now, now_ms) = (Instant::now(), seconds * 1000 + microseconds / 1000);
        let at = |then: Instant| now_ms.saturating_sub(milliseconds(now.duration_since(then)));
        let node = Node {
            id: self.id.clone(),
            kind: Kind::Host,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            since_ms: *self.since_ms.get_or_insert(at(self.started)),
            beat_ms: now_ms,
            progress_ms: at(self.progress.last),
            stall_ms: milliseconds(target.stall),
            last: self.progress.words(),
            leads: false,
            probed: None,
        };
        redis::cmd("HSET")
            .arg(&target.key)
            .arg(&node.id)
            .arg(node.to_json())
            .exec_async(&mut target.connection)
            .await?;
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), BeatError> {
        let mut target = self.target().await?;
        redis::cmd("HDEL")
            .arg(&target.key)
            .arg(&self.id)
            .exec_async(&mut target.connection)
            .await?;
        Ok(())
    }

    /// Tells what is new about the beats. A connection that broke or hangs is not used again.
    fn tell(&mut self, result: Result<(), BeatError>) {
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(id = self.id, "reports itself again");
                }
            }
            Err(error) => {
                self.target = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        "this host cannot report itself to /status: {error}; trying again every second"
                    );
                }
            }
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_found_where_the_component_sees_it() {
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.to_owned(),
        };
        let found = |mounts: &[Mount]| config_file(mounts);
        assert_eq!(
            found(&[mount("a", "/other"), mount("b", "/config")]),
            Some("b/config.yaml".into())
        );
        assert_eq!(
            found(&[mount("b", "/")]),
            Some("b/config/config.yaml".into())
        );
        assert_eq!(found(&[mount("b", "/config.d")]), None);
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_host_hangs_only_while_somebody_waits_and_nobody_is_answered() {
        let work = Arc::new(Work::default());
        let mut progress = Progress::new(Arc::clone(&work));
        let began = Instant::now();
        let second = |n| began + Duration::from_secs(n);
        progress.look(second(1));
        assert_eq!(progress.last, second(1));
        assert_eq!(progress.words(), "waits for its first request");

        let (waiting, quick) = (work.begin(), work.begin());
        progress.look(second(2));
        assert_eq!(progress.last, second(1));
        quick.answered();
        progress.look(second(3));
        assert_eq!(progress.last, second(3));
        assert_eq!(progress.words(), "answered 1 requests");
        progress.look(second(4));
        assert_eq!(progress.last, second(3));
        // Whoever gives up waits no longer, but was not answered.
        drop(waiting);
        progress.look(second(5));
        assert_eq!(progress.last, second(5));
        assert_eq!(work.answered(), 1);
    }

    #[test]
    fn settings_come_from_the_variables_and_the_mounted_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let told = |file: Option<PathBuf>, variables: &[(&str, &str)]| Reported {
            file,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            allowed: AllowedHosts::default(),
        };
        let none_yet = told(Some(file.clone()), &[]).settings().unwrap();
        assert_eq!(none_yet.redis_key_prefix, "incidents");
        fs::write(&file, "REDIS_KEY_PREFIX: other\nSNAPSHOT_WAIT: 3\n").unwrap();
        let variables = [("redis_secret_url", ""), ("redis_url", "redis://h:1")];
        let both = told(Some(file.clone()), &variables).settings().unwrap();
        assert_eq!(both.redis_key_prefix, "other");
        assert_eq!(both.redis_url.expose(), "redis://h:1");
        fs::write(&file, "REDIS_URL: 'redis://:hunter2@'\n").unwrap();
        let error = told(Some(file), &[]).settings().unwrap_err().to_string();
        assert!(error.contains("REDIS_URL"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
