//! Every script of the contract against a real Redis: keys, arguments and reply are those of its type.

use domain::contract::history::HistoryStatus;
use domain::contract::keys::Keys;
use domain::contract::node::{Kind, Node};
use domain::contract::record::{BLOCK_BYTES, Body, Document, EmployeeEntry, Encoding};
use domain::contract::scripts::{
    Admission, Admit, AskRefresh, CONFLICT, Call, CredentialCheck, FENCED, FindEmployee, Holding,
    MISSING, NextGeneration, NoteFailure, Publish, ReadStatus, ReleaseLease, TakeLease, Unstage,
};
use domain::settings::rate_limit::RateLimit;
use end_to_end::Redis;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, RedisResult};

struct Scripts {
    _redis: Redis,
    connection: MultiplexedConnection,
    keys: Keys,
}

impl Scripts {
    async fn start() -> Self {
        let redis = Redis::start().await;
        Self {
            connection: redis.connection().await,
            _redis: redis,
            keys: Keys::new("t"),
        }
    }

    async fn call<C: Call>(&self, call: &C) -> C::Reply {
        self.try_call(call).await.expect("a reply")
    }

    async fn try_call<C: Call>(&self, call: &C) -> RedisResult<C::Reply> {
        refresher::store::call(&mut self.connection.clone(), call).await
    }

    /// The code of the error with which Redis refuses `call`.
    async fn refusal<C: Call<Reply: std::fmt::Debug>>(&self, call: &C) -> String {
        let error = self.try_call(call).await.expect_err("it is refused");
        error.code().unwrap_or_default().to_owned()
    }

    async fn set(&self, key: &str, value: impl AsRef<[u8]>) {
        let mut connection = self.connection.clone();
        let value = value.as_ref();
        let () = connection.set(key, value).await.expect("it is set");
    }

    async fn time_to_live(&self, key: &str) -> i64 {
        let mut connection = self.connection.clone();
        connection.pttl(key).await.expect("a time to live")
    }
}

fn limits(text: &str) -> Vec<RateLimit> {
    RateLimit::parse_list(text).expect("limits")
}

#[tokio::test]
async fn requests_are_admitted_limited_and_locked_out() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let (limits, failure_limits) = (limits("9 per hour; 3 per minute"), limits("2 per hour"));
    let request = |client, credential| Admit {
        keys,
        scope: "incidents",
        client,
        limits: &limits,
        failure_limits: &failure_limits,
        credential,
        mac: "known",
    };
    scripts.set(&keys.current(), "a record").await;
    let admitted = |admission, remembered| match admission {
        Admission::Admitted {
            now_ms,
            current,
            verified,
        } => now_ms > 1_700_000_000_000 && current == b"a record" && verified == remembered,
        _ => false,
    };
    let right = request("right", CredentialCheck::Right);
    for _ in 0..3 {
        assert!(admitted(scripts.call(&right).await, false));
    }
    let Admission::RateLimited { limit: 1, wait_ms } = scripts.call(&right).await else {
        panic!("three per minute are allowed");
    };
    assert!((1..=60_000).contains(&wait_ms), "{wait_ms}");

    scripts.set(&keys.verified("known"), "1").await;
    let unknown = request("unknown", CredentialCheck::Unknown);
    assert!(admitted(scripts.call(&unknown).await, true));
    let none = request("none", CredentialCheck::None);
    assert!(admitted(scripts.call(&none).await, true));

    // One wrong password that is known at once, and one that was found out later.
    let wrong = request("wrong", CredentialCheck::Wrong);
    assert!(admitted(scripts.call(&wrong).await, true));
    let noted = NoteFailure {
        keys,
        client: "wrong",
        failure_limits: &failure_limits,
    };
    scripts.call(&noted).await;
    assert!((1..=3_600_000).contains(&scripts.time_to_live(&keys.failures(0, "wrong")).await));
    let Admission::LockedOut { wait_ms } = scripts.call(&wrong).await else {
        panic!("two are allowed");
    };
    assert!((1..=3_600_000).contains(&wait_ms), "{wait_ms}");
}

#[tokio::test]
async fn one_refresh_is_asked_for_at_a_time() {
    let scripts = Scripts::start().await;
    let wish = AskRefresh {
        keys: &scripts.keys,
        stands_ms: 60_000,
    };
    assert!(scripts.call(&wish).await);
    assert!(!scripts.call(&wish).await);
    let mut connection = scripts.connection.clone();
    let entries: u64 = connection.xlen(scripts.keys.commands()).await.unwrap();
    assert_eq!(entries, 1);
    let left = scripts.time_to_live(&scripts.keys.refresh_asked()).await;
    assert!((1..=60_000).contains(&left), "{left}");
}

#[tokio::test]
async fn an_employee_is_found_across_blocks() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let report: Vec<u8> = (0..BLOCK_BYTES + 10).map(|n| (n % 251) as u8).collect();
    let part = BLOCK_BYTES as u64 - 5..BLOCK_BYTES as u64 + 7;
    let entries = [(3, 0..4), (u64::MAX - 1, part.clone())];
    let index: Vec<u8> = entries
        .into_iter()
        .flat_map(|(employee, part)| EmployeeEntry { employee, part }.to_bytes().unwrap())
        .collect();
    let search = |employee| FindEmployee {
        keys,
        generation: 1,
        report: Body {
            bytes: report.len() as u64,
        },
        employee,
    };
    assert_eq!(scripts.refusal(&search(3)).await, MISSING);
    scripts.set(&keys.employees(1), &index).await;
    assert_eq!(scripts.refusal(&search(3)).await, MISSING);
    for (number, block) in report.chunks(BLOCK_BYTES).enumerate() {
        let key = keys.block(1, Document::Report, Encoding::Identity, number as u32);
        scripts.set(&key, block).await;
    }
    assert_eq!(
        scripts.call(&search(3)).await.as_deref(),
        Some(&report[..4])
    );
    let part = part.start as usize..part.end as usize;
    assert_eq!(
        scripts.call(&search(u64::MAX - 1)).await.as_deref(),
        Some(&report[part])
    );
    for stranger in [0, 4, u64::MAX] {
        assert_eq!(scripts.call(&search(stranger)).await, None);
    }
}

#[tokio::test]
async fn one_holds_the_lease_and_its_token_grows() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let take = |holder, known_token| TakeLease {
        keys,
        holder,
        term_ms: 60_000,
        known_token,
    };
    let ours = |token| Holding {
        token,
        is_ours: true,
    };
    let others = |token| Holding {
        token,
        is_ours: false,
    };
    assert_eq!(scripts.call(&take("a", 0)).await, ours(1));
    assert_eq!(scripts.call(&take("a", 1)).await, ours(1));
    assert_eq!(scripts.call(&take("b", 0)).await, others(1));
    let release = |holder| ReleaseLease { keys, holder };
    assert!(!scripts.call(&release("b")).await);
    assert!(scripts.call(&release("a")).await);
    assert_eq!(scripts.call(&take("b", 7)).await, ours(8));
}

#[tokio::test]
async fn generations_only_grow() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    for (known, next) in [(0, 1), (0, 2), (9, 10), (3, 11)] {
        let draw = NextGeneration { keys, known };
        assert_eq!(scripts.call(&draw).await, next);
    }
}

#[tokio::test]
async fn a_snapshot_is_published_by_its_leader_once_it_is_whole() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let take = TakeLease {
        keys,
        holder: "a",
        term_ms: 60_000,
        known_token: 0,
    };
    let token = scripts.call(&take).await.token;
    let (snapshot, superseded) = (["{t}:new".to_owned()], ["{t}:old".to_owned()]);
    let publish = |holder, token, expected| Publish {
        keys,
        holder,
        token,
        expected,
        record: "new",
        snapshot: &snapshot,
        superseded: &superseded,
        superseded_for_ms: 60_000,
    };
    scripts.set(&keys.current(), "old").await;
    scripts.set("{t}:old", "x").await;
    let whole = publish("a", token, b"old");
    assert_eq!(scripts.refusal(&whole).await, MISSING);
    let mut connection = scripts.connection.clone();
    let () = connection.pset_ex("{t}:new", "x", 60_000).await.unwrap();
    for (holder, token) in [("b", token), ("a", token + 1)] {
        assert_eq!(
            scripts.refusal(&publish(holder, token, b"old")).await,
            FENCED
        );
    }
    assert_eq!(
        scripts.refusal(&publish("a", token, b"other")).await,
        CONFLICT
    );
    scripts.call(&whole).await;
    let current: String = connection.get(keys.current()).await.unwrap();
    assert_eq!(current, "new");
    assert_eq!(scripts.time_to_live("{t}:new").await, -1);
    assert!((1..=60_000).contains(&scripts.time_to_live("{t}:old").await));

    // What belongs to a snapshot stays, what is only staged goes.
    let () = connection.pset_ex("{t}:staged", "x", 60_000).await.unwrap();
    let parts = ["{t}:new", "{t}:staged", "{t}:none"];
    scripts.call(&Unstage { parts: &parts }).await;
    let left: Vec<Option<String>> = connection.mget(&parts[..2]).await.unwrap();
    assert_eq!(left, [Some("x".to_owned()), None]);
}

#[tokio::test]
async fn what_processes_report_is_read() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    assert_eq!(scripts.call(&ReadStatus { keys }).await, Default::default());
    let node = Node {
        id: "a:1".to_owned(),
        kind: Kind::Refresher,
        release: String::new(),
        since_ms: 1,
        beat_ms: 2,
        progress_ms: 3,
        stall_ms: 4,
        last: "published".to_owned(),
        leads: true,
        probed: None,
    };
    let history = HistoryStatus {
        store: "folder".to_owned(),
        ..HistoryStatus::default()
    };
    scripts.set(&keys.history(), history.to_json()).await;
    let mut connection = scripts.connection.clone();
    let nodes = [(node.id.clone(), node.to_json())];
    let () = connection
        .hset_multiple(keys.nodes(), &nodes)
        .await
        .unwrap();
    let changes = [("healthy", 5), ("offline", 7)];
    let () = connection
        .hset_multiple(keys.node_changes(), &changes)
        .await
        .unwrap();
    let letter = [("entry", "x")];
    let _: String = connection
        .xadd(keys.dead_letters(), "*", &letter)
        .await
        .unwrap();
    let reports = scripts.call(&ReadStatus { keys }).await;
    assert_eq!(reports.dead_letters, 1);
    assert_eq!(reports.history, Some(history));
    assert_eq!(reports.node_changes, [5, 0, 7]);
    assert_eq!(reports.nodes, [node]);
}
