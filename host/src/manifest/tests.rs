//! What a manifest may say, and what is refused.

use super::*;

const GOOD: &str = r#"
spin_manifest_version = 2

[application]
name = "app"
version = "1.0.0"
description = "words"
authors = ["someone"]

[variables]
redis_url = { default = "redis://127.0.0.1:6379" }
password = { required = true, secret = true, description = "words" }

[[trigger.http]]
route = "/..."
component = "api"

[component.api]
source = "api.wasm"
description = "words"
allowed_outbound_hosts = ["{{ redis_url }}"]
files = [{ source = "config", destination = "/config" }]

[component.api.variables]
address = "{{ redis_url }}"
greeting = "hello {{ password }}"

[component.api.build]
command = "make"
"#;

/// A folder with the manifest, an (empty) component and a folder to mount.
fn folder(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("spin.toml"), manifest).unwrap();
    fs::write(folder.path().join("api.wasm"), "").unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    folder
}

fn no_environment(_: &str) -> Result<String, VarError> {
    Err(VarError::NotPresent)
}

fn given(values: &[(&str, &str)]) -> Values {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    values.iter().map(own).collect()
}

/// The error's text, without the path in front.
fn refused(manifest: &str, values: &[(&str, &str)]) -> String {
    let folder = folder(manifest);
    let path = folder.path().join("spin.toml");
    let error = Application::load(&path, &given(values), no_environment).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text.strip_prefix(&format!("{}: ", path.display()))
        .unwrap_or_else(|| panic!("names the manifest: {text}"))
        .to_owned()
}

/// That `GOOD` with one change is refused with a text that has every one of `words` in it.
#[track_caller]
fn refused_with(from: &str, to: &str, words: &[&str]) {
    assert!(GOOD.contains(from), "{from}");
    let error = refused(&GOOD.replace(from, to), &[("password", "s3cret")]);
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn a_manifest_is_resolved() {
    let folder = folder(GOOD);
    let load = |path: &Path| {
        Application::load(path, &given(&[("password", "s3cret")]), no_environment).unwrap()
    };
    let application = load(folder.path());
    assert_eq!(application.component, folder.path().join("api.wasm"));
    assert_eq!(
        application.mounts,
        [Mount {
            source: folder.path().join("config"),
            destination: "/config".into()
        }]
    );
    assert_eq!(
        application.variables,
        given(&[
            ("address", "redis://127.0.0.1:6379"),
            ("greeting", "hello s3cret")
        ])
    );
    assert_eq!(
        application.allowed_hosts,
        AllowedHosts::parse(["redis://127.0.0.1"]).unwrap()
    );
    // The same by the file's own name.
    assert_eq!(
        load(&folder.path().join("spin.toml")).component,
        application.component
    );
}

#[test]
fn the_command_line_counts_before_the_environment_and_that_before_the_default() {
    let folder = folder(GOOD);
    let environment = |name: &str| match name {
        "SPIN_VARIABLE_PASSWORD" => Ok("from the environment".to_owned()),
        "SPIN_VARIABLE_REDIS_URL" => Ok("redis://environment:1".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let values = given(&[("redis_url", "redis://given:2")]);
    let application = Application::load(folder.path(), &values, environment).unwrap();
    assert_eq!(application.variables["address"], "redis://given:2");
    assert_eq!(
        application.variables["greeting"],
        "hello from the environment"
    );
}

#[test]
fn variables_must_be_known_and_have_values() {
    let missing = refused(GOOD, &[]);
    assert!(missing.contains("--variable password=VALUE"), "{missing}");
    assert!(missing.contains("SPIN_VARIABLE_PASSWORD"), "{missing}");

    let unknown = refused(GOOD, &[("password", "s3cret"), ("pasword", "s3cret")]);
    assert!(unknown.contains("\"pasword\""), "{unknown}");
    assert!(unknown.contains("password, redis_url"), "{unknown}");
    assert!(!unknown.contains("s3cret"), "{unknown}");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    refused_with(
        "version = 2",
        "version = 1",
        &["spin_manifest_version is 1"],
    );
    refused_with("/...\"", "/api/...\"", &["/api/..."]);
    refused_with("component = \"api\"", "component = \"apy\"", &["\"apy\""]);
    refused_with(
        "route =",
        "executor = { type = \"wagi\" }\nroute =",
        &["executor"],
    );
    refused_with("[[trigger.http]]", "[[trigger.redis]]", &["redis"]);
    refused_with(
        "[component.api]",
        "[[trigger.http]]\nroute = \"/x\"\ncomponent = \"api\"\n[component.api]",
        &["2 [[trigger.http]]"],
    );
    for field in [
        "key_value_stores = [\"default\"]",
        "sqlite_databases = [\"default\"]",
        "environment = { A = \"b\" }",
        "allowed_http_hosts = [\"x\"]",
        "exclude_files = [\"x\"]",
        "ai_models = [\"x\"]",
        "dependencies_inherit_configuration = true",
    ] {
        let name = field.split(' ').next().unwrap();
        refused_with(
            "source = \"api.wasm\"",
            &format!("source = \"api.wasm\"\n{field}"),
            &["line 20", name],
        );
    }
    refused_with(
        "\"api.wasm\"",
        "{ url = \"https://x\", digest = \"y\" }",
        &["line 19"],
    );
    refused_with("version = 2", "version = ", &["line 2"]);
}

#[test]
fn bad_values_are_refused() {
    refused_with(
        "\"api.wasm\"",
        "\"other.wasm\"",
        &["other.wasm", "build it"],
    );
    refused_with("\"config\"", "\"nowhere\"", &["nowhere", "not a folder"]);
    refused_with("\"config\"", "\"api.wasm\"", &["api.wasm", "not a folder"]);
    refused_with("\"/config\"", "\"config\"", &["must begin with /"]);
    refused_with(
        "files = [",
        "files = [\"*.yaml\", ",
        &["*.yaml", "only folders"],
    );
    refused_with("required = true, ", "", &["\"password\"", "default"]);
    refused_with("\"{{ redis_url }}\"]", "\"{{ nobody }}\"]", &["\"nobody\""]);
    refused_with("address = ", "Address = ", &["\"Address\""]);
    refused_with("redis_url = {", "redis-url = {", &["\"redis-url\""]);
    // A password in the address is not shown.
    refused_with(
        "[\"{{ redis_url }}\"]",
        "[\"redis://me:{{ password }}@cache\"]",
        &["{{ password }}", "without user, password"],
    );
}

#[test]
fn a_missing_manifest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Application::load(folder.path(), &Values::new(), no_environment).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("spin.toml") && text.contains("cannot be read"),
        "{text}"
    );
}
