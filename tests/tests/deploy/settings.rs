//! Every setting can be given, and secrets come from files.

use std::collections::BTreeSet;

use domain::settings::table::{SETTINGS, variables};
use serde_json::Value;

use crate::manifests::{ALL, Copy, EXAMPLE, find, items, pod, string};
use crate::text;

/// The name that kustomize has given to what it generated, without the hash.
fn generated(name: &Value) -> &str {
    let name = string(name);
    name.rsplit_once('-').map_or(name, |(name, _)| name)
}

/// What stands in the environment of a container.
fn environment(container: &Value, key: &str) -> Option<Value> {
    let found = items(&container["env"]).find(|entry| entry["name"] == key)?;
    Some(found.clone())
}

/// Whether a container finds config.yaml there, and nothing else decides what is in it.
fn has_configuration(pod: &Value) -> bool {
    let mut volumes = items(&pod["volumes"]);
    let volume = volumes
        .find(|volume| volume["name"] == "config")
        .expect("a volume");
    let mut mounts = items(&pod["containers"][0]["volumeMounts"]);
    let mount = mounts
        .find(|mount| mount["name"] == "config")
        .expect("a mount");
    generated(&volume["configMap"]["name"]) == "config" && mount["mountPath"] == "/app/config"
}

/// The names of the files that a container has of the Secret.
fn secret_files(pod: &Value) -> BTreeSet<String> {
    let volumes = items(&pod["volumes"]).filter(|volume| volume["secret"].is_object());
    let files = volumes.flat_map(|volume| items(&volume["secret"]["items"]));
    files
        .map(|item| format!("/app/secrets/{}", string(&item["path"])))
        .collect()
}

/// What is set in the manifests for good, since it follows from where the service runs.
const GIVEN: [&str; 4] = [
    "SERVICE_PASSWORD",
    "UPSTREAM_PASSWORD",
    "REDIS_URL",
    "SHUTDOWN_ENABLED",
];

#[test]
fn every_setting_is_given_by_config_yaml_and_secrets_by_files() {
    let Some(copy) = Copy::new() else { return };
    let documents = copy.render("base");
    let configuration = documents
        .iter()
        .find(|document| {
            document["kind"] == "ConfigMap" && !document["data"]["config.yaml"].is_null()
        })
        .expect("a ConfigMap");
    assert_eq!(
        configuration["data"]["config.yaml"],
        text("config/config.yaml")
    );
    for name in ["api", "refresher"] {
        let pod = &pod(&documents, name)["spec"];
        assert!(has_configuration(pod), "{name}");
        let container = &pod["containers"][0];
        // Whatever else were set in the environment, config.yaml could not change.
        for entry in items(&container["env"]) {
            let key = string(&entry["name"]);
            let mut settings = SETTINGS.iter();
            if let Some(setting) = settings.find(|setting| setting.keys().any(|own| own == key)) {
                assert!(GIVEN.contains(&setting.key), "{name}: {key}");
            }
        }
        assert_eq!(
            environment(container, "SHUTDOWN_ENABLED").expect(name)["value"],
            "false"
        );
    }
    let refresher = &pod(&documents, "refresher")["spec"];
    let files = secret_files(refresher);
    for key in SETTINGS.iter().filter_map(|setting| setting.file_key) {
        let entry = environment(&refresher["containers"][0], key).expect(key);
        assert!(files.contains(string(&entry["value"])), "{key}: {files:?}");
    }
    let api = &pod(&documents, "api")["spec"];
    let server = string(&api["containers"][0]["args"][2]);
    for file in secret_files(api) {
        let given = server.contains(&format!("=@{file}"));
        assert!(given || file.ends_with("REDIS_URL_REFRESHER"), "{file}");
    }
}

#[test]
fn a_spin_app_is_given_every_variable() {
    let Some(copy) = Copy::new() else { return };
    let documents = copy.render("overlays/spin");
    let app = find(&documents, "SpinApp", "api");
    let given = items(&app["spec"]["variables"]).map(|variable| string(&variable["name"]));
    let given: Vec<&str> = given.collect();
    assert_eq!(
        given.iter().copied().collect::<BTreeSet<_>>(),
        variables().collect()
    );
    for variable in items(&app["spec"]["variables"]) {
        let name = string(&variable["name"]);
        let mut settings = SETTINGS.iter();
        let setting = settings
            .find(|setting| setting.variables.contains(&name))
            .expect(name);
        let from = &variable["valueFrom"];
        if let Some(map) = from.get("configMapKeyRef") {
            assert_eq!(map["key"], setting.key);
            assert_eq!(map["optional"], true, "{name}");
            assert_eq!(generated(&map["name"]), "settings");
            let line = text("deploy/kubernetes/overlays/spin/settings.env");
            let named = |line: &str| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{}=", setting.key))
            };
            assert!(line.lines().any(named), "{name}");
        } else if let Some(secret) = from.get("secretKeyRef") {
            let line = format!("\n{}=", string(&secret["key"]));
            assert!(text(EXAMPLE).contains(&line), "{name}");
        } else {
            assert!(["redis_url", "shutdown_enabled"].contains(&name), "{name}");
        }
    }
    // The refresher follows the same settings.
    let refresher = &pod(&documents, "refresher")["spec"]["containers"][0];
    assert_eq!(
        generated(&refresher["envFrom"][0]["configMapRef"]["name"]),
        "settings"
    );
}

/// What the pods take of the Secret and of ConfigMaps is there: otherwise none would start.
#[test]
fn what_is_named_is_there() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        let documents = copy.render(overlay);
        let data = |kind: &str, name: &Value| {
            let document = find(&documents, kind, string(name));
            document["data"].as_object().expect("data").clone()
        };
        for (pod, template) in crate::manifests::pods(&documents) {
            for volume in items(&template["spec"]["volumes"]) {
                if let Some(name) = volume.pointer("/configMap/name") {
                    assert!(!data("ConfigMap", name).is_empty(), "{overlay}: {pod}");
                }
                if let Some(name) = volume.pointer("/secret/secretName") {
                    let data = data("Secret", name);
                    for item in items(&volume["secret"]["items"]) {
                        assert!(data.contains_key(string(&item["key"])), "{overlay}: {item}");
                    }
                }
            }
            for container in items(&template["spec"]["containers"]) {
                let references = items(&container["env"])
                    .filter_map(|entry| entry.pointer("/valueFrom/secretKeyRef"));
                for reference in references {
                    let data = data("Secret", &reference["name"]);
                    let is_there = data.contains_key(string(&reference["key"]));
                    assert!(is_there || reference["optional"] == true, "{reference}");
                }
            }
        }
    }
}
