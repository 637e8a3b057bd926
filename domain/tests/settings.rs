//! The configuration file: what is read, what overrides it, and what each mistake is told.

use std::time::Duration;

use domain::incident::{IdentityKind, IncidentType};
use domain::settings::credentials::ExpectedPassword;
use domain::settings::{HistoryStore, KEYS, SettingErrors, Settings, VARIABLES, from_variables};

const ACCOUNT: &str = "SERVICE_ID: 'auditor'\nSERVICE_PASSWORD: 's3cret'\n";

fn read(file: &str) -> Result<Settings, SettingErrors> {
    Settings::read(file, |_| None)
}

fn with(file: &str) -> Settings {
    read(&format!("{ACCOUNT}{file}")).unwrap_or_else(|errors| panic!("{file}: {errors}"))
}

fn with_override(key: &'static str, value: &'static str) -> Settings {
    let overrides = |name: &str| (name == key).then(|| value.to_owned());
    Settings::read(ACCOUNT, overrides).unwrap_or_else(|errors| panic!("{key}={value}: {errors}"))
}

#[test]
fn the_shipped_file_has_every_key_and_the_defaults() {
    let text = include_str!("../../config/config.yaml");
    for key in KEYS {
        let named = |line: &str| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{key}:"))
        };
        assert!(
            text.lines().any(named),
            "{key} is not in config/config.yaml"
        );
    }
    let shipped = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    let defaults = read("").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(shipped.incident_types, IncidentType::defaults());
    assert_eq!(shipped.incident_types, defaults.incident_types);
    assert_eq!(shipped.refresh_interval, Duration::from_secs(60));
    assert_eq!(shipped.refresh_interval, defaults.refresh_interval);
    assert_eq!(shipped.default_rate_limits, defaults.default_rate_limits);
    assert_eq!(
        shipped.incidents_rate_limits,
        defaults.incidents_rate_limits
    );
    assert_eq!(shipped.max_workers, 10);
    assert_eq!(shipped.max_workers, defaults.max_workers);
    assert_eq!(shipped.api_timeout, defaults.api_timeout);
    assert_eq!(shipped.api_retries, defaults.api_retries);
    assert_eq!(shipped.api_max_body_bytes, defaults.api_max_body_bytes);
    assert_eq!(shipped.redis_url, defaults.redis_url);
    assert_eq!(shipped.redis_key_prefix, defaults.redis_key_prefix);
    assert_eq!(shipped.snapshot_wait, defaults.snapshot_wait);
    assert_eq!(shipped.shutdown_enabled, defaults.shutdown_enabled);
    assert_eq!(
        shipped.wrong_password_limits,
        defaults.wrong_password_limits
    );
    assert_eq!(shipped.history_store, defaults.history_store);
    assert_eq!(shipped.history_max_age, defaults.history_max_age);
    assert_eq!(shipped.history_max_bytes, defaults.history_max_bytes);
    assert_eq!(shipped.nodes_to_probe, defaults.nodes_to_probe);
    assert_eq!(shipped.trusted_proxies, defaults.trusted_proxies);
    assert_eq!(shipped.trusted_proxy_header, defaults.trusted_proxy_header);
}

#[test]
fn the_manifest_hands_on_every_variable() {
    let manifest = include_str!("../../spin.toml");
    let (_, section) = manifest.split_once("[component.api.variables]\n").unwrap();
    let given = section
        .lines()
        .map_while(|line| line.split_once(" = "))
        .map(|(name, _)| name);
    let heeded = VARIABLES.map(|(name, _)| name);
    assert_eq!(given.collect::<Vec<_>>(), heeded);
    for (_, key) in VARIABLES {
        assert!(KEYS.contains(&key), "{key}");
    }
}

#[test]
fn compose_hands_on_every_key_and_every_variable() {
    let compose = include_str!("../../docker-compose.yml");
    let handed_on = |name: &str, key: &str| {
        let value = format!("{name}: ${{{key}:-}}");
        compose.lines().any(|line| line.trim() == value)
    };
    // Redis is one of the containers.
    for key in KEYS.iter().filter(|key| **key != "REDIS_URL") {
        assert!(handed_on(key, key), "{key}");
    }
    for (variable, key) in VARIABLES.iter().filter(|(_, key)| *key != "REDIS_URL") {
        let name = format!("SPIN_VARIABLE_{}", variable.to_uppercase());
        assert!(handed_on(&name, key), "{variable}");
    }
}

#[test]
fn of_two_variables_the_first_that_is_set_counts() {
    for (secret, used) in [("redis://:p@h/1", "redis://:p@h/1"), ("", "redis://h")] {
        let value = |name: &str| match name {
            "redis_secret_url" => Some(secret.to_owned()),
            "redis_url" => Some("redis://h".to_owned()),
            _ => None,
        };
        let settings = Settings::read("", |key| from_variables(key, value)).unwrap();
        assert_eq!(settings.redis_url.expose(), used);
    }
}

#[test]
fn the_shipped_password_is_refused_and_the_key_named() {
    let error = read(include_str!("../../config/config.yaml"))
        .unwrap()
        .account
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`SERVICE_PASSWORD`") && error.contains("changeit"),
        "{error}"
    );
}

#[test]
fn scalars_are_kept_as_they_are_written() {
    for (written, meant) in [
        ("0123", "0123"),
        ("1e3", "1e3"),
        ("yes", "yes"),
        ("'it''s'", "it's"),
        ("\"tab\\there\"", "tab\there"),
        ("'null'", "null"),
    ] {
        let file = format!("SERVICE_ID: a\nSERVICE_PASSWORD: {written}\n");
        let account = read(&file).unwrap().account.unwrap();
        let ExpectedPassword::Plain(password) = account.password else {
            panic!("{written} was taken for a hash");
        };
        assert_eq!(password.expose(), meant);
    }
}

#[test]
fn an_override_counts_instead_of_the_file_and_an_empty_one_does_not() {
    let file = "DEFAULT_CACHE_REFRESH: 30\n";
    let interval = |value: &str| {
        Settings::read(file, |key| {
            (key == "DEFAULT_CACHE_REFRESH").then(|| value.to_owned())
        })
        .unwrap()
        .refresh_interval
    };
    assert_eq!(interval("5"), Duration::from_secs(5));
    assert_eq!(interval(""), Duration::from_secs(30));
}

#[test]
fn lists_may_be_yaml_or_text() {
    let yaml = with("INCIDENTS_API_RATE_LIMITS: ['5 per second', '100/hour']\n");
    let text = with("INCIDENTS_API_RATE_LIMITS: '5 per second; 100/hour'\n");
    let variable = with_override("INCIDENTS_API_RATE_LIMITS", "5 per second, 100/hour");
    assert_eq!(yaml.incidents_rate_limits.len(), 2);
    assert_eq!(yaml.incidents_rate_limits, text.incidents_rate_limits);
    assert_eq!(yaml.incidents_rate_limits, variable.incidents_rate_limits);

    let yaml = with("TRUSTED_PROXIES: [10.0.0.0/8, '::1']\n");
    let text = with("TRUSTED_PROXIES: '10.0.0.0/8, ::1'\n");
    assert_eq!(yaml.trusted_proxies.len(), 2);
    assert_eq!(yaml.trusted_proxies, text.trusted_proxies);
}

#[test]
fn a_new_incident_type_needs_no_code() {
    let file =
        "INCIDENTS_TYPES:\n  - { type: phishing, field: mailbox, identity: employee_or_ip }\n";
    for settings in [
        with(file),
        with_override("INCIDENTS_TYPES", "phishing:mailbox:employee_or_ip"),
    ] {
        let [kind] = settings.incident_types.as_slice() else {
            panic!("{:?}", settings.incident_types);
        };
        assert_eq!(
            (kind.name.as_str(), kind.field.as_str()),
            ("phishing", "mailbox")
        );
        assert_eq!(kind.identity, IdentityKind::EmployeeOrIp);
    }
}

#[test]
fn the_endpoint_ends_in_a_slash_so_that_paths_are_looked_up_below_it() {
    let settings = with("BASE_ENDPOINT: 'https://api.example.com/v1'\n");
    assert_eq!(
        settings.base_endpoint.unwrap().as_str(),
        "https://api.example.com/v1/"
    );
}

#[test]
fn upstream_is_told_the_services_own_account_unless_that_is_a_hash() {
    let own = with("").upstream.unwrap();
    assert_eq!(
        (own.id.as_str(), own.password.expose()),
        ("auditor", "s3cret")
    );
    let other = with("UPSTREAM_ID: u\nUPSTREAM_PASSWORD: p\n")
        .upstream
        .unwrap();
    assert_eq!((other.id.as_str(), other.password.expose()), ("u", "p"));
    let list = with("UPSTREAM_ID: [u]\n").upstream.unwrap_err().to_string();
    assert!(list.contains("`UPSTREAM_ID` is a list"), "{list}");
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
    let hashed = read(&format!("SERVICE_ID: a\nSERVICE_PASSWORD: '{hash}'\n")).unwrap();
    assert!(hashed.account.unwrap().is_costly());
    assert!(
        hashed
            .upstream
            .unwrap_err()
            .to_string()
            .contains("`UPSTREAM_PASSWORD`")
    );
}

/// Each mistake names the key, what was found and what is accepted.
#[test]
fn every_mistake_is_told_with_what_would_be_right() {
    let mistakes: &[(&str, &[&str])] = &[
        (
            "DEFAULT_CACHE_REFRESH: soon",
            &["DEFAULT_CACHE_REFRESH", "`soon`", "seconds"],
        ),
        (
            "DEFAULT_CACHE_REFRESH: 0",
            &["DEFAULT_CACHE_REFRESH", "`0`", "from 1 to 86400"],
        ),
        (
            "DEFAULT_CACHE_REFRESH: .nan",
            &["DEFAULT_CACHE_REFRESH", "seconds"],
        ),
        (
            "DEFAULT_CACHE_REFRESH: [60]",
            &["DEFAULT_CACHE_REFRESH", "a list"],
        ),
        ("API_TIMEOUT: -1", &["API_TIMEOUT", "`-1`"]),
        (
            "API_RETRIES: 1.5",
            &["API_RETRIES", "`1.5`", "a whole number from 0 to 20"],
        ),
        (
            "API_MAX_BODY_BYTES: 99999999999999",
            &["API_MAX_BODY_BYTES", "whole number"],
        ),
        (
            "EXECUTOR_MAX_WORKERS: 0",
            &["EXECUTOR_MAX_WORKERS", "`0`", "from 1 to 1000"],
        ),
        (
            "DEFAULT_RATE_LIMITS: '5 per fortnight'",
            &["DEFAULT_RATE_LIMITS", "fortnight", "20 per minute"],
        ),
        (
            "INCIDENTS_API_RATE_LIMITS: { a: b }",
            &["INCIDENTS_API_RATE_LIMITS", "a mapping"],
        ),
        (
            "BASE_ENDPOINT: 'ftp://example.com'",
            &["BASE_ENDPOINT", "http:// or https://"],
        ),
        (
            "BASE_ENDPOINT: 'https://user:pw@example.com'",
            &["BASE_ENDPOINT", "without user"],
        ),
        ("REDIS_URL: 'localhost:6379'", &["REDIS_URL", "redis://"]),
        (
            "REDIS_KEY_PREFIX: 'a{b}'",
            &["REDIS_KEY_PREFIX", "`a{b}`", "letters"],
        ),
        ("SNAPSHOT_WAIT: 3600", &["SNAPSHOT_WAIT", "from 0 to 60"]),
        (
            "SHUTDOWN_ENABLED: maybe",
            &["SHUTDOWN_ENABLED", "`maybe`", "true or false"],
        ),
        (
            "TRUSTED_PROXIES: ['10.0.0.0/99']",
            &["TRUSTED_PROXIES", "10.0.0.0/8"],
        ),
        (
            "TRUSTED_PROXY_HEADER: 'a b'",
            &["TRUSTED_PROXY_HEADER", "`a b`"],
        ),
        ("INCIDENTS_TYPES: []", &["INCIDENTS_TYPES", "empty"]),
        (
            "INCIDENTS_TYPES: ['a:b:employee', 'a:c:ip']",
            &["INCIDENTS_TYPES", "twice"],
        ),
        (
            "INCIDENTS_TYPES: ['a:b:person']",
            &["INCIDENTS_TYPES", "employee_or_ip"],
        ),
        ("INCIDENTS_TYPES: ['a:timestamp:ip']", &["INCIDENTS_TYPES"]),
        ("INCIDENTS_TYPES: ['../x:b:ip']", &["INCIDENTS_TYPES"]),
        (
            "SERVICE_PASSWRD: x",
            &["`SERVICE_PASSWRD` is not a setting", "`SERVICE_PASSWORD`"],
        ),
        (
            "redis_url: x",
            &["`redis_url` is not a setting", "`REDIS_URL`"],
        ),
        ("QUUX: x", &["`QUUX` is not a setting", "known: SERVICE_ID"]),
        (
            "API_RETRIES: 1\nAPI_RETRIES: 2",
            &["duplicated key", "line 2"],
        ),
        (
            "API_RETRIES: 1\n'API_RETRIES': 2",
            &["`API_RETRIES` is there twice"],
        ),
        ("- a list", &["cannot be read", "mapping"]),
        ("API_RETRIES: [", &["cannot be read"]),
        (
            "API_RETRIES: 1\n---\nAPI_RETRIES: 2",
            &["cannot be read", "more than one document"],
        ),
    ];
    for (file, told) in mistakes {
        let errors = read(file).expect_err(file).to_string();
        for part in *told {
            assert!(
                errors.contains(part),
                "{file}: `{part}` is not in: {errors}"
            );
        }
    }
}

#[test]
fn accounts_that_cannot_be_used_are_told_apart() {
    for (file, told) in [
        ("", "`SERVICE_ID` is not set"),
        ("SERVICE_ID: a", "`SERVICE_PASSWORD` is not set"),
        (
            "SERVICE_ID: a\nSERVICE_PASSWORD: ''",
            "`SERVICE_PASSWORD` is not set",
        ),
        ("SERVICE_ID: 'a:b'\nSERVICE_PASSWORD: p", "without colon"),
        ("SERVICE_ID: a\nSERVICE_PASSWORD: [p]", "a text"),
        (
            "SERVICE_ID: a\nSERVICE_PASSWORD: '$argon2id$x'",
            "hash-password",
        ),
    ] {
        let error = read(file).unwrap().account.expect_err(file).to_string();
        assert!(error.contains(told), "{file}: {error}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_no_secret_with_them() {
    let file = "SERVICE_ID: a\nSERVICE_PASSWORD: 'canary-1'\nAPI_RETRIES: x\nAPI_TIMEOUT: y\n\
                REDIS_URL: 'http://:canary-2@host'\nUPSTREAM_PASSWORD: ['canary-3']\n";
    let errors = read(file).unwrap_err();
    assert!(errors.0.len() >= 3, "{errors}");
    assert!(
        !format!("{errors} {errors:?}").contains("canary"),
        "{errors}"
    );
    let settings = with("REDIS_URL: 'redis://:canary@host'\nUPSTREAM_PASSWORD: canary\n");
    assert!(!format!("{settings:?}").contains("canary"));
}

#[test]
fn the_history_is_in_a_folder_a_bucket_or_nowhere() {
    let store = |text: &str| {
        let overrides = |key: &str| (key == "HISTORY_STORE").then(|| text.to_owned());
        Settings::read("", overrides).map(|settings| settings.history_store)
    };
    let folder = |path: &str| Some(HistoryStore::Folder(path.to_owned()));
    let bucket = |bucket: &str, prefix: &str| {
        Some(HistoryStore::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    };
    assert_eq!(store("history"), Ok(folder("history")));
    assert_eq!(store("/var/lib/a b"), Ok(folder("/var/lib/a b")));
    assert_eq!(store("s3://bucket"), Ok(bucket("bucket", "")));
    assert_eq!(store("s3://bucket/a/b/"), Ok(bucket("bucket", "a/b")));
    assert_eq!(store("none"), Ok(None));
    // The last one was found by the fuzzer: it could be shown, but not be read again.
    for wrong in ["s3://", "s3://b/x", "gs://bucket", "s3://a b/c", "a\u{10}b"] {
        let error = store(wrong).expect_err(wrong).to_string();
        assert!(error.contains("HISTORY_STORE"), "{error}");
    }
}
