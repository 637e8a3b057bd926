//! The refresher's command line: exit codes, what mistakes are told, and that no secret ever is.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use end_to_end::{
    ID, PASSWORD, Process, Redis, TYPES, TempDir, Upstream, host, incidents_in, keys, manifest,
    program, refresher, server_command, stored_snapshot, until,
};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);

/// An account and an upstream that can be used.
const USABLE: [(&str, &str); 3] = [
    ("SERVICE_ID", "auditor"),
    ("SERVICE_PASSWORD", "canary-service"),
    ("BASE_ENDPOINT", "http://127.0.0.1:9/"),
];

/// How a program has ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the refresher to its end, with nothing in its environment but this.
async fn run(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Ended {
    let mut command = Command::new(program("refresher"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    end_of(command, input).await
}

async fn end_of(mut command: Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the refresher is built");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Whoever does not read it may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(BOUND, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("it can be waited for");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `check-config` on a file with this text.
async fn check(text: &str, environment: &[(&str, &str)]) -> Ended {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("a text");
    run(&["check-config", "--config", file], environment, "").await
}

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("127.0.0.1:{}", listener.local_addr().unwrap().port())
}

/// A mistake, as the file or the environment has it, and what must be told of it: the key, what was
/// found, what is accepted.
const MISTAKES: [(&str, &str, [&str; 3]); 19] = [
    (
        "DEFAULT_CACHE_REFRESH",
        "soon",
        [
            "`DEFAULT_CACHE_REFRESH`",
            "`soon`",
            "seconds, from 1 to 86400",
        ],
    ),
    (
        "DEFAULT_CACHE_REFRESH",
        "0",
        ["`DEFAULT_CACHE_REFRESH`", "`0`", "seconds, from 1 to 86400"],
    ),
    (
        "DEFAULT_CACHE_REFRESH",
        "NaN",
        ["`DEFAULT_CACHE_REFRESH`", "`NaN`", "seconds"],
    ),
    (
        "EXECUTOR_MAX_WORKERS",
        "-3",
        ["`EXECUTOR_MAX_WORKERS`", "`-3`", "from 1 to 1000"],
    ),
    (
        "EXECUTOR_MAX_WORKERS",
        "ten",
        ["`EXECUTOR_MAX_WORKERS`", "`ten`", "a whole number"],
    ),
    (
        "API_TIMEOUT",
        "1h",
        ["`API_TIMEOUT`", "`1h`", "seconds, from 1 to 3600"],
    ),
    (
        "API_RETRIES",
        "1.5",
        ["`API_RETRIES`", "`1.5`", "a whole number from 0 to 20"],
    ),
    (
        "API_MAX_BODY_BYTES",
        "1GB",
        ["`API_MAX_BODY_BYTES`", "`1GB`", "a whole number"],
    ),
    (
        "SNAPSHOT_WAIT",
        "3600",
        ["`SNAPSHOT_WAIT`", "`3600`", "from 0 to 50"],
    ),
    (
        "SHUTDOWN_ENABLED",
        "maybe",
        ["`SHUTDOWN_ENABLED`", "`maybe`", "true or false"],
    ),
    (
        "DEFAULT_RATE_LIMITS",
        "5 per fortnight",
        [
            "`DEFAULT_RATE_LIMITS`",
            "5 per fortnight",
            "`20 per minute`",
        ],
    ),
    (
        "INCIDENTS_API_RATE_LIMITS",
        "many",
        ["`INCIDENTS_API_RATE_LIMITS`", "`many`", "`20 per minute`"],
    ),
    (
        "BASE_ENDPOINT",
        "incidents.example",
        [
            "`BASE_ENDPOINT`",
            "`incidents.example`",
            "http:// or https://",
        ],
    ),
    (
        "REDIS_URL",
        "localhost:6379",
        ["`REDIS_URL`", "not an address of Redis", "redis://"],
    ),
    (
        "REDIS_KEY_PREFIX",
        "a b",
        ["`REDIS_KEY_PREFIX`", "`a b`", "letters, digits"],
    ),
    (
        "TRUSTED_PROXIES",
        "10.0.0.0/99",
        ["`TRUSTED_PROXIES`", "10.0.0.0/99", "10.0.0.0/8"],
    ),
    (
        "TRUSTED_PROXY_HEADER",
        "X Forwarded",
        ["`TRUSTED_PROXY_HEADER`", "`X Forwarded`", "X-Forwarded-For"],
    ),
    (
        "INCIDENTS_TYPES",
        "denial:reported_by:person",
        [
            "`INCIDENTS_TYPES`",
            "person",
            "employee, ip, employee_or_ip",
        ],
    ),
    (
        "SERVICE_PASSWORD",
        "changeit",
        ["`SERVICE_PASSWORD`", "changeit", "refresher hash-password"],
    ),
];

#[tokio::test]
async fn every_mistake_in_a_setting_is_told_with_what_would_be_right() {
    let without = |key: &str| -> Vec<(&str, &str)> {
        let mut environment = USABLE.to_vec();
        environment.retain(|(name, _)| *name != key);
        environment
    };
    for (key, value, told) in MISTAKES {
        let in_file = check(&format!("{key}: '{value}'\n"), &without(key)).await;
        let mut environment = without(key);
        environment.push((key, value));
        let in_environment = check("", &environment).await;
        for ended in [in_file, in_environment] {
            assert_eq!(ended.code, Some(2), "{key}: {ended:?}");
            for told in told {
                assert!(ended.stderr.contains(told), "`{told}` is not in {ended:?}");
            }
            assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn every_mistake_of_a_file_is_told() {
    for (text, told) in [
        (
            "SERVICE_PASSWRD: canary",
            ["`SERVICE_PASSWRD` is not a setting", "`SERVICE_PASSWORD`?"],
        ),
        (
            "redis_url: redis://canary",
            ["`redis_url` is not a setting", "`REDIS_URL`?"],
        ),
        ("QUUX: 1", ["`QUUX` is not a setting", "known: SERVICE_ID"]),
        (
            "API_RETRIES: [1]",
            ["`API_RETRIES` is a list", "a whole number"],
        ),
        (
            "API_RETRIES: {a: 1}",
            ["`API_RETRIES` is a mapping", "a whole number"],
        ),
        (
            "API_RETRIES: 1\nAPI_RETRIES: 2",
            ["duplicated key", "line 2"],
        ),
        ("INCIDENTS_TYPES: []", ["`INCIDENTS_TYPES`", "empty"]),
        (
            "INCIDENTS_TYPES: [a:b:ip, a:c:ip]",
            ["`INCIDENTS_TYPES`", "a type twice"],
        ),
        (
            "INCIDENTS_TYPES: [{type: a, field: b}]",
            ["`INCIDENTS_TYPES`", "identity"],
        ),
        ("- a\n- b", ["cannot be read", "mapping"]),
        ("API_RETRIES: [1", ["cannot be read", "line"]),
        (
            "a: 1\n---\nb: 2",
            ["cannot be read", "more than one document"],
        ),
        (
            "API_RETRIES: x\nAPI_TIMEOUT: y",
            ["`API_RETRIES`", "`API_TIMEOUT`"],
        ),
    ] {
        let ended = check(text, &USABLE).await;
        assert_eq!(ended.code, Some(2), "{text}: {ended:?}");
        for told in told {
            assert!(
                ended.stderr.contains(told),
                "{text}: `{told}` is not in {ended:?}"
            );
        }
        assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
    }
    for (left_out, told) in [
        ("SERVICE_ID", "`SERVICE_ID` is not set"),
        ("SERVICE_PASSWORD", "`SERVICE_PASSWORD` is not set"),
        ("BASE_ENDPOINT", "`BASE_ENDPOINT` is not set"),
    ] {
        let mut environment = USABLE.to_vec();
        environment.retain(|(name, _)| *name != left_out);
        let ended = check("", &environment).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    let ended = run(&["check-config", "--config", "no/such.yaml"], &USABLE, "").await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("no/such.yaml"), "{ended:?}");
    assert!(ended.stderr.contains("--config"), "{ended:?}");
}

#[tokio::test]
async fn a_secret_may_stand_in_a_file_of_its_own() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| {
        folder
            .path()
            .join(name)
            .to_str()
            .expect("a text")
            .to_owned()
    };
    let config = path("config.yaml");
    let mut environment = USABLE.to_vec();
    environment.retain(|(name, _)| *name != "SERVICE_PASSWORD");
    let check = async |file: &str, environment: &[(&str, &str)]| {
        fs::write(&config, file).expect("a file");
        run(&["check-config", "--config", &config], environment, "").await
    };
    fs::write(path("password"), "canary-of-a-file\n").expect("a file");
    // Seen from the folder of config.yaml, or by its absolute path.
    let absolute = path("password");
    let mut by_path = environment.clone();
    by_path.push(("SERVICE_PASSWORD_FILE", &absolute));
    for ended in [
        check("SERVICE_PASSWORD_FILE: password\n", &environment).await,
        check("", &by_path).await,
    ] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let told = "SERVICE_PASSWORD: '***' # plain text";
        assert!(ended.stdout.contains(told), "{ended:?}");
        assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
    }
    let both = "SERVICE_PASSWORD: canary\nSERVICE_PASSWORD_FILE: password\n";
    for (file, content, told) in [
        ("SERVICE_PASSWORD_FILE: none\n", "", "cannot be read"),
        (both, "", "beside `SERVICE_PASSWORD`"),
        (
            "SERVICE_PASSWORD_FILE: password\n",
            "changeit\n",
            "changeit",
        ),
        (
            "SERVICE_PASSWORD_FILE: password\n",
            "canary\n\n",
            "a line break",
        ),
    ] {
        fs::write(path("password"), content).expect("a file");
        let ended = check(file, &environment).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.contains("`SERVICE_PASSWORD_FILE`"),
            "{ended:?}"
        );
        assert!(ended.stderr.contains(told), "{ended:?}");
        assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_shipped_settings_refuse_to_run_until_the_password_is_changed() {
    let folder = manifest();
    let file = folder
        .parent()
        .expect("a folder")
        .join("config/config.yaml");
    let file = file.to_str().expect("a text");
    for task in ["check-config", "run", "once"] {
        let ended = run(&[task, "--config", file], &[], "").await;
        assert_eq!(ended.code, Some(2), "{task}: {ended:?}");
        for told in ["SERVICE_PASSWORD", "changeit", "hash-password"] {
            assert!(ended.stderr.contains(told), "{task}: {ended:?}");
        }
    }
    let ended = run(&["check-config", "--config", file], &USABLE, "").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("SERVICE_ID: 'auditor'"), "{ended:?}");
    assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
    // What it shows can be read again.
    let again = check(&ended.stdout, &USABLE).await;
    assert_eq!((again.code, again.stdout), (Some(0), ended.stdout));
}

#[tokio::test]
async fn a_hashed_password_is_made_and_taken() {
    let made = run(&["hash-password"], &[], "s3cret: \u{e9}\n").await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let hash = made.stdout.trim_end();
    assert!(
        hash.starts_with("$argon2id$") && !hash.contains('\n'),
        "{made:?}"
    );
    for (input, told) in [
        ("", "empty"),
        ("changeit", "changeit"),
        ("a\nb", "one line"),
    ] {
        let refused = run(&["hash-password"], &[], input).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert_eq!(refused.stdout, "");
    }

    let mut environment = USABLE.to_vec();
    environment[1].1 = hash;
    let lacking = check("", &environment).await;
    assert_eq!(lacking.code, Some(2), "{lacking:?}");
    assert!(
        lacking.stderr.contains("`UPSTREAM_PASSWORD`"),
        "{lacking:?}"
    );
    environment.push(("UPSTREAM_PASSWORD", "canary-upstream"));
    let taken = check("", &environment).await;
    assert_eq!(taken.code, Some(0), "{taken:?}");
    assert!(
        !taken.stdout.contains("canary") && !taken.stdout.contains(hash),
        "{taken:?}"
    );

    let redis = Redis::start().await;
    let host = host(&redis, &[("service_password", hash)]).await;
    for (password, status) in [("s3cret: \u{e9}", 200), ("s3cret", 401), (hash, 401)] {
        // The second time it is remembered.
        for _ in 0..2 {
            let account = Some((ID, password));
            let answer = host
                .client
                .try_send(Method::GET, "/status", account, &[])
                .await;
            assert_eq!(answer.expect("an answer").status, status, "{password}");
        }
    }
}

#[tokio::test]
async fn once_tells_by_its_code_whether_a_snapshot_is_served() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for told in ["a new snapshot is served", "done"] {
        let ended = end_of(refresher(&["once"], &redis, &upstream, &[]), "").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    let host = host(&redis, &[]).await;
    let served = host.client.get("/incidents").await;
    assert!(incidents_in(&served.body) > 1000);

    let down = format!("http://{}", nowhere());
    let settings = [("BASE_ENDPOINT", down.as_str())];
    let ended = end_of(refresher(&["once"], &redis, &upstream, &settings), "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("upstream cannot be reached"),
        "{ended:?}"
    );
    let still = host.client.get("/incidents").await;
    assert_eq!(still.header("etag"), served.header("etag"));
    assert_eq!(still.body, served.body);
    stored_snapshot(&redis).await;

    let refused = [("UPSTREAM_PASSWORD", "canary-upstream")];
    let ended = end_of(refresher(&["once"], &redis, &upstream, &refused), "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("refuses the credentials"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains("canary"), "{ended:?}");
}

#[tokio::test]
async fn a_snapshot_of_nothing_known_is_none() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let once = async || end_of(refresher(&["once"], &redis, &upstream, &[]), "").await;
    for endpoint in TYPES {
        upstream
            .fault(endpoint, json!({"effect": "status-503"}))
            .await;
    }
    let ended = once().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("no incidents of any type"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("upstream answers 503"), "{ended:?}");
    let current: Option<Vec<u8>> = redis.ask(&format!("GET {}", keys().current())).await;
    assert_eq!(current, None);

    // Some are known: they are served, and the code says that others are not.
    upstream.mend("denial").await;
    let ended = once().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("a snapshot is served, but"), "{ended:?}");
    assert!(last.contains("intrusion, executable"), "{ended:?}");
    assert!(!last.contains("denial"), "{ended:?}");
    let record = stored_snapshot(&redis).await;
    assert_eq!(record.missing().collect::<Vec<_>>(), TYPES[1..]);

    // What was known before is known.
    for endpoint in TYPES {
        upstream.mend(endpoint).await;
    }
    assert_eq!(once().await.code, Some(0));
    upstream
        .fault("denial", json!({"effect": "status-503"}))
        .await;
    assert_eq!(once().await.code, Some(0));
    assert!(stored_snapshot(&redis).await.is_stale());
}

#[tokio::test]
async fn once_says_that_redis_takes_no_writes() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let _: String = redis.ask("REPLICAOF 127.0.0.1 9").await;
    let ended = end_of(refresher(&["once"], &redis, &upstream, &[]), "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("Redis takes no writes"), "{ended:?}");
    assert!(
        !ended.stderr.contains("another refresher leads"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn once_does_not_wait_for_ever() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let leader = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    until("one leads", BOUND, async || {
        (leader.logged(" token=") > 0).then_some(())
    })
    .await;
    let no_redis = format!("redis://{}", nowhere());
    let settings = [("REDIS_URL", no_redis.as_str())];
    let second = refresher(&["once"], &redis, &upstream, &[]);
    let lonely = refresher(&["once"], &redis, &upstream, &settings);
    let (second, lonely) = tokio::join!(end_of(second, ""), end_of(lonely, ""));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(
        second.stderr.contains("another refresher leads"),
        "{second:?}"
    );
    assert_eq!(lonely.code, Some(1), "{lonely:?}");
    assert!(
        lonely.stderr.contains("Redis cannot be reached"),
        "{lonely:?}"
    );
    assert!(lonely.stderr.contains("REDIS_URL"), "{lonely:?}");
}

#[tokio::test]
async fn help_is_there_for_every_task_and_wrong_usage_is_told() {
    let tasks = [
        "run",
        "once",
        "serve",
        "check-config",
        "hash-password",
        "healthcheck",
    ];
    let help = run(&["--help"], &[], "").await;
    assert_eq!(help.code, Some(0), "{help:?}");
    for told in tasks.iter().chain(&["Exit codes", "Examples"]) {
        assert!(
            help.stdout.contains(told),
            "`{told}` is not in {}",
            help.stdout
        );
    }
    for task in tasks {
        let help = run(&[task, "--help"], &[], "").await;
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(help.stdout.contains("Usage:"), "{help:?}");
    }
    let version = run(&["--version"], &[], "").await;
    assert_eq!(version.code, Some(0), "{version:?}");
    for wrong in [
        &[][..],
        &["refresh"],
        &["run", "--sever", "x"],
        &["serve"],
        &["healthcheck", "not a url"],
        &["run", "--log-format", "xml"],
    ] {
        let ended = run(wrong, &[], "").await;
        assert_eq!(ended.code, Some(2), "{wrong:?}: {ended:?}");
        assert!(
            ended.stderr.contains("Usage") || ended.stderr.contains("--help"),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn the_health_check_tells_by_its_code() {
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    for (url, code) in [
        (format!("{}/healthz", host.url), 0),
        (format!("{}/readyz", host.url), 1),
        (format!("{}/status", host.url), 1),
        (format!("http://{}/healthz", nowhere()), 1),
    ] {
        let ended = run(&["healthcheck", &url], &[], "").await;
        assert_eq!(ended.code, Some(code), "{url}: {ended:?}");
    }

    let upstream = Upstream::start().await;
    let leader = async || end_of(refresher(&["healthcheck"], &redis, &upstream, &[]), "").await;
    let nobody = leader().await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("no refresher leads"), "{nobody:?}");
    let mut leading = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    until("one leads", BOUND, async || {
        (leader().await.code == Some(0)).then_some(())
    })
    .await;
    leading.signal(end_to_end::Signal::TERM);
    assert!(leading.exit(BOUND).await.success());
    assert_eq!(leader().await.code, Some(1));

    redis.freeze();
    let ended = run(&["healthcheck", &format!("{}/readyz", host.url)], &[], "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(leader().await.code, Some(1));
}

#[tokio::test]
async fn a_server_that_cannot_run_ends_the_refresher_with_it() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for task in ["run", "serve"] {
        for (server, code, told) in [
            ("sh 'x", 2, "cannot be split into words"),
            ("", 2, "--server is empty"),
            (
                "no-such-program --x",
                1,
                "cannot start the server `no-such-program`",
            ),
            ("sh -c 'exit 3'", 1, "ended by itself with exit status: 3"),
        ] {
            let command = refresher(&[task, "--server", server], &redis, &upstream, &[]);
            let ended = end_of(command, "").await;
            assert_eq!(ended.code, Some(code), "{task} {server}: {ended:?}");
            assert!(ended.stderr.contains(told), "{task} {server}: {ended:?}");
        }
    }
}

/// `auditor:` in Base64: how every credential of his begins.
const CREDENTIAL: &str = "YXVkaXRvcj";

#[tokio::test]
async fn no_secret_is_in_any_log_answer_or_key() {
    let redis = Redis::start_with(&["--requirepass", "canary-redis"]).await;
    let upstream = Upstream::start().await;
    let redis_url = format!("redis://:canary-redis@{}", redis.address());
    let history = TempDir::new().expect("a temporary folder");
    let folder = history.path().to_string_lossy();
    let settings = [
        ("RUST_LOG", "trace"),
        ("REDIS_URL", redis_url.as_str()),
        ("HISTORY_STORE", folder.as_ref()),
        ("AWS_SECRET_ACCESS_KEY", "canary-s3"),
        ("SERVICE_PASSWORD", "canary-service"),
        ("UPSTREAM_PASSWORD", PASSWORD),
        ("SPIN_VARIABLE_REDIS_SECRET_URL", redis_url.as_str()),
        ("SPIN_VARIABLE_SERVICE_PASSWORD", "canary-service"),
    ];
    let (server, environment) = server_command(&redis, "127.0.0.1:0");
    let mut command = refresher(&["run", "--server", &server], &redis, &upstream, &settings);
    command.envs(environment).envs(settings);
    let mut service = Process::start(command);
    let url = service.ready().await;
    let client = end_to_end::Client::new(&url);
    until("a snapshot is served", BOUND, async || {
        let answer = client.get_as_stranger("/readyz").await;
        answer.status.is_success().then_some(())
    })
    .await;

    let mut told = String::new();
    for (password, status) in [("canary-service", 200), ("canary-wrong", 401)] {
        for path in [
            "/incidents",
            "/status",
            "/incidents/1",
            "/incidents/unattributed",
        ] {
            let account = Some((ID, password));
            let answer = client.try_send(Method::GET, path, account, &[]).await;
            let answer = answer.expect("an answer");
            assert!(
                answer.status == status || answer.status == 404,
                "{answer:?}"
            );
            told += &format!(
                "{:?} {}",
                answer.headers,
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    for fault in [
        "status-401",
        "reset",
        "html",
        "redirect-http://127.0.0.1:9/",
    ] {
        let asked = upstream.requests("denial").await;
        upstream
            .fault("all", serde_json::json!({"effect": fault}))
            .await;
        until("a refresh has met it", BOUND, async || {
            (upstream.requests("denial").await > asked + 1).then_some(())
        })
        .await;
    }
    told += &contents(&redis_url).await;
    told += &command_lines();
    until("a refresh is recorded", BOUND, async || {
        (recorded(history.path()).contains("manifest")).then_some(())
    })
    .await;
    told += &recorded(history.path());

    let wrong = [
        ("RUST_LOG", "trace"),
        ("REDIS_URL", redis_url.as_str()),
        ("REDIS_KEY_PREFIX", "another"),
        ("SERVICE_PASSWORD", "canary-service"),
        ("UPSTREAM_PASSWORD", "canary-upstream"),
    ];
    let refused = end_of(refresher(&["once"], &redis, &upstream, &wrong), "").await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let no_access = redis_url.replace("canary-redis", "canary-nobody");
    let wrong = [("RUST_LOG", "trace"), ("REDIS_URL", no_access.as_str())];
    let denied = end_of(refresher(&["once"], &redis, &upstream, &wrong), "").await;
    assert_eq!(denied.code, Some(1), "{denied:?}");
    assert!(denied.stderr.contains("denies access"), "{denied:?}");
    told += &format!("{refused:?} {denied:?}");

    redis.freeze();
    let account = Some((ID, "canary-service"));
    let answer = client
        .try_send(Method::GET, "/incidents", account, &[])
        .await;
    told += &String::from_utf8_lossy(&answer.expect("an answer").body);
    until("the refresher notices", BOUND, async || {
        (service.logged("cannot renew the lease") > 0).then_some(())
    })
    .await;
    redis.thaw();
    service.signal(end_to_end::Signal::TERM);
    let status = service.exit(BOUND).await;
    assert_eq!(status.code(), Some(0));

    told += &service.log();
    told += &upstream.log();
    assert!(
        told.contains("refreshed") && told.contains("leads"),
        "{told}"
    );
    for secret in ["canary", PASSWORD, CREDENTIAL] {
        let lines: Vec<&str> = told.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "`{secret}` is in {lines:#?}");
    }
}

/// All that is in the Redis at `url`.
async fn contents(url: &str) -> String {
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .expect("names");
    let mut all = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .expect("a kind");
        let (command, rest): (_, &[&str]) = match kind.as_str() {
            "hash" => ("HGETALL", &[]),
            "stream" => ("XRANGE", &["-", "+"]),
            _ => ("GET", &[]),
        };
        let value: redis::Value = redis::cmd(command)
            .arg(&key)
            .arg(rest)
            .query_async(&mut connection)
            .await
            .expect("a value");
        all += &format!("{key}: {}\n", text(&value));
    }
    assert!(all.contains("current: {"), "{all}");
    assert!(all.contains("nodes: ") && all.contains("lease: "), "{all}");
    all
}

/// A value and all that is in it, as text.
fn text(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// How every process of this machine that is of the service was started, for anybody to see.
fn command_lines() -> String {
    let mut all = String::new();
    for process in fs::read_dir("/proc").expect("Linux tells").flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = line.split(' ').next().unwrap_or_default();
        if program.ends_with("/refresher") || program.ends_with("/host") {
            all += &format!("{line}\n");
        }
    }
    assert!(all.contains("spin.toml"), "{all}");
    all
}

/// All that is in the history, as it can be read.
fn recorded(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all += &recorded(&path);
        } else if let Ok(bytes) = fs::read(&path) {
            let plain = zstd::decode_all(&bytes[..]).unwrap_or(bytes);
            let text = String::from_utf8_lossy(&plain).into_owned();
            all += &format!("{}: {text}\n", path.display());
        }
    }
    all
}
