//! The parts of the service as `/status` shows them and as the leader tells of them: who is well, who
//! hangs and who is gone.

use std::time::Duration;

use domain::contract::node::{Kind, Node};
use end_to_end::{
    FIRST_VERSION, Process, Redis, Signal, System, Upstream, host, keys, mark, refresher,
    stored_snapshot, until,
};
use reqwest::Method;
use serde_json::{Value, json};

const IN_TIME: Duration = Duration::from_secs(10);

/// The nodes of one kind.
fn of_kind<'a>(status: &'a Value, kind: &str) -> Vec<&'a Value> {
    let nodes = status["nodes"].as_array().expect("a list");
    nodes.iter().filter(|node| node["kind"] == kind).collect()
}

/// The node called `id`.
fn node<'a>(status: &'a Value, id: &str) -> Option<&'a Value> {
    let nodes = status["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["id"] == id)
}

fn is(status: &Value, id: &str, state: &str) -> bool {
    node(status, id).is_some_and(|node| node["state"] == state)
}

fn leads(status: &Value, id: &str) -> bool {
    node(status, id).is_some_and(|node| node["leads"] == true)
}

/// How often a node came into a state.
fn changes(status: &Value, state: &str) -> u64 {
    status["node_changes"][state].as_u64().expect("a count")
}

/// The id of the only refresher that is not called `but`.
fn id_beside(status: &Value, but: &str) -> Option<String> {
    let refreshers = of_kind(status, "refresher");
    let mut others = refreshers.iter().filter(|node| node["id"] != but);
    let id = others.next()?["id"].as_str()?.to_owned();
    others.next().is_none().then_some(id)
}

#[tokio::test]
async fn refreshers_are_seen_to_lead_to_fall_silent_to_come_back_and_to_leave() {
    let mut system = System::start().await;
    let status = system
        .status("the leader is listed", |status| {
            id_beside(status, "").is_some_and(|id| leads(status, &id))
        })
        .await;
    let first = id_beside(&status, "").expect("a refresher");
    let mut standby = Process::start(refresher(&["run"], &system.redis, &system.upstream, &[]));
    let status = system
        .status("the other stands by", |status| {
            id_beside(status, &first).is_some_and(|id| is(status, &id, "healthy"))
        })
        .await;
    let second = id_beside(&status, &first).expect("another refresher");
    assert!(leads(&status, &first) && !leads(&status, &second));
    let told = node(&status, &first).expect("the leader");
    assert_eq!(told["release"], env!("CARGO_PKG_VERSION"));
    assert_ne!(told["last"], "");
    assert!(told["beat_age_s"].as_u64().expect("seconds") < 10, "{told}");

    // Who is stopped can neither report itself nor lead.
    system.refresher.signal(Signal::STOP);
    let stopped = system
        .status("the other one leads and has noticed", |status| {
            is(status, &first, "offline")
                && leads(status, &second)
                && changes(status, "offline") > 0
        })
        .await;
    assert!(!leads(&stopped, &first));
    let silent = format!("a node is offline: nothing is heard of it any more node=\"{first}\"");
    assert_eq!(standby.logged(&silent), 1, "{}", standby.log());

    system.refresher.signal(Signal::CONT);
    let healthy = changes(&stopped, "healthy");
    let back = system
        .status("it is back", |status| {
            is(status, &first, "healthy") && changes(status, "healthy") > healthy
        })
        .await;
    let offline = changes(&back, "offline");
    system.refresher.kill().await;
    system
        .status("it is gone", |status| {
            is(status, &first, "offline") && changes(status, "offline") > offline
        })
        .await;

    standby.signal(Signal::TERM);
    assert!(standby.exit(IN_TIME).await.success());
    let status = system.host.client.get("/status").await.json();
    assert_eq!(node(&status, &second), None, "it has left in good order");
    assert!(is(&status, &first, "offline"));
}

/// It takes longer than two refreshes and the grace, but no longer than `API_TIMEOUT` allows.
#[tokio::test]
async fn a_leader_that_waits_for_upstream_is_not_taken_to_hang() {
    let patient = [("API_TIMEOUT", "60"), ("DEFAULT_CACHE_REFRESH", "1")];
    let system = System::start_with(Upstream::start().await, &patient, &[]).await;
    let slow = json!({"latency_ms": 13_000});
    system.upstream.fault("all", slow).await;
    mark(&system.upstream, FIRST_VERSION).await;
    let status = system
        .status("what came late is served", |status| {
            status["snapshot"]["generation"].as_u64() > Some(1)
        })
        .await;
    assert_eq!(changes(&status, "hanging"), 0, "{status}");
    assert!(id_beside(&status, "").is_some_and(|id| leads(&status, &id)));
    assert_eq!(system.refresher.logged("gives the lease up"), 0);
}

#[tokio::test]
async fn a_node_that_cannot_report_itself_is_asked() {
    let elsewhere = Redis::start().await;
    let mut probed = host(&elsewhere, &[]).await;
    let address = format!("{}/healthz", probed.url);
    let id = address.trim_start_matches("http://").to_owned();
    let to_probe = [("NODES_TO_PROBE", address.as_str())];
    let system = System::start_with(Upstream::start().await, &to_probe, &[]).await;
    let status = system
        .status("it is well", |status| is(status, &id, "healthy"))
        .await;
    let told = node(&status, &id).expect("it is listed");
    assert_eq!(
        (&told["kind"], &told["leads"]),
        (&json!("probed"), &json!(false))
    );
    probed.process.kill().await;
    system
        .status("it is gone", |status| {
            is(status, &id, "offline") && changes(status, "offline") > 0
        })
        .await;
    let silent = format!("a node is offline: nothing is heard of it any more node=\"{id}\"");
    assert_eq!(
        system.refresher.logged(&silent),
        1,
        "{}",
        system.refresher.log()
    );
}

#[tokio::test]
async fn garbage_among_the_reports_hides_nothing_else() {
    let redis = Redis::start().await;
    let host = host(&redis, &[]).await;
    let mut connection = redis.connection().await;
    let (seconds, _): (u64, u64) = redis::cmd("TIME")
        .query_async(&mut connection)
        .await
        .expect("a time");
    let well = Node {
        id: "somewhere:1:abc".to_owned(),
        kind: Kind::Refresher,
        release: "9.9.9".to_owned(),
        since_ms: seconds * 1000,
        beat_ms: seconds * 1000,
        progress_ms: seconds * 1000,
        stall_ms: 600_000,
        last: "published".to_owned(),
        leads: true,
        probed: None,
    };
    let mut setup = redis::pipe();
    setup.hset(keys().nodes(), &well.id, well.to_json());
    setup.hset(keys().nodes(), "long", "x".repeat(100_000));
    setup.hset(keys().nodes(), "none", "{\"id\": 7}");
    setup.hset(keys().nodes(), "bytes", b"\xff\x00".as_slice());
    setup.hset(keys().node_changes(), "healthy", 3);
    setup.hset(keys().node_changes(), "offline", "nonsense");
    setup.set(keys().history(), "{\"store\": \"folder\", \"failures\": 2}");
    for _ in 0..2 {
        setup
            .cmd("XADD")
            .arg(keys().dead_letters())
            .arg(&["*", "command", "dance"]);
    }
    setup.exec_async(&mut connection).await.expect("it is set");
    let status = host.client.get("/status").await.json();
    let listed = of_kind(&status, "refresher");
    assert_eq!(listed.len(), 1, "{status}");
    assert_eq!(listed[0]["id"], well.id.as_str());
    assert_eq!(
        status["node_changes"],
        json!({"healthy": 3, "hanging": 0, "offline": 0})
    );
    assert_eq!(status["commands"], json!({"set_aside": 2}));
    assert_eq!(
        status["history"],
        json!({"store": "folder", "recorded_age_s": null, "failures": 2, "error": null})
    );

    // Keys of another kind than they should be.
    let mut spoil = redis::pipe();
    for key in [
        keys().history(),
        keys().node_changes(),
        keys().dead_letters(),
    ] {
        spoil.del(&key).lpush(&key, 1);
    }
    spoil.exec_async(&mut connection).await.expect("it is set");
    let status = host.client.get("/status").await.json();
    assert_eq!(of_kind(&status, "refresher").len(), 1, "{status}");
    assert_eq!(
        status["node_changes"],
        json!({"healthy": 0, "hanging": 0, "offline": 0})
    );
    assert_eq!(status["commands"], json!({"set_aside": 0}));
    assert_eq!(status["history"], Value::Null);
}

#[tokio::test]
async fn a_snapshot_from_the_history_says_so_until_upstream_has_confirmed_it() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut once = Process::start(refresher(&["once"], &redis, &upstream, &[]));
    assert!(once.exit(IN_TIME).await.success());
    let host = host(&redis, &[]).await;
    let client = &host.client;
    let report = client.get("/incidents").await;
    assert_eq!(report.header("incidents-recovered"), "");
    let snapshot = &client.get("/status").await.json()["snapshot"];
    assert_eq!(snapshot["recovered"], false);
    assert_eq!(snapshot.get("recovered_age_s"), None);

    // As whoever puts one back from the history writes it.
    let mut record = stored_snapshot(&redis).await;
    record.recovered_at_ms = Some(record.checked_at_ms);
    let mut connection = redis.connection().await;
    let mut set = redis::cmd("SET");
    set.arg(keys().current())
        .arg(serde_json::to_string(&record).expect("JSON"));
    set.exec_async(&mut connection).await.expect("it is set");
    let whole = report.json();
    let employee = whole.as_object().expect("an object").keys().next();
    let employee = format!("/incidents/{}", employee.expect("an employee"));
    for path in ["/incidents", "/incidents/unattributed", &employee] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("incidents-recovered")),
            (200, "?1")
        );
        let fields = [("if-none-match", answer.header("etag"))];
        let same = client.send(Method::GET, path, &fields).await;
        assert_eq!(
            (same.status.as_u16(), same.header("incidents-recovered")),
            (304, "?1")
        );
    }
    let snapshot = &client.get("/status").await.json()["snapshot"];
    assert_eq!(snapshot["recovered"], true);
    assert!(snapshot["recovered_age_s"].is_u64(), "{snapshot}");

    let _leader = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    until("it is confirmed", Duration::from_secs(30), async || {
        let answer = client.get("/incidents").await;
        answer
            .header("incidents-recovered")
            .is_empty()
            .then_some(())
    })
    .await;
}

/// The lease is kept, but nothing that a refresh finds gets into Redis: it must not stay so for ever.
#[tokio::test]
async fn a_leader_that_gets_nowhere_leaves_the_lease_to_another() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let allow = "ACL SETUSER clumsy on >clumsy ~* &* +@all -psetex";
    let _: String = redis.ask(allow).await;
    let clumsy = redis.url().replace("redis://", "redis://clumsy:clumsy@");
    let settings = [("REDIS_URL", clumsy.as_str()), ("API_TIMEOUT", "1")];
    let leader = Process::start(refresher(&["run"], &redis, &upstream, &settings));
    until("it leads, and cannot publish", 3 * IN_TIME, async || {
        (leader.logged("cannot publish") > 0).then_some(())
    })
    .await;
    let standby = Process::start(refresher(&["run"], &redis, &upstream, &[]));
    until("the other one stands by", 3 * IN_TIME, async || {
        (standby.logged("stands by") > 0).then_some(())
    })
    .await;
    let current: Option<Vec<u8>> = redis.ask(&format!("GET {}", keys().current())).await;
    assert_eq!(current, None);
    until("the other one publishes", 6 * IN_TIME, async || {
        (standby.logged("refreshed") > 0).then_some(())
    })
    .await;
    assert!(leader.logged("gives the lease up") > 0, "{}", leader.log());
    stored_snapshot(&redis).await;
}
