//! The summary and the timeline of a real snapshot, as the refresher makes it.

use std::collections::BTreeMap;
use std::time::Duration;

use end_to_end::{Client, System, Upstream, until};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const PRIORITIES: [&str; 4] = ["low", "medium", "high", "critical"];

#[derive(Deserialize)]
struct Group {
    incidents: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
    total: u64,
}

/// Every item that a report has.
async fn items_of_the_report(client: &Client) -> Vec<String> {
    let report = client.get("/incidents").await;
    let report: BTreeMap<String, BTreeMap<String, Group>> =
        serde_json::from_slice(&report.body).expect("a report");
    let mut items = Vec::new();
    for (employee, groups) in &report {
        for incident in groups.values().flat_map(|group| &group.incidents) {
            items.push(format!(
                "{{\"employee\":{employee},\"incident\":{incident}}}"
            ));
        }
    }
    items
}

async fn pages(client: &Client, address: &str) -> Vec<String> {
    let mut next = Some(address.to_owned());
    let (mut items, mut totals) = (Vec::new(), Vec::new());
    while let Some(address) = next {
        let answer = client.get(&address).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page: Page = serde_json::from_slice(&answer.body).expect("a page");
        items.extend(page.items.iter().map(|item| item.get().to_owned()));
        totals.push(page.total);
        next = page.next;
    }
    assert!(
        totals.iter().all(|total| *total == items.len() as u64),
        "{totals:?}"
    );
    items
}

/// What items are ordered by; rows that are the same by that are ordered by their texts, somehow.
fn place(item: &str) -> (f64, String, usize) {
    let item: Value = serde_json::from_str(item).expect("JSON");
    let incident = &item["incident"];
    let priority = PRIORITIES
        .iter()
        .position(|name| incident["priority"] == **name);
    let kind = incident["type"].as_str().expect("a type").to_owned();
    let time = incident["timestamp"].as_f64().expect("a number");
    (time, kind, priority.expect("a priority"))
}

#[tokio::test]
async fn the_timeline_has_every_incident_of_the_report_once_in_order() {
    let system = System::start().await;
    let client = &system.host.client;
    let mut expected = items_of_the_report(client).await;
    assert!(expected.len() > 1000);
    expected.sort_unstable();
    let ascending = pages(client, "/incidents/timeline?order=asc&limit=137").await;
    assert!(ascending.is_sorted_by(|a, b| place(a) <= place(b)));
    let mut found = ascending.clone();
    found.sort_unstable();
    assert!(found == expected);
    let mut descending = pages(client, "/incidents/timeline?limit=1000").await;
    descending.reverse();
    assert!(descending == ascending);

    let (someone, kind) = (&ascending[500], place(&ascending[700]).1);
    let employee = serde_json::from_str::<Value>(someone).expect("JSON")["employee"].clone();
    let of_employee = format!("{{\"employee\":{employee},");
    let own = pages(
        client,
        &format!("/incidents/timeline?employee={employee}&limit=2&order=asc"),
    )
    .await;
    let expected: Vec<&String> = ascending
        .iter()
        .filter(|item| item.starts_with(&of_employee))
        .collect();
    assert!(own.iter().eq(expected));
    let query = format!(
        "type={kind}&priority=critical,low&since={}",
        place(&ascending[300]).0
    );
    let chosen = pages(client, &format!("/incidents/timeline?{query}&order=asc")).await;
    let is_chosen = |item: &&String| {
        let (time, of, priority) = place(item);
        of == kind && [0, 3].contains(&priority) && time >= place(&ascending[300]).0
    };
    let expected: Vec<&String> = ascending.iter().filter(is_chosen).collect();
    assert!(!expected.is_empty() && chosen.iter().eq(expected));
    let lines = client
        .get(&format!(
            "/incidents/timeline?{query}&order=asc&format=ndjson"
        ))
        .await;
    assert_eq!(
        lines.body,
        chosen
            .iter()
            .map(|item| format!("{item}\n"))
            .collect::<String>()
    );
}

#[tokio::test]
async fn the_summary_counts_what_the_timeline_has_in_every_coding() {
    let system = System::start().await;
    let client = &system.host.client;
    let summary = client.get("/incidents/summary").await;
    assert_eq!(
        (summary.status.as_u16(), summary.header("content-type")),
        (200, "application/json")
    );
    let numbers = summary.json();
    let mut all = 0;
    for priority in PRIORITIES {
        let page = client
            .get(&format!("/incidents/timeline?priority={priority}&limit=1"))
            .await
            .json();
        assert_eq!(numbers["priorities"][priority], page["total"]);
        all += page["total"].as_u64().expect("a number");
        let histogram = &numbers["histogram"];
        let over_time: Vec<u64> =
            serde_json::from_value(histogram[priority].clone()).expect("numbers");
        let outside = ["earlier", "later"].map(|part| histogram[part][priority].as_u64());
        let outside = outside.map(|count| count.expect("a number"));
        let sum = over_time.iter().chain(&outside).sum::<u64>();
        assert_eq!(page["total"], sum);
    }
    assert!(all > 1000);
    let first = &numbers["employees"][0];
    let path = format!("/incidents/timeline?employee={}&limit=1", first["employee"]);
    let latest = client.get(&path).await.json();
    assert_eq!(latest["items"][0]["incident"]["timestamp"], first["last"]);
    for coding in ["gzip", "zstd", "br"] {
        let coded = client
            .send(
                Method::GET,
                "/incidents/summary",
                &[("accept-encoding", coding)],
            )
            .await;
        assert_eq!(coded.header("content-encoding"), coding);
        assert_eq!(coded.decoded(), summary.body);
        let etag = [
            ("if-none-match", coded.header("etag")),
            ("accept-encoding", coding),
        ];
        let again = client.send(Method::GET, "/incidents/summary", &etag).await;
        assert_eq!(again.status, 304);
    }
}

#[tokio::test]
async fn a_refresh_between_two_pages_neither_repeats_nor_skips() {
    let upstream = Upstream::start().await;
    let row = |id: u64| json!({"priority": "low", "identifier": id, "timestamp": id / 3, "id": id});
    let before: Vec<u64> = (0..40).collect();
    let rows: Vec<Value> = before.iter().map(|id| row(*id)).collect();
    upstream.serve_rows("other", &rows).await;
    let system = System::start_with(upstream, &[], &[]).await;
    let client = &system.host.client;
    let ids = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().expect("a list");
        items
            .iter()
            .map(|item| item["incident"]["id"].as_u64().expect("a number"))
            .collect()
    };
    let first = client
        .get("/incidents/timeline?type=other&limit=10")
        .await
        .json();
    let mut seen = ids(&first);
    // Some go, others come, on both sides of the cursor.
    let after: Vec<u64> = (0..50).filter(|id| id % 7 != 0).collect();
    let rows: Vec<Value> = after.iter().map(|id| row(*id)).collect();
    system.upstream.serve_rows("other", &rows).await;
    until(
        "the new rows are served",
        Duration::from_secs(30),
        async || {
            let page = client
                .get("/incidents/timeline?type=other&limit=1")
                .await
                .json();
            (page["total"] == after.len()).then_some(())
        },
    )
    .await;
    let mut next = first["next"].as_str().map(str::to_owned);
    while let Some(address) = next {
        let page = client.get(&address).await.json();
        seen.extend(ids(&page));
        next = page["next"].as_str().map(str::to_owned);
    }
    for id in before.iter().filter(|id| after.contains(id)) {
        assert_eq!(
            seen.iter().filter(|seen| *seen == id).count(),
            1,
            "{id} in {seen:?}"
        );
    }
}
