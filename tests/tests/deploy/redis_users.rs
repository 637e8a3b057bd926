//! The Redis of the base: its users have the rights of the documentation, and nobody else has any.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use end_to_end::{Process, TempDir, until};
use redis::{Client, Cmd, RedisResult, cmd};
use tokio::process::Command;

use crate::{on_path, root, skipped, text};

const BOUND: Duration = Duration::from_secs(30);

/// The script that starts it.
const SCRIPT: &str = "deploy/kubernetes/base/redis/start.sh";

/// The rights of a user, after what keys it may touch.
fn rights<'a>(text: &'a str, start: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let line = line.unwrap_or_else(|| panic!("there is no {start}"));
    line.split_once(" -@all").expect("rights").1
}

#[test]
fn its_users_have_the_rights_of_the_documentation() {
    let (script, documentation) = (text(SCRIPT), text("docs/deployment.md"));
    for name in ["refresher", "component"] {
        let in_script = rights(&script, &format!("user {name} on "));
        let documented = rights(&documentation, &format!("ACL SETUSER {name} on "));
        assert_eq!(in_script, documented, "{name}");
    }
}

/// The script with these addresses in the Secret, on a port of this machine.
fn start(addresses: [&str; 2], folder: &TempDir, port: u16) -> Process {
    let names = ["REDIS_URL_REFRESHER", "REDIS_URL_COMPONENT"];
    for (name, address) in names.iter().zip(addresses) {
        fs::write(folder.path().join(name), address).expect("a file");
    }
    let mut command = Command::new("sh");
    command
        .arg(root().join(SCRIPT))
        .args([folder.path(), folder.path()])
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--maxmemory", "32mb"]);
    Process::start(command)
}

/// Waits until it answers.
pub(crate) async fn is_up(port: u16) {
    until("Redis is up", BOUND, async || {
        ask("", port, &cmd("PING")).await.ok().map(drop)
    })
    .await;
}

async fn ask(login: &str, port: u16, command: &Cmd) -> RedisResult<String> {
    let client = Client::open(format!("redis://{login}127.0.0.1:{port}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    command.query_async(&mut connection).await
}

#[tokio::test]
async fn who_does_not_log_in_may_only_ask_whether_it_is_there() {
    let folder = TempDir::new().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let addresses = [
        "redis://refresher:one-1@redis:6379",
        "redis://component:two_2@redis:6379\n",
    ];
    let redis = start(addresses, &folder, port);
    is_up(port).await;
    probe(port, true);
    let get = || {
        let mut get = cmd("SET");
        get.arg("{incidents}:a").arg("b");
        get
    };
    let config = || {
        let mut config = cmd("CONFIG");
        config.arg("GET").arg("maxmemory-policy");
        config
    };
    assert_eq!(ask("", port, &cmd("PING")).await.expect("PONG"), "PONG");
    for login in ["refresher:one-1@", "component:two_2@"] {
        assert_eq!(ask(login, port, &get()).await.expect("OK"), "OK", "{login}");
    }
    for (login, command) in [
        ("", get()),
        ("", config()),
        ("refresher:one-1@", config()),
        ("component:two_2@", cmd("FLUSHALL")),
        ("component:one-1@", get()),
    ] {
        let denied = ask(login, port, &command)
            .await
            .expect_err(login)
            .to_string();
        assert!(
            [
                "NOPERM",
                "NOAUTH",
                "WRONGPASS",
                "permission",
                "authentication"
            ]
            .iter()
            .any(|word| denied.to_lowercase().contains(&word.to_lowercase())),
            "{denied}"
        );
    }
    drop(redis);
    until("its port is closed", BOUND, async || {
        TcpListener::bind(("127.0.0.1", port)).ok()
    })
    .await;
    probe(port, false);
}

/// The probe of the manifest says whether Redis answers.
fn probe(port: u16, answers: bool) {
    let manifest = text("deploy/kubernetes/base/redis.yaml");
    assert_eq!(manifest.matches("[redis-cli, -e, ping]").count(), 2);
    if on_path("redis-cli").is_none() {
        return skipped("no redis-cli here: the probes of Redis are NOT tested");
    }
    let output = std::process::Command::new("redis-cli")
        .args(["-p", &port.to_string(), "-e", "ping"])
        .output()
        .expect("redis-cli can be run");
    assert_eq!(output.status.success(), answers, "{output:?}");
}

#[tokio::test]
async fn a_password_that_it_cannot_use_is_told_by_name() {
    let folder = TempDir::new().expect("a temporary folder");
    let good = "redis://component:two@redis:6379";
    for bad in [
        "redis://refresher:changeit@redis:6379",
        "redis://refresher:@redis:6379",
        "redis://refresher:a b@redis:6379",
        "redis://refresher:50%25@redis:6379",
        "redis://somebody:one@redis:6379",
        "",
    ] {
        let mut redis = start([bad, good], &folder, 0);
        assert_eq!(redis.exit(BOUND).await.code(), Some(1), "{bad}");
        let log = redis.log();
        assert!(
            log.contains("REDIS_URL_REFRESHER in the Secret must be"),
            "{log}"
        );
        assert!(!log.contains("50%25"), "{log}");
    }
}
