//! The description of the service against the service: by what it is known to answer, and by a fuzzer.

use std::env;
use std::time::Duration;

use end_to_end::{Answer, ID, PASSWORD, Redis, System, TempDir, Upstream, host};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

/// What belongs to the connection, or to any content, and is not described.
const UNDESCRIBED: [&str; 5] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "transfer-encoding",
];

/// The password where the fuzzer asks.
const FUZZER_PASSWORD: &str = "fuzzers-may-ask";

/// What a reference within the description stands for, or the value itself.
fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => description
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => value,
    }
}

/// Checks that the answer is one that is described.
fn is_described(description: &Value, method: &str, path: &str, answer: &Answer) {
    let status = answer.status.as_u16().to_string();
    let what = format!("{method} {path} {status}");
    let operation = &description["paths"][path][method];
    let response = resolved(description, &operation["responses"][&status]);
    assert!(response.is_object(), "{what} is not described");
    if method == "head" {
        return;
    }
    let described = response["headers"].as_object().cloned().unwrap_or_default();
    let is_known = |name: &str| {
        described
            .keys()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    for (name, value) in &answer.headers {
        let name = name.as_str();
        assert!(
            UNDESCRIBED.contains(&name) || is_known(name),
            "{what}: {name}: {value:?}"
        );
    }
    for (name, header) in &described {
        let header = resolved(description, header);
        let is_sent = answer.headers.contains_key(name.as_str());
        assert!(is_sent || header["required"] != true, "{what}: no {name}");
        if let Some(expected) = header["schema"]["const"].as_str().filter(|_| is_sent) {
            assert_eq!(answer.header(name), expected, "{what}: {name}");
        }
    }
    let content_type = answer
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default();
    match response["content"].as_object() {
        Some(kinds) => assert!(kinds.contains_key(content_type), "{what}: {content_type}"),
        None => assert!(answer.body.is_empty(), "{what} has content"),
    }
}

async fn description(system: &System) -> Value {
    let answer = system.host.client.get_as_stranger("/openapi.json").await;
    assert_eq!(answer.status, 200);
    let etag = answer.header("etag");
    for listed in [etag, "*"] {
        let again = system
            .host
            .client
            .send(Method::GET, "/openapi.json", &[("if-none-match", listed)])
            .await;
        is_described(&answer.json(), "get", "/openapi.json", &again);
        assert_eq!(again.status, 304);
    }
    answer.json()
}

#[tokio::test]
async fn what_is_answered_is_described() {
    let settings = [("shutdown_enabled", "false")];
    let system = System::start_with(Upstream::start().await, &[], &settings).await;
    let description = description(&system).await;
    let client = &system.host.client;
    let report = client.get("/incidents").await.json();
    let someone = report
        .as_object()
        .and_then(|report| report.keys().next())
        .expect("an employee");
    let paths = description["paths"].as_object().expect("paths");
    for (path, item) in paths {
        let address = path.replace("{employee_id}", someone);
        for method in ["get", "head", "post", "options"]
            .into_iter()
            .filter(|name| item[name].is_object())
        {
            let send = async |account, fields: &[(&str, &str)], query: &str| {
                let method =
                    Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
                let path = format!("{address}{query}");
                client
                    .try_send(method, &path, account, fields)
                    .await
                    .expect("an answer")
            };
            let (right, wrong) = (Some((ID, PASSWORD)), Some((ID, "wrong")));
            let plain = send(right, &[], "").await;
            is_described(&description, method, path, &plain);
            let expected = if path == "/shutdown" { 403 } else { 200 };
            assert_eq!(plain.status, expected, "{method} {path}");
            let etag = plain.header("etag").to_owned();
            for (account, fields, query) in [
                (wrong, ("accept", "*/*"), ""),
                (None, ("accept", "*/*"), ""),
                (right, ("if-none-match", etag.as_str()), ""),
                (right, ("accept-encoding", "gzip"), ""),
                (right, ("accept-encoding", "identity;q=0, *;q=0"), ""),
                (right, ("accept", "text/csv"), "?format=csv"),
                (right, ("accept", "text/csv"), ""),
                (right, ("accept", "application/x-ndjson"), "?limit=3"),
                (right, ("accept", "image/png"), ""),
                (right, ("accept", "*/*"), "?limit=0"),
            ] {
                // What no parameters are known of does not look at them.
                let answer = send(account, &[fields], query).await;
                is_described(&description, method, path, &answer);
            }
        }
        if path != "/" {
            let refused = client.send(Method::DELETE, &address, &[]).await;
            let operation = if item["get"].is_object() {
                "get"
            } else {
                "options"
            };
            is_described(&description, operation, path, &refused);
            assert_eq!(refused.status, 405);
        }
    }
    let nobody = client.get("/incidents/18446744073709551615").await;
    assert_eq!(nobody.status, 404);
    is_described(&description, "get", "/incidents/{employee_id}", &nobody);

    // Limits, and what there is before the first snapshot.
    let redis = Redis::start().await;
    let limits =
        ["default", "dashboard", "incidents_api"].map(|name| format!("{name}_rate_limits"));
    let mut settings: Vec<(&str, &str)> = limits
        .iter()
        .map(|name| (name.as_str(), "1 per day"))
        .collect();
    settings.push(("snapshot_wait", "0"));
    let limited = host(&redis, &settings).await;
    for path in paths.keys().filter(|path| *path != "/") {
        let address = path.replace("{employee_id}", someone);
        for _ in 0..2 {
            let answer = limited.client.get(&address).await;
            is_described(&description, "get", path, &answer);
        }
    }
}

/// The description, with what only the running service and its state tell.
fn for_fuzzing(mut description: Value, types: &[&str]) -> Value {
    let timeline = &mut description["paths"]["/incidents/timeline"];
    let parameters = timeline["parameters"].as_array_mut().expect("a list");
    for parameter in parameters.iter_mut() {
        if parameter["name"] == "type" {
            parameter["schema"]["items"] = json!({ "enum": types });
        }
    }
    // None can be made up: those that pages gave are tested elsewhere.
    parameters.retain(|parameter| parameter["name"] != "cursor");
    description
}

#[tokio::test]
async fn a_fuzzer_finds_nothing_that_is_not_described() {
    let Some(python) = env::var_os("EMPLOYEE_INCIDENTS_TESTS_PYTHON") else {
        eprintln!("SKIPPED: no Python packages here: schemathesis is NOT run against the service");
        return;
    };
    // Not the usual one, whose colon the fuzzer does not take.
    let settings = [("service_password", FUZZER_PASSWORD)];
    let system = System::start_with(Upstream::start().await, &[], &settings).await;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("openapi.json");
    let description = for_fuzzing(description(&system).await, &end_to_end::TYPES);
    std::fs::write(&path, description.to_string()).expect("it is written");
    let mut fuzzer = Command::new(python);
    fuzzer
        .args(["-m", "schemathesis.cli", "run"])
        .arg(&path)
        .args(["--url", &system.host.url])
        .args(["--auth", &format!("{ID}:{FUZZER_PASSWORD}")])
        .args([
            "--checks",
            "all",
            "--mode",
            "all",
            "--max-examples",
            "50",
            "--max-time",
            "60",
        ])
        .args(["--seed", "1", "--no-color"])
        // It takes a single number for no list, which in a query is a list of one; what is refused has a
        // test of its own.
        .args(["--exclude-checks", "negative_data_rejection"])
        // One would end the service; of the other, only OPTIONS is known, and it is not found otherwise.
        .args(["--exclude-path", "/shutdown", "--exclude-path", "/"])
        .current_dir(folder.path())
        .kill_on_drop(true);
    let output = timeout(Duration::from_secs(240), fuzzer.output())
        .await
        .expect("it ends")
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.contains("Tested: 22"), "{told}");
}
