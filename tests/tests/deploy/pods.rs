//! The pods of the demo, run as processes of this machine: the commands, settings, secrets and mounts of the
//! manifests, without a cluster's containers and network.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use end_to_end::{Client, Process, TempDir, manifest, program, until};
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;

use crate::images::stage_of;
use crate::manifests::{Copy, find, items, pod, string};
use crate::redis_users::is_up;

const BOUND: Duration = Duration::from_secs(60);

/// The password of the demo in these tests.
const PASSWORD: &str = "letters-and-digits-1";

/// Stands in for a node: pods whose files are in folders of their own, and whose names lead to this machine.
struct Node {
    documents: Vec<Value>,
    folder: TempDir,
    /// What a name and port of the cluster, or a port to listen on, is here.
    addresses: Vec<(&'static str, String)>,
}

impl Node {
    fn new(documents: Vec<Value>) -> Self {
        Self {
            documents,
            folder: TempDir::new().expect("a temporary folder"),
            addresses: Vec::new(),
        }
    }

    /// The root of a pod's files.
    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the one container of a pod runs, with its files laid out.
    fn command(&self, name: &str) -> Command {
        let pod = &pod(&self.documents, name)["spec"];
        let container = &pod["containers"][0];
        self.mount(name, pod);
        let stage = stage_of(container);
        let list = |value: &Value| {
            let words = items(value).map(|word| string(word).to_owned());
            value.is_array().then(|| words.collect::<Vec<String>>())
        };
        let entrypoint = list(&container["command"])
            .or_else(|| stage.as_ref().map(|stage| stage.entrypoint.clone()));
        let arguments =
            list(&container["args"]).or_else(|| stage.as_ref().map(|stage| stage.command.clone()));
        let words = [
            entrypoint.expect("a command"),
            arguments.unwrap_or_default(),
        ]
        .concat();
        let mut words = words.iter().map(|word| self.here(name, word));
        let first = words.next().expect("a program");
        let mut command = Command::new(match first.as_str() {
            "sh" => PathBuf::from(first),
            ours => program(ours),
        });
        command.args(words).env_clear().env("PATH", self.path());
        let folder = match container["workingDir"].as_str() {
            Some(folder) => folder.to_owned(),
            None => stage.map_or("/".to_owned(), |stage| stage.folder),
        };
        let folder = self.root(name).join(folder.trim_start_matches('/'));
        fs::create_dir_all(&folder).expect("a folder");
        command.current_dir(folder);
        for entry in items(&container["env"]) {
            if let Some(value) = self.value(entry) {
                command.env(string(&entry["name"]), self.here(name, &value));
            }
        }
        command
    }

    /// Where programs are found: ours before those of the machine.
    fn path(&self) -> std::ffi::OsString {
        let ours = program("host");
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&folders);
        let ours = ours.parent().expect("a folder").to_owned();
        std::env::join_paths([ours].into_iter().chain(folders)).expect("folders")
    }

    /// The value of a variable of the environment; none where it is optional and not there.
    fn value(&self, entry: &Value) -> Option<String> {
        match entry.pointer("/valueFrom/secretKeyRef") {
            None => Some(string(&entry["value"]).to_owned()),
            Some(reference) => {
                let secret = find(&self.documents, "Secret", string(&reference["name"]));
                let value = &secret["data"][string(&reference["key"])];
                value.as_str().map(decoded)
            }
        }
    }

    /// A text of the manifest as it has to be here: paths below the pod's root, addresses of this machine.
    fn here(&self, name: &str, text: &str) -> String {
        let root = self.root(name).display().to_string();
        let mut here = text.to_owned();
        for folder in ["/app", "/etc/redis", "/data", "/var/lib/refresher"] {
            for before in ["@", "=", " "] {
                here = here.replace(
                    &format!("{before}{folder}"),
                    &format!("{before}{root}{folder}"),
                );
            }
            if here.starts_with(folder) {
                here = format!("{root}{here}");
            }
        }
        for (theirs, ours) in &self.addresses {
            here = here.replace(theirs, ours);
        }
        here
    }

    /// Lays out the volumes of a pod.
    fn mount(&self, name: &str, pod: &Value) {
        for mount in items(&pod["containers"][0]["volumeMounts"]) {
            let path = string(&mount["mountPath"]).trim_start_matches('/');
            let folder = self.root(name).join(path);
            fs::create_dir_all(&folder).expect("a folder");
            let mut volumes = items(&pod["volumes"]);
            // That of a claim is empty.
            let Some(volume) = volumes.find(|volume| volume["name"] == mount["name"]) else {
                continue;
            };
            if let Some(map) = volume.pointer("/configMap/name") {
                let map = find(&self.documents, "ConfigMap", string(map));
                let data = map["data"].as_object().expect("data");
                let files = data
                    .iter()
                    .map(|(key, text)| (key.clone(), string(text).to_owned()));
                lay_out(&folder, files);
            }
            if let Some(secret) = volume.pointer("/secret/secretName") {
                let secret = find(&self.documents, "Secret", string(secret));
                let files = items(&volume["secret"]["items"]).map(|item| {
                    let text = decoded(string(&secret["data"][string(&item["key"])]));
                    let text = self
                        .addresses
                        .iter()
                        .fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
                    (string(&item["path"]).to_owned(), text)
                });
                lay_out(&folder, files);
            }
        }
    }
}

fn decoded(base64: &str) -> String {
    let bytes = BASE64_STANDARD.decode(base64).expect("base64");
    String::from_utf8(bytes).expect("a text")
}

/// Lays files out as a kubelet does, so that all change at once: links to links.
fn lay_out(folder: &Path, files: impl Iterator<Item = (String, String)>) {
    let version = "..2026_11_25_10_30_00.1";
    fs::create_dir_all(folder.join(version)).expect("a folder");
    symlink(version, folder.join("..data")).expect("a link");
    for (name, text) in files {
        fs::write(folder.join(version).join(&name), text).expect("a file");
        symlink(format!("..data/{name}"), folder.join(&name)).expect("a link");
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The demo's Redis, as its pod starts it.
async fn start_redis(node: &mut Node) -> Process {
    let port = free_port();
    node.addresses
        .push(("redis:6379", format!("127.0.0.1:{port}")));
    let mut command = node.command("redis");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    let redis = Process::start(command);
    is_up(port).await;
    redis
}

/// The component and its manifest, as the image has them.
fn unpack_image(root: &Path) {
    let component = "target/wasm32-wasip2/component/api_component.wasm";
    let folder = root.join("app").join(component);
    fs::create_dir_all(folder.parent().expect("a folder")).expect("a folder");
    fs::copy(manifest(), root.join("app/spin.toml")).expect("a manifest");
    symlink(manifest().with_file_name("").join(component), folder).expect("a link");
}

#[tokio::test]
async fn the_pods_of_the_demo_serve() {
    let Some(copy) = Copy::with_secrets(|example| example.replace("changeit", PASSWORD)) else {
        return;
    };
    let mut node = Node::new(copy.render("overlays/demo"));
    let _redis = start_redis(&mut node).await;
    node.addresses
        .push(("0.0.0.0:9100", "127.0.0.1:0".to_owned()));
    let mut upstream = Process::start(node.command("upstream"));
    let url = upstream.ready().await;
    let address = url.strip_prefix("http://").expect("an address").to_owned();
    node.addresses.push(("upstream:9100", address));
    let refresher = Process::start(node.command("refresher"));
    node.addresses
        .push(("0.0.0.0:9000", "127.0.0.1:0".to_owned()));
    unpack_image(&node.root("api"));
    let mut api = Process::start(node.command("api"));
    let client = Client::new(&api.ready().await);

    until("the readiness probe passes", BOUND, async || {
        let answer = client.try_send(Method::GET, "/readyz", None, &[]).await;
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
    let login = Some(("demo", PASSWORD));
    let status = |path: &'static str| {
        let answer = client.try_send(Method::GET, path, login, &[]);
        async { answer.await.expect("an answer").status.as_u16() }
    };
    assert_eq!(status("/incidents").await, 200);
    // As an orchestrator needs it.
    assert_eq!(status("/shutdown").await, 403);
    until("the supervisor reports the server", BOUND, async || {
        (refresher.logged("is healthy") >= 2).then_some(())
    })
    .await;
    let answer = client.try_send(Method::GET, "/status", login, &[]).await;
    let status: Value = serde_json::from_slice(&answer.expect("an answer").body).expect("JSON");
    let mut nodes = items(&status["nodes"]).map(|node| (&node["kind"], &node["state"]));
    assert!(
        nodes.any(|(kind, state)| kind == "host" && state == "healthy"),
        "{status}"
    );
    let history = node.root("refresher").join("var/lib/refresher/history");
    until("the history is on its volume", BOUND, async || {
        fs::read_dir(&history).ok()?.next().map(drop)
    })
    .await;
    assert_eq!(
        refresher.logged("may look into the history"),
        0,
        "{}",
        refresher.log()
    );
    probe_of_the_refresher(&node).await;
}

/// The readiness probe of the refresher, run as a kubelet does.
async fn probe_of_the_refresher(node: &Node) {
    let container = &pod(&node.documents, "refresher")["spec"]["containers"][0];
    let words = items(&container["readinessProbe"]["exec"]["command"]);
    let words: Vec<String> = words
        .map(|word| node.here("refresher", string(word)))
        .collect();
    let mut command = Command::new(program(&words[0]));
    command.args(&words[1..]).env_clear();
    for entry in items(&container["env"]) {
        if let Some(value) = node.value(entry) {
            command.env(string(&entry["name"]), node.here("refresher", &value));
        }
    }
    let output = command.output().await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn with_the_example_s_secrets_nothing_starts() {
    let Some(copy) = Copy::with_secrets(|example| example) else {
        return;
    };
    let mut node = Node::new(copy.render("overlays/demo"));
    let mut redis = Process::start(node.command("redis"));
    let status = redis.exit(BOUND).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        redis.log().contains("REDIS_URL_REFRESHER"),
        "{}",
        redis.log()
    );
    node.addresses
        .push(("redis:6379", format!("127.0.0.1:{}", free_port())));
    let mut refresher = Process::start(node.command("refresher"));
    let status = refresher.exit(BOUND).await;
    assert_eq!(status.code(), Some(2), "{}", refresher.log());
    assert!(
        refresher.log().contains("SERVICE_PASSWORD"),
        "{}",
        refresher.log()
    );
    // The api runs, and is never ready.
    node.addresses
        .push(("0.0.0.0:9000", "127.0.0.1:0".to_owned()));
    unpack_image(&node.root("api"));
    let mut api = Process::start(node.command("api"));
    let client = Client::new(&api.ready().await);
    let answer = client.try_send(Method::GET, "/readyz", None, &[]).await;
    let answer = answer.expect("an answer");
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 503, "{body}");
    assert!(body.contains("SERVICE_PASSWORD"), "{body}");
}
