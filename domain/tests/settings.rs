//! The configuration file: what is read, what overrides it, and what each mistake is told.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use domain::incident::{IdentityKind, IncidentType};
use domain::settings::credentials::ExpectedPassword;
use domain::settings::table::{SETTINGS, from_variables, variables};
use domain::settings::{HistoryStore, LONGEST_SECRET_FILE, SettingErrors, Settings, Sources};

const ACCOUNT: &str = "SERVICE_ID: 'auditor'\nSERVICE_PASSWORD: 's3cret'\n";

fn read(file: &str) -> Result<Settings, SettingErrors> {
    Settings::read(&Sources::file(file))
}

fn with(file: &str) -> Settings {
    read(&format!("{ACCOUNT}{file}")).unwrap_or_else(|errors| panic!("{file}: {errors}"))
}

/// The settings of `file` where the environment gives `key` this `value`.
fn read_with_override(file: &str, key: &str, value: &str) -> Result<Settings, SettingErrors> {
    Settings::read(&Sources {
        overrides: &|name| (name == key).then(|| value.into()),
        ..Sources::file(file)
    })
}

fn with_override(key: &str, value: &str) -> Settings {
    read_with_override(ACCOUNT, key, value)
        .unwrap_or_else(|errors| panic!("{key}={value}: {errors}"))
}

/// What is wrong with settings, with the accounts or with anything else; empty if nothing is.
fn errors_of(settings: Result<Settings, SettingErrors>) -> String {
    match settings {
        Err(errors) => errors.to_string(),
        Ok(settings) => {
            let (account, upstream) = (settings.account().err(), settings.upstream().err());
            let errors = [account, upstream].into_iter().flatten();
            let errors: Vec<String> = errors.map(|error| error.to_string()).collect();
            errors.join("\n")
        }
    }
}

/// A value that each setting accepts, and is not the default.
fn another_value(key: &str) -> &'static str {
    match key {
        "SERVICE_ID" | "UPSTREAM_ID" | "REDIS_KEY_PREFIX" => "somebody",
        "SERVICE_PASSWORD" | "UPSTREAM_PASSWORD" => "another",
        "DEFAULT_RATE_LIMITS"
        | "INCIDENTS_API_RATE_LIMITS"
        | "DASHBOARD_RATE_LIMITS"
        | "WRONG_PASSWORD_LIMITS" => "7 per hour",
        "BASE_ENDPOINT" | "DASHBOARD_URL" => "http://u.example/",
        "ALERTMANAGER_URLS" => "http://a.example:9093/",
        "ALERT_PRIORITIES" => "low",
        "INCIDENTS_TYPES" => "phishing:mailbox:employee",
        "REDIS_URL" => "redis://h:6380/2",
        "HISTORY_STORE" => "s3://bucket/prefix",
        "HISTORY_MAX_BYTES" | "API_MAX_BODY_BYTES" => "1048577",
        "SHUTDOWN_ENABLED" => "false",
        "NODES_TO_PROBE" => "http://h:9000/healthz",
        "TRUSTED_PROXIES" => "10.0.0.0/8",
        "TRUSTED_PROXY_HEADER" => "forwarded",
        _ => "7",
    }
}

#[test]
fn every_setting_is_one_row_with_a_field_of_its_own() {
    let mut keys = BTreeSet::new();
    for setting in &SETTINGS {
        assert!(
            setting.keys().all(|key| keys.insert(key)),
            "{setting:?} is there twice"
        );
        assert!(
            !setting.help.is_empty() && !setting.help.contains('\n'),
            "{setting:?}"
        );
        assert_eq!(format!("{setting:?}"), setting.key);
        let (key, value) = (setting.key, another_value(setting.key));
        // Those for upstream are of no use alone.
        let base = match key.starts_with("UPSTREAM_") {
            true => ACCOUNT,
            false => "",
        };
        let split = |settings: &Settings| -> (Vec<String>, Vec<String>) {
            let start = format!("{key}: ");
            let shown = settings.describe();
            let lines = shown.lines().map(str::to_owned);
            lines.partition(|line| line.starts_with(&start))
        };
        let (default, others) = split(&read(base).unwrap());
        let settings = read_with_override(base, key, value).unwrap();
        let (own, others_then) = split(&settings);
        assert_eq!(others_then, others, "{setting:?} changes something else");
        match key {
            "SERVICE_PASSWORD" => assert!(own[0].contains("'***'"), "{own:?}"),
            "UPSTREAM_PASSWORD" => {
                assert!(own[0].contains("'***'"), "{own:?}");
                assert_eq!(settings.upstream().unwrap().password.expose(), value);
            }
            _ => assert!(own[0].contains(value) && own != default, "{own:?}"),
        }
    }
}

#[test]
fn the_shipped_file_has_every_key_and_the_defaults() {
    let text = include_str!("../../config/config.yaml");
    for setting in &SETTINGS {
        let named = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{}:", setting.key))
        };
        assert!(
            text.lines().any(named),
            "{setting:?} is not in config/config.yaml"
        );
    }
    let shipped = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    let defaults = read("").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(shipped.incident_types, IncidentType::defaults());
    assert_eq!(defaults.incident_types, IncidentType::defaults());
    let of_the_example = ["SERVICE_ID:", "BASE_ENDPOINT:"];
    let shipped = shipped.describe();
    let shipped: Vec<&str> = shipped
        .lines()
        .filter(|line| !of_the_example.iter().any(|key| line.starts_with(key)))
        .collect();
    assert_eq!(shipped, defaults.describe().lines().collect::<Vec<_>>());
}

#[test]
fn the_manifest_hands_on_every_variable() {
    let manifest = include_str!("../../spin.toml");
    let section = |title: &str| -> BTreeSet<&str> {
        let (_, section) = manifest.split_once(title).unwrap();
        let section = section.split("\n[").next().unwrap();
        let names = section.lines().filter_map(|line| line.split_once(" = "));
        names.map(|(name, _)| name).collect()
    };
    let heeded: BTreeSet<&str> = variables().collect();
    assert_eq!(section("\n[variables]\n"), heeded);
    assert_eq!(section("\n[component.api.variables]\n"), heeded);
    for setting in &SETTINGS {
        for variable in setting.variables {
            let given = format!("{variable} = \"{{{{ {variable} }}}}\"");
            assert!(manifest.lines().any(|line| line == given), "{variable}");
            let declared = format!("\n{variable} = {{");
            let (_, declaration) = manifest.split_once(&declared).unwrap();
            let declaration = declaration.lines().next().unwrap();
            // `redis_url` is what may be reached: it has no password.
            let is_secret = setting.file_key.is_some() && *variable != "redis_url";
            assert_eq!(
                declaration.contains("secret = true"),
                is_secret,
                "{variable}"
            );
        }
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
    for setting in SETTINGS.iter().filter(|setting| setting.key != "REDIS_URL") {
        assert!(handed_on(setting.key, setting.key), "{setting:?}");
        for variable in setting.variables {
            let name = format!("SPIN_VARIABLE_{}", variable.to_uppercase());
            assert!(handed_on(&name, setting.key), "{variable}");
        }
    }
}

/// The table of the README, as it has to be.
fn table_in_markdown() -> String {
    let mut table = "| key | default | |\n|---|---|---|\n".to_owned();
    for setting in &SETTINGS {
        let keys: Vec<String> = setting.keys().map(|key| format!("`{key}`")).collect();
        let default = match setting.default {
            "" => String::new(),
            // Some of it will do: config.yaml has it all.
            long if long.len() > 40 => format!("`{}`, …", long.split(',').next().unwrap_or(long)),
            default => format!("`{default}`"),
        };
        table += &format!("| {} | {default} | {} |\n", keys.join(", "), setting.help);
    }
    table
}

#[test]
fn the_readme_has_the_table_of_settings() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme
        .split_once("<!-- settings: begin -->\n")
        .expect("a beginning");
    let (table, _) = rest.split_once("<!-- settings: end -->").expect("an end");
    let expected = table_in_markdown();
    assert!(
        table.trim() == expected.trim(),
        "between the markers in README.md this has to stand:\n\n{expected}"
    );
}

#[test]
fn of_two_variables_the_first_that_is_set_counts() {
    for (secret, used) in [("redis://:p@h/1", "redis://:p@h/1"), ("", "redis://h")] {
        let value = |name: &str| match name {
            "redis_secret_url" => Some(secret.to_owned()),
            "redis_url" => Some("redis://h".to_owned()),
            _ => None,
        };
        let settings = Settings::read(&Sources {
            overrides: &|key| from_variables(key, value).map(OsString::from),
            ..Sources::file("")
        });
        assert_eq!(settings.unwrap().redis_url.expose(), used);
    }
    assert_eq!(
        from_variables("BASE_ENDPOINT", |_| Some("x".to_owned())),
        None
    );
}

/// A secret in a file: what is read from it, or what is told.
#[test]
fn a_secret_may_stand_in_a_file_whose_last_line_break_does_not_count() {
    let with_file = |content: &[u8]| {
        Settings::read(&Sources {
            secret_file: &|name| match name {
                "secrets/password" => Ok(content.to_vec()),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
            ..Sources::file("SERVICE_ID: a\nSERVICE_PASSWORD_FILE: secrets/password\n")
        })
    };
    for content in ["pw 1", "pw 1\n", "pw 1\r\n"] {
        let account = with_file(content.as_bytes()).unwrap().account().unwrap();
        let ExpectedPassword::Plain(password) = account.password else {
            panic!("{content:?}");
        };
        assert_eq!(password.expose(), "pw 1");
    }
    let too_long = vec![b'x'; LONGEST_SECRET_FILE + 1];
    assert!(with_file(&too_long[1..]).unwrap().account().is_ok());
    for (content, told) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"canary\n\n", "ends with a line break"),
        (b" canary", "begins with a blank"),
        (b"canary\t", "U+0009"),
        (b"\xef\xbb\xbfcanary", "U+FEFF"),
        (b"canary\xff", "no text in UTF-8"),
        (b"c\0a\0", "U+0000"),
        (b"changeit\n", "placeholder"),
        (b"changeit ", "ends with a blank"),
        (&too_long, "more than 65536 bytes"),
    ] {
        let errors = errors_of(with_file(content));
        assert!(errors.contains(told), "{content:?}: {errors}");
        assert!(!errors.contains("canary"), "{errors}");
    }
    for (file, told) in [
        (
            "SERVICE_PASSWORD_FILE: no/such",
            "`SERVICE_PASSWORD_FILE` is a file that cannot be read",
        ),
        (
            "SERVICE_PASSWORD_FILE: [a]",
            "`SERVICE_PASSWORD_FILE` is not a text",
        ),
        ("SERVICE_PASSWORD_FILE:", "`SERVICE_PASSWORD_FILE` is null"),
        (
            "SERVICE_PASSWORD_FILE: a\nSERVICE_PASSWORD: b",
            "beside `SERVICE_PASSWORD`",
        ),
        (
            "UPSTREAM_PASSWORD_FILE: no/such",
            "`UPSTREAM_PASSWORD_FILE`",
        ),
        ("REDIS_URL_FILE: no/such", "`REDIS_URL_FILE`"),
        ("SERVICE_ID_FILE: a", "not a setting"),
    ] {
        let error = errors_of(Settings::read(&Sources {
            secret_file: &|_| Err(io::ErrorKind::NotFound.into()),
            ..Sources::file(file)
        }));
        assert!(error.contains(told), "{file}: {error}");
    }
}

#[test]
fn a_secret_of_the_environment_counts_before_a_file_that_the_file_names() {
    let read = |key: &str| {
        let settings = Settings::read(&Sources {
            overrides: &|name| (name == key).then(|| "outside".into()),
            secret_file: &|name| match name {
                "outside" => Ok(b"of the file outside".to_vec()),
                _ => Ok(b"of the file inside".to_vec()),
            },
            file: "SERVICE_ID: a\nSERVICE_PASSWORD_FILE: inside\n",
        });
        match settings.unwrap().account().unwrap().password {
            ExpectedPassword::Plain(password) => password.expose().to_owned(),
            ExpectedPassword::Argon2id(_) => panic!("no hash"),
        }
    };
    assert_eq!(read("SERVICE_PASSWORD"), "outside");
    assert_eq!(read("SERVICE_PASSWORD_FILE"), "of the file outside");
    assert_eq!(read("OTHER"), "of the file inside");
}

/// Whatever the setting: what is there and cannot be used is told, wherever it stands.
#[test]
fn nothing_that_is_there_counts_as_absent() {
    for setting in &SETTINGS {
        for key in setting.keys() {
            let value = another_value(setting.key);
            for (written, told) in [
                ("", "null"),
                ("null", "null"),
                ("~", "null"),
                ("!vault canary", "the tag `!vault`"),
                ("!!binary Y2FuYXJ5", "the tag"),
                ("!vault [canary]", "the tag `!vault`"),
                ("''", "empty"),
                ("[null]", "null"),
                ("['']", "empty"),
                ("[!vault canary]", "the tag"),
            ] {
                let errors = errors_of(read(&format!("{key}: {written}\n")));
                assert!(
                    errors.contains(&format!("`{key}` is ")),
                    "{key}: {written}: {errors}"
                );
                assert!(errors.contains(told), "{key}: {written}: {errors}");
                assert!(!errors.contains("canary"), "{errors}");
            }
            for (edges, told) in [
                (format!("{value} "), "ends with a blank"),
                (format!(" {value}"), "begins with a blank"),
                (format!("{value}\n"), "ends with a line break"),
                (format!("{value}\u{a0}"), "U+00A0"),
                (format!("{value}\u{200b}"), "U+200B"),
                (format!("\u{feff}{value}"), "U+FEFF"),
                (" ".to_owned(), "a blank"),
            ] {
                let quoted = format!("{key}: {edges:?}\n");
                let quoted = quoted.replace("\\u{a0}", "\u{a0}");
                let quoted = quoted
                    .replace("\\u{200b}", "\u{200b}")
                    .replace("\\u{feff}", "\u{feff}");
                for errors in [
                    errors_of(read(&quoted)),
                    errors_of(read_with_override("", key, &edges)),
                ] {
                    assert!(
                        errors.contains(&format!("`{key}` is ")),
                        "{key}: {edges:?}: {errors}"
                    );
                    assert!(errors.contains(told), "{key}: {edges:?}: {errors}");
                }
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_told() {
    use std::os::unix::ffi::OsStringExt as _;
    for setting in &SETTINGS {
        for key in setting.keys() {
            let errors = errors_of(Settings::read(&Sources {
                overrides: &|name| {
                    (name == key).then(|| OsString::from_vec(b"canary\xff".to_vec()))
                },
                ..Sources::file(ACCOUNT)
            }));
            assert!(
                errors.contains(&format!("`{key}` is bytes")),
                "{key}: {errors}"
            );
            assert!(!errors.contains("canary"), "{errors}");
        }
    }
}

#[test]
fn a_misspelt_key_is_noticed_whatever_its_value() {
    for value in ["", "null", "''", "[]", "!vault x", "x"] {
        let errors = read(&format!("SERVICE_PASSWRD: {value}\n"))
            .unwrap_err()
            .to_string();
        assert!(
            errors.contains("`SERVICE_PASSWRD` is not a setting"),
            "{value}: {errors}"
        );
        assert!(errors.contains("`SERVICE_PASSWORD`?"), "{value}: {errors}");
    }
    for (file, told) in [
        ("? [a]\n: b", "a key is no text"),
        ("~: b", "a key is no text"),
        ("SERVICE_PASSWORD_FIL: x", "`SERVICE_PASSWORD_FILE`?"),
    ] {
        let errors = read(file).unwrap_err().to_string();
        assert!(errors.contains(told), "{file}: {errors}");
    }
}

#[test]
fn no_limit_is_ever_switched_off_by_a_mistake() {
    for key in [
        "DEFAULT_RATE_LIMITS",
        "INCIDENTS_API_RATE_LIMITS",
        "DASHBOARD_RATE_LIMITS",
        "WRONG_PASSWORD_LIMITS",
    ] {
        for written in [
            "[null]",
            "[~, 5 per second]",
            "['']",
            "''",
            "' '",
            "','",
            "'5 per second,'",
            "'5 per second;;7 per hour'",
            "{}",
            "[[]]",
            "[[5 per second]]",
            "'[5 per second'",
            "'[null]'",
            "[' 5 per second']",
            "'[\"\"]'",
        ] {
            let errors = read(&format!("{key}: {written}"))
                .expect_err(written)
                .to_string();
            assert!(
                errors.contains(&format!("`{key}` is ")),
                "{written}: {errors}"
            );
        }
        for value in [",", "5 per second,,", "[null]", "[\"\"]", "null"] {
            assert!(read_with_override("", key, value).is_err(), "{key}={value}");
        }
        let nine =
            "['1/day', '2/day', '3/day', '4/day', '5/day', '6/day', '7/day', '8/day', '9/day']";
        assert!(read(&format!("{key}: {nine}")).is_err());
    }
    assert_eq!(
        with("WRONG_PASSWORD_LIMITS: []\n").wrong_password_limits,
        []
    );
    assert_eq!(
        with_override("WRONG_PASSWORD_LIMITS", "[]").wrong_password_limits,
        []
    );
}

#[test]
fn what_is_wrong_with_an_account_is_told_to_who_needs_it() {
    for (key, is_upstreams) in [
        ("SERVICE_ID", false),
        ("SERVICE_PASSWORD", false),
        ("UPSTREAM_ID", true),
        ("UPSTREAM_PASSWORD", true),
    ] {
        let rest = [
            "SERVICE_ID: a",
            "SERVICE_PASSWORD: b",
            "UPSTREAM_ID: c",
            "UPSTREAM_PASSWORD: d",
        ];
        let rest = rest
            .into_iter()
            .filter(|line| !line.starts_with(&format!("{key}:")));
        let file = format!("{key}: [x]\n{}\n", rest.collect::<Vec<_>>().join("\n"));
        let settings = read(&file).unwrap_or_else(|error| panic!("{key}: {error}"));
        let error = match is_upstreams {
            true => settings.upstream().map(|_| ()).unwrap_err(),
            false => settings.account().map(|_| ()).unwrap_err(),
        };
        assert!(error.to_string().contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn the_shipped_password_is_refused_and_the_key_named() {
    let error = read(include_str!("../../config/config.yaml"))
        .unwrap()
        .account()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`SERVICE_PASSWORD`") && error.contains("changeit"),
        "{error}"
    );
}

#[test]
fn a_file_with_nothing_in_it_sets_nothing() {
    let nothing = read("").unwrap().describe();
    for file in ["# only this\n", "---\n", "~", "null\n", "--- \n...\n"] {
        let found = read(file).map(|settings| settings.describe());
        assert_eq!(found.as_ref(), Ok(&nothing), "{file}");
    }
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
        let account = read(&file).unwrap().account().unwrap();
        let ExpectedPassword::Plain(password) = account.password else {
            panic!("{written} was taken for a hash");
        };
        assert_eq!(password.expose(), meant);
    }
}

#[test]
fn an_override_counts_before_the_file_and_an_empty_one_does_not() {
    let file = "DEFAULT_CACHE_REFRESH: 30\n";
    let interval = |value: &str| {
        let settings = read_with_override(file, "DEFAULT_CACHE_REFRESH", value);
        settings.unwrap().refresh_interval
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
    let json = with_override(
        "INCIDENTS_API_RATE_LIMITS",
        r#"["5 per second", "100/hour"]"#,
    );
    assert_eq!(yaml.incidents_rate_limits, json.incidents_rate_limits);

    let yaml = with("TRUSTED_PROXIES: [10.0.0.0/8, '::1']\n");
    let text = with("TRUSTED_PROXIES: '10.0.0.0/8, ::1'\n");
    assert_eq!(yaml.trusted_proxies.len(), 2);
    assert_eq!(yaml.trusted_proxies, text.trusted_proxies);
    let spelled = with_override("TRUSTED_PROXIES", r#"["::ffff:10.1.2.3/104", "[::1]"]"#);
    assert_eq!(yaml.trusted_proxies, spelled.trusted_proxies);
}

#[test]
fn a_new_incident_type_needs_no_code() {
    let file =
        "INCIDENTS_TYPES:\n  - { type: phishing, field: mailbox, identity: employee_or_ip }\n";
    for settings in [
        with(file),
        with_override("INCIDENTS_TYPES", "phishing:mailbox:employee_or_ip"),
        with_override("INCIDENTS_TYPES", r#"["phishing:mailbox:employee_or_ip"]"#),
        with_override(
            "INCIDENTS_TYPES",
            r#"[{"type": "phishing", "field": "mailbox", "identity": "employee_or_ip"}]"#,
        ),
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
    let own = with("").upstream().unwrap();
    assert_eq!(
        (own.id.as_str(), own.password.expose()),
        ("auditor", "s3cret")
    );
    let other = with("UPSTREAM_ID: u\nUPSTREAM_PASSWORD: p\n")
        .upstream()
        .unwrap();
    assert_eq!((other.id.as_str(), other.password.expose()), ("u", "p"));
    let list = with("UPSTREAM_ID: [u]\n")
        .upstream()
        .unwrap_err()
        .to_string();
    assert!(list.contains("`UPSTREAM_ID` is a list"), "{list}");
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ";
    let hashed = read(&format!("SERVICE_ID: a\nSERVICE_PASSWORD: '{hash}'\n")).unwrap();
    assert!(hashed.account().unwrap().is_costly());
    assert!(
        hashed
            .upstream()
            .unwrap_err()
            .to_string()
            .contains("`UPSTREAM_PASSWORD`")
    );
}

/// Each mistake names the key, what was found and what is accepted.
#[test]
fn every_mistake_is_told_with_what_would_be_right() {
    let too_many_nodes = format!("NODES_TO_PROBE: '{}'", vec!["http://h"; 257].join(","));
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
            "HISTORY_MAX_BYTES: 1048575",
            &["HISTORY_MAX_BYTES", "from 1048576 to 1125899906842624"],
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
        ("SNAPSHOT_WAIT: 3600", &["SNAPSHOT_WAIT", "from 0 to 50"]),
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
        (
            "TRUSTED_PROXY_HEADER: Authorization",
            &["TRUSTED_PROXY_HEADER", "`Authorization`", "RFC 7239"],
        ),
        (
            "REDIS_URL: 'redis://h:99999'",
            &["REDIS_URL", "a port from 1 to 65535"],
        ),
        ("REDIS_URL: 'redis://h?db=3'", &["REDIS_URL", "the path"]),
        ("REDIS_URL: 'redis://:a#b@h'", &["REDIS_URL", "%23"]),
        (
            "NODES_TO_PROBE: 'ftp://h/'",
            &[
                "NODES_TO_PROBE",
                "a list with `ftp://h/`",
                "http:// or https://",
            ],
        ),
        (
            &too_many_nodes,
            &["NODES_TO_PROBE", "a list of 257 addresses", "at most 256"],
        ),
        (
            "ALERTMANAGER_URLS: ['http://a:9093', 'http://a:9093/']",
            &["ALERTMANAGER_URLS", "each once"],
        ),
        (
            "ALERTMANAGER_URLS: ['http://a:9093/?x']",
            &["ALERTMANAGER_URLS", "`http://a:9093/?***`"],
        ),
        (
            "ALERT_PRIORITIES: [critical, urgent]",
            &["ALERT_PRIORITIES", "`urgent`", "low, medium, high"],
        ),
        ("ALERT_PRIORITIES: []", &["ALERT_PRIORITIES", "a list"]),
        (
            "ALERT_PRIORITIES: 'low, low'",
            &["ALERT_PRIORITIES", "once"],
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
            "`SERVICE_PASSWORD` is empty",
        ),
        ("SERVICE_ID: 'a:b'\nSERVICE_PASSWORD: p", "without colon"),
        ("SERVICE_ID: a\nSERVICE_PASSWORD: [p]", "a text"),
        (
            "SERVICE_ID: a\nSERVICE_PASSWORD: '$argon2id$x'",
            "hash-password",
        ),
    ] {
        let error = read(file).unwrap().account().expect_err(file).to_string();
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
fn what_is_shown_can_be_read_again_and_tells_no_secret() {
    let settings = read(
        "SERVICE_ID: 'o''neil'\nSERVICE_PASSWORD: 'topsecret'\n\
         REDIS_URL: 'redis://me:topsecret@h:1/2'\nUPSTREAM_PASSWORD: 'topsecret'\n\
         BASE_ENDPOINT: 'http://u/x'\nTRUSTED_PROXIES: [10.0.0.0/8]\nAPI_TIMEOUT: 2.5\n\
         HISTORY_STORE: s3://bucket/a/b/\nNODES_TO_PROBE: 'http://h:9000/healthz'\n\
         ALERTMANAGER_URLS: [http://a:9093, http://b/am]\nDASHBOARD_URL: https://d\n",
    )
    .unwrap();
    let shown = settings.describe();
    assert!(!shown.contains("topsecret"), "{shown}");
    assert!(shown.contains("redis://me:***@h:1/2"), "{shown}");
    let again = read(&shown).unwrap();
    assert_eq!(again.describe(), shown);
    assert_eq!(again.account().unwrap().id, "o'neil");
}

#[test]
fn no_error_shows_a_password_of_an_address() {
    for key in [
        "BASE_ENDPOINT",
        "NODES_TO_PROBE",
        "ALERTMANAGER_URLS",
        "DASHBOARD_URL",
        "HISTORY_STORE",
        "REDIS_URL",
    ] {
        for value in [
            "https://user:canary@h:x/",
            "https://user:canary@h/",
            "https://canary@h/",
            "http:/user:canary@h/",
            "user:canary@h",
            "https://user:can/canary@h",
            "https://user:canary",
            "s3://key:canary@bucket/x",
            "redis://:canary@h:99999",
            "ftp://user:canary@h/?token=canary",
        ] {
            let errors = read(&format!("{key}: '{value}'")).err();
            let shown = format!(
                "{errors:?} {}",
                errors.clone().map_or_else(String::new, |e| e.to_string())
            );
            assert!(!shown.contains("canary"), "{key}: {shown}");
            assert!(errors.is_some() || key == "HISTORY_STORE", "{key}: {value}");
        }
    }
}

#[test]
fn the_history_is_in_a_folder_a_bucket_or_nowhere() {
    let store = |text: &str| {
        read_with_override("", "HISTORY_STORE", text).map(|settings| settings.history_store)
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
    for notation in ["history", "s3://bucket", "s3://bucket/a/b", "none"] {
        let settings = read_with_override("", "HISTORY_STORE", notation).unwrap();
        let shown = format!("HISTORY_STORE: '{notation}'\n");
        let described = settings.describe();
        assert!(described.contains(&shown), "{shown} is not in {described}");
    }
    let nodes = vec!["http://h"; 256].join(",");
    assert!(read_with_override("", "NODES_TO_PROBE", &nodes).is_ok());
    for (count, is_taken) in [(256, true), (257, false)] {
        let networks = vec!["10.0.0.0/8"; count].join(",");
        let found = read_with_override("", "TRUSTED_PROXIES", &networks);
        assert_eq!(found.is_ok(), is_taken, "{count}");
    }
    // The last one was found by the fuzzer: it could be shown, but not be read again.
    for wrong in ["s3://", "s3://b/x", "gs://bucket", "s3://a b/c", "a\u{10}b"] {
        let error = store(wrong).expect_err(wrong).to_string();
        assert!(error.contains("HISTORY_STORE"), "{error}");
    }
}
