//! `refresher export`: incidents out of the history, of a moment or of a range of refreshes.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use bytes::Bytes;
use end_to_end::{Redis, TempDir, Upstream, refresher};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A history and what fills it.
struct Fixture {
    redis: Redis,
    upstream: Upstream,
    history: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            redis: Redis::start().await,
            upstream: Upstream::start().await,
            history: TempDir::new().expect("a temporary folder"),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let folder = self.history.path().to_string_lossy();
        let settings = [("HISTORY_STORE", folder.as_ref()), ("RUST_LOG", "error")];
        let mut command = refresher(arguments, &self.redis, &self.upstream, &settings);
        command.output().await.expect("it can be run")
    }

    /// What a task prints that does well.
    async fn printed(&self, arguments: &[&str]) -> Bytes {
        let output = self.run(arguments).await;
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {log}");
        output.stdout.into()
    }

    /// What `export` prints with these further arguments.
    async fn exported(&self, arguments: &[&str]) -> String {
        let printed = self.printed(&[&["export"], arguments].concat()).await;
        String::from_utf8(printed.into()).expect("a text")
    }

    /// What a task says that fails, and its code.
    async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[&["export"], arguments].concat()).await;
        assert!(output.stdout.is_empty());
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("a code"), log)
    }

    /// The times of all refreshes, as the history tells them.
    async fn times(&self) -> Vec<String> {
        let listed = self.printed(&["history", "--format", "json"]).await;
        let lines = std::str::from_utf8(&listed).expect("a text").lines();
        lines
            .map(|line| {
                let line: Value = serde_json::from_str(line).expect("JSON");
                line["time"].as_str().expect("a time").to_owned()
            })
            .collect()
    }
}

/// The items of a report, in its order.
fn items(report: &[u8]) -> Vec<String> {
    let employees: BTreeMap<u64, BTreeMap<&str, Group<'_>>> =
        serde_json::from_slice(report).expect("a report");
    let items = employees.iter().flat_map(|(employee, groups)| {
        let incidents = groups.values().flat_map(|group| &group.incidents);
        incidents.map(move |row| format!(r#"{{"employee":{employee},"incident":{row}}}"#))
    });
    items.collect()
}

#[derive(serde::Deserialize)]
struct Group<'a> {
    #[serde(borrow)]
    incidents: Vec<&'a RawValue>,
}

fn incident(line: &str) -> Value {
    let item: Value = serde_json::from_str(line).expect("JSON");
    item["incident"].clone()
}

fn timestamp(line: &str) -> f64 {
    incident(line)["timestamp"].as_f64().expect("a number")
}

#[tokio::test]
async fn a_moment_is_exported_whole_filtered_and_in_order() {
    let fixture = Fixture::new().await;
    fixture.printed(&["once"]).await;
    let report = fixture.printed(&["replay", "--at", "99999999999"]).await;
    let mut expected = items(&report);
    assert!(expected.len() > 1000);

    let all = fixture.exported(&[]).await;
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines.is_sorted_by(|a, b| timestamp(a) >= timestamp(b)));
    let mut sorted: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    let rising = fixture.exported(&["--order", "asc"]).await;
    assert!(rising.lines().rev().eq(all.lines()));
    let array = fixture.exported(&["--format", "json"]).await;
    let array: Vec<&RawValue> = serde_json::from_str(&array).expect("an array");
    assert!(array.iter().map(|item| item.get()).eq(all.lines()));

    // Half-open, as every range of times.
    let (from, upto) = (timestamp(lines[900]), timestamp(lines[300]));
    let (since, until) = (from.to_string(), upto.to_string());
    let priorities = ["--priority", "critical,low", "--type", "denial,other"];
    let times = ["--since", &since, "--until", &until];
    let found = fixture.exported(&[&priorities[..], &times].concat()).await;
    let is_meant = |line: &&&str| {
        let row = incident(line);
        (from..upto).contains(&timestamp(line))
            && ["critical", "low"]
                .iter()
                .any(|word| row["priority"] == *word)
            && ["denial", "other"].iter().any(|word| row["type"] == *word)
    };
    let meant: Vec<&str> = lines.iter().filter(is_meant).copied().collect();
    assert!(meant.len() > 10, "{}", meant.len());
    assert!(found.lines().eq(meant));

    let employee: Value = serde_json::from_str(lines[0]).expect("JSON");
    let employee = employee["employee"].to_string();
    let own = format!(r#"{{"employee":{employee},"#);
    let found = fixture.exported(&["--employee", &employee]).await;
    assert!(
        found
            .lines()
            .eq(lines.iter().filter(|line| line.starts_with(&own)).copied())
    );

    let out = fixture.history.path().join("out.csv");
    let place = out.to_string_lossy();
    let csv = fixture.exported(&["--format", "csv"]).await;
    let printed = fixture
        .exported(&["--format", "csv", "--out", &place])
        .await;
    assert_eq!(
        (printed.as_str(), fs::read_to_string(&out).expect("a file")),
        ("", csv.clone())
    );
    assert_eq!(csv.matches("\r\n").count(), lines.len() + 1);

    for (arguments, code, told) in [
        (
            &["--type", "phishing"][..],
            2,
            "configured: denial, intrusion",
        ),
        (&["--priority", "urgent"], 2, "low, medium, high, critical"),
        (&["--since", "yesterday"], 2, "seconds since the Unix epoch"),
        (
            &["--at", "99999999999", "--from", "1"],
            2,
            "cannot be used with",
        ),
        (&["--at", "1000"], 1, "nothing at or before"),
        (&["--to", "1000"], 1, "no refresh in that range"),
        (&["--out", "/proc/no/such.csv"], 1, "/proc/no/such.csv"),
    ] {
        let (found, log) = fixture.refused(arguments).await;
        assert_eq!(found, code, "{arguments:?}: {log}");
        assert!(log.contains(told), "{arguments:?}: {log}");
    }
}

#[tokio::test]
async fn over_a_range_each_incident_is_there_once_with_its_times() {
    let fixture = Fixture::new().await;
    for kind in [
        "intrusion",
        "executable",
        "misuse",
        "unauthorized",
        "probing",
        "other",
    ] {
        fixture.upstream.serve_rows(kind, &[]).await;
    }
    let row = |number: u32| json!({"priority": "high", "reported_by": 7, "timestamp": number, "note": "=1+2, \"x\""});
    // The second one is there twice; one goes and comes back; nothing changes in the fourth refresh.
    for rows in [&[1, 2, 2, 3][..], &[1, 2, 2], &[1, 2, 3, 4], &[1, 2, 3, 4]] {
        let rows: Vec<Value> = rows.iter().map(|number| row(*number)).collect();
        fixture.upstream.serve_rows("denial", &rows).await;
        fixture.printed(&["once"]).await;
    }
    let times = fixture.times().await;
    let [first, second, third, fourth] = &times[..] else {
        panic!("{times:?}");
    };
    let found = fixture.exported(&["--from", "0", "--order", "asc"]).await;
    let seen = |lines: &str| {
        let line = |line: &str| {
            let item: Value = serde_json::from_str(line).expect("JSON");
            let time = |name: &str| item[name].as_str().expect("a time").to_owned();
            assert_eq!(item["employee"], 7);
            (
                timestamp(line) as u32,
                time("first_reported"),
                time("last_reported"),
            )
        };
        let mut seen: Vec<_> = lines.lines().map(line).collect();
        seen.sort_unstable();
        seen
    };
    let once = |number, from: &String, to: &String| (number, from.clone(), to.clone());
    let mut expected = [
        once(1, first, fourth),
        once(2, first, fourth),
        once(2, first, second),
        once(3, first, fourth),
        once(4, third, fourth),
    ];
    expected.sort_unstable();
    assert_eq!(seen(&found), expected);

    let found = fixture.exported(&["--from", second, "--to", second]).await;
    let mut expected = [1, 2, 2].map(|number| once(number, second, second));
    expected.sort_unstable();
    assert_eq!(seen(&found), expected);

    let arguments = ["--to", second, "--format", "csv", "--until", "2"];
    let found = fixture.exported(&arguments).await;
    let details = r#""{""note"":""=1+2, \""x\""""}""#;
    assert_eq!(
        found,
        format!(
            "time,timestamp,priority,type,employee,identity,details,first_reported,last_reported\r\n\
             1970-01-01T00:00:01.000000Z,1,high,denial,7,7,{details},{first},{second}\r\n"
        )
    );

    // An answer that is gone: nothing is told, rather than half of it.
    let objects = fixture.history.path().join("objects");
    fs::remove_dir_all(objects).expect("it is there");
    let (code, log) = fixture.refused(&["--from", "0"]).await;
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("is missing"), "{log}");
}
