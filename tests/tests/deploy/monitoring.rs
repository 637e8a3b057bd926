//! What Prometheus, Alertmanager and Grafana are given: held against the metrics that there are and against
//! docs/alerts.md, and tried with the programs of Prometheus.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::TempDir;
use serde_json::{Value, json};

use crate::manifests::{Copy, documents, find, items, pod, string};
use crate::{on_path, root, skipped, text};

/// The metrics of the service and of its hosts, with their labels, as docs/monitoring.md has them; of a histogram
/// those of its series that are asked for.
const METRICS: [(&str, &[&str]); 25] = [
    ("incidents_snapshot_generation", &[]),
    ("incidents_snapshot_age_seconds", &[]),
    ("incidents_snapshot_stale", &[]),
    ("incidents_endpoint_age_seconds", &["endpoint"]),
    ("incidents_endpoint_stale", &["endpoint"]),
    ("incidents_rows", &["type", "fate"]),
    ("incidents_reported", &["type", "priority"]),
    ("incidents_refreshes_total", &["outcome"]),
    ("incidents_refresh_duration_seconds_bucket", &["le"]),
    ("incidents_refresh_duration_seconds_sum", &[]),
    ("incidents_refresh_duration_seconds_count", &[]),
    ("incidents_nodes", &["kind", "state"]),
    ("incidents_node_changes_total", &["state"]),
    ("incidents_leader", &[]),
    ("incidents_history_recording", &[]),
    ("incidents_history_recorded_age_seconds", &[]),
    ("incidents_commands_set_aside", &[]),
    ("incidents_refused_requests_total", &["reason"]),
    ("incidents_alerts_handed_over_total", &[]),
    ("incidents_alerts_waiting", &[]),
    ("incidents_alert_failures_total", &[]),
    ("host_requests_total", &["route", "status"]),
    ("host_request_duration_seconds_bucket", &["le"]),
    ("host_instances", &[]),
    ("host_connections", &[]),
];

/// What Prometheus itself has: whether a target answers, and labels of a target.
const PROMETHEUS: [&str; 3] = ["up", "job", "namespace"];

/// The words of PromQL that our expressions need.
const PROMQL: [&str; 14] = [
    "absent",
    "and",
    "by",
    "group_left",
    "histogram_quantile",
    "increase",
    "max",
    "max_over_time",
    "min",
    "on",
    "or",
    "rate",
    "sum",
    "unless",
];

/// The rules in `recording` or `alerts`.
fn rules(file: &str) -> Vec<Value> {
    let documents = documents(&text(&format!("deploy/prometheus/rules/{file}.yml")));
    let groups = items(&documents[0]["groups"]);
    groups
        .flat_map(|group| items(&group["rules"]))
        .cloned()
        .collect()
}

/// The panels of the board.
fn panels() -> Vec<Value> {
    let board = text("deploy/grafana/boards/employee-incidents.json");
    let board: Value = serde_json::from_str(&board).expect("JSON");
    items(&board["panels"]).cloned().collect()
}

/// Every expression of the rules in `recording` or `alerts`, or of the `board`, and where it stands.
pub(crate) fn expressions(of: &str) -> Vec<(String, String)> {
    let name = match of {
        "recording" => "record",
        "alerts" => "alert",
        _ => return expressions_of_board(),
    };
    let rules = rules(of).into_iter();
    rules
        .map(|rule| {
            (
                string(&rule[name]).to_owned(),
                string(&rule["expr"]).to_owned(),
            )
        })
        .collect()
}

fn expressions_of_board() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in panels() {
        for target in items(&panel["targets"]) {
            // What Grafana puts in.
            let expression = string(&target["expr"]).replace("$__rate_interval", "5m");
            found.push((string(&panel["title"]).to_owned(), expression));
        }
    }
    found
}

/// All of them.
fn all_expressions() -> Vec<(String, String)> {
    let all = ["recording", "alerts", "board"].into_iter();
    all.flat_map(expressions).collect()
}

/// The words of an expression: not what is in quotes, no number and no time.
fn words(expression: &str) -> Vec<&str> {
    // Nothing that is in quotes has a quote in it.
    let outside = expression.split('"').step_by(2);
    let words = outside.flat_map(|piece| {
        piece.split(|character: char| {
            !(character.is_ascii_alphanumeric() || character == '_' || character == ':')
        })
    });
    words
        .filter(|word| word.starts_with(|first: char| first.is_ascii_alphabetic()))
        .collect()
}

#[test]
fn rules_and_board_ask_for_metrics_that_there_are_and_for_all_of_them() {
    let records = rules("recording");
    let mut known: BTreeSet<&str> = PROMETHEUS.into_iter().chain(PROMQL).collect();
    for (name, labels) in METRICS {
        known.insert(name);
        known.extend(labels.iter().copied());
    }
    known.extend(records.iter().map(|rule| string(&rule["record"])));
    let expressions = all_expressions();
    let mut asked = BTreeSet::new();
    for (place, expression) in &expressions {
        for word in words(expression) {
            assert!(
                known.contains(word),
                "{place}: `{word}` is no metric, label or function that is known"
            );
            asked.insert(word);
        }
    }
    for (name, _) in METRICS {
        assert!(asked.contains(name), "nothing looks at {name}");
    }
}

#[test]
fn every_alert_says_what_to_do_and_has_its_chapter() {
    let documentation = text("docs/alerts.md");
    let alerts = rules("alerts");
    let names: BTreeSet<&str> = alerts.iter().map(|rule| string(&rule["alert"])).collect();
    let headings = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.collect::<BTreeSet<_>>(), names);
    for alert in &alerts {
        let name = string(&alert["alert"]);
        let annotations = &alert["annotations"];
        for annotation in ["summary", "description"] {
            assert!(!string(&annotations[annotation]).is_empty(), "{name}");
        }
        let anchor = name.to_lowercase();
        assert_eq!(
            annotations["runbook_url"],
            format!("docs/alerts.md#{anchor}")
        );
        let severity = string(&alert["labels"]["severity"]);
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        let after = alert["for"].as_str().map_or_else(
            || "at once".to_owned(),
            |minutes| minutes.replace('m', " min"),
        );
        let row = format!("| [{name}](#{anchor}) | {severity} | {after} | ");
        assert!(
            documentation.contains(&row),
            "the documentation lacks {row}"
        );
        let heading = format!("{name}\n");
        let mut chapters = documentation.split("\n## ");
        let chapter = chapters.find(|chapter| chapter.starts_with(&heading));
        let chapter = chapter.expect("a chapter");
        for part in ["**Meaning.**", "**Users notice**", "**Look.**", "**Do.**"] {
            assert!(chapter.contains(part), "{name} lacks {part}");
        }
    }
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire() {
    let tests = documents(&text("deploy/prometheus/rules/tests.yml"));
    let mut seen = BTreeSet::new();
    for test in items(&tests[0]["tests"]) {
        for case in items(&test["alert_rule_test"]) {
            let fires = items(&case["exp_alerts"]).next().is_some();
            seen.insert((string(&case["alertname"]).to_owned(), fires));
        }
        for case in items(&test["promql_expr_test"]) {
            let fires = items(&case["exp_samples"]).next().is_some();
            let mut words = string(&case["expr"]).split("alertname=\"");
            let name = words.nth(1).and_then(|rest| rest.split('"').next());
            seen.insert((name.expect("an alert's name").to_owned(), fires));
        }
    }
    for alert in rules("alerts") {
        let name = string(&alert["alert"]);
        for fires in [true, false] {
            assert!(
                seen.contains(&(name.to_owned(), fires)),
                "{name}: {fires} is not tested"
            );
        }
    }
}

/// What a program says, and whether it is content.
fn run(program: &str, arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("it can be run");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A copy of `deploy/prometheus`, with the board's expressions as rules; none, which is told, where there is no
/// promtool.
fn for_promtool() -> Option<TempDir> {
    if on_path("promtool").is_none() {
        skipped("no promtool here: deploy/prometheus is NOT tested");
        return None;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let copied = Command::new("cp")
        .args(["-R", "deploy/prometheus/."])
        .arg(folder.path())
        .current_dir(root())
        .status();
    assert!(copied.expect("it can be run").success());
    // Before 2.48, Prometheus takes the user's name from no file.
    let configuration = text("deploy/prometheus/prometheus.yml");
    let edited = configuration.replace(
        "username_file: /run/secrets/scrape-user",
        "username: scraper",
    );
    assert_ne!(edited, configuration);
    fs::write(folder.path().join("prometheus.yml"), edited).expect("it can be written");
    let board = all_expressions().into_iter().enumerate();
    let board: Vec<Value> = board
        .map(|(number, (_, expression))| {
            json!({ "record": format!("board:{number}"), "expr": expression })
        })
        .collect();
    // JSON is YAML.
    let board = json!({ "groups": [{ "name": "board", "rules": board }] }).to_string();
    fs::write(folder.path().join("board.yml"), board).expect("it can be written");
    Some(folder)
}

#[test]
fn prometheus_takes_all_of_it_and_the_alerts_pass_their_tests() {
    let Some(folder) = for_promtool() else { return };
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "board.yml"][..],
        &["test", "rules", "rules/tests.yml"][..],
    ] {
        let (content, said) = run("promtool", arguments, folder.path());
        assert!(content, "{arguments:?}: {said}");
    }
}

#[test]
fn an_alert_that_is_wrong_would_be_found() {
    let Some(folder) = for_promtool() else { return };
    let file = folder.path().join("rules/alerts.yml");
    let right = fs::read_to_string(&file).expect("rules");
    let wrong = right.replace("(incidents_leader) == 0", "(incidents_leader) == 1");
    assert_ne!(wrong, right);
    fs::write(file, wrong).expect("it can be written");
    let (content, said) = run(
        "promtool",
        &["test", "rules", "rules/tests.yml"],
        folder.path(),
    );
    assert!(!content && said.contains("IncidentsNoLeader"), "{said}");
}

#[test]
fn alertmanager_tells_those_whom_it_concerns() {
    if on_path("amtool").is_none() {
        return skipped("no amtool here: deploy/alertmanager is NOT tested");
    }
    let file = "deploy/alertmanager/alertmanager.yml";
    let (content, said) = run("amtool", &["check-config", file], &root());
    assert!(content, "{said}");
    let configuration = format!("--config.file={file}");
    let critical = ["alertname=Incident", "priority=critical", "type=denial"];
    let low = ["alertname=Incident", "priority=low", "type=denial"];
    let down = ["alertname=IncidentsNoLeader", "severity=critical", "job=a"];
    let stale = [
        "alertname=IncidentsManyRejected",
        "severity=warning",
        "type=denial",
    ];
    let of_others = ["alertname=Disk", "severity=critical", "job=a"];
    for (labels, receiver) in [
        (critical, "security-team"),
        (low, "security-team"),
        (down, "operators-on-call"),
        (stale, "operators"),
        (of_others, "operators"),
    ] {
        let expected = format!("--verify.receivers={receiver}");
        let test = ["config", "routes", "test", &configuration, &expected];
        let (content, said) = run("amtool", &[&test[..], &labels[..]].concat(), &root());
        assert!(content, "{labels:?}: {said}");
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels() {
        let title = string(&panel["title"]);
        let place = &panel["gridPos"];
        assert!(ids.insert(panel["id"].to_string()), "{title}");
        let place = format!("{} {}", place["x"], place["y"]);
        assert!(places.insert(place), "{title} lies on another one");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!string(&panel["description"]).is_empty(), "{title}");
        let unit = string(&panel["fieldConfig"]["defaults"]["unit"]);
        assert!(!unit.is_empty(), "{title}");
        assert!(items(&panel["targets"]).next().is_some(), "{title}");
        // Of any installation, not of the one that it was made with.
        for asked in items(&panel["targets"]).chain([&panel]) {
            assert_eq!(asked["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

/// The services of docker-compose.yml with docker-compose.monitoring.yml, as compose understands them; none, which is
/// told, where there is no compose.
fn services() -> Option<Value> {
    let has_plugin =
        on_path("docker").is_some() && run("docker", &["compose", "version"], &root()).0;
    let compose: &[&str] = match has_plugin {
        true => &["docker", "compose"],
        false => &["docker-compose"],
    };
    if on_path(compose[0]).is_none() {
        skipped("no compose here: docker-compose.monitoring.yml is NOT tested");
        return None;
    }
    let files = ["docker-compose.yml", "docker-compose.monitoring.yml"];
    let files = files.iter().flat_map(|file| ["--file", *file]);
    let output = Command::new(compose[0])
        .args(&compose[1..])
        .args(files)
        .arg("config")
        .current_dir(root())
        .output()
        .expect("it can be run");
    assert!(output.status.success(), "{output:?}");
    let mut found = documents(&String::from_utf8_lossy(&output.stdout));
    Some(found[0]["services"].take())
}

#[test]
fn what_monitors_in_compose_may_do_little_and_reaches_what_it_has_to() {
    let Some(services) = services() else { return };
    for name in ["prometheus", "alertmanager", "grafana"] {
        let service = &services[name];
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert!(!service["mem_limit"].is_null(), "{name}");
        let user = string(&service["user"]).split(':').next();
        let user = user.and_then(|user| user.parse::<u32>().ok());
        assert!(user.is_some_and(|user| user > 0), "{name}: {user:?}");
        // To this machine alone.
        for port in items(&service["ports"]) {
            assert!(port.to_string().contains("127.0.0.1"), "{name}: {port}");
        }
    }
    let networks = |name: &str| {
        let networks = services[name]["networks"].as_object().expect("networks");
        networks.keys().cloned().collect::<BTreeSet<String>>()
    };
    let mut reached = Vec::new();
    for one in ["prometheus", "alertmanager", "grafana"] {
        for other in ["api", "refresher", "redis"] {
            if !networks(one).is_disjoint(&networks(other)) {
                reached.push((one, other));
            }
        }
    }
    let expected = [
        ("prometheus", "api"),
        ("prometheus", "refresher"),
        ("alertmanager", "refresher"),
    ];
    assert_eq!(reached, expected);
    // What the configuration names is there.
    let configuration = text("deploy/prometheus/prometheus.yml");
    for target in ["\"api:9000\"", "[api]", "\"alertmanager:9093\""] {
        assert!(configuration.contains(target), "{target}");
    }
    let secrets = services["prometheus"]["secrets"].to_string();
    for secret in ["scrape-user", "scrape-password"] {
        let file = format!("/run/secrets/{secret}");
        assert!(configuration.contains(&file) && secrets.contains(secret));
    }
}

/// The api of the image, with the address of its host's metrics.
#[test]
fn the_api_in_compose_is_started_as_in_its_image() {
    let server = "host --from spin.toml --listen 0.0.0.0:9000 --idle-instance-timeout 60s";
    assert!(text("Dockerfile").contains(&format!("\"{server}\"")));
    let with_metrics = format!("- {server} --metrics 0.0.0.0:9001\n");
    assert!(text("docker-compose.monitoring.yml").contains(&with_metrics));
}

#[test]
fn the_operator_has_the_same_rules() {
    let script = root().join("deploy/kubernetes/monitoring/rules.sh");
    let (content, made) = run("sh", &[&script.to_string_lossy()], &root());
    assert!(content, "{made}");
    let committed = text("deploy/kubernetes/monitoring/rules.yaml");
    assert!(
        made == committed,
        "rules.yaml is not what rules.sh makes of deploy/prometheus/rules: run it again"
    );
    let documents = documents(&committed);
    for (document, file) in documents.iter().zip(["recording", "alerts"]) {
        assert_eq!(document["kind"], "PrometheusRule");
        let groups = items(&document["spec"]["groups"]);
        let made: Vec<Value> = groups
            .flat_map(|group| items(&group["rules"]))
            .cloned()
            .collect();
        assert_eq!(made, rules(file));
    }
}

#[test]
fn on_kubernetes_prometheus_asks_for_the_same_under_the_same_names() {
    let Some(copy) = Copy::new() else { return };
    let (base, documents) = (copy.render("base"), copy.render("overlays/monitoring"));
    // The command is the base's, and the address of the host's metrics.
    let server = |documents: &[Value]| {
        let container = &pod(documents, "api")["spec"]["containers"][0];
        string(&container["args"][2]).trim_end().to_owned()
    };
    let metrics = "--metrics 0.0.0.0:9001";
    assert_eq!(
        server(&documents),
        format!("{} {metrics}", server(&base)),
        "deploy/kubernetes/monitoring/api.yaml"
    );
    let monitor = find(&documents, "PodMonitor", "employee-incidents");
    let pod = pod(&documents, "api");
    let labels = &monitor["spec"]["selector"]["matchLabels"];
    for (key, value) in labels.as_object().expect("labels") {
        assert_eq!(pod["metadata"]["labels"][key], *value);
    }
    let configuration = text("deploy/prometheus/prometheus.yml");
    for endpoint in items(&monitor["spec"]["podMetricsEndpoints"]) {
        let ports = &pod["spec"]["containers"][0]["ports"];
        let is_open = items(ports).any(|port| port["name"] == endpoint["port"]);
        assert!(is_open, "{endpoint}");
        let job = string(&endpoint["relabelings"][0]["replacement"]);
        assert!(configuration.contains(&format!("job_name: {job}\n")));
        // It would hide the label of the same name that metrics have.
        let dropped = json!({ "action": "labeldrop", "regex": "endpoint" });
        assert_eq!(endpoint["relabelings"][1], dropped);
        for login in ["username", "password"] {
            let Some(reference) = endpoint.pointer(&format!("/basicAuth/{login}")) else {
                continue;
            };
            let secret = find(&documents, "Secret", string(&reference["name"]));
            let value = &secret["data"][string(&reference["key"])];
            assert!(value.is_string(), "{reference}");
        }
    }
    let board = find(&documents, "ConfigMap", "employee-incidents-board");
    assert_eq!(board["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(
        board["data"]["employee-incidents.json"],
        text("deploy/grafana/boards/employee-incidents.json")
    );
}
