//! Questions to the timeline: what comes of any of them is compared with a plain list of the same rows.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use domain::contract::scripts::Order;
use domain::incident::Priority;
use end_to_end::{
    Answer, Client, Host, ID, MadeRow, MadeSnapshot, PASSWORD, Redis, host, keys, until,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};
use redis::AsyncCommands as _;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Not in the order of their names.
const TYPES: [&str; 3] = ["probing", "denial", "other"];

/// Few times, so that many rows have the same, as an upstream may write them.
const TIMES: [&str; 8] = [
    "-1e300",
    "-0.5",
    "0",
    "-0.0",
    "1636364637.4511056",
    "1.6363646374511056e9",
    "1636364637.4511057",
    "99999999999999999999999.125",
];

const EMPLOYEES: [u64; 4] = [0, 7, 1 << 53, u64::MAX];

/// What a row is ordered by, and its text as an item.
type ModelRow = (
    domain::contract::timeline::TimeKey,
    &'static str,
    Priority,
    u64,
    u64,
);

#[derive(Debug, Clone)]
struct Asked {
    priorities: Option<Vec<Priority>>,
    types: Option<Vec<usize>>,
    employees: Option<Vec<u64>>,
    since: Option<usize>,
    until: Option<usize>,
    order: Order,
}

impl Asked {
    fn query(&self) -> String {
        let mut parts = Vec::new();
        let mut list = |name: &str, values: Option<Vec<String>>| {
            parts.extend(values.map(|values| format!("{name}={}", values.join(","))));
        };
        let names = |list: &Option<Vec<Priority>>| {
            list.as_ref()
                .map(|list| list.iter().map(|p| p.name().to_owned()).collect())
        };
        list("priority", names(&self.priorities));
        let types = self.types.as_ref();
        list(
            "type",
            types.map(|types| types.iter().map(|kind| TYPES[*kind].to_owned()).collect()),
        );
        let employees = self.employees.as_ref();
        list(
            "employee",
            employees.map(|ids| ids.iter().map(u64::to_string).collect()),
        );
        for (name, time) in [("since", self.since), ("until", self.until)] {
            parts.extend(time.map(|time| format!("{name}={}", TIMES[time])));
        }
        if self.order == Order::Ascending {
            parts.push("order=asc".to_owned());
        }
        parts.join("&")
    }

    fn wants(&self, row: &MadeRow) -> bool {
        let time = |index: usize| TIMES[index].parse::<f64>().expect("a number");
        self.priorities
            .as_ref()
            .is_none_or(|list| list.contains(&row.priority))
            && self
                .types
                .as_ref()
                .is_none_or(|list| list.contains(&row.kind))
            && self
                .employees
                .as_ref()
                .is_none_or(|list| list.contains(&row.employee))
            && self.since.is_none_or(|since| time(since) <= row.time)
            && self.until.is_none_or(|until| row.time < time(until))
    }

    /// The places and items of all rows that are wanted, in order.
    fn expected(&self, snapshot: &MadeSnapshot) -> Vec<(ModelRow, String)> {
        let mut rows: Vec<_> = snapshot
            .rows
            .iter()
            .filter(|row| self.wants(row))
            .map(|row| {
                let key = row.key();
                let place = (
                    key.time,
                    TYPES[row.kind],
                    row.priority,
                    key.tie,
                    row.employee,
                );
                (place, item(row))
            })
            .collect();
        rows.sort_by_key(|(place, _)| *place);
        if self.order == Order::Descending {
            rows.reverse();
        }
        rows
    }
}

fn item(row: &MadeRow) -> String {
    format!(
        "{{\"employee\":{},\"incident\":{}}}",
        row.employee, row.text
    )
}

fn row(kind: usize, priority: Priority, employee: u64, time: &str, id: u64) -> MadeRow {
    MadeRow {
        kind,
        priority,
        employee,
        time: time.parse().expect("a number"),
        tie: id,
        text: format!(
            "{{\"type\":\"{}\",\"priority\":\"{priority}\",\"timestamp\":{time},\"id\":{id}}}",
            TYPES[kind]
        ),
    }
}

/// Rows of two snapshots: some are in both, some in one. Rows of the same place are the same, but for how
/// their time is written, and may be there more than once.
fn rows() -> impl Strategy<Value = [Vec<MadeRow>; 2]> {
    let of = (
        0..TYPES.len(),
        select(&Priority::ALL),
        0..EMPLOYEES.len() - 1,
    );
    let one = (of, select(&TIMES), 0..30_u64, 0..4_u8);
    vec(one, 0..120).prop_map(|rows| {
        let mut snapshots = [Vec::new(), Vec::new()];
        for ((kind, priority, employee), time, id, only_in) in rows {
            let id = id * 4 + employee as u64;
            let row = row(kind, priority, EMPLOYEES[employee], time, id);
            for (number, snapshot) in (1..).zip(&mut snapshots) {
                if only_in == 0 || only_in == number || only_in == 3 {
                    snapshot.push(row.clone());
                }
            }
        }
        snapshots
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let lists = (
        option::of(subsequence(Priority::ALL.to_vec(), 1..=4)),
        option::of(subsequence((0..TYPES.len()).collect::<Vec<_>>(), 1..=3)),
        option::of(subsequence(EMPLOYEES.to_vec(), 1..=4)),
    );
    let times = (option::of(0..TIMES.len()), option::of(0..TIMES.len()));
    let order = select(vec![Order::Ascending, Order::Descending]);
    (lists, times, order).prop_map(|(lists, times, order)| Asked {
        priorities: lists.0,
        types: lists.1,
        employees: lists.2,
        since: times.0,
        until: times.1,
        order,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    total: u64,
}

impl Page {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(
            answer.header("content-length"),
            answer.body.len().to_string()
        );
        let page: Self = serde_json::from_slice(&answer.body).expect("a page");
        let link = page
            .next
            .as_ref()
            .map(|next| format!("<{next}>; rel=\"next\""));
        assert_eq!(answer.header("link"), link.unwrap_or_default());
        page
    }

    fn items(&self) -> Vec<String> {
        self.items
            .iter()
            .map(|item| item.get().to_owned())
            .collect()
    }
}

struct Service {
    redis: Redis,
    host: Host,
}

impl Service {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let redis = Redis::start().await;
        let host = host(&redis, settings).await;
        Self { redis, host }
    }

    async fn of(rows: Vec<MadeRow>) -> (Self, MadeSnapshot) {
        let service = Self::start(&[]).await;
        let snapshot = MadeSnapshot::new(&TYPES, rows, "made");
        snapshot.publish(&service.redis, &keys()).await;
        (service, snapshot)
    }

    fn client(&self) -> &Client {
        &self.host.client
    }

    async fn page(&self, address: &str) -> Page {
        Page::of(&self.client().get(address).await)
    }

    /// All pages from an address on.
    async fn pages(&self, address: &str) -> Vec<String> {
        let mut next = Some(address.to_owned());
        let mut items = Vec::new();
        while let Some(address) = next {
            let page = self.page(&address).await;
            assert!(page.next.is_none() || !page.items.is_empty(), "{page:?}");
            items.extend(page.items());
            next = page.next;
        }
        items
    }

    async fn lines(&self, query: &str) -> Vec<String> {
        let answer = self
            .client()
            .get(&format!("/incidents/timeline?{query}&format=ndjson"))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }
}

fn texts(expected: &[(ModelRow, String)]) -> Vec<String> {
    expected.iter().map(|(_, item)| item.clone()).collect()
}

/// Pages are as in the list; also where one snapshot takes the place of the other between two pages, and back.
async fn pages_are_as_expected(
    service: &Service,
    snapshots: &[MadeSnapshot; 2],
    asked: &Asked,
    limit: usize,
) -> Result<(), TestCaseError> {
    let expected = snapshots
        .each_ref()
        .map(|snapshot| asked.expected(snapshot));
    let mut address = format!("/incidents/timeline?{}&limit={limit}", asked.query());
    let mut given: Vec<(ModelRow, String)> = Vec::new();
    for round in 0.. {
        let now = usize::from(round > 0 && round % 2 == 1);
        snapshots[now].publish(&service.redis, &keys()).await;
        // Behind what was given: later rows, and those of the same place that were not given yet.
        let rest: Vec<(ModelRow, String)> = match given.last() {
            None => expected[now].clone(),
            Some((last, _)) => {
                let is_later = |place: &ModelRow| match asked.order {
                    Order::Ascending => place > last,
                    Order::Descending => place < last,
                };
                let same = |rows: &[(ModelRow, String)]| {
                    rows.iter().filter(|(place, _)| place == last).count()
                };
                let unseen = same(&expected[now]).saturating_sub(same(&given));
                let later = expected[now]
                    .iter()
                    .filter(|(place, _)| is_later(place))
                    .count();
                expected[now][expected[now].len() - later - unseen..].to_vec()
            }
        };
        let page = service.page(&address).await;
        let most = rest.len().min(limit);
        prop_assert_eq!(page.items(), texts(&rest[..most]), "{}", address);
        prop_assert_eq!(page.total, expected[now].len() as u64);
        prop_assert_eq!(page.next.is_some(), most < rest.len());
        given.extend_from_slice(&rest[..most]);
        let Some(next) = page.next else { break };
        address = next;
    }
    Ok(())
}

#[tokio::test]
async fn pages_go_on_where_types_are_configured_in_another_order() {
    let rows = || {
        let times = [TIMES[1], TIMES[4]];
        let of_time = |time| {
            (0..TYPES.len()).flat_map(move |kind| {
                Priority::ALL.map(|priority| row(kind, priority, 7, time, kind as u64))
            })
        };
        times.into_iter().flat_map(of_time).collect::<Vec<_>>()
    };
    let (service, snapshot) = Service::of(rows()).await;
    let mut types = TYPES;
    types.reverse();
    let reordered = rows().into_iter().map(|row| MadeRow {
        kind: TYPES.len() - 1 - row.kind,
        ..row
    });
    let reordered = MadeSnapshot::new(&types, reordered.collect(), "reordered");
    let all = Asked {
        priorities: None,
        types: None,
        employees: None,
        since: None,
        until: None,
        order: Order::Descending,
    };
    let mut next = Some("/incidents/timeline?limit=5".to_owned());
    let mut items = Vec::new();
    for snapshot in [&snapshot, &reordered].into_iter().cycle() {
        let Some(address) = next else { break };
        snapshot.publish(&service.redis, &keys()).await;
        let page = service.page(&address).await;
        items.extend(page.items());
        next = page.next;
    }
    assert_eq!(items, texts(&all.expected(&snapshot)));
}

async fn streams_are_as_expected(
    service: &Service,
    snapshot: &MadeSnapshot,
    asked: &Asked,
) -> Result<(), TestCaseError> {
    snapshot.publish(&service.redis, &keys()).await;
    let expected = texts(&asked.expected(snapshot));
    let query = asked.query();
    prop_assert_eq!(service.lines(&query).await, expected.clone());
    let limited = service.lines(&format!("{query}&limit=3")).await;
    prop_assert_eq!(&limited[..], &expected[..expected.len().min(3)]);
    let csv = service
        .client()
        .get(&format!("/incidents/timeline?{query}&format=csv"))
        .await;
    let table = records(std::str::from_utf8(&csv.body).expect("text"));
    prop_assert_eq!(table.len(), expected.len() + 1);
    for (record, item) in table[1..].iter().zip(&expected) {
        let item: Value = serde_json::from_str(item).unwrap();
        let details: Value = serde_json::from_str(&record[6]).unwrap();
        prop_assert_eq!(&record[2], item["incident"]["priority"].as_str().unwrap());
        prop_assert_eq!(&record[3], item["incident"]["type"].as_str().unwrap());
        prop_assert_eq!(&record[4], &item["employee"].to_string());
        prop_assert_eq!(&details["id"], &item["incident"]["id"]);
    }
    Ok(())
}

/// The records of a table (RFC 4180).
fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = vec![vec![String::new()]];
    let (mut is_quoted, mut characters) = (false, text.chars().peekable());
    while let Some(character) = characters.next() {
        let record = records.last_mut().expect("there is one");
        let cell = record.last_mut().expect("there is one");
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => record.push(String::new()),
            '\r' if !is_quoted && characters.next_if_eq(&'\n').is_some() => {
                records.push(vec![String::new()]);
            }
            _ => cell.push(character),
        }
    }
    assert!(
        !is_quoted && records.pop() == Some(vec![String::new()]),
        "{text}"
    );
    records
}

#[test]
fn pages_and_streams_are_as_in_a_plain_list() {
    let runtime = Runtime::new().expect("a runtime");
    let service = Cell::new(Some(runtime.block_on(Service::start(&[]))));
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let generation = Cell::new(0);
    let cases = (rows(), vec((asked(), 1..9_usize), 6));
    let outcome = runner.run(&cases, |(rows, questions)| {
        let snapshots = rows.map(|rows| {
            generation.set(generation.get() + 1);
            let number = generation.get();
            MadeSnapshot::new(&TYPES, rows, &format!("made-{number}")).with_generation(number)
        });
        runtime.block_on(async {
            let own = service.take().expect("it is put back");
            let mut outcome = Ok(());
            for (asked, limit) in &questions {
                if outcome.is_ok() {
                    outcome = pages_are_as_expected(&own, &snapshots, asked, *limit).await;
                }
                if outcome.is_ok() {
                    outcome = streams_are_as_expected(&own, &snapshots[0], asked).await;
                }
            }
            service.set(Some(own));
            outcome
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Many rows, masses of which are the same.
fn many_rows(count: u64) -> Vec<MadeRow> {
    let one = |number: u64| {
        let priority = Priority::ALL[(number / 5 % 4) as usize];
        row(
            (number % 3) as usize,
            priority,
            number % 4,
            &(number / 5000).to_string(),
            number / 700,
        )
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn long_pages_and_long_streams_are_read_in_parts() {
    let (service, snapshot) = Service::of(many_rows(70_000)).await;
    for order in [Order::Ascending, Order::Descending] {
        let everything = Asked {
            priorities: None,
            types: None,
            employees: None,
            since: None,
            until: None,
            order,
        };
        let of_some = Asked {
            employees: Some(vec![1, 3]),
            ..everything.clone()
        };
        for asked in [everything, of_some] {
            let expected = texts(&asked.expected(&snapshot));
            let query = asked.query();
            assert!(service.lines(&query).await == expected, "{query}");
            let address = format!("/incidents/timeline?{query}&limit=9999");
            assert!(service.pages(&address).await == expected, "{query}");
        }
    }
}

#[tokio::test]
async fn there_may_be_many_lanes_and_many_employees() {
    let names: Vec<String> = (0..64).map(|number| format!("type-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rows = (0..12_000_u64).map(|number| MadeRow {
        kind: (number % 64) as usize,
        priority: Priority::ALL[(number / 64 % 4) as usize],
        employee: number % 101,
        time: (number / 10) as f64,
        tie: number,
        text: format!("{{\"id\":{number}}}"),
    });
    let service = Service::start(&[]).await;
    let snapshot = MadeSnapshot::new(&names, rows.collect(), "many");
    snapshot.publish(&service.redis, &keys()).await;
    let ids: Vec<String> = (0..100).map(|id: u64| id.to_string()).collect();
    for filter in [
        "order=asc".to_owned(),
        format!("employee={}&order=desc", ids.join(",")),
    ] {
        let mut expected: Vec<String> = snapshot
            .rows
            .iter()
            .filter(|row| filter == "order=asc" || row.employee < 100)
            .map(item)
            .collect();
        let address = format!("/incidents/timeline?{filter}&limit=10000");
        let mut found = service.pages(&address).await;
        assert!(found == service.lines(&filter).await, "{filter}");
        let time = |item: &String| {
            let item: Value = serde_json::from_str(item).expect("JSON");
            item["incident"]["id"].as_u64().expect("a number") / 10
        };
        let times: Vec<u64> = found.iter().map(time).collect();
        match filter == "order=asc" {
            true => assert!(times.is_sorted()),
            false => assert!(times.iter().rev().is_sorted()),
        }
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{filter}");
    }
}

#[tokio::test]
async fn a_row_may_be_longer_than_what_is_read_at_a_time() {
    let long = |id: u64, bytes: usize| {
        let mut row = row(0, Priority::Low, 7, "5", id);
        let text = "é\\\"".repeat(bytes / 4);
        row.text = row.text.replace('}', &format!(",\n \"text\":\"{text}\"}}"));
        row
    };
    let lengths = [300_000, 10, 3_000_000, 260_000, 20];
    let rows: Vec<MadeRow> = (0..)
        .zip(lengths)
        .map(|(id, bytes)| long(id, bytes))
        .collect();
    let (service, _) = Service::of(rows.clone()).await;
    let expected: Vec<String> = rows
        .iter()
        .map(|row| item(row).replace('\n', " "))
        .collect();
    let page = service.page("/incidents/timeline?order=asc").await;
    assert!(page.items() == expected);
    assert!(service.lines("order=asc").await == expected);
    let csv = service
        .client()
        .get("/incidents/timeline?order=asc&format=csv")
        .await;
    let table = records(std::str::from_utf8(&csv.body).expect("text"));
    for (record, row) in table[1..].iter().zip(&rows) {
        let row: Value = serde_json::from_str(&row.text).expect("JSON");
        let details: Value = serde_json::from_str(&record[6]).expect("JSON");
        assert!(details["text"] == row["text"]);
    }
    assert_eq!(table.len(), 6);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let (service, _) = Service::of(many_rows(300)).await;
    let page = service.page("/incidents/timeline?limit=5").await;
    let next = page.next.expect("there is more");
    let (_, cursor) = next.split_once("cursor=").expect("a cursor");
    let other = if cursor[9..].starts_with('A') {
        'B'
    } else {
        'A'
    };
    let forged = format!("{}{other}{}", &cursor[..9], &cursor[10..]);
    let mut table = vec![
        (
            "prioritty=low".to_owned(),
            "prioritty",
            "priority, type, employee",
        ),
        (
            "type=denail".to_owned(),
            "`type` is `denail`",
            "probing,denial,other",
        ),
        (
            "type=denial&type=other".to_owned(),
            "`type`",
            "more than once",
        ),
        (
            "priority=".to_owned(),
            "`priority` is ``",
            "low,medium,high,critical",
        ),
        ("employee=%FF".to_owned(), "`employee`", "UTF-8"),
        ("since=2021-08-26".to_owned(), "`since`", "RFC 3339"),
        ("limit=0".to_owned(), "`limit` is `0`", "10000"),
        ("format=%3Cscript%3E".to_owned(), "`format`", "ndjson"),
        (format!("employee={}", "9,".repeat(4200)), "bytes", "8192"),
        (format!("cursor={forged}"), "`cursor`", "`next`"),
        (
            format!("cursor={}", &cursor[..cursor.len() - 1]),
            "`cursor`",
            "`next`",
        ),
    ];
    for other in [
        "order=asc",
        "priority=low",
        "type=other",
        "employee=1",
        "since=0",
        "until=9",
    ] {
        table.push((
            format!("{other}&cursor={cursor}"),
            "`cursor`",
            "the same priority",
        ));
    }
    for (query, named, accepted) in table {
        for format in ["", "&format=csv"] {
            if query.contains("format") && !format.is_empty() {
                continue;
            }
            let answer = service
                .client()
                .get(&format!("/incidents/timeline?{query}{format}"))
                .await;
            let detail = answer.problem(400);
            assert!(
                detail.contains(named) && detail.contains(accepted),
                "{query:.80}: {detail}"
            );
        }
    }
    // An employee that there is not, and a range with nothing in it, are no mistakes.
    for query in [
        "employee=123456789",
        "since=5e9",
        "since=9&until=3",
        "until=-1e300",
    ] {
        let page = service.page(&format!("/incidents/timeline?{query}")).await;
        assert_eq!(
            (page.items.len(), page.next, page.total),
            (0, None, 0),
            "{query}"
        );
        assert_eq!(service.lines(query).await, [""; 0]);
    }
}

#[tokio::test]
async fn the_head_says_what_the_answer_is() {
    let (service, _) = Service::of(many_rows(300)).await;
    let client = service.client();
    let send =
        async |method, path: &str, fields: &[(&str, &str)]| client.send(method, path, fields).await;
    let path = "/incidents/timeline?limit=7";
    let page = client.get(path).await;
    assert_eq!(
        page.header("vary"),
        "Authorization, Accept, Accept-Encoding"
    );
    assert_eq!(page.header("cache-control"), "private, no-cache");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let head = send(Method::HEAD, path, &[]).await;
    let names = [
        "etag",
        "content-length",
        "content-type",
        "link",
        "last-modified",
        "vary",
    ];
    for name in names {
        assert_eq!(head.header(name), page.header(name), "{name}");
    }
    let etag = page.header("etag").to_owned();
    let unchanged = send(Method::GET, path, &[("if-none-match", &etag)]).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), etag);

    let mut tags = vec![etag];
    for (accept, content_type) in [
        ("application/x-ndjson", "application/x-ndjson"),
        (
            "text/csv, application/json;q=0.5",
            "text/csv; charset=utf-8; header=present",
        ),
    ] {
        let answer = send(Method::GET, path, &[("accept", accept)]).await;
        assert_eq!(answer.header("content-type"), content_type);
        assert_eq!(answer.header("vary"), page.header("vary"));
        assert_ne!(answer.header("link"), "");
        tags.push(answer.header("etag").to_owned());
        let csv = content_type.starts_with("text/csv");
        let disposition = if csv {
            "attachment; filename=\"incidents.csv\""
        } else {
            ""
        };
        assert_eq!(answer.header("content-disposition"), disposition);
        let chosen = if csv { "csv" } else { "ndjson" };
        let explicit = send(
            Method::GET,
            &format!("{path}&format={chosen}"),
            &[("accept", "text/html")],
        )
        .await;
        assert_eq!(explicit.body, answer.body);
        assert_eq!(explicit.header("vary"), "Authorization, Accept-Encoding");
    }
    tags.push(
        client
            .get("/incidents/timeline")
            .await
            .header("etag")
            .to_owned(),
    );
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 4);

    for (fields, status) in [
        (("accept", "text/html"), 406),
        (("accept-encoding", "identity;q=0"), 406),
    ] {
        let refused = send(Method::GET, path, &[fields]).await;
        let _ = refused.problem(status);
        assert!(refused.header("vary").contains("Accept"));
    }
    let refused = send(Method::POST, path, &[]).await;
    let _ = refused.problem(405);
    assert_eq!(refused.header("allow"), "GET, HEAD");
    let stranger = client.get_as_stranger(path).await;
    let _ = stranger.problem(401);
    let stream = send(Method::HEAD, "/incidents/timeline?format=csv", &[]).await;
    assert_eq!(stream.status, 200);
}

#[tokio::test]
async fn questions_are_limited_by_the_limits_of_the_dashboard() {
    let limits = [("dashboard_rate_limits", "2 per hour")];
    let service = Service::start(&limits).await;
    MadeSnapshot::new(&TYPES, many_rows(3), "e")
        .publish(&service.redis, &keys())
        .await;
    for path in [
        "/incidents/timeline",
        "/status",
        "/metrics",
        "/openapi.json",
    ] {
        for _ in 0..2 {
            assert_eq!(service.client().get(path).await.status, 200, "{path}");
        }
        let refused = service.client().get(path).await;
        assert!(refused.problem(429).contains("2 per hour"));
        assert_ne!(refused.header("retry-after"), "");
    }
    // What needs no password is limited all the same.
    let refused = service.client().get_as_stranger("/openapi.json").await;
    let _ = refused.problem(429);
}

#[tokio::test]
async fn what_is_gone_is_a_503_before_the_answer_has_begun() {
    let (service, _) = Service::of(many_rows(300)).await;
    let mut connection = service.redis.connection().await;
    let () = connection.del(keys().lanes(1, 0)).await.unwrap();
    for query in ["limit=3", "format=csv", "employee=1"] {
        let answer = service
            .client()
            .get(&format!("/incidents/timeline?{query}"))
            .await;
        assert!(answer.problem(503).contains("snapshot"));
        assert_ne!(answer.header("retry-after"), "");
    }
}

/// Rows that fill far more than what lies between a server and a client.
fn much() -> (Vec<MadeRow>, usize) {
    let text = "x".repeat(1500);
    let mut rows = many_rows(50_000);
    for row in &mut rows {
        row.text = row.text.replace('}', &format!(",\"text\":\"{text}\"}}"));
    }
    let bytes = rows.iter().map(|row| item(row).len() + 1).sum();
    (rows, bytes)
}

async fn begin_stream(service: &Service, format: &str) -> reqwest::Response {
    let url = format!("{}/incidents/timeline?format={format}", service.host.url);
    let client = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let request = client.get(url).basic_auth(ID, Some(PASSWORD));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer
}

/// How many scripts Redis has run.
async fn scripts_run(service: &Service) -> u64 {
    let mut connection = service.redis.connection().await;
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .expect("text");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    // None at first.
    line.map_or(0, |line| {
        let calls = line.split(',').next().unwrap_or_default();
        calls.parse().expect("a number")
    })
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_reading_and_a_snapshot_that_goes_breaks_it_off() {
    let (rows, bytes) = much();
    let (service, _) = Service::of(rows).await;
    for format in ["ndjson", "csv"] {
        // All of it, to know what that takes.
        let before = scripts_run(&service).await;
        let mut answer = begin_stream(&service, format).await;
        let mut read = 0;
        while let Some(piece) = answer.chunk().await.expect("a whole answer") {
            read += piece.len();
        }
        assert!(format == "csv" || read == bytes, "{read}");
        let takes = scripts_run(&service).await - before;

        let before = scripts_run(&service).await;
        let mut answer = begin_stream(&service, format).await;
        let mut read = answer
            .chunk()
            .await
            .expect("a piece")
            .map_or(0, |piece| piece.len());
        let last = Cell::new(0);
        let reads = until(
            "the reading has stopped",
            Duration::from_secs(20),
            async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let now = scripts_run(&service).await - before;
                (last.replace(now) == now).then_some(now)
            },
        )
        .await;
        assert!(reads * 2 < takes, "{reads} of {takes}");
        let mut connection = service.redis.connection().await;
        let names: Vec<String> = connection
            .keys("{incidents}:1:report:*")
            .await
            .expect("names");
        let kept: HashMap<String, Vec<u8>> = {
            let values: Vec<Vec<u8>> = connection.mget(&names).await.expect("values");
            names.iter().cloned().zip(values).collect()
        };
        let () = connection.del(&names).await.expect("they are gone");
        let outcome = loop {
            match timeout(Duration::from_secs(20), answer.chunk())
                .await
                .expect("it ends")
            {
                Ok(Some(piece)) => read += piece.len(),
                outcome => break outcome,
            }
        };
        assert!(outcome.is_err(), "silently short: {read} of {bytes}");
        for (name, value) in kept {
            let () = connection.set(name, value).await.expect("it is set");
        }
    }
}

/// Texts that a reader of CSV may stumble over.
fn odd_rows() -> Vec<MadeRow> {
    let texts = [
        "a,b",
        "\"quoted\"",
        "two\r\nlines",
        "=1+2",
        "@x",
        "é \u{1f600}",
        "\\",
        "'",
        "",
    ];
    let odd = |(id, text): (u64, &str)| {
        let mut row = row(2, Priority::High, 7, "1636364637.4511056", id);
        let text = Value::from(text);
        row.text = row
            .text
            .replace('}', &format!(",\"identifier\":{text},\"note\":{text}}}"));
        row
    };
    (0..).zip(texts).map(odd).collect()
}

#[tokio::test]
async fn a_table_is_read_by_python_as_it_was_meant() {
    let (service, snapshot) = Service::of(odd_rows()).await;
    let address = "/incidents/timeline?order=asc&format=csv";
    let answer = service.client().get(address).await;
    let ours = records(std::str::from_utf8(&answer.body).expect("text"));
    for (record, row) in ours[1..].iter().zip(&snapshot.rows) {
        let row: Value = serde_json::from_str(&row.text).expect("JSON");
        let details: Value = serde_json::from_str(&record[6]).expect("JSON");
        assert_eq!(details["note"], row["note"]);
        let identity = row["identifier"].as_str().expect("text");
        assert_eq!(
            record[5].strip_prefix('\'').unwrap_or(&record[5]),
            identity.strip_prefix('\'').unwrap_or(identity)
        );
        assert!(!record[5].starts_with(['=', '+', '-', '@']), "{record:?}");
        assert_eq!(
            record[..2],
            ["2021-11-08T09:43:57.451105Z", "1636364637.4511056"]
        );
    }
    let script = "import csv, io, json, sys\n\
        text = sys.stdin.buffer.read().decode()\n\
        print(json.dumps(list(csv.reader(io.StringIO(text, newline='')))))";
    let python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("SKIPPED: no python3 here: its csv module does NOT read the table");
        return;
    };
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(&answer.body).expect("it reads");
    drop(input);
    let output = python.wait_with_output().expect("it ends");
    let theirs: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(theirs, ours);
}
