//! Every script of the contract against a real Redis: keys, arguments and reply are those of its type.

use std::ops::Range;

use domain::contract::counters::{Counters, RefreshOutcome, refreshed};
use domain::contract::document::{Document, Encoding};
use domain::contract::history::HistoryStatus;
use domain::contract::keys::Keys;
use domain::contract::node::{Kind, Node};
use domain::contract::record::{BLOCK_BYTES, Body, EmployeeEntry};
use domain::contract::scripts::{
    Admission, Admit, AskRefresh, CONFLICT, Call, Count, CredentialCheck, DAMAGED, EmployeePart,
    FENCED, FindEmployee, Holding, MISSING, NextGeneration, NoteAlerts, Publish, ReadCounters,
    ReadStatus, ReleaseLease, SettleCheck, TakeAlerts, TakeLease, Unstage,
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

    async fn counters(&self) -> Counters {
        self.call(&ReadCounters::new(&self.keys)).await.counters
    }

    async fn time_to_live(&self, key: &str) -> i64 {
        let mut connection = self.connection.clone();
        connection.pttl(key).await.expect("a time to live")
    }
}

fn limits(text: &str) -> Vec<RateLimit> {
    RateLimit::parse_list(text).expect("limits")
}

/// Whether a request was admitted, and whether its credential is known to be right.
fn admitted(admission: Admission) -> Option<bool> {
    match admission {
        Admission::Admitted {
            now_ms,
            current,
            right,
        } => {
            assert!(now_ms > 1_700_000_000_000);
            assert_eq!(current, b"a record");
            Some(right)
        }
        _ => None,
    }
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
        mac: None,
    };
    scripts.set(&keys.current(), "a record").await;
    let right = request("right", CredentialCheck::Right);
    for _ in 0..3 {
        assert_eq!(admitted(scripts.call(&right).await), Some(true));
    }
    let Admission::RateLimited { limit: 1, wait_ms } = scripts.call(&right).await else {
        panic!("three per minute are allowed");
    };
    assert!((1..=60_000).contains(&wait_ms), "{wait_ms}");
    let none = request("none", CredentialCheck::None);
    assert_eq!(admitted(scripts.call(&none).await), Some(false));

    let wrong = request("wrong", CredentialCheck::Wrong);
    for _ in 0..2 {
        assert_eq!(admitted(scripts.call(&wrong).await), Some(false));
    }
    assert!((1..=3_600_000).contains(&scripts.time_to_live(&keys.failures(0, "wrong")).await));
    for credential in [
        CredentialCheck::Wrong,
        CredentialCheck::Right,
        CredentialCheck::None,
    ] {
        let Admission::LockedOut { wait_ms } = scripts.call(&request("wrong", credential)).await
        else {
            panic!("two are allowed");
        };
        assert!((1..=3_600_000).contains(&wait_ms), "{wait_ms}");
    }
    // But not who was right from there before.
    scripts.set(&keys.known(None, "wrong"), "1").await;
    let known = request("wrong", CredentialCheck::Right);
    assert_eq!(admitted(scripts.call(&known).await), Some(true));
    // One had no password, two a wrong one, three were locked out, and one was one too many.
    assert_eq!(scripts.counters().await.refused, [1, 1, 2, 3, 0]);
    let open = request("open", CredentialCheck::NotNeeded);
    assert_eq!(admitted(scripts.call(&open).await), Some(false));
    assert_eq!(scripts.counters().await.refused, [1, 1, 2, 3, 0]);
    assert_eq!(scripts.time_to_live(&keys.failures(0, "open")).await, -2);
    let day = scripts.time_to_live(&keys.known(None, "wrong")).await;
    assert!((86_000_000..=86_400_000).contains(&day), "{day}");
}

#[tokio::test]
async fn a_credential_is_checked_with_a_permit_and_counts_as_a_guess_meanwhile() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let (limits, failure_limits) = (limits("100 per hour"), limits("2 per hour; 9 per day"));
    let request = |client, mac| Admit {
        keys,
        scope: "incidents",
        client,
        limits: &limits,
        failure_limits: &failure_limits,
        credential: CredentialCheck::Unknown,
        mac: Some(mac),
    };
    let settle = |client, mac, right| SettleCheck {
        keys,
        client,
        failure_limits: failure_limits.len(),
        mac,
        right,
    };
    let counts = async |client: &str| {
        let names = [keys.failures(0, client), keys.failures(1, client)];
        let mut connection = scripts.connection.clone();
        let counts: [Option<u64>; 2] = connection.mget(&names).await.expect("numbers");
        counts.map(|count| count.unwrap_or(0))
    };
    scripts.set(&keys.current(), "a record").await;
    assert_eq!(
        admitted(scripts.call(&request("a", "one")).await),
        Some(false)
    );
    assert_eq!(counts("a").await, [1, 1]);
    let permit = scripts.time_to_live(&keys.check_permit(0)).await;
    assert!((1..=10_000).contains(&permit), "{permit}");
    // The same one is not checked twice at a time, from wherever it comes, and no more than one is.
    let busy = |same| Admission::Busy { same };
    assert_eq!(scripts.call(&request("b", "one")).await, busy(true));
    assert_eq!(scripts.call(&request("a", "two")).await, busy(false));
    assert_eq!(scripts.call(&request("b", "three")).await, busy(false));
    assert_eq!((counts("a").await, counts("b").await), ([1, 1], [0, 0]));
    let mut connection = scripts.connection.clone();
    let requests: i64 = connection
        .get(keys.limit("incidents", 0, "b"))
        .await
        .unwrap();
    assert_eq!(requests, 0, "what is not admitted is not counted");

    // A right one is no guess.
    scripts.call(&settle("a", "one", true)).await;
    assert_eq!(counts("a").await, [0, 0]);
    assert_eq!(scripts.time_to_live(&keys.check_permit(0)).await, -2);
    assert_eq!(
        admitted(scripts.call(&request("a", "one")).await),
        Some(true)
    );
    assert_eq!(
        admitted(scripts.call(&request("b", "one")).await),
        Some(true)
    );
    let remembered = scripts.time_to_live(&keys.verified(Some("one"))).await;
    assert!((290_000..=300_000).contains(&remembered), "{remembered}");
    // A wrong one stays one, and the permit is free.
    for (guess, wrong) in [("two", 1), ("three", 2)] {
        let admission = scripts.call(&request("a", guess)).await;
        assert_eq!(admitted(admission), Some(false));
        scripts.call(&settle("a", guess, false)).await;
        assert_eq!(counts("a").await, [wrong, wrong]);
        assert_eq!(scripts.time_to_live(&keys.check_permit(0)).await, -2);
        assert_eq!(scripts.time_to_live(&keys.verified(Some(guess))).await, -2);
    }
    // As many as the limit allows: what comes then is not even checked.
    let locked = scripts.call(&request("a", "five")).await;
    assert!(matches!(locked, Admission::LockedOut { .. }), "{locked:?}");
    // Two were busy, two wrong, and one is locked out.
    assert_eq!(scripts.counters().await.refused, [0, 0, 2, 1, 2]);
    // What is settled when its window has ended leaves no counter behind.
    assert_eq!(
        admitted(scripts.call(&request("c", "four")).await),
        Some(false)
    );
    let counters = [keys.failures(0, "c"), keys.failures(1, "c")];
    let () = connection.del(&counters).await.unwrap();
    scripts.call(&settle("c", "four", true)).await;
    assert_eq!(counts("c").await, [0, 0]);
    assert_eq!(scripts.time_to_live(&counters[0]).await, -2);
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
    let entry = |employee, part| {
        let entry = EmployeeEntry {
            employee,
            part,
            first_row: 0,
        };
        entry.to_bytes().unwrap()
    };
    let entries = [(3, 0..4), (u64::MAX - 1, part.clone())];
    let index: Vec<u8> = entries
        .into_iter()
        .flat_map(|(employee, part)| entry(employee, part))
        .collect();
    let search = |employee| FindEmployee {
        keys,
        generation: 1,
        report: Body {
            bytes: report.len() as u64,
        },
        employees: 2,
        employee,
    };
    assert_eq!(scripts.refusal(&search(3)).await, MISSING);
    scripts.set(&keys.employees(1), &index).await;
    assert_eq!(scripts.refusal(&search(3)).await, MISSING);
    for (number, block) in report.chunks(BLOCK_BYTES).enumerate() {
        let key = keys.block(1, Document::Report, Encoding::Identity, number as u32);
        scripts.set(&key, block).await;
    }
    let found = |range: Range<u64>| {
        let bytes = report[range.start as usize..range.end as usize].to_vec();
        Some(EmployeePart {
            range,
            bytes: Some(bytes),
        })
    };
    assert_eq!(scripts.call(&search(3)).await, found(0..4));
    assert_eq!(scripts.call(&search(u64::MAX - 1)).await, found(part));
    for stranger in [0, 4, u64::MAX] {
        assert_eq!(scripts.call(&search(stranger)).await, None);
    }
    scripts.set(&keys.employees(1), &index[..20]).await;
    assert_eq!(scripts.refusal(&search(3)).await, DAMAGED);

    // Of a long one, only the place is told.
    let long = 1..BLOCK_BYTES as u64 - 1;
    let index = [entry(3, long.clone()), entry(4, 0..1)].concat();
    scripts.set(&keys.employees(1), &index).await;
    let place = EmployeePart {
        range: long,
        bytes: None,
    };
    assert_eq!(scripts.call(&search(3)).await, Some(place));
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
async fn what_is_counted_is_read_with_whether_anybody_leads() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let counted = refreshed(RefreshOutcome::Failed, 300_001);
    let count = Count {
        keys,
        counted: &counted,
    };
    for _ in 0..2 {
        scripts.call(&count).await;
    }
    let read = ReadCounters::new(keys);
    let counts = scripts.call(&read).await;
    assert!(!counts.has_leader);
    assert_eq!(counts.counters.refreshes, [0, 0, 2]);
    assert_eq!(counts.counters.durations[11], 2);
    assert_eq!(counts.counters.duration_sum_ms, 600_002);
    // A lease that runs for longer than it can says nothing: the clock was set back.
    for (term_ms, has_leader) in [(4_000, true), (60_000, false)] {
        let take = TakeLease {
            keys,
            holder: "a",
            term_ms,
            known_token: 0,
        };
        scripts.call(&take).await;
        assert_eq!(scripts.call(&read).await.has_leader, has_leader);
    }
    assert!(scripts.call(&ReleaseLease { keys, holder: "a" }).await);
    assert!(!scripts.call(&read).await.has_leader);
}

#[tokio::test]
async fn alerts_wait_within_bounds_until_they_are_taken() {
    let scripts = Scripts::start().await;
    let keys = &scripts.keys;
    let take = TakeLease {
        keys,
        holder: "a",
        term_ms: 60_000,
        known_token: 0,
    };
    let token = scripts.call(&take).await.token;
    let alerts = ["1", "2", "3"].map(str::to_owned);
    let note = |token, seen, alerts| NoteAlerts {
        keys,
        holder: "a",
        token,
        receivers: &["one", "two"],
        seen,
        most: 4,
        alerts,
    };
    assert_eq!(scripts.refusal(&note(token + 1, b"x", &[])).await, FENCED);
    assert_eq!(scripts.call(&note(token, b"seen", &alerts)).await, 0);
    assert_eq!(scripts.counters().await.alerts_waiting, 6);
    let left = scripts.time_to_live(&keys.alerts_waiting("one")).await;
    assert!((1..=604_800_000).contains(&left), "{left}");
    let taken = |token| TakeAlerts {
        keys,
        holder: "a",
        token,
        receiver: "two",
        others: &["one"],
        done: 2,
        taken: 1,
    };
    assert_eq!(scripts.refusal(&taken(token + 1)).await, FENCED);
    scripts.call(&taken(token)).await;
    let counters = scripts.counters().await;
    assert_eq!(
        (counters.alerts_handed_over, counters.alerts_waiting),
        (1, 4)
    );
    // One more fits on the one list, and three on the other.
    assert_eq!(scripts.call(&note(token, b"", &alerts)).await, 2);
    let mut connection = scripts.connection.clone();
    let one: Vec<String> = connection
        .lrange(keys.alerts_waiting("one"), 0, -1)
        .await
        .unwrap();
    let two: Vec<String> = connection
        .lrange(keys.alerts_waiting("two"), 0, -1)
        .await
        .unwrap();
    assert_eq!(one, ["1", "2", "3", "1"]);
    assert_eq!(two, ["3", "1", "2", "3"]);
    let seen: String = connection.get(keys.alerts_seen()).await.unwrap();
    assert_eq!(seen, "seen");
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
    let counted = refreshed(RefreshOutcome::Replaced, 700);
    let publish = |holder, token, expected| Publish {
        keys,
        holder,
        token,
        expected,
        record: "new",
        snapshot: &snapshot,
        superseded: &superseded,
        superseded_for_ms: 60_000,
        counted: &counted,
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
    assert_eq!(scripts.counters().await, Counters::default());
    scripts.call(&whole).await;
    let mut counters = Counters::default();
    (counters.refreshes[0], counters.durations[2]) = (1, 1);
    counters.duration_sum_ms = 700;
    assert_eq!(scripts.counters().await, counters);
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
