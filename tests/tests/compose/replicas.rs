//! docker-compose.replicas.yml: several of each behind HAProxy, ended, killed and replaced while clients read.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use end_to_end::{Certificates, Client, Readers, until};
use tokio::task::spawn_blocking;

use super::{Application, BOUND, TURN, docker, inspected, serves};

/// Clients that read at the same time.
const READERS: usize = 4;

/// The first numbers of the addresses that the balancer's network has, so that runs of the tests have
/// networks of their own.
fn network() -> String {
    // None of those that an engine gives to other networks by itself, one after the other (RFC 2544).
    format!("198.18.{}", std::process::id() % 250)
}

/// The settings of several of each, whose certificate is of the test's own.
fn settings() -> Vec<(&'static str, String)> {
    let files = "docker-compose.yml:docker-compose.replicas.yml";
    let setting = |name, value: &str| (name, value.to_owned());
    vec![
        setting("COMPOSE_FILE", files),
        setting("INCIDENTS_API_RATE_LIMITS", "1000000 per second"),
        setting("DEFAULT_CACHE_REFRESH", "2"),
        setting("BALANCER_NETWORK", &network()),
    ]
}

/// Starts several of each.
async fn start(application: Application, certificates: &Certificates) -> Application {
    let folder = application.sources.path().join("certificate");
    fs::create_dir(&folder).expect("it is new");
    fs::copy(certificates.bundle(), folder.join("tls.pem")).expect("a file");
    let starting = spawn_blocking(move || {
        application.must(&["up", "--detach", "--build"]);
        application
    });
    starting.await.expect("it starts")
}

/// Runs `command` of the engine's on each of `containers` in turn, and then starts that one again.
async fn each(containers: &[String], command: &'static [&'static str]) {
    for container in containers {
        let started = container.clone();
        // Apart from the clients, which are not to be held up.
        let again = spawn_blocking(move || {
            docker(&[command, &[&started]].concat());
            docker(&["start", &started]);
        });
        again.await.expect("it is done");
        until(&format!("{container} is healthy"), BOUND, async || {
            let asked = container.clone();
            let found = spawn_blocking(move || inspected(&["container", "inspect", &asked]));
            let found = found.await.expect("it is there");
            (found["State"]["Health"]["Status"] == "healthy").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_behind_the_balancer_come_and_go_unnoticed() {
    let _turn = TURN.lock().await;
    let Some(application) = Application::make("several", settings()).await else {
        return;
    };
    if application.stand_ins.haproxy.is_none() {
        return;
    }
    let certificates = Certificates::make();
    let application = start(application, &certificates).await;
    let url = format!("https://127.0.0.1:{}", application.port);
    let client = || Client::with_tls(&url, &certificates, IpAddr::V4(Ipv4Addr::LOCALHOST));
    serves(&client()).await;
    let readers = Readers::start((0..READERS).map(|_| client()).collect());
    let nothing: [String; 0] = [];
    for service in ["api", "refresher"] {
        let all = application.containers(service);
        assert_eq!(all.len(), 2, "{service}");
        let stopped = each(&all, &["stop", "-t", "30"]);
        let bad = readers
            .during(&format!("each {service} is stopped"), stopped)
            .await;
        assert_eq!(bad, nothing);
        let killed = each(&all, &["kill"]);
        let bad = readers
            .during(&format!("each {service} is killed"), killed)
            .await;
        // No more than what each was answering just then.
        assert!(bad.len() <= READERS * all.len(), "{bad:?}");
        assert!(!bad.iter().any(|bad| bad.contains("status: 5")), "{bad:?}");
    }

    let before = [
        application.containers("api"),
        application.containers("refresher"),
    ]
    .concat();
    let bad = readers.during("everything is replaced", async {
        let mut command = Command::new("deploy/replace.sh");
        let replaced = application.as_an_operator(&mut command).output();
        let replaced = replaced.expect("a shell");
        assert!(replaced.status.success(), "{replaced:?}");
        application.must(&["kill", "-s", "USR2", "balancer"]);
    });
    assert_eq!(bad.await, nothing);
    let after = [
        application.containers("api"),
        application.containers("refresher"),
    ]
    .concat();
    assert_eq!(after.len(), before.len());
    assert!(!after.iter().any(|new| before.contains(new)), "{after:?}");

    // It is the client that is counted, as it comes into the balancer's network, and not the balancer.
    let networks = &application.container("balancer")["NetworkSettings"]["Networks"];
    let clients = &networks[format!("{}_clients", application.tag)];
    let gateway = clients["Gateway"].as_str().expect("an address");
    let keys = application.must(&["exec", "-T", "redis", "redis-cli", "--scan"]);
    let counted: Vec<&str> = keys.lines().filter(|key| key.contains(":limit:")).collect();
    assert!(counted.iter().any(|key| key.contains(gateway)), "{keys}");
    let balancer = format!("{}.2", network());
    assert!(
        !counted.iter().any(|key| key.ends_with(&balancer)),
        "{keys}"
    );
    readers.end().await;
}
