//! `refresher explain`: what it says of a row is what the service serves.

use std::process::Stdio;
use std::time::Duration;

use end_to_end::{Redis, System, Upstream, keys, refresher};
use redis::Pipeline;
use serde_json::{Value, json};
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);

/// How `refresher explain` has ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    /// The one row that it tells of.
    fn row(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        let document = self.document();
        assert_eq!(document["matches"], 1, "{document}");
        assert_eq!(document["is_that_report"], true, "{document}");
        document["rows"][0].clone()
    }
}

async fn explain(redis: &Redis, upstream: &Upstream, arguments: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["explain"].iter().chain(arguments).copied().collect();
    let mut command = refresher(&arguments, redis, upstream, &[]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = timeout(BOUND, command.output()).await;
    let output = output.expect("it ends").expect("it can be started");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An upstream with no rows but these: probing's addresses are mapped but for one.
async fn upstream() -> Upstream {
    let upstream = Upstream::start().await;
    for kind in end_to_end::TYPES {
        upstream.serve_rows(kind, &[]).await;
    }
    upstream
        .serve("identities", json!({ "17.1.2.3": 775 }).to_string())
        .await;
    let row = |ip: &str, time: f64| json!({ "priority": "low", "ip": ip, "timestamp": time, "note": "a b" });
    let rows = [
        row("17.1.2.3", 30.5),
        row("17.9.9.9", 20.5),
        row("17.1.2.3", 10.5),
        row("nowhere", 40.5),
    ];
    upstream.serve_rows("probing", &rows).await;
    let denial = json!({ "priority": "low", "reported_by": 775, "timestamp": 20.25 });
    let urgent = json!({ "priority": "urgent", "reported_by": 775, "timestamp": 21 });
    upstream.serve_rows("denial", &[denial, urgent]).await;
    upstream
}

#[tokio::test]
async fn every_verdict_is_what_is_served() {
    let system = System::start_with(upstream().await, &[], &[]).await;
    let client = &system.host.client;
    let ask = async |condition: &str| {
        let arguments = ["--format", "json", "--where", condition];
        explain(&system.redis, &system.upstream, &arguments)
            .await
            .row()
    };

    let report = client.get("/incidents").await.json();
    for (condition, position, field) in [
        ("timestamp=10.5", 1, "ip"),
        ("timestamp=20.25", 2, "reported_by"),
        ("timestamp=30.5", 3, "ip"),
    ] {
        let row = ask(condition).await;
        assert_eq!(row["verdict"], "reported", "{row}");
        assert_eq!(
            (&row["position"], &row["of"]),
            (&json!(position), &json!(3))
        );
        assert_eq!(row["because"]["field"], field);
        let employee = row["employee"].to_string();
        let group = &report[&employee][row["priority"].as_str().expect("a word")];
        let served = &group["incidents"][position - 1];
        let sent: Value = serde_json::from_str(row["row"].as_str().expect("a text")).expect("JSON");
        assert_eq!(served["timestamp"], sent["timestamp"], "{row}");
        assert_eq!(served["type"], row["type"]);
        assert_eq!(group["count"], row["of"]);
    }

    let row = ask("ip=17.9.9.9").await;
    assert_eq!(
        (&row["verdict"], &row["upstream_position"]),
        (&json!("unattributed"), &json!(2))
    );
    let unattributed = client.get("/incidents/unattributed").await.json();
    let sent: Value = serde_json::from_str(row["row"].as_str().expect("a text")).expect("JSON");
    assert_eq!(unattributed["probing"], json!([sent]));

    let record = end_to_end::stored_snapshot(&system.redis).await;
    let mut read = Pipeline::new();
    let rejected = domain::contract::document::Document::Rejected;
    let plain = domain::contract::document::Encoding::Identity;
    read.get(keys().block(record.generation, rejected, plain, 0));
    let mut connection = system.redis.connection().await;
    let (kept,): (Vec<u8>,) = read.query_async(&mut connection).await.expect("a body");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    for (condition, kind) in [("ip=nowhere", "probing"), ("priority=urgent", "denial")] {
        let row = ask(condition).await;
        assert_eq!(row["verdict"], "rejected", "{row}");
        let expected = json!([{ "reason": row["reason"], "row": row["row"] }]);
        assert_eq!(kept[kind], expected);
    }
}

#[tokio::test]
async fn a_row_is_attributed_once_the_identity_map_has_caught_up() {
    let system = System::start_with(upstream().await, &[], &[]).await;
    let ask = async || {
        let arguments = [
            "--format",
            "json",
            "--type",
            "probing",
            "--where",
            "ip=17.9.9.9",
        ];
        explain(&system.redis, &system.upstream, &arguments)
            .await
            .row()
    };
    assert_eq!(ask().await["verdict"], "unattributed");
    let before = system.host.client.get("/incidents").await.json();
    assert_eq!(before["12"], Value::Null);

    let map = json!({ "17.1.2.3": 775, "17.9.9.9": 12 });
    system.upstream.serve("identities", map.to_string()).await;
    let caught_up = |status: &Value| status["snapshot"]["totals"]["unattributed"] == 0;
    system.status("the map has caught up", caught_up).await;
    let row = ask().await;
    assert_eq!(
        (&row["verdict"], &row["employee"]),
        (&json!("reported"), &json!(12))
    );
    assert_eq!(row["because"]["address"], "17.9.9.9");
    let report = system.host.client.get("/incidents").await.json();
    assert_eq!(report["12"]["low"]["incidents"][0]["ip"], "17.9.9.9");
    let unattributed = system
        .host
        .client
        .get("/incidents/unattributed")
        .await
        .json();
    assert_eq!(unattributed["probing"], json!([]));
}

#[tokio::test]
async fn a_person_reads_what_was_found_or_searched() {
    let system = System::start_with(upstream().await, &[], &[]).await;
    let ask = async |arguments: &[&str]| explain(&system.redis, &system.upstream, arguments).await;
    let found = ask(&["--where", "ip=17.1.2.3", "--limit", "1"]).await;
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    for part in [
        "probing 1 upstream: {",
        "Reported under employee 775, since the identity map (1 entries, ",
        "says that 17.1.2.3 is theirs: 3 of 3 in the group `low`",
        "1 more rows match",
    ] {
        assert!(found.stdout.contains(part), "{part}: {}", found.stdout);
    }
    let none = ask(&["--where", "ip=17.1.2.4"]).await;
    assert_eq!(none.code, Some(1));
    assert!(none.stdout.contains("probing: 4 rows, "), "{}", none.stdout);
    let unknown = ask(&["--type", "prober", "--where", "ip=17.1.2.4"]).await;
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("no type `prober`"),
        "{}",
        unknown.stderr
    );
    for wrong in [&["--where", "ip"][..], &[]] {
        assert_eq!(ask(wrong).await.code, Some(2));
    }

    // A type that fails keeps its rows, and that is told.
    system
        .upstream
        .fault("probing", json!({ "effect": "status-500" }))
        .await;
    let is_stale = |status: &Value| status.to_string().contains("\"stale\":true");
    system.status("probing is stale", is_stale).await;
    let stale = ask(&["--where", "ip=17.9.9.9"]).await;
    assert!(
        stale.stdout.contains("The type probing is stale: since "),
        "{}",
        stale.stdout
    );
}

#[tokio::test]
async fn without_a_snapshot_that_is_said() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let ended = explain(&redis, &upstream, &["--where", "a=b"]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no snapshot yet"), "{}", ended.stderr);
}
