//! The manifests against the schemas of Kubernetes, the newest and the oldest that we are for, of SpinKube and of the
//! Prometheus operator.

use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::manifests::{ALL, Copy};
use crate::{root, skipped};

/// What `validate.py` has schemas of, and docs/kubernetes.md names.
const VERSIONS: [&str; 2] = ["1.34", "1.37"];

/// What is wrong with the documents, a line each; none, which is told, where there is no Python for the tests.
fn problems(documents: &[Value]) -> Option<String> {
    let Some(python) = env::var_os("EMPLOYEE_INCIDENTS_TESTS_PYTHON") else {
        skipped(
            "no Python packages here: deploy/kubernetes is NOT held against Kubernetes's schemas",
        );
        return None;
    };
    let mut validate = Command::new(python)
        .args(["validate.py", "spinkube.yaml,prometheus-operator.yaml"])
        .args(VERSIONS)
        .current_dir(root().join("tests/tests/deploy"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be run");
    let text = serde_json::to_vec(documents).expect("JSON");
    let mut input = validate.stdin.take().expect("a pipe");
    input.write_all(&text).expect("it reads");
    drop(input);
    let output = validate.wait_with_output().expect("it ends");
    assert!(output.status.success(), "validate.py failed, see above");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn kubernetes_and_operators_know_all_that_is_in_the_manifests() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        let found = problems(&copy.render(overlay)).unwrap_or_default();
        assert!(found.is_empty(), "{overlay}:\n{found}");
    }
}

#[test]
fn what_they_do_not_know_would_be_found() {
    let metadata = json!({ "name": "a" });
    let wrong = [
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "prots": [] } }),
        json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudge", "metadata": metadata }),
        json!({ "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": metadata,
                "spec": { "image": "a", "executor": "b", "replica": 1 } }),
        json!({ "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata,
                "spec": { "groups": [{ "name": "a", "rules": [{ "alert": "b", "expr": "up", "fro": "5m" }] }] } }),
    ];
    let Some(found) = problems(&wrong) else {
        return;
    };
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), wrong.len(), "{found:?}");
    for (line, word) in found
        .iter()
        .zip(["prots", "PodDisruptionBudge", "replica", "fro"])
    {
        assert!(line.contains(word), "{line}");
    }
}
