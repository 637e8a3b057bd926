//! A real Prometheus before the running service, with the rules and the board's queries that operators get: faults
//! make alerts fire, and they resolve.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use end_to_end::{
    Client, Host, ID, PASSWORD, Process, Redis, TempDir, Upstream, free_port, host_at, keys,
    optional, refresher, until,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::monitoring::expressions;
use crate::{root, text};

/// How long an alert may take to fire or to resolve, on a busy machine.
const BOUND: Duration = Duration::from_secs(90);

/// Settings of the component: whoever guesses is counted, and not locked out.
const SETTINGS: [(&str, &str); 1] = [("wrong_password_limits", "1000 per minute")];

/// All that is watched, and who watches.
struct Watched {
    redis: Redis,
    upstream: Upstream,
    refresher: Process,
    host: Host,
    /// Where the host tells its metrics.
    metrics: String,
    history: PathBuf,
    prometheus: Client,
    _process: Process,
    _folder: TempDir,
}

impl Watched {
    async fn start(program: PathBuf) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let history = folder.path().join("history");
        let (redis, upstream) = (Redis::start().await, Upstream::start().await);
        let metrics = format!("127.0.0.1:{}", free_port());
        let refresher = refreshing(&redis, &upstream, &history);
        let host = host_at("127.0.0.1:0", &redis, &SETTINGS, &["--metrics", &metrics]).await;
        prepare(folder.path(), &host, &metrics);
        let port = free_port();
        let mut command = tokio::process::Command::new(program);
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path());
        Self {
            _process: Process::start(command),
            prometheus: Client::new(&format!("http://127.0.0.1:{port}")),
            _folder: folder,
            redis,
            upstream,
            refresher,
            host,
            metrics,
            history,
        }
    }

    /// What Prometheus finds for a query; `None` where it refuses it or does not answer.
    async fn find(&self, query: &str) -> Option<Vec<Value>> {
        let mut path = "/api/v1/query?query=".to_owned();
        for byte in query.bytes() {
            let _ = write!(path, "%{byte:02X}");
        }
        let answer = self.prometheus.try_send(Method::GET, &path, None, &[]);
        let answer: Value = serde_json::from_slice(&answer.await.ok()?.body).ok()?;
        answer["data"]["result"].as_array().cloned()
    }

    /// Whether an alert fires.
    async fn fires(&self, alert: &str) -> Option<bool> {
        let query = format!(r#"ALERTS{{alertname="{alert}",alertstate="firing"}}"#);
        Some(!self.find(&query).await?.is_empty())
    }

    /// Waits until all of these alerts fire, or until none does. Meanwhile somebody asks for the report.
    async fn all(&self, alerts: &[&str], are_firing: bool) {
        for alert in alerts {
            let what = format!("{alert} {}", if are_firing { "fires" } else { "resolves" });
            until(&what, BOUND, async || {
                let asked = Some((ID, PASSWORD));
                let _ = self
                    .host
                    .client
                    .try_send(Method::GET, "/incidents", asked, &[])
                    .await;
                (self.fires(alert).await? == are_firing).then_some(())
            })
            .await;
        }
    }
}

fn refreshing(redis: &Redis, upstream: &Upstream, history: &Path) -> Process {
    let history = history.to_string_lossy();
    let settings = [("HISTORY_STORE", history.as_ref())];
    Process::start(refresher(&["run"], redis, upstream, &settings))
}

/// Writes what operators get, for this service and in a hurry: what has to hold for minutes holds for a moment.
fn prepare(folder: &Path, host: &Host, metrics: &str) {
    let copied = Command::new("cp")
        .args(["-R", "deploy/prometheus/."])
        .arg(folder)
        .current_dir(root())
        .status();
    assert!(copied.expect("it can be run").success());
    let edit = |file: &str, changes: &[(&str, &str)]| {
        let mut edited = text(&format!("deploy/prometheus/{file}"));
        for (old, new) in changes {
            assert!(edited.contains(old), "{file} has no {old}");
            edited = edited.replace(old, new);
        }
        fs::write(folder.join(file), edited).expect("it can be written");
    };
    fs::write(folder.join("password"), PASSWORD).expect("it can be written");
    let discovery =
        "dns_sd_configs: [{ names: [api], type: A, port: 9001, refresh_interval: 15s }]";
    edit(
        "prometheus.yml",
        &[
            ("scrape_interval: 30s", "scrape_interval: 1s"),
            ("scrape_timeout: 10s", "scrape_timeout: 1s"),
            ("evaluation_interval: 30s", "evaluation_interval: 1s"),
            // Before 2.48, Prometheus takes the user's name from no file.
            (
                "username_file: /run/secrets/scrape-user",
                &format!("username: {ID}"),
            ),
            ("/run/secrets/scrape-password", "password"),
            ("api:9000", host.url.trim_start_matches("http://")),
            (
                discovery,
                &format!("static_configs: [{{ targets: [\"{metrics}\"] }}]"),
            ),
        ],
    );
    let short = [("[5m]", "[10s]"), ("[10m]", "[10s]")];
    edit("rules/recording.yml", &short);
    let holds = [
        "for: 1m\n",
        "for: 2m\n",
        "for: 5m\n",
        "for: 10m\n",
        "for: 30m\n",
    ];
    let mut changes = holds.map(|long| (long, "for: 0s\n")).to_vec();
    changes.push(("[10m]", "[10s]"));
    edit("rules/alerts.yml", &changes);
}

/// What rules and panels ask, as Grafana would, and whether that finds something where all is well.
fn queries() -> Vec<(String, bool)> {
    let alerts = expressions("alerts").len();
    let all = ["alerts", "recording", "board"].into_iter();
    let all = all.flat_map(expressions).enumerate();
    all.map(|(number, (_, expression))| {
        // Nothing is handed to Alertmanager here, and no answer is a failure as yet.
        let is_off = ["incidents_alert", "status=~\"5"];
        let is_off = is_off.iter().any(|what| expression.contains(what));
        let finds = number >= alerts && !is_off;
        let query = expression
            .replace("$job", "employee-incidents")
            .replace("$namespace", ".*")
            .replace("[5m]", "[10s]");
        (query, finds)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_board_shows_the_service_and_faults_are_told_by_alerts() {
    let untested = "what operators are told by alerts and boards is";
    let Some(program) = optional("prometheus", untested) else {
        return;
    };
    let mut watched = Watched::start(program).await;
    for job in ["employee-incidents", "employee-incidents-hosts"] {
        let query = format!(r#"up{{job="{job}"}} == 1"#);
        until(&format!("{job} is reached"), BOUND, async || {
            (!watched.find(&query).await?.is_empty()).then_some(())
        })
        .await;
    }
    for (query, finds) in queries() {
        until(&query, BOUND, async || {
            let found = watched.find(&query).await?;
            (!finds || !found.is_empty()).then_some(())
        })
        .await;
    }

    let of_data = [
        "IncidentsEndpointStale",
        "IncidentsManyRejected",
        "IncidentsManyUnattributed",
        "IncidentsPasswordsRefused",
        "IncidentsCommandsSetAside",
        "IncidentsHistoryNotRecording",
    ];
    watched.all(&of_data, false).await;
    let Watched { upstream, host, .. } = &watched;
    upstream
        .fault("misuse", json!({ "effect": "status-503" }))
        .await;
    upstream
        .serve_rows("other", &[json!({ "priority": "low" })])
        .await;
    let nobody = json!({ "priority": "low", "internal_ip": "203.0.113.1", "timestamp": 1 });
    upstream.serve_rows("intrusion", &[nobody]).await;
    for _ in 0..40 {
        let wrong = Some((ID, "wrong"));
        let _ = host
            .client
            .try_send(Method::GET, "/status", wrong, &[])
            .await;
    }
    let commands = keys().commands();
    let _: String = watched
        .redis
        .ask(&format!("XADD {commands} * no command"))
        .await;
    let aside = watched.history.with_extension("aside");
    fs::rename(&watched.history, &aside).expect("it is there");
    fs::write(&watched.history, "no folder").expect("it can be written");
    watched.all(&of_data, true).await;
    upstream.mend("misuse").await;
    upstream.serve_seeded().await;
    let dead_letters = keys().dead_letters();
    let _: i64 = watched.redis.ask(&format!("DEL {dead_letters}")).await;
    fs::remove_file(&watched.history).expect("it is there");
    fs::rename(&aside, &watched.history).expect("it is there");
    watched.all(&of_data, false).await;

    watched.redis.freeze();
    watched.all(&["IncidentsServerErrors"], true).await;
    watched.redis.thaw();
    watched.all(&["IncidentsServerErrors"], false).await;

    watched.refresher.kill().await;
    let of_refresher = [
        "IncidentsNoLeader",
        "IncidentsNothingFresh",
        "IncidentsNodeOffline",
    ];
    watched.all(&of_refresher, true).await;
    let _: String = watched.redis.ask("FLUSHALL").await;
    watched.all(&["IncidentsNoSnapshot"], true).await;
    watched.refresher = refreshing(&watched.redis, &watched.upstream, &watched.history);
    watched.all(&["IncidentsNoSnapshot"], false).await;
    watched.all(&of_refresher, false).await;

    watched.host.process.kill().await;
    let of_host = ["IncidentsMetricsUnreachable", "IncidentsHostUnreachable"];
    watched.all(&of_host, true).await;
    let address = watched.host.url.trim_start_matches("http://").to_owned();
    let arguments = ["--metrics", &watched.metrics];
    watched.host = host_at(&address, &watched.redis, &SETTINGS, &arguments).await;
    watched.all(&of_host, false).await;
}
