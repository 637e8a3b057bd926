//! The history on Garage: three nodes with three copies, each killed in turn and one lost for good, while
//! refreshes are recorded. Nothing may be lost. `cargo xtask garage` starts it.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::contract::history::HistoryStatus;
use end_to_end::{
    Balancer, FIRST_VERSION, Host, Names, Process, Redis, TempDir, Upstream, haproxy, host, keys,
    mark, refresher, stored_snapshot, until, version_in,
};
use serde_json::Value;
use tokio::process::Command;

/// How long anything may take that should come to be.
const BOUND: Duration = Duration::from_secs(120);

/// How long the nodes may take to copy what a new one lacks; they wait for ten minutes before they begin,
/// where nobody tells them to.
const COPIED_WITHIN: Duration = Duration::from_secs(300);

/// Refreshes that are recorded while something is wrong.
const REFRESHES: usize = 10;

/// The account that keeps the history, as Garage wants one to look; and what nodes know each other by.
const KEY: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A node of Garage, at an address of its own.
struct Node {
    address: Ipv4Addr,
    folder: PathBuf,
    id: String,
    process: Option<Process>,
}

/// The store: nodes, and the balancer before them.
struct Garage {
    program: PathBuf,
    folder: TempDir,
    ports: [u16; 3],
    nodes: Vec<Node>,
    names: Names,
    balancer: Balancer,
}

/// The service, and the reports that it has served.
struct Check {
    garage: Garage,
    redis: Redis,
    upstream: Upstream,
    host: Host,
    refresher: Option<Process>,
    version: u64,
    served: Vec<(u64, Bytes)>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(program) = env::args_os().nth(1) else {
        eprintln!("usage: garage-check PROGRAM, where Garage is");
        return ExitCode::from(2);
    };
    let Some(balancer) = haproxy("the history on Garage is") else {
        return ExitCode::FAILURE;
    };
    let garage = Garage::start(program.into(), &balancer).await;
    let mut check = Check::start(garage).await;
    println!("\n| | recorded | not recorded | longest until recorded | replayed byte for byte |");
    println!("|---|---:|---:|---:|---:|");
    check.everything().await;
    println!();
    ExitCode::SUCCESS
}

impl Check {
    async fn start(garage: Garage) -> Self {
        let (redis, upstream) = (Redis::start().await, Upstream::start().await);
        let host = host(&redis, &[]).await;
        let mut check = Self {
            garage,
            redis,
            upstream,
            host,
            refresher: None,
            version: FIRST_VERSION,
            served: Vec::new(),
        };
        mark(&check.upstream, check.version).await;
        check.refresher = Some(Process::start(check.command(&["run"])));
        check
    }

    /// A command of the refresher's, whose history is on Garage.
    fn command(&self, arguments: &[&str]) -> Command {
        let url = format!("http://{}", self.garage.balancer.address);
        let settings = [
            ("HISTORY_STORE", "s3://incidents/of/ours"),
            ("AWS_ENDPOINT_URL", &url),
            ("AWS_REGION", "garage"),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        refresher(arguments, &self.redis, &self.upstream, &settings)
    }

    /// What is set wrong is told.
    async fn wrong_settings_are_told(&self) {
        for (name, value, told) in [
            ("AWS_REGION", "us-east-1", "check AWS_REGION"),
            ("AWS_SECRET_ACCESS_KEY", "guessed", "denies access"),
            ("HISTORY_STORE", "s3://elsewhere/x", "no such bucket"),
        ] {
            let listed = self.command(&["history"]).env(name, value).output().await;
            let log = listed.expect("it can be run").stderr;
            let log = String::from_utf8_lossy(&log);
            assert!(log.contains(told), "{name}={value}: {log}");
        }
    }

    async fn everything(&mut self) {
        self.wrong_settings_are_told().await;
        self.phase("all three nodes").await;
        for node in 0..3 {
            self.garage.kill(node).await;
            self.phase(&format!("node {} killed", node + 1)).await;
            self.garage.start_node(node);
            self.garage.is_whole().await;
        }
        self.garage.kill(2).await;
        fs::remove_dir_all(&self.garage.nodes[2].folder).expect("it is ours");
        self.phase("node 3 lost, with all that it had").await;
        self.garage.replace(2).await;
        self.phase("another in its place").await;
        self.garage.is_whole().await;
        self.garage.has_all_blocks(2).await;
        self.garage.kill(0).await;
        self.phase("node 1 killed: the new one counts").await;
        self.garage.kill(1).await;
        self.without_a_quorum().await;
        for node in 0..2 {
            self.garage.start_node(node);
        }
        self.garage.is_whole().await;
        self.phase("all three nodes again").await;
        let verified = self
            .output(&["history", "--verify", "--limit", "1000000"])
            .await;
        assert!(verified.status.success(), "{verified:?}");
    }

    /// Records refreshes, and has all reports so far rebuilt.
    async fn phase(&mut self, what: &str) {
        let (failed, mut longest) = (
            self.history().await.map_or(0, |told| told.failures),
            Duration::ZERO,
        );
        for _ in 0..REFRESHES {
            longest = longest.max(self.record().await);
        }
        let failed = self.history().await.map_or(0, |told| told.failures) - failed;
        for (at_ms, report) in &self.served {
            let at = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
            let replayed = self.output(&["replay", "--at", &at]).await;
            assert!(replayed.status.success(), "{what}: {replayed:?}");
            assert!(replayed.stdout == *report, "{what}: another report at {at}");
        }
        let longest = longest.as_secs_f64();
        let all = self.served.len();
        println!("| {what} | {REFRESHES} | {failed} | {longest:.1} s | {all} of {all} |");
    }

    /// Has upstream say something new; how long it takes from being served until it is recorded.
    async fn record(&mut self) -> Duration {
        let report = self.serve_new().await;
        let start = Instant::now();
        let at_ms = stored_snapshot(&self.redis).await.checked_at_ms;
        until("it is recorded", BOUND, async || {
            let told = self.history().await?;
            (told.recorded_ms >= Some(at_ms) && told.error.is_none()).then_some(())
        })
        .await;
        // The next refresh has another time.
        self.served.push((at_ms + 200, report));
        start.elapsed()
    }

    async fn serve_new(&mut self) -> Bytes {
        self.version += 1;
        mark(&self.upstream, self.version).await;
        until("it is served", BOUND, async || {
            let answer = self.host.client.get("/incidents").await;
            let is_it = answer.status == 200 && version_in(&answer.body) == self.version;
            is_it.then_some(answer.body)
        })
        .await
    }

    /// With one node of three nothing can be recorded: that is told, and costs no refresh.
    async fn without_a_quorum(&mut self) {
        let before = self.history().await.map_or(0, |told| told.failures);
        for _ in 0..REFRESHES {
            self.serve_new().await;
        }
        let told = until("it is told that nothing is recorded", BOUND, async || {
            self.history()
                .await
                .filter(|told| told.error.is_some() && told.failures > before)
        })
        .await;
        let failed = told.failures - before;
        println!("| nodes 1 and 2 killed: {REFRESHES} refreshes served | 0 | {failed} | | |");
    }

    async fn history(&self) -> Option<HistoryStatus> {
        let told: Option<String> = self.redis.ask(&format!("GET {}", keys().history())).await;
        HistoryStatus::parse(told?.as_bytes())
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .output()
            .await
            .expect("it can be run")
    }
}

impl Garage {
    /// Starts three nodes with three copies, and gives the account a bucket.
    async fn start(program: PathBuf, balancer: &Path) -> Self {
        let ports = [free_port(), free_port(), free_port()];
        let [_, s3, admin] = ports;
        let names = Names::start(&[]).await;
        let variables = [("ADMIN_PORT", admin.to_string())];
        let balancer = Balancer::start(balancer, "garage.cfg", &names, s3, &variables).await;
        let mut garage = Self {
            program,
            folder: TempDir::new().expect("a temporary folder"),
            ports,
            nodes: Vec::new(),
            names,
            balancer,
        };
        for number in 1..=3 {
            garage.add_node(number).await;
        }
        garage.knows(3).await;
        for node in 0..3 {
            let zone = format!("zone{}", node + 1);
            garage.assign(node, &["--zone", &zone]).await;
        }
        garage.apply(1).await;
        garage.is_whole().await;
        for words in [
            "bucket create incidents".to_owned(),
            format!("key import --yes -n historian {KEY} {SECRET}"),
            "bucket allow --read --write incidents --key historian".to_owned(),
        ] {
            garage.must(&words.split(' ').collect::<Vec<_>>()).await;
        }
        garage
    }

    /// Starts a new node, and makes it known to the others.
    async fn add_node(&mut self, number: u8) {
        let folder = self.folder.path().join(format!("node-{number}"));
        fs::create_dir(&folder).expect("it is new");
        let mut node = Node {
            address: Ipv4Addr::new(127, 0, 8, number),
            folder,
            id: String::new(),
            process: None,
        };
        self.configure(&node, &[]);
        node.process = Some(Process::start(self.command(&node, &["server"])));
        node.id = until("the node has an id", BOUND, async || {
            let mut command = self.command(&node, &["node", "id", "--quiet"]);
            let id = command.output().await.expect("Garage runs");
            let is_there = id.status.success();
            is_there.then(|| String::from_utf8_lossy(&id.stdout).trim().to_owned())
        })
        .await;
        let id = node.id.clone();
        self.nodes.push(node);
        until("it is known to another", BOUND, async || {
            let connected = self.run(&["node", "connect", &id]).await;
            connected.status.success().then_some(())
        })
        .await;
        // Whoever is started again finds the others by these.
        let peers: Vec<String> = self.nodes.iter().map(|node| node.id.clone()).collect();
        for node in &self.nodes {
            self.configure(node, &peers);
        }
        let addresses: Vec<Ipv4Addr> = self.nodes.iter().map(|node| node.address).collect();
        self.names.set(&addresses);
    }

    fn configure(&self, node: &Node, peers: &[String]) {
        let (folder, address, [rpc, s3, admin]) = (node.folder.display(), node.address, self.ports);
        let text = format!(
            "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"lmdb\"\n\
             replication_factor = 3\n\
             rpc_bind_addr = \"{address}:{rpc}\"\nrpc_public_addr = \"{address}:{rpc}\"\n\
             bootstrap_peers = {peers:?}\n\
             [s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}:{s3}\"\n\
             [admin]\napi_bind_addr = \"{address}:{admin}\"\n"
        );
        fs::write(node.folder.join("garage.toml"), text).expect("it is ours");
    }

    fn command(&self, node: &Node, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(node.folder.join("garage.toml"))
            .args(arguments)
            .env("GARAGE_RPC_SECRET", SECRET)
            .env("RUST_LOG", "garage=warn");
        command
    }

    fn start_node(&mut self, node: usize) {
        let process = Process::start(self.command(&self.nodes[node], &["server"]));
        self.nodes[node].process = Some(process);
    }

    async fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.nodes[node].process.take() {
            process.kill().await;
        }
    }

    /// Puts a new and empty node in the place of one that is gone.
    async fn replace(&mut self, node: usize) {
        let old = self.nodes.remove(node);
        self.add_node(4).await;
        let new = self.nodes.len() - 1;
        self.knows(3).await;
        let (old, zone) = (public_key(&old.id), format!("zone{}", node + 1));
        self.assign(new, &["--zone", &zone, "--replace", old]).await;
        self.apply(2).await;
        // Nobody is to wait until the old one has handed over what it had.
        self.must(&["layout", "skip-dead-nodes", "--version", "2"])
            .await;
    }

    async fn assign(&self, node: usize, how: &[&str]) {
        let id = public_key(&self.nodes[node].id);
        let words = [&["layout", "assign", "--capacity", "1G"], how, &["--", id]].concat();
        self.must(&words).await;
    }

    async fn apply(&self, version: u64) {
        let version = version.to_string();
        self.must(&["layout", "apply", "--version", &version]).await;
    }

    /// Runs a command of Garage's on a node that is up.
    async fn run(&self, arguments: &[&str]) -> Output {
        let node = self.nodes.iter().find(|node| node.process.is_some());
        let mut command = self.command(node.expect("a node is up"), arguments);
        command.output().await.expect("Garage runs")
    }

    async fn must(&self, arguments: &[&str]) {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    async fn health(&self) -> Option<Value> {
        let output = self.run(&["json-api", "GetClusterHealth"]).await;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until the nodes know so many of themselves.
    async fn knows(&self, nodes: u64) {
        until("the nodes find each other", BOUND, async || {
            (self.health().await?["connectedNodes"] == nodes).then_some(())
        })
        .await;
    }

    /// Waits until all three nodes that are to hold something are there, and hold every table.
    async fn is_whole(&self) {
        until("all nodes are well", BOUND, async || {
            let health = self.health().await?;
            let is_whole = health["partitionsAllOk"] == health["partitions"]
                && health["storageNodes"] == 3
                && health["storageNodesUp"] == 3;
            is_whole.then_some(())
        })
        .await;
    }

    /// Has the nodes copy what one of them lacks, and waits until it has every block that another one has.
    async fn has_all_blocks(&self, node: usize) {
        self.must(&["repair", "--all-nodes", "--yes", "blocks"])
            .await;
        until("all blocks are copied", COPIED_WITHIN, async || {
            let [own, other] = [node, 0].map(|node| blocks(&self.nodes[node].folder.join("data")));
            (!other.is_empty() && other.is_subset(&own)).then_some(())
        })
        .await;
    }
}

/// The names of all files below `folder`.
fn blocks(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(blocks(&entry.path())),
            false => {
                found.insert(entry.file_name().to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// A node's id without its address.
fn public_key(id: &str) -> &str {
    id.split_once('@').map_or(id, |(key, _)| key)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
