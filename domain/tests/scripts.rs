//! Every script of the contract, without Redis: the keys and arguments that its type gives, and what it
//! makes of replies. That they fit the Lua is shown on a real Redis, in `tests/tests/system/scripts.rs`.

use domain::contract::counters::{RefreshOutcome, refreshed};
use domain::contract::document::Encoding;
use domain::contract::keys::Keys;
use domain::contract::record::{BLOCK_BYTES, Body, Current, VERSION};
use domain::contract::scripts::{
    Admission, Admit, Argument, AskRefresh, Bound, Call, Count, CredentialCheck, EmployeePart,
    FindEmployee, FindEmployeeRows, FindRows, Holding, LaneSearch, NextGeneration, NoteAlerts,
    Order, Publish, ReadCounters, ReadRows, ReadStatus, ReleaseLease, SettleCheck, TakeAlerts,
    TakeLease, Unstage, Value,
};
use domain::contract::timeline::{ORDINAL_BYTES, ORDINALS_PER_BLOCK, RowEntry, RowKey, TimeKey};
use domain::settings::rate_limit::RateLimit;

fn keys() -> Keys {
    Keys::new("t")
}

fn key_names(call: &impl Call) -> Vec<String> {
    call.keys().iter().map(ToString::to_string).collect()
}

/// The arguments as Redis gets them, as text.
fn arguments(call: &impl Call) -> Vec<String> {
    let shown = |argument: &Argument<'_>| match argument {
        Argument::Integer(number) => number.to_string(),
        Argument::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    call.arguments().iter().map(shown).collect()
}

fn integers(numbers: &[i64]) -> Vec<Value> {
    numbers.iter().copied().map(Value::Integer).collect()
}

fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}

/// Whatever is no reply of a script is refused, and its name is told.
fn refuses_what_is_no_reply(call: &impl Call, name: &str) {
    for nonsense in [vec![], vec![Value::Nil], vec![Value::Nil, Value::Nil]] {
        let Err(error) = call.reply(nonsense) else {
            panic!("{name} takes anything");
        };
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    }
    assert!(call.script().source().contains("KEYS"));
    assert_eq!(call.script().sha1().len(), 40);
}

#[test]
fn a_request_names_its_counters_and_their_limits() {
    let keys = keys();
    let limits = RateLimit::parse_list("5 per second, 1000 per day").unwrap();
    let failure_limits = RateLimit::parse_list("10 per 10 minutes").unwrap();
    let request = |credential, mac| Admit {
        keys: &keys,
        scope: "incidents",
        client: "192.0.2.7",
        limits: &limits,
        failure_limits: &failure_limits,
        credential,
        mac,
    };
    let hashed = request(CredentialCheck::Unknown, Some("00ff"));
    assert_eq!(
        key_names(&hashed),
        [
            "{t}:current",
            "{t}:verified:00ff",
            "{t}:known:00ff:192.0.2.7",
            "{t}:counters",
            "{t}:check-permit:0",
            "{t}:limit:incidents:0:192.0.2.7",
            "{t}:limit:incidents:1:192.0.2.7",
            "{t}:failures:0:192.0.2.7",
        ]
    );
    let shown = arguments(&hashed);
    assert_eq!(shown[..2], ["unknown", "00ff"]);
    assert_eq!(shown[2..7], ["300000", "86400000", "10000", "1048576", "1"]);
    assert_eq!(
        shown[7..],
        ["2", "5", "1000", "1000", "86400000", "10", "600000"]
    );
    for (credential, word) in [
        (CredentialCheck::Right, "right"),
        (CredentialCheck::Wrong, "wrong"),
        (CredentialCheck::None, "none"),
        (CredentialCheck::NotNeeded, "unneeded"),
    ] {
        let shown = arguments(&request(credential, None));
        assert_eq!(shown[..2], [word, ""]);
    }
    assert!(key_names(&request(CredentialCheck::None, None))[1].starts_with("{t}:verified:"));
}

#[test]
fn a_request_is_admitted_or_told_why_not() {
    let keys = keys();
    let request = Admit {
        keys: &keys,
        scope: "s",
        client: "c",
        limits: &[],
        failure_limits: &[],
        credential: CredentialCheck::None,
        mac: None,
    };
    let reply = |outcome, current: &str, right| {
        let mut values = integers(&[outcome, 7, 1, 9]);
        values.extend([bytes(current), Value::Integer(right)]);
        request.reply(values)
    };
    let admitted = |right| Admission::Admitted {
        now_ms: 9,
        current: b"r".to_vec(),
        right,
    };
    assert_eq!(reply(1, "r", 1), Ok(admitted(true)));
    assert_eq!(reply(1, "r", 0), Ok(admitted(false)));
    assert_eq!(
        reply(0, "", 0),
        Ok(Admission::RateLimited {
            limit: 1,
            wait_ms: 7
        })
    );
    assert_eq!(reply(2, "", 0), Ok(Admission::LockedOut { wait_ms: 7 }));
    assert_eq!(reply(3, "", 0), Ok(Admission::Busy { same: true }));
    let mut others = integers(&[3, 0, 0, 9]);
    others.extend([bytes(""), Value::Integer(0)]);
    assert_eq!(request.reply(others), Ok(Admission::Busy { same: false }));
    assert!(reply(4, "", 0).is_err());
    assert!(request.reply(integers(&[1, -1, 0, 9])).is_err());
    refuses_what_is_no_reply(&request, "admit");
}

#[test]
fn what_came_of_a_check_is_told() {
    let keys = keys();
    let settled = |right| SettleCheck {
        keys: &keys,
        client: "192.0.2.7",
        failure_limits: 2,
        mac: "00ff",
        right,
    };
    assert_eq!(
        key_names(&settled(true)),
        [
            "{t}:verified:00ff",
            "{t}:known:00ff:192.0.2.7",
            "{t}:counters",
            "{t}:check-permit:0",
            "{t}:failures:0:192.0.2.7",
            "{t}:failures:1:192.0.2.7",
        ]
    );
    for (right, word) in [(true, "right"), (false, "wrong")] {
        assert_eq!(
            arguments(&settled(right)),
            [word, "00ff", "300000", "86400000", "1"]
        );
    }
    assert_eq!(settled(true).reply(integers(&[1])), Ok(()));
    refuses_what_is_no_reply(&settled(true), "settle_check");
}

#[test]
fn a_refresh_is_asked_for() {
    let keys = keys();
    let wish = AskRefresh {
        keys: &keys,
        stands_ms: 15_000,
    };
    assert_eq!(key_names(&wish), ["{t}:refresh-asked", "{t}:commands"]);
    assert_eq!(arguments(&wish), ["15000"]);
    assert_eq!(wish.reply(integers(&[1])), Ok(true));
    assert_eq!(wish.reply(integers(&[0])), Ok(false));
    refuses_what_is_no_reply(&wish, "ask_refresh");
}

#[test]
fn an_employee_is_looked_for_in_halves_of_its_id() {
    let keys = keys();
    let search = |blocks: u64| FindEmployee {
        keys: &keys,
        generation: 3,
        report: Body {
            bytes: blocks * BLOCK_BYTES as u64,
        },
        employees: 9,
        employee: (7 << 32) + 5,
    };
    assert_eq!(
        key_names(&search(2)),
        [
            "{t}:3:employees",
            "{t}:3:report:identity:0",
            "{t}:3:report:identity:1",
        ]
    );
    assert_eq!(Encoding::Identity.name(), "identity");
    assert_eq!(key_names(&search(300)).len(), 257);
    assert_eq!(arguments(&search(2)), ["7", "5", "1048576", "262144", "9"]);
    let reply = |numbers: &[i64], part: &str| {
        let mut values = integers(numbers);
        values.push(bytes(part));
        search(1).reply(values)
    };
    let part = |bytes: Option<&[u8]>| EmployeePart {
        range: 10..14,
        bytes: bytes.map(<[u8]>::to_vec),
    };
    assert_eq!(reply(&[1, 10, 4], "part"), Ok(Some(part(Some(b"part")))));
    assert_eq!(reply(&[1, 10, 4], ""), Ok(Some(part(None))));
    assert_eq!(reply(&[0, 0, 0], ""), Ok(None));
    assert!(reply(&[2, 10, 4], "part").is_err());
    assert!(reply(&[1, -1, 4], "part").is_err());
    refuses_what_is_no_reply(&search(1), "find_employee");
}

#[test]
fn the_lease_is_taken_and_given_up() {
    let keys = keys();
    let take = TakeLease {
        keys: &keys,
        holder: "a",
        term_ms: 4000,
        known_token: 6,
    };
    assert_eq!(key_names(&take), ["{t}:lease"]);
    assert_eq!(arguments(&take), ["take", "a", "4000", "6"]);
    for (ours, is_ours) in [(1, true), (0, false)] {
        let holding = Holding { token: 7, is_ours };
        assert_eq!(take.reply(integers(&[7, ours])), Ok(holding));
    }
    refuses_what_is_no_reply(&take, "lease");
    let release = ReleaseLease {
        keys: &keys,
        holder: "a",
    };
    assert_eq!(key_names(&release), ["{t}:lease"]);
    assert_eq!(arguments(&release), ["release", "a"]);
    assert_eq!(release.reply(integers(&[1])), Ok(true));
    assert_eq!(release.reply(integers(&[0])), Ok(false));
    refuses_what_is_no_reply(&release, "lease");
}

#[test]
fn a_generation_is_drawn() {
    let keys = keys();
    let draw = NextGeneration {
        keys: &keys,
        known: 6,
    };
    assert_eq!(key_names(&draw), ["{t}:generation"]);
    assert_eq!(arguments(&draw), ["6"]);
    assert_eq!(draw.reply(integers(&[7])), Ok(7));
    refuses_what_is_no_reply(&draw, "next_generation");
}

#[test]
fn a_snapshot_is_published_with_all_its_keys() {
    let keys = keys();
    let (snapshot, superseded) = (["new".to_owned()], ["old".to_owned()]);
    let publish = Publish {
        keys: &keys,
        holder: "a",
        token: 7,
        expected: b"before",
        record: "after",
        snapshot: &snapshot,
        superseded: &superseded,
        superseded_for_ms: 60_000,
        counted: &[("refreshes:replaced".to_owned(), 3)],
    };
    assert_eq!(
        key_names(&publish),
        [
            "{t}:lease",
            "{t}:current",
            "{t}:refresh-asked",
            "{t}:counters",
            "new",
            "old"
        ]
    );
    assert_eq!(
        arguments(&publish),
        [
            "a",
            "7",
            "before",
            "after",
            "1",
            "60000",
            "refreshes:replaced",
            "3"
        ]
    );
    assert_eq!(publish.reply([bytes("OK")]), Ok(()));
    refuses_what_is_no_reply(&publish, "publish");
}

#[test]
fn what_has_no_other_script_is_counted_and_all_is_read() {
    let keys = keys();
    let counted = refreshed(RefreshOutcome::Failed, 700);
    let count = Count {
        keys: &keys,
        counted: &counted,
    };
    assert_eq!(key_names(&count), ["{t}:counters"]);
    assert_eq!(
        arguments(&count),
        [
            "refreshes:failed",
            "1",
            "refresh-ms:1000",
            "1",
            "refresh-ms:sum",
            "700"
        ]
    );
    assert_eq!(count.reply([bytes("OK")]), Ok(()));
    refuses_what_is_no_reply(&count, "count");

    let read = ReadCounters::new(&keys);
    assert_eq!(key_names(&read), ["{t}:lease", "{t}:counters"]);
    let shown = arguments(&read);
    assert_eq!(shown[..3], ["4000", "20", "refreshes:replaced"]);
    refuses_what_is_no_reply(&read, "read_counters");
}

#[test]
fn alerts_wait_for_each_alertmanager_until_it_has_taken_them() {
    let keys = keys();
    let note = NoteAlerts {
        keys: &keys,
        holder: "a",
        token: 7,
        receivers: &["one", "two"],
        seen: b"seen",
        most: 9,
        alerts: &["{}".to_owned()],
    };
    assert_eq!(
        key_names(&note),
        [
            "{t}:lease",
            "{t}:alerts-seen",
            "{t}:counters",
            "{t}:alerts-waiting:one",
            "{t}:alerts-waiting:two"
        ]
    );
    assert_eq!(arguments(&note), ["a", "7", "seen", "9", "604800000", "{}"]);
    assert_eq!(note.reply(integers(&[2])), Ok(2));
    refuses_what_is_no_reply(&note, "note_alerts");
    let take = TakeAlerts {
        keys: &keys,
        holder: "a",
        token: 7,
        receiver: "two",
        others: &["one"],
        done: 3,
        taken: 2,
    };
    assert_eq!(
        key_names(&take),
        [
            "{t}:lease",
            "{t}:counters",
            "{t}:alerts-waiting:two",
            "{t}:alerts-waiting:one"
        ]
    );
    assert_eq!(arguments(&take), ["a", "7", "3", "2"]);
    assert_eq!(take.reply([bytes("OK")]), Ok(()));
    refuses_what_is_no_reply(&take, "take_alerts");
}

#[test]
fn parts_are_unstaged() {
    let unstage = Unstage { parts: &["a", "b"] };
    assert_eq!(key_names(&unstage), ["a", "b"]);
    assert!(arguments(&unstage).is_empty());
    assert_eq!(unstage.reply([bytes("OK")]), Ok(()));
    refuses_what_is_no_reply(&unstage, "unstage");
}

#[test]
fn reports_are_asked_for_within_bounds() {
    let keys = keys();
    let read = ReadStatus { keys: &keys };
    assert_eq!(
        key_names(&read),
        [
            "{t}:dead-letters",
            "{t}:history",
            "{t}:node-changes",
            "{t}:nodes"
        ]
    );
    assert_eq!(arguments(&read), ["5000", "8192"]);
    refuses_what_is_no_reply(&read, "status");
}

/// Lanes that reach over the border of two blocks, and have two bounds together.
fn lane_searches() -> [LaneSearch; 2] {
    let key = |time| RowKey {
        time: TimeKey::new(time).unwrap(),
        tie: 3,
    };
    let search = |rows, cursor| LaneSearch {
        rows,
        since: Some(key(1.0)),
        until: None,
        cursor,
    };
    [
        search(5..40_000, None),
        search(
            40_000..40_007,
            Some(Bound {
                key: key(2.0),
                skip: 7,
            }),
        ),
    ]
}

fn entry() -> RowEntry {
    RowEntry {
        key: RowKey::before(TimeKey::new(5.0).unwrap()),
        employee: 7,
        row: 3..9,
    }
}

/// Those of the arguments that are bytes.
fn packed(call: &impl Call) -> Vec<Vec<u8>> {
    let arguments = call.arguments().into_iter();
    let bytes = arguments.filter_map(|argument| match argument {
        Argument::Bytes(bytes) => Some(bytes.to_vec()),
        Argument::Integer(_) => None,
    });
    bytes.collect()
}

#[test]
fn rows_of_lanes_are_looked_for_in_their_blocks() {
    let keys = keys();
    let find = FindRows::new(&keys, 4, &lane_searches(), Order::Descending, 30);
    assert_eq!(
        key_names(&find),
        ["{t}:4:lanes:0", "{t}:4:lanes:1", "{t}:4:lanes:1"]
    );
    assert_eq!(find.arguments()[1], Argument::Integer(30));
    let packed = packed(&find);
    assert_eq!(packed[0], b"desc");
    let bounds = [
        (0xbff0_0000_0000_0000_u64, 0_u32),
        (0xc000_0000_0000_0000, 7),
    ];
    let bounds = bounds.map(|(time, skip)| {
        [
            &time.to_be_bytes()[..],
            &[0, 0, 0, 0, 0, 3],
            &skip.to_be_bytes(),
        ]
        .concat()
    });
    assert_eq!(packed[1], bounds.concat());
    let lane = |key: u32, first: u32, count: u32, bounds: [u8; 3]| {
        let numbers = [key, first, count].map(u32::to_be_bytes);
        [numbers.as_flattened(), &bounds].concat()
    };
    let lanes = [lane(1, 5, 39_995, [1, 0, 0]), lane(3, 40_000, 7, [1, 0, 2])];
    assert_eq!(packed[2], lanes.concat());

    let entry = entry();
    let entries = Value::Bytes(entry.to_bytes().unwrap().to_vec());
    let reply = [
        integers(&[2, 9, 5]),
        vec![entries],
        integers(&[0, 0]),
        vec![bytes("")],
    ];
    let found = find.reply(reply.concat()).unwrap();
    assert_eq!(
        (found[0].total, found[0].rest, &found[0].entries[..]),
        (9, 5, &[entry][..])
    );
    assert_eq!(
        (found[1].total, found[1].rest, found[1].entries.len()),
        (0, 0, 0)
    );
    let half = [integers(&[1, 9, 5]), vec![bytes("half an entry")]];
    assert!(find.reply(half.concat()).is_err());
    refuses_what_is_no_reply(&find, "find_rows");
}

#[test]
fn rows_of_employees_are_looked_for_in_the_list_of_theirs() {
    let record = format!(
        r#"{{"version":{VERSION},"generation":4,"etag":"e","published_at_ms":1,"checked_at_ms":1,
        "employees":3,"report":{{}},"unattributed":{{}},"rejected":{{}},
        "types":[{{"name":"other","fetched":40007,"reported":40007,"unattributed":0,"rejected":0,
        "priorities":[40000,7,0,0],"stale":false}}],
        "identities":{{"entries":1,"rejected":0,"stale":false}}}}"#
    );
    let record = Current::parse(record.as_bytes()).unwrap();
    let (keys, lanes, employees) = (keys(), lane_searches(), [7, 9]);
    let mut larger = record.clone();
    larger.types[0].counts.reported = ORDINALS_PER_BLOCK + 1;
    let find = FindEmployeeRows::new(&keys, &larger, &lanes, &employees, 9, Order::Ascending, 4);
    let of_list = |name: &&String| name.starts_with("{t}:4:employee-rows:");
    assert_eq!(key_names(&find).iter().filter(of_list).count(), 2);
    let length = ORDINALS_PER_BLOCK * ORDINAL_BYTES as u64;
    assert_eq!(length, BLOCK_BYTES as u64);
    let find = FindEmployeeRows::new(&keys, &record, &lanes, &employees, 9, Order::Ascending, 4);
    let names = [
        "{t}:4:employees",
        "{t}:4:employee-rows:0",
        "{t}:4:lanes:0",
        "{t}:4:lanes:1",
    ];
    assert_eq!(key_names(&find), names);
    let numbers = [1, 5, 6, 7].map(|place| find.arguments()[place]);
    assert_eq!(numbers, [4, 3, 40_007, 1].map(Argument::Integer));
    let packed = packed(&find);
    assert_eq!(packed[0], b"asc");
    assert_eq!(packed[2].len(), 22);
    assert_eq!(packed[3], [7_u64, 9].map(u64::to_be_bytes).concat());
    assert_eq!(packed[4], 9_u64.to_be_bytes());

    let entries = Value::Bytes(entry().to_bytes().unwrap().to_vec());
    let reply = [integers(&[1, 0, 1, 6, 2]), vec![entries]];
    let found = find.reply(reply.concat()).unwrap();
    assert_eq!((found[0].employee, found[0].lane), (0, 1));
    assert_eq!((found[0].found.total, found[0].found.rest), (6, 2));
    assert_eq!(find.reply(integers(&[0])), Ok(Vec::new()));
    refuses_what_is_no_reply(&find, "find_employee_rows");
}

#[test]
fn rows_are_read_in_pieces_that_end_with_their_block() {
    let block = BLOCK_BYTES as u64;
    let rows = [block - 2..block + 3, 5..9, 9..9];
    let read = ReadRows::new(&keys(), 4, rows.iter());
    let names = ["{t}:4:report:identity:0", "{t}:4:report:identity:1"];
    assert_eq!(key_names(&read), names);
    let piece = |key: u16, first: u32, length: u32| {
        let (first, length) = (first.to_be_bytes(), length.to_be_bytes());
        [&key.to_be_bytes()[..], &first, &length].concat()
    };
    let pieces = [
        piece(1, BLOCK_BYTES as u32 - 2, 2),
        piece(2, 0, 3),
        piece(1, 5, 4),
    ];
    assert_eq!(packed(&read), [pieces.concat()]);
    assert_eq!(read.reply([bytes("{}{}")]), Ok(b"{}{}".to_vec()));
    refuses_what_is_no_reply(&read, "read_rows");
}
