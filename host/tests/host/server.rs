//! Servers for tests: the host in this process, and a Redis.

use std::{
    env::VarError,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use host::{Limits, Reuse, Server, manifest::Application, variables::Values};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use crate::{
    client::{Answer, get},
    program::{not_set_up, probe, probe_file},
};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = found(async || condition().await.then_some(())).await;
    assert!(holds.is_some(), "not in time: {what}");
}

/// What `probe` finds, as soon as it does; `None` if that takes too long.
async fn found<T>(mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while start.elapsed() < PATIENCE {
        looks.tick().await;
        if let Some(found) = probe().await {
            return Some(found);
        }
    }
    None
}

/// A folder with a manifest for the probe, and a `config` that it may read.
pub(crate) fn application(redis: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        r#"
spin_manifest_version = 2
application = {{ name = "probe" }}
[variables]
redis_url = {{ default = "{redis}" }}
secret = {{ default = "none", secret = true }}
[[trigger.http]]
route = "/..."
component = "probe"
[component.probe]
source = "{}"
files = [{{ source = "config", destination = "/config" }}]
allowed_outbound_hosts = ["{{{{ redis_url }}}}"]
[component.probe.variables]
greeting = "hello {{{{ secret }}}}"
"#,
        probe_file().display()
    );
    fs::write(folder.path().join("spin.toml"), manifest).unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    fs::write(folder.path().join("config/inside.txt"), "inside").unwrap();
    fs::write(folder.path().join("outside.txt"), "outside").unwrap();
    folder
}

/// A host in this process; it ends when it is dropped.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// How to start a [`Host`]; by default as the program does.
#[derive(Default)]
pub(crate) struct Settings<'a> {
    pub(crate) redis: Option<&'a Redis>,
    pub(crate) reuse: Reuse,
    pub(crate) limits: Limits,
}

impl Host {
    pub(crate) async fn start(settings: Settings<'_>) -> Self {
        let redis = settings.redis.map(|redis| redis.url.as_str());
        let folder = application(redis.unwrap_or_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let environment = |_: &str| Err(VarError::NotPresent);
        let application = Application::load(folder.path(), &Values::new(), environment).unwrap();
        let server = Server::new(
            listener,
            probe(),
            application,
            settings.reuse,
            settings.limits,
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            folder,
            stop: Some(stop),
            serving,
        }
    }

    /// With a Redis, and otherwise as the program does.
    pub(crate) async fn with(redis: &Redis) -> Self {
        Self::start(Settings {
            redis: Some(redis),
            ..Settings::default()
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(self.address, path).await
    }

    /// The body of a 200.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> impl Future<Output = String> {
        let address = self.address;
        async move {
            let answer = get(address, path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answer.text()
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.serving).await.unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A `redis-server` of its own; it ends when it is dropped.
pub(crate) struct Redis {
    pub(crate) url: String,
    process: Child,
    _folder: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            // The port may be taken by another before Redis has it: then it ends, and we try again.
            let port = free_port().await;
            let process = spawn_redis(port, folder.path());
            let mut redis = Self {
                url: format!("redis://127.0.0.1:{port}"),
                process,
                _folder: folder,
            };
            if redis.answers().await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    async fn answers(&mut self) -> bool {
        let folder = self._folder.path().display().to_string();
        let answer = found(async || {
            if self.process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let mut connection = self.connect().await.ok()?;
            let config: Vec<String> = ::redis::cmd("CONFIG")
                .arg(&["GET", "dir"])
                .query_async(&mut connection)
                .await
                .ok()?;
            // Another test's Redis may have got the port.
            Some(config.get(1) == Some(&folder))
        });
        answer.await.unwrap_or(false)
    }

    async fn connect(&self) -> ::redis::RedisResult<::redis::aio::MultiplexedConnection> {
        // On a busy machine, it may take longer than the client would wait by itself.
        let config = ::redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(30)))
            .set_response_timeout(Some(Duration::from_secs(30)));
        ::redis::Client::open(self.url.as_str())?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Runs a command, its words separated by spaces.
    pub(crate) async fn run<T: ::redis::FromRedisValue>(&self, command: &str) -> T {
        let mut connection = self.connect().await.unwrap();
        let mut words = command.split(' ');
        ::redis::cmd(words.next().unwrap())
            .arg(words.collect::<Vec<_>>())
            .query_async(&mut connection)
            .await
            .unwrap()
    }

    /// How many connections it has, but for the one that asks.
    pub(crate) async fn clients(&self) -> usize {
        let clients: String = self.run("CLIENT LIST").await;
        clients.lines().count() - 1
    }

    /// Ends it, without giving up its port.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn_redis(port: u16, folder: &Path) -> Child {
    // Where that ends the tests, no Redis is to be left.
    let _ = probe_file();
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|_| not_set_up())
}
