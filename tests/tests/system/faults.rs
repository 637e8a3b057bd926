//! Whatever upstream does: the last good rows stay, what is wrong is told, and nothing is lost.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use domain::contract::document::{Document, Encoding};
use end_to_end::{
    Answer, PASSWORD, Process, Redis, System, TYPES, Upstream, host, incidents_in, keys, refresher,
    stored_snapshot, until,
};
use serde_json::{Value, json};
use tokio::time::sleep;

const BOUND: Duration = Duration::from_secs(30);

/// Settings under which a fault shows within seconds.
const QUICK: [(&str, &str); 2] = [("API_TIMEOUT", "1"), ("API_MAX_BODY_BYTES", "500000")];

/// An effect of the demo upstream, and of what it is told as: any of these.
struct Trouble {
    effect: String,
    told: &'static [&'static str],
}

/// Somebody else's server, who must not get the credentials.
struct Stranger(TcpListener);

impl Stranger {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("it can be");
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}/incidents/denial/", self.0.local_addr().unwrap())
    }

    fn was_never_asked(&self) {
        let asked = self.0.accept();
        assert!(asked.is_err(), "the credentials went there: {asked:?}");
    }
}

/// Everything that the demo upstream can do wrong, but for old data.
fn troubles(upstream: &Upstream, stranger: &Stranger) -> Vec<Trouble> {
    let elsewhere = &["another scheme, host or port"];
    let broken = &["broke off"];
    let other_name = upstream.url().replace("127.0.0.1", "localhost");
    let other_scheme = upstream.url().replace("http:", "https:");
    let fixed: [(&str, &'static [&'static str]); 12] = [
        ("status-503", &["upstream answers 503"]),
        ("status-404", &["upstream answers 404"]),
        ("status-401", &["refuses the credentials (401"]),
        ("reset", &["broke off", "cannot be reached"]),
        ("reset-midway", broken),
        ("truncate", broken),
        ("truncate-chunked", broken),
        ("html", &["a web page instead of JSON"]),
        (
            "wrong-body",
            // As an identity map, it has one entry that says nothing.
            &[
                "does not have the expected shape",
                "the identity map is empty",
            ],
        ),
        (
            "endless",
            &["larger than 500000 bytes (API_MAX_BODY_BYTES)"],
        ),
        ("drip-10", &["did not answer within 1 s (API_TIMEOUT)"]),
        ("hang", &["did not answer within 1 s (API_TIMEOUT)"]),
    ];
    let redirects = [
        stranger.url(),
        format!("{other_name}/incidents/denial/"),
        format!("{other_scheme}/incidents/denial/"),
    ];
    // Rows of another resource must not take the place of an endpoint's own.
    let others: [(&str, &'static [&'static str]); 3] = [
        ("redirect-/incidents/nothing", &["another path"]),
        ("redirect-/", &["another path"]),
        ("redirect-?page=2", &["another path"]),
    ];
    fixed
        .into_iter()
        .chain(others)
        .map(|(effect, told)| Trouble {
            effect: effect.to_owned(),
            told,
        })
        .chain(redirects.into_iter().map(|target| Trouble {
            effect: format!("redirect-{target}"),
            told: elsewhere,
        }))
        .collect()
}

/// What `/status` says of an endpoint.
fn of<'a>(status: &'a Value, endpoint: &str) -> &'a Value {
    let snapshot = &status["snapshot"];
    if endpoint == "identities" {
        return &snapshot["identities"];
    }
    let types = snapshot["types"].as_array().map_or(&[][..], Vec::as_slice);
    types
        .iter()
        .find(|kind| kind["type"] == endpoint)
        .unwrap_or(&Value::Null)
}

fn endpoints() -> impl Iterator<Item = &'static str> {
    std::iter::once("identities").chain(TYPES)
}

/// Whether exactly these endpoints fail, and are told to for these reasons.
fn fail(status: &Value, expected: &[(&str, &[&str])]) -> bool {
    endpoints().all(|endpoint| {
        let found = of(status, endpoint);
        match expected.iter().find(|(name, _)| *name == endpoint) {
            None => found["stale"] == false && found["error"] == Value::Null,
            Some((_, told)) => {
                let error = found["error"].as_str().unwrap_or_default();
                found["stale"] == true && told.iter().any(|told| error.contains(told))
            }
        }
    })
}

/// Every row is accounted for, type by type and in the sums.
fn adds_up(status: &Value) {
    let all = |of: &Value| ["reported", "unattributed", "rejected"].map(|name| number(of, name));
    let snapshot = &status["snapshot"];
    for kind in TYPES.map(|kind| of(status, kind)) {
        assert_eq!(
            number(kind, "fetched"),
            all(kind).iter().sum::<u64>(),
            "{kind}"
        );
    }
    let totals = &snapshot["totals"];
    for name in ["fetched", "reported", "unattributed", "rejected"] {
        let sum: u64 = TYPES
            .map(|kind| number(of(status, kind), name))
            .iter()
            .sum();
        assert_eq!(number(totals, name), sum, "{name}: {snapshot}");
    }
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"))
}

/// What must not change while upstream fails.
struct Good {
    report: Answer,
    counts: Value,
}

impl Good {
    async fn of(system: &System) -> Self {
        let status = system.status("all is well", |s| fail(s, &[])).await;
        adds_up(&status);
        let report = system.host.client.get("/incidents").await;
        let counts = status["snapshot"]["totals"].clone();
        assert_eq!(incidents_in(&report.body), number(&counts, "reported"));
        assert!(number(&counts, "reported") > 1000);
        Self { report, counts }
    }

    async fn still_served(&self, system: &System, status: &Value) {
        adds_up(status);
        assert_eq!(status["snapshot"]["totals"], self.counts, "{status}");
        let now = system.host.client.get("/incidents").await;
        assert_eq!(now.status, 200);
        assert_eq!(now.header("etag"), self.report.header("etag"));
        assert_eq!(now.body, self.report.body);
    }
}

fn effect(effect: &str) -> Value {
    json!({ "effect": effect })
}

#[tokio::test]
async fn each_fault_of_one_endpoint_costs_nothing_but_its_freshness() {
    let system = System::start_with(Upstream::start().await, &QUICK, &[]).await;
    let stranger = Stranger::new();
    let good = Good::of(&system).await;
    let names = ["denial", "identities", "probing", "other"];
    for (trouble, endpoint) in troubles(&system.upstream, &stranger)
        .iter()
        .zip(names.iter().cycle())
    {
        // The one before recovers meanwhile.
        system.upstream.mend("all").await;
        system
            .upstream
            .fault(endpoint, effect(&trouble.effect))
            .await;
        let what = format!("{endpoint} fails with {}", trouble.effect);
        let expected = [(*endpoint, trouble.told)];
        let status = system.status(&what, |s| fail(s, &expected)).await;
        good.still_served(&system, &status).await;
    }
    system.upstream.mend("all").await;
    let status = system.status("all is well again", |s| fail(s, &[])).await;
    good.still_served(&system, &status).await;
    stranger.was_never_asked();
    let log = system.refresher.log();
    assert!(log.contains("no usable answer"), "{log}");
    assert!(log.contains("answers well again"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn each_fault_of_all_endpoints_leaves_the_last_snapshot() {
    let system = System::start_with(Upstream::start().await, &QUICK, &[]).await;
    let stranger = Stranger::new();
    let good = Good::of(&system).await;
    for trouble in troubles(&system.upstream, &stranger) {
        system.upstream.fault("all", effect(&trouble.effect)).await;
        let expected: Vec<_> = endpoints().map(|name| (name, trouble.told)).collect();
        let what = format!("all fail with {}", trouble.effect);
        let status = system.status(&what, |s| fail(s, &expected)).await;
        good.still_served(&system, &status).await;
    }
    // By now nothing has been confirmed for a while, which anyone can see.
    let status = system
        .status("the age shows", |s| {
            number(&s["snapshot"], "checked_age_s") > 2
        })
        .await;
    assert!(number(of(&status, "denial"), "age_s") > 2, "{status}");
    assert_eq!(status["snapshot"]["stale"], true);
    assert!(system.refresher.logged("no endpoint gave a usable answer") > 0);

    system.upstream.mend("all").await;
    let status = system.status("all is well again", |s| fail(s, &[])).await;
    good.still_served(&system, &status).await;
    assert!(
        number(&status["snapshot"], "checked_age_s") <= 2,
        "{status}"
    );
    stranger.was_never_asked();
}

#[tokio::test]
async fn while_several_endpoints_fail_the_others_go_on() {
    let system = System::start_with(Upstream::start().await, &QUICK, &[]).await;
    let good = Good::of(&system).await;
    let rounds: [&[(&str, &str, &[&str])]; 2] = [
        &[
            ("denial", "status-500", &["500"]),
            ("intrusion", "reset", &["broke off", "cannot be reached"]),
            ("executable", "truncate", &["broke off"]),
            ("misuse", "html", &["web page"]),
            ("probing", "hang", &["API_TIMEOUT"]),
        ],
        &[
            ("identities", "truncate-chunked", &["broke off"]),
            ("unauthorized", "endless", &["API_MAX_BODY_BYTES"]),
            ("denial", "drip-5", &["API_TIMEOUT"]),
            ("misuse", "wrong-body", &["shape"]),
            ("probing", "reset-midway", &["broke off"]),
            // No way out of it.
            (
                "intrusion",
                "redirect-/incidents/intrusion/",
                &["more than 5 times"],
            ),
        ],
    ];
    let whole = number(&good.counts, "fetched");
    let others = number(of(&system.status("", |_| true).await, "other"), "fetched");
    for (round, faults) in (1_u64..).zip(rounds) {
        for (endpoint, fault, _) in faults {
            system.upstream.fault(endpoint, effect(fault)).await;
        }
        let row = json!({"priority": "high", "identifier": 4711, "timestamp": 1.5, "round": round});
        let rows = vec![row; round as usize];
        system.upstream.serve_rows("other", &rows).await;
        let expected: Vec<_> = faults
            .iter()
            .map(|(name, _, told)| (*name, *told))
            .collect();
        let status = system
            .status("these fail, and the news is there", |s| {
                fail(s, &expected) && number(of(s, "other"), "fetched") == round
            })
            .await;
        adds_up(&status);
        let fetched = number(&status["snapshot"]["totals"], "fetched");
        assert_eq!(fetched, whole - others + round, "{status}");
        let groups = system.host.client.get("/incidents/4711").await.json();
        assert_eq!(groups["high"]["count"], round, "{groups}");
        let report = system.host.client.get("/incidents").await;
        let reported = number(&status["snapshot"]["totals"], "reported");
        assert_eq!(incidents_in(&report.body), reported);
        system.upstream.mend("all").await;
    }
    let status = system.status("all is well again", |s| fail(s, &[])).await;
    let fetched = number(&status["snapshot"]["totals"], "fetched");
    assert_eq!(fetched, whole - others + 2, "{status}");
}

/// What upstream may rightly send to whoever says that gzip and zstd are understood, and what not.
#[tokio::test]
async fn compressed_answers_are_understood() {
    let system = System::start_with(Upstream::start().await, &QUICK, &[]).await;
    let labels = ["gzip", "zstd", "x-gzip", "identity", "utf-8"];
    for (round, label) in (1_u64..).zip(labels) {
        let coded = format!("coded-{label}");
        system.upstream.fault("other", effect(&coded)).await;
        let row = json!({"priority": "high", "identifier": 4711, "timestamp": 1.5, "round": round});
        let rows = vec![row; round as usize];
        system.upstream.serve_rows("other", &rows).await;
        let what = format!("the rows come as {label}");
        let arrived = |s: &Value| fail(s, &[]) && number(of(s, "other"), "fetched") == round;
        let _ = system.status(&what, arrived).await;
    }
    system.upstream.fault("other", effect("coded-br")).await;
    let told: &[(&str, &[&str])] = &[("other", &["the content coding `br`"])];
    let _ = system
        .status("another one is told", |s| fail(s, told))
        .await;
}

/// Answers that come whole and with 200, and still are not what they should be.
#[tokio::test]
async fn answers_that_cannot_be_used_are_told_and_change_nothing() {
    let system = System::start_with(Upstream::start().await, &QUICK, &[]).await;
    let good = Good::of(&system).await;
    let large = format!("{{\"results\":[{}]}}", " ".repeat(600_000));
    let rounds: [&[(&str, &str, &[&str])]; 3] = [
        &[
            ("identities", "{}", &["the identity map is empty"]),
            ("denial", "", &["not valid JSON"]),
            (
                "intrusion",
                "  <!DOCTYPE html><html></html>",
                &["a web page"],
            ),
            ("executable", "null", &["shape"]),
            ("misuse", "[]", &["shape"]),
            ("unauthorized", "{}", &["`results` is missing"]),
            (
                "probing",
                "{\"results\": {}}",
                &["`results` is not an array"],
            ),
            ("other", &large, &["larger than 500000 bytes"]),
        ],
        &[
            ("identities", "[]", &["shape"]),
            (
                "denial",
                "{\"results\": [{\"priority\": \"low\"",
                &["not valid JSON"],
            ),
            (
                "intrusion",
                "{\"results\": []} and more",
                &["not valid JSON"],
            ),
            ("executable", "{\"results\": [1,]}", &["not valid JSON"]),
            (
                "misuse",
                "{\"results\": [], \"results\": []}",
                &["there twice"],
            ),
            ("unauthorized", "{'results': []}", &["not valid JSON"]),
            ("probing", "OK", &["not valid JSON"]),
            (
                "other",
                "{\"results\": null}",
                &["`results` is not an array"],
            ),
        ],
        // Entries there are, but none of them says anything.
        &[(
            "identities",
            "{\"10.0.0.1\": null, \"10.0.0.2\": -1}",
            &["empty"],
        )],
    ];
    for round in rounds {
        system.upstream.serve_seeded().await;
        for (endpoint, body, _) in round {
            system.upstream.serve(endpoint, body.to_string()).await;
        }
        let expected: Vec<_> = round.iter().map(|(name, _, told)| (*name, *told)).collect();
        let status = system
            .status("these are refused", |s| fail(s, &expected))
            .await;
        good.still_served(&system, &status).await;
        assert!(
            number(of(&status, "identities"), "entries") > 100,
            "{status}"
        );
    }
    system.upstream.serve_seeded().await;
    let status = system.status("all is well again", |s| fail(s, &[])).await;
    good.still_served(&system, &status).await;
}

/// Rows of the type `denial` that cannot be used, and the first words of the reason.
const BAD_DENIALS: [(&str, &str); 21] = [
    ("5", "not an object"),
    ("\"a text\"", "not an object"),
    ("null", "not an object"),
    ("[{}]", "not an object"),
    ("{}", "no priority"),
    (r#"{"reported_by":7,"timestamp":1}"#, "no priority"),
    (
        r#"{"priority":"urgent","reported_by":7,"timestamp":1}"#,
        "no priority",
    ),
    (
        r#"{"priority":"LOW","reported_by":7,"timestamp":1}"#,
        "no priority",
    ),
    (
        r#"{"priority":1,"reported_by":7,"timestamp":1}"#,
        "no priority",
    ),
    (r#"{"priority":"low","reported_by":7}"#, "no timestamp"),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":null}"#,
        "no timestamp",
    ),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":"NaN"}"#,
        "no timestamp",
    ),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":1e999}"#,
        "contains a number",
    ),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":NaN}"#,
        "contains NaN",
    ),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":-Infinity}"#,
        "contains NaN",
    ),
    (
        r#"{"priority":"low","reported_by":7,"timestamp":1,"x":Infinity}"#,
        "contains NaN",
    ),
    (r#"{"priority":"low","timestamp":1}"#, "no usable identity"),
    (
        r#"{"priority":"low","reported_by":null,"timestamp":1}"#,
        "no usable identity",
    ),
    (
        r#"{"priority":"low","reported_by":-1,"timestamp":1}"#,
        "no usable identity",
    ),
    (
        r#"{"priority":"low","reported_by":1.5,"timestamp":1}"#,
        "no usable identity",
    ),
    (
        r#"{"priority":"low","reported_by":"10.0.0.1","timestamp":1}"#,
        "no usable identity",
    ),
];

#[tokio::test]
async fn every_bad_row_is_counted_logged_and_kept() {
    let upstream = Upstream::start().await;
    for kind in TYPES {
        upstream.serve_rows(kind, &[]).await;
    }
    upstream
        .serve("identities", r#"{"10.0.0.1":7,"10.0.0.2":"x"}"#)
        .await;
    let good = r#"{"priority":"low","reported_by":7,"timestamp":2.50,"note":"kept"}"#;
    let mut rows: Vec<&str> = BAD_DENIALS.iter().map(|(row, _)| *row).collect();
    rows.insert(9, good);
    let denials = format!("{{\"results\":[{}]}}", rows.join(",\n"));
    upstream.serve("denial", denials).await;
    let unmapped = json!({"priority": "high", "ip": "10.9.9.9", "timestamp": 3});
    let probings = [
        json!({"priority": "low", "ip": "10.0.0.1", "timestamp": 1}),
        unmapped.clone(),
        json!({"priority": "low", "ip": "not an address", "timestamp": 1}),
        json!({"priority": "low", "ip": 7, "timestamp": 1}),
        json!({"priority": "low", "ip": "", "timestamp": 1}),
    ];
    upstream.serve_rows("probing", &probings).await;
    let others = [
        json!({"priority": "critical", "identifier": 8, "timestamp": 1}),
        json!({"priority": "critical", "identifier": "8", "timestamp": 2}),
        json!({"priority": "critical", "identifier": "10.0.0.1", "timestamp": 3}),
        json!({"priority": "critical", "identifier": "10.9.9.8", "timestamp": 4}),
        json!({"priority": "critical", "identifier": [8], "timestamp": 5}),
    ];
    upstream.serve_rows("other", &others).await;

    let system = System::start_with(upstream, &[], &[]).await;
    let client = &system.host.client;
    let status = client.get("/status").await.json();
    adds_up(&status);
    let counts = |kind| {
        let found = of(&status, kind);
        ["fetched", "reported", "unattributed", "rejected"].map(|name| number(found, name))
    };
    let bad = BAD_DENIALS.len() as u64;
    assert_eq!(counts("denial"), [bad + 1, 1, 0, bad]);
    assert_eq!(counts("probing"), [5, 1, 1, 3]);
    assert_eq!(counts("other"), [5, 3, 1, 1]);
    assert_eq!(counts("misuse"), [0; 4]);
    assert_eq!(number(of(&status, "identities"), "entries"), 1);
    assert_eq!(number(of(&status, "identities"), "rejected"), 1);
    assert!(fail(&status, &[]), "{status}");

    let none = json!({"count": 0, "incidents": []});
    let report = client.get("/incidents").await;
    // The digits are upstream's.
    let denial =
        r#"{"type":"denial","priority":"low","reported_by":7,"timestamp":2.50,"note":"kept"}"#;
    let text = String::from_utf8(report.body.to_vec()).expect("text");
    assert!(text.contains(denial), "{text}");
    let expected = json!({
        "7": {
            "low": {"count": 2, "incidents": [
                {"type": "probing", "priority": "low", "ip": "10.0.0.1", "timestamp": 1},
                {"type": "denial", "priority": "low", "reported_by": 7, "timestamp": 2.5,
                 "note": "kept"}]},
            "medium": none, "high": none,
            "critical": {"count": 1, "incidents": [
                {"type": "other", "priority": "critical", "identifier": "10.0.0.1", "timestamp": 3}]}
        },
        "8": {
            "low": none, "medium": none, "high": none,
            "critical": {"count": 2, "incidents": [
                {"type": "other", "priority": "critical", "identifier": 8, "timestamp": 1},
                {"type": "other", "priority": "critical", "identifier": "8", "timestamp": 2}]}
        }
    });
    assert_eq!(report.json(), expected);
    let unattributed = client.get("/incidents/unattributed").await.json();
    assert_eq!(unattributed["probing"], json!([unmapped]));
    assert_eq!(unattributed["other"], json!([others[3]]));

    let log = system.refresher.log();
    for told in ["rows that cannot be used", "not an object", "10.9.9.9"] {
        assert!(log.contains(told), "`{told}` is not in {log}");
    }
    let kept = rejected(&system.redis).await;
    let denials = kept["denial"].as_array().expect("a list");
    for (item, (row, reason)) in denials.iter().zip(BAD_DENIALS) {
        assert_eq!(item["row"], row);
        let told = item["reason"].as_str().expect("a text");
        assert!(told.starts_with(reason), "{row}: {told}");
    }
    assert_eq!(denials.len(), BAD_DENIALS.len());
    assert_eq!(kept["probing"].as_array().map(Vec::len), Some(3));
}

/// The rows that could not be used, where an operator finds them.
async fn rejected(redis: &Redis) -> Value {
    let record = stored_snapshot(redis).await;
    let key = keys().block(record.generation, Document::Rejected, Encoding::Identity, 0);
    let mut connection = redis.connection().await;
    let text: Vec<u8> = redis::cmd("GET")
        .arg(key)
        .query_async(&mut connection)
        .await
        .expect("a value");
    serde_json::from_slice(&text).expect("JSON")
}

#[tokio::test]
async fn without_identities_nothing_is_published_and_without_a_type_the_rest_is() {
    let faults = ["--fault", "identities=status-503", "--fault", "misuse=html"];
    let upstream = Upstream::start_with(&faults).await;
    let redis = Redis::start().await;
    let mut refresher = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    let host = host(&redis, &[("snapshot_wait", "1")]).await;
    until("the refresher says why", BOUND, async || {
        (refresher.logged("there is no identity map") > 0).then_some(())
    })
    .await;
    let asked = Instant::now();
    let answer = host.client.get("/incidents").await;
    let _ = answer.problem(503);
    assert!(!answer.header("retry-after").is_empty());
    assert!(asked.elapsed() < Duration::from_secs(4));
    let _ = host.client.get_as_stranger("/readyz").await.problem(503);
    let status = host.client.get("/status").await.json();
    assert_eq!(status["snapshot"], Value::Null);
    assert!(refresher.is_running());

    upstream.mend("identities").await;
    let system = System {
        host,
        refresher,
        upstream,
        redis,
    };
    let told: &[&str] = &["web page"];
    let status = system
        .status("all but one type is served", |s| {
            fail(s, &[("misuse", told)])
        })
        .await;
    adds_up(&status);
    let misuse = of(&status, "misuse");
    assert_eq!(number(misuse, "fetched"), 0);
    assert_eq!(misuse["age_s"], Value::Null, "it was never good");
    assert!(number(of(&status, "denial"), "reported") > 100);

    system.upstream.mend("misuse").await;
    let status = system.status("all is well", |s| fail(s, &[])).await;
    assert!(number(of(&status, "misuse"), "reported") > 100);
    adds_up(&status);
}

#[tokio::test]
async fn an_identity_map_that_is_out_of_date_loses_no_row() {
    let system = System::start().await;
    let good = Good::of(&system).await;
    let whole = number(&good.counts, "fetched");
    let before = number(&good.counts, "unattributed");
    system.upstream.fault("identities", effect("stale")).await;
    let status = system
        .status("rows have nobody", |s| {
            number(&s["snapshot"]["totals"], "unattributed") > before
        })
        .await;
    adds_up(&status);
    assert_eq!(number(&status["snapshot"]["totals"], "fetched"), whole);
    system.upstream.mend("identities").await;
    let counts = &good.counts;
    let status = system
        .status("they are found again", |s| {
            s["snapshot"]["totals"] == *counts
        })
        .await;
    good.still_served(&system, &status).await;
}

#[tokio::test]
async fn what_fails_once_is_healed_by_a_retry_within_the_refresh() {
    let upstream = Upstream::start().await;
    let settings = [
        ("API_RETRIES", "1"),
        ("API_TIMEOUT", "1"),
        ("DEFAULT_CACHE_REFRESH", "60"),
    ];
    let effects = [
        "status-503",
        "status-429",
        "reset",
        "reset-midway",
        "truncate",
        "truncate-chunked",
        "html",
        "wrong-body",
        "hang",
    ];
    for fault in effects {
        let redis = Redis::start().await;
        let asked = upstream.requests("denial").await;
        upstream
            .fault("all", json!({"effect": fault, "times": 1}))
            .await;
        let mut once = Process::start(refresher(&["once"], &redis, &upstream, &settings));
        let status = once.exit(BOUND).await;
        assert!(status.success(), "{fault}: {}", once.log());
        let record = stored_snapshot(&redis).await;
        assert!(!record.is_stale(), "{fault}: {record:?}");
        assert!(record.totals().reported > 1000, "{fault}: {record:?}");
        assert_eq!(upstream.requests("denial").await, asked + 2, "{fault}");
    }
}

#[tokio::test]
async fn faults_by_chance_never_cost_a_row() {
    let upstream = Upstream::start_with(&["--growth", "600"]).await;
    let system = System::start_with(upstream, &QUICK, &[]).await;
    let faults = endpoints().zip(["reset", "status-502", "truncate", "html"].iter().cycle());
    for (endpoint, fault) in faults {
        let fault = json!({"effect": fault, "probability": 0.5});
        system.upstream.fault(endpoint, fault).await;
    }
    let mut least = TYPES.map(|_| 0);
    let enough = system.upstream.requests("denial").await + 6;
    until("six refreshes", BOUND, async || {
        let status = system.host.client.get("/status").await.json();
        adds_up(&status);
        for (kind, least) in TYPES.iter().zip(&mut least) {
            let fetched = number(of(&status, kind), "fetched");
            assert!(fetched >= *least, "{kind} had {least}: {status}");
            *least = fetched;
        }
        let report = system.host.client.get("/incidents").await;
        assert!(incidents_in(&report.body) > 1000);
        (system.upstream.requests("denial").await > enough).then_some(())
    })
    .await;
    system.upstream.mend("all").await;
    let status = system.status("all is well", |s| fail(s, &[])).await;
    adds_up(&status);
}

/// Each answer is cut off where all together are too much, so that memory stays within some times the budget,
/// however much upstream sends.
#[tokio::test]
async fn what_upstream_sends_is_bounded_in_memory() {
    const BUDGET: u64 = 32 << 20;
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for kind in TYPES {
        upstream.fault(kind, json!({"effect": "endless"})).await;
    }
    let budget = BUDGET.to_string();
    let settings = [
        ("API_MAX_BODY_BYTES", budget.as_str()),
        ("API_TIMEOUT", "20"),
    ];
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &settings));
    let mut most = 0;
    let ended = Instant::now() + BOUND;
    while once.is_running() && Instant::now() < ended {
        most = most.max(once.memory("VmHWM").unwrap_or_default());
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(once.exit(BOUND).await.code(), Some(1), "{}", once.log());
    assert!(once.logged("API_MAX_BODY_BYTES") > 0, "{}", once.log());
    assert!(
        (BUDGET..4 * BUDGET).contains(&most),
        "{} MiB at most",
        most >> 20
    );
}
