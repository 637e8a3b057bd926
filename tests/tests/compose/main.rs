//! The containers of docker-compose.yml, run by a real Docker Engine where there is one: one of each, several
//! behind a balancer, and watched by Prometheus. A program of its own, whose tests come one after the other: a busy machine would
//! have answers late that must not be.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use end_to_end::{Client, ID, PASSWORD, TempDir, incidents_in, manifest, until};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::Mutex;

mod monitoring;
mod replicas;
mod stand_ins;

use stand_ins::StandIns;

const BOUND: Duration = Duration::from_secs(90);

/// What an operator has written into files beside the sources: it is to be in no image.
// In two parts: this file is among the sources that are built from, and must not hold it.
const CANARY: &str = concat!("a-canary", "-in-a-file");

/// Held by the test that runs.
static TURN: Mutex<()> = Mutex::const_new(());

/// An application of compose's, gone with all that it made when the test is.
struct Application {
    tag: String,
    port: u16,
    stand_ins: StandIns,
    /// The sources, with an operator's changes.
    sources: TempDir,
    /// Further settings in the environment.
    settings: Vec<(&'static str, String)>,
}

impl Application {
    /// Makes one, without starting it; `None` where containers cannot be run, which is said aloud.
    async fn make(name: &str, settings: Vec<(&'static str, String)>) -> Option<Self> {
        let engine = is_there(&["docker", "info"]);
        let compose =
            is_there(&["docker", "compose", "version"]) || is_there(&["docker-compose", "version"]);
        if !(engine && compose) {
            // Not through `eprintln`, which the test harness would keep to itself.
            let told = "\n*** SKIPPED: no Docker Engine with Compose here: its files and Dockerfile are NOT tested ***\n\n";
            let _ = std::io::stderr().write_all(told.as_bytes());
            return None;
        }
        let tag = format!("eitest{name}{}", std::process::id());
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let making = tokio::task::spawn_blocking(move || Self {
            stand_ins: StandIns::import(&tag),
            sources: edited_sources(),
            port,
            tag,
            settings,
        });
        Some(making.await.expect("it is made"))
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = if is_there(&["docker", "compose", "version"]) {
            let mut command = Command::new("docker");
            command.arg("compose");
            command
        } else {
            Command::new("docker-compose")
        };
        let command = command.args(arguments);
        self.as_an_operator(command)
            .output()
            .expect("compose is there")
    }

    /// `command`, where an operator would run it.
    fn as_an_operator<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let haproxy = self.stand_ins.haproxy.as_deref().unwrap_or_default();
        command
            .current_dir(self.sources.path())
            .env("COMPOSE_PROJECT_NAME", &self.tag)
            .env("COMPOSE_PROFILES", "demo")
            .env("HAPROXY_IMAGE", haproxy)
            .env("TAG", &self.tag)
            .env("BUILD_IMAGE", &self.stand_ins.build)
            .env("BASE_IMAGE", &self.stand_ins.base)
            .env("REDIS_IMAGE", &self.stand_ins.redis)
            .env("LISTEN", format!("127.0.0.1:{}", self.port))
            .env("BASE_ENDPOINT", "http://upstream:9100")
            .env("SERVICE_ID", ID)
            .env("SERVICE_PASSWORD", PASSWORD)
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
    }

    fn must(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments);
        assert!(
            output.status.success(),
            "compose {arguments:?}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the engine knows of a service's container.
    fn container(&self, service: &str) -> Value {
        let ids = self.containers(service);
        assert_eq!(ids.len(), 1, "{service}");
        inspected(&["container", "inspect", &ids[0]])
    }

    /// The ids of a service's containers.
    fn containers(&self, service: &str) -> Vec<String> {
        let filters = [
            format!("label=com.docker.compose.project={}", self.tag),
            format!("label=com.docker.compose.service={service}"),
        ];
        let ids = docker(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &filters[0],
            "--filter",
            &filters[1],
        ]);
        ids.lines().map(str::to_owned).collect()
    }

    /// The lines of `refresher history`, run in the refresher's container.
    fn history(&self) -> Vec<String> {
        let list = self.must(&["exec", "-T", "refresher", "refresher", "history"]);
        list.lines().map(str::to_owned).collect()
    }

    fn image(&self, service: &str) -> String {
        format!("employee-incidents/{service}:{}", self.tag)
    }

    /// The image of the stage in which everything is compiled.
    fn build_stage(&self) -> String {
        let name = format!("{}-compiled", self.stand_ins.build);
        let [build, base] = [
            ("BUILD_IMAGE", &self.stand_ins.build),
            ("BASE_IMAGE", &self.stand_ins.base),
        ]
        .map(|(argument, image)| format!("{argument}={image}"));
        let sources = self.sources.path().to_string_lossy();
        docker(&[
            "build",
            "--quiet",
            "--target",
            "build",
            "--build-arg",
            &build,
            "--build-arg",
            &base,
            "--tag",
            &name,
            &sources,
        ]);
        name
    }

    /// The networks that a service's container is in.
    fn networks(&self, service: &str) -> Vec<String> {
        let container = self.container(service);
        let networks = container["NetworkSettings"]["Networks"].as_object();
        networks.expect("an object").keys().cloned().collect()
    }
}

/// A copy of what the images are built from, with a password in its configuration and `.env` files.
fn edited_sources() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let copy = r#"tar --create --exclude target --exclude .git --directory "$0" . | tar --extract --directory "$1""#;
    let copied = Command::new("sh")
        .args(["-c", copy])
        .arg(manifest().with_file_name(""))
        .arg(folder.path())
        .status();
    assert!(copied.expect("a shell").success());
    let config = folder.path().join("config/config.yaml");
    let text = fs::read_to_string(&config).expect("a file");
    let edited = text.replace("changeit", CANARY);
    assert!(edited.contains(CANARY), "{text}");
    fs::write(config, edited).expect("it can be written");
    for file in [
        ".env",
        "domain/.env",
        "refresher/src/.env.local",
        "tests/service.env",
    ] {
        let line = format!("UNUSED={CANARY}\n");
        fs::write(folder.path().join(file), line).expect("it can be written");
    }
    folder
}

/// Whether any file of an image has this text.
fn holds(image: &str, text: &str) -> bool {
    let container = docker(&["create", image, "true"]);
    let search = r#"docker export "$0" | grep --text --quiet --fixed-strings -- "$1""#;
    let found = Command::new("sh")
        .args(["-c", search, container.trim(), text])
        .status();
    docker(&["rm", container.trim()]);
    found.expect("a shell").success()
}

impl Drop for Application {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "40"]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        self.compose(&["down", "--volumes", "--timeout", "5"]);
        for image in ["api", "refresher", "upstream"] {
            let _ = run(&["docker", "rmi", "--force", &self.image(image)]);
        }
        remove_leftovers(&self.stand_ins.build);
        for image in self.stand_ins.all() {
            let _ = run(&["docker", "rmi", "--force", image]);
        }
    }
}

/// Removes the nameless images that building left behind: those that begin with the same layer as
/// the one that we are built on.
fn remove_leftovers(build: &str) {
    let layer =
        |image: &str| inspected(&["image", "inspect", image])["RootFS"]["Layers"][0].clone();
    let ours = layer(build);
    let nameless = docker(&["images", "--quiet", "--filter", "dangling=true"]);
    for image in nameless.lines().filter(|image| layer(image) == ours) {
        let _ = run(&["docker", "rmi", "--force", image]);
    }
}

fn run(words: &[&str]) -> std::io::Result<Output> {
    Command::new(words[0]).args(&words[1..]).output()
}

fn is_there(words: &[&str]) -> bool {
    run(words).is_ok_and(|output| output.status.success())
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output();
    let output = output.expect("docker is there");
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn inspected(arguments: &[&str]) -> Value {
    let text = docker(arguments);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_containers_serve_and_end_for_good() {
    let _turn = TURN.lock().await;
    let Some(application) = Application::make("one", Vec::new()).await else {
        return;
    };
    let application = tokio::task::spawn_blocking(move || {
        application.must(&["up", "--detach", "--build"]);
        application
    });
    let application = application.await.expect("it starts");
    let client = Client::new(&format!("http://127.0.0.1:{}", application.port));
    serves(&client).await;
    let report = client.get("/incidents").await;
    assert!(incidents_in(&report.body) > 1000);
    until("the health checks have passed", BOUND, async || {
        ["redis", "refresher", "api", "upstream"]
            .iter()
            .all(|service| application.container(service)["State"]["Health"]["Status"] == "healthy")
            .then_some(())
    })
    .await;

    for service in ["redis", "refresher", "api", "upstream"] {
        let container = application.container(service);
        let settings = &container["HostConfig"];
        assert_eq!(settings["ReadonlyRootfs"], true, "{service}");
        assert_eq!(settings["CapDrop"], serde_json::json!(["ALL"]), "{service}");
        assert_eq!(settings["RestartPolicy"]["Name"], "on-failure", "{service}");
        let memory = settings["Memory"].as_u64().unwrap_or_default();
        assert!(memory > 0, "{service} may take all memory");
        let user = container["Config"]["User"].as_str().unwrap_or_default();
        let id: u32 = user
            .split(':')
            .next()
            .unwrap_or_default()
            .parse()
            .unwrap_or(0);
        assert!(id > 0, "{service} runs as `{user}`");
    }
    let log = application.must(&["logs", "--no-color", "refresher"]);
    assert!(!log.contains("may look into the history"), "{log}");
    let apart = [("redis", "upstream"), ("api", "upstream")];
    for (one, other) in apart {
        let networks = application.networks(one);
        let shared = application.networks(other);
        let shared = shared.iter().find(|name| networks.contains(name));
        assert_eq!(shared, None, "{one} and {other} reach each other");
    }
    for service in ["refresher", "api", "upstream"] {
        let name = application.image(service);
        let image = inspected(&["image", "inspect", &name]).to_string();
        let history = docker(&["history", "--no-trunc", &name]);
        for secret in [PASSWORD, CANARY] {
            assert!(!image.contains(secret), "{image}");
            assert!(!history.contains(secret), "{history}");
        }
        assert!(!holds(&name, CANARY), "{service} has a secret in a file");
    }
    let compiled = application.build_stage();
    let (sources, canary) = (holds(&compiled, "[workspace]"), holds(&compiled, CANARY));
    docker(&["rmi", "--force", &compiled]);
    assert!(sources && !canary, "sources: {sources}, secrets: {canary}");

    let answer = client.send(Method::POST, "/shutdown", &[]).await;
    assert_eq!(answer.status, 200);
    for service in ["refresher", "api"] {
        let what = format!("{service} has ended well");
        let state = until(&what, BOUND, async || {
            let state = application.container(service)["State"].clone();
            (state["Status"] == "exited").then_some(state)
        })
        .await;
        assert_eq!(state["ExitCode"], 0, "{service}");
    }
    // They stay ended, until they are started again on purpose.
    for service in ["refresher", "api"] {
        assert_eq!(
            application.container(service)["RestartCount"],
            0,
            "{service}"
        );
    }

    // The history outlasts the containers.
    application.must(&["up", "--detach"]);
    serves(&client).await;
    let recorded = until("a refresh is recorded", BOUND, async || {
        Some(application.history()).filter(|entries| !entries.is_empty())
    })
    .await;
    application.must(&["down", "--timeout", "5"]);
    application.must(&["up", "--detach"]);
    serves(&client).await;
    assert_eq!(client.get("/incidents").await.status, 200);
    let afterwards = application.history();
    for entry in recorded {
        assert!(afterwards.contains(&entry), "{entry} in {afterwards:?}");
    }
}

async fn serves(client: &Client) {
    until("a snapshot is served", BOUND, async || {
        let answer = client.try_send(Method::GET, "/readyz", None, &[]).await;
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
}
