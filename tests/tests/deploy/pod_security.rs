//! Pod Security: no pod does what the standard "restricted" forbids, by the rules of
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>; and some more.

use serde_json::{Value, json};

use crate::manifests::{ALL, Copy, find, items, pods};

/// The kinds of volumes that "restricted" allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a pod's template has that "restricted" forbids.
fn violations(template: &Value) -> Vec<String> {
    let pod = &template["spec"];
    let mut found = Vec::new();
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[name] == true {
            found.push(name.to_owned());
        }
    }
    for volume in items(&pod["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten();
        let kinds = kinds.map(|(key, _)| key).filter(|key| *key != "name");
        found.extend(
            kinds
                .filter(|kind| !VOLUMES.contains(&kind.as_str()))
                .cloned(),
        );
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(&pod[list]) {
            found.extend(violations_of_container(container, &pod["securityContext"]));
        }
    }
    // Of these there are allowed values; we need none.
    for name in [
        "sysctls",
        "seLinuxOptions",
        "windowsOptions",
        "appArmorProfile",
    ] {
        if !pod["securityContext"][name].is_null() {
            found.push(name.to_owned());
        }
    }
    found
}

/// What of a container is forbidden, given what its pod says for all.
fn violations_of_container(container: &Value, pod: &Value) -> Vec<String> {
    let own = &container["securityContext"];
    let effective = |name: &str| match &own[name] {
        Value::Null => &pod[name],
        value => value,
    };
    let seccomp = &effective("seccompProfile")["type"];
    let added = items(&own["capabilities"]["add"]).any(|name| name != "NET_BIND_SERVICE");
    let dropped = items(&own["capabilities"]["drop"]).any(|name| name == "ALL");
    let rules = [
        ("privileged", own["privileged"] == true),
        (
            "allowPrivilegeEscalation",
            own["allowPrivilegeEscalation"] != false,
        ),
        ("capabilities.add", added),
        ("capabilities.drop", !dropped),
        ("runAsNonRoot", *effective("runAsNonRoot") != true),
        ("runAsUser", *effective("runAsUser") == 0),
        (
            "seccompProfile",
            *seccomp != "RuntimeDefault" && *seccomp != "Localhost",
        ),
        ("procMount", !own["procMount"].is_null()),
        (
            "hostPort",
            items(&container["ports"]).any(|port| !port["hostPort"].is_null()),
        ),
        ("host of a probe", names_a_host(container)),
    ];
    let broken = rules.into_iter().filter(|(_, is_broken)| *is_broken);
    broken.map(|(rule, _)| rule.to_owned()).collect()
}

/// Whether a probe or a hook asks another host than the pod.
fn names_a_host(container: &Value) -> bool {
    let places = [
        "/startupProbe",
        "/livenessProbe",
        "/readinessProbe",
        "/lifecycle/preStop",
        "/lifecycle/postStart",
    ];
    places.iter().any(|place| {
        let kinds = ["httpGet", "tcpSocket"];
        kinds.iter().any(|kind| {
            let host = container.pointer(&format!("{place}/{kind}/host"));
            host.is_some()
        })
    })
}

#[test]
fn every_pod_is_within_restricted_and_every_namespace_asks_for_it() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        let documents = copy.render(overlay);
        let found = pods(&documents);
        assert!(found.len() > 1, "{overlay}");
        for (name, template) in found {
            let violations = violations(template);
            assert!(violations.is_empty(), "{overlay}: {name}: {violations:?}");
        }
        let namespace = find(&documents, "Namespace", "employee-incidents");
        let level = |mode: &str| {
            let label = format!("pod-security.kubernetes.io/{mode}");
            namespace["metadata"]["labels"][&label].clone()
        };
        // What the Spin operator makes of a SpinApp has no securityContext.
        let enforced = match overlay {
            "overlays/spin" => "baseline",
            _ => "restricted",
        };
        assert_eq!(level("enforce"), enforced, "{overlay}");
        assert_eq!(level("warn"), "restricted", "{overlay}");
    }
}

#[test]
fn every_container_is_bounded_and_writes_to_volumes_alone() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        for (name, template) in pods(&copy.render(overlay)) {
            let pod = &template["spec"];
            assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
            for container in items(&pod["containers"]) {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                let resources = &container["resources"];
                for bound in [
                    &resources["limits"]["memory"],
                    &resources["requests"]["memory"],
                    &resources["requests"]["cpu"],
                ] {
                    assert!(bound.is_string(), "{name}: {resources}");
                }
                let writable = items(&container["volumeMounts"])
                    .filter(|mount| mount["readOnly"] != true)
                    .map(|mount| mount["name"].as_str().expect("a name"));
                let writable: Vec<&str> = writable.collect();
                let expected: &[&str] = match name {
                    "refresher" => &["history"],
                    "redis" => &["data"],
                    _ => &[],
                };
                assert_eq!(writable, expected, "{name}");
            }
        }
    }
}

#[test]
fn a_breach_of_each_rule_would_be_found() {
    let good = json!({ "spec": {
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "a", "emptyDir": {} }],
        "containers": [{ "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } } }] } });
    assert!(violations(&good).is_empty());
    let container = "/spec/containers/0";
    let breaches = [
        ("/spec".into(), json!({ "hostNetwork": true })),
        ("/spec".into(), json!({ "hostPID": true })),
        ("/spec/volumes/0".into(), json!({ "hostPath": {} })),
        (
            "/spec/securityContext".into(),
            json!({ "runAsNonRoot": false }),
        ),
        ("/spec/securityContext".into(), json!({ "runAsUser": 0 })),
        (
            "/spec/securityContext".into(),
            json!({ "seccompProfile": {} }),
        ),
        ("/spec/securityContext".into(), json!({ "sysctls": [] })),
        (
            format!("{container}/securityContext"),
            json!({ "privileged": true }),
        ),
        (
            format!("{container}/securityContext"),
            json!({ "allowPrivilegeEscalation": true }),
        ),
        (
            format!("{container}/securityContext"),
            json!({ "capabilities": {} }),
        ),
        (
            format!("{container}/securityContext"),
            json!({ "procMount": "Unmasked" }),
        ),
        (
            format!("{container}/securityContext/capabilities"),
            json!({ "add": ["SYS_ADMIN"] }),
        ),
        (container.into(), json!({ "ports": [{ "hostPort": 80 }] })),
        (
            container.into(),
            json!({ "livenessProbe": { "httpGet": { "host": "169.254.169.254" } } }),
        ),
    ];
    for (place, change) in breaches {
        let mut bad = good.clone();
        let target = bad.pointer_mut(&place).and_then(Value::as_object_mut);
        let change = change.as_object().expect("an object").clone();
        target.expect(&place).extend(change.clone());
        assert_eq!(
            violations(&bad).len(),
            1,
            "{change:?}: {:?}",
            violations(&bad)
        );
    }
}
