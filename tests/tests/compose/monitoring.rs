//! docker-compose.monitoring.yml: Prometheus in its container reaches the service and its host, and takes the rules.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;

use end_to_end::{Client, ID, PASSWORD, until};
use reqwest::Method;
use serde_json::Value;

use super::{Application, BOUND, TURN, serves};

/// What stands in for the public image has no entrypoint. (Nor has it what its health check runs, by which nobody
/// goes.)
const STAND_IN: &str = r#"
version: "3.8"
services:
  prometheus:
    entrypoint: ["prometheus"]
"#;

/// What an operator writes, and a Prometheus that is in a hurry.
fn prepare(sources: &Path) {
    let write = |file: &str, text: &str| {
        fs::write(sources.join(file), text).expect("it can be written");
    };
    write("docker-compose.stand-in.yml", STAND_IN);
    fs::create_dir(sources.join("secrets")).expect("it is new");
    write("secrets/scrape-user", ID);
    write("secrets/scrape-password", PASSWORD);
    write("secrets/grafana-password", PASSWORD);
    let file = "deploy/prometheus/prometheus.yml";
    let configuration = fs::read_to_string(sources.join(file)).expect("a file");
    let edited = configuration
        .replace("scrape_interval: 30s", "scrape_interval: 1s")
        .replace("scrape_timeout: 10s", "scrape_timeout: 1s")
        .replace("evaluation_interval: 30s", "evaluation_interval: 1s")
        // Before 2.48, Prometheus takes the user's name from no file.
        .replace(
            "username_file: /run/secrets/scrape-user",
            &format!("username: {ID}"),
        );
    write(file, &edited);
}

/// What Prometheus answers at a path of its API.
async fn asked(prometheus: &Client, path: &str) -> Option<Value> {
    let answer = prometheus.try_send(Method::GET, path, None, &[]).await;
    let answer: Value = serde_json::from_slice(&answer.ok()?.body).ok()?;
    Some(answer["data"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_reaches_the_service_and_its_host() {
    let _turn = TURN.lock().await;
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let files = [
        "docker-compose.yml",
        "docker-compose.override.yml",
        "docker-compose.monitoring.yml",
        "docker-compose.stand-in.yml",
    ];
    let settings = vec![
        ("COMPOSE_FILE", files.join(":")),
        ("PROMETHEUS_LISTEN", format!("127.0.0.1:{port}")),
        ("DEFAULT_CACHE_REFRESH", "2".to_owned()),
    ];
    let Some(mut application) = Application::make("watched", settings).await else {
        return;
    };
    let tag = application.tag.clone();
    let Some(image) = application.stand_ins.import_prometheus(&tag) else {
        let told =
            "\n*** SKIPPED: no prometheus here: docker-compose.monitoring.yml is NOT run ***\n\n";
        let _ = std::io::stderr().write_all(told.as_bytes());
        return;
    };
    application.settings.push(("PROMETHEUS_IMAGE", image));
    prepare(application.sources.path());
    let application = tokio::task::spawn_blocking(move || {
        let up = ["up", "--detach", "--build"];
        let services = ["redis", "upstream", "refresher", "api", "prometheus"];
        application.must(&[&up[..], &services[..]].concat());
        application
    });
    let application = application.await.expect("it starts");
    serves(&Client::new(&format!(
        "http://127.0.0.1:{}",
        application.port
    )))
    .await;
    let prometheus = Client::new(&format!("http://127.0.0.1:{port}"));
    for job in ["employee-incidents", "employee-incidents-hosts"] {
        // up{job="…"} == 1
        let query = format!("/api/v1/query?query=up%7Bjob%3D%22{job}%22%7D%20%3D%3D%201");
        until(&format!("{job} is reached"), BOUND, async || {
            let data = asked(&prometheus, &query).await?;
            (!data["result"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }
    until("every rule can be evaluated", BOUND, async || {
        let data = asked(&prometheus, "/api/v1/rules").await?;
        let groups = data["groups"].as_array()?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        let mut rules = rules.flatten().peekable();
        rules.peek()?;
        rules.all(|rule| rule["health"] == "ok").then_some(())
    })
    .await;
}
