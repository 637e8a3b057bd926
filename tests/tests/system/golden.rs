//! The golden pair: known answers of upstream give exactly the known report, through every part.

use std::time::Duration;

use end_to_end::{Sample, System, Upstream, incidents_in, until};
use serde_json::Value;

/// A system whose upstream serves the sample.
async fn sample_system() -> (Sample, System) {
    let sample = Sample::golden();
    let upstream = Upstream::start().await;
    upstream.serve_sample(&sample).await;
    let system = System::start_with(upstream, &[], &[]).await;
    (sample, system)
}

#[tokio::test]
async fn the_sample_gives_the_known_report() {
    let (sample, system) = sample_system().await;
    let client = &system.host.client;
    let answer = client.get("/incidents").await;
    assert_eq!(answer.status, 200);
    // The sample has white space between a row's members, which stays; its texts have none.
    let served = String::from_utf8(answer.body.to_vec()).expect("a text");
    let tight = |text: &str| text.split_ascii_whitespace().collect::<String>();
    assert_eq!(tight(&served).as_bytes(), sample.report, "{served}");

    // Every employee's part is what stands in the report, byte for byte.
    let Value::Object(employees) = answer.json() else {
        panic!("no object");
    };
    assert_eq!(employees.len(), 3);
    for id in employees.keys() {
        let part = client.get(&format!("/incidents/{id}")).await;
        let groups = std::str::from_utf8(&part.body).expect("a text");
        assert!(served.contains(&format!("\"{id}\":{groups}")), "{groups}");
    }

    let status = client.get("/status").await.json();
    let totals = &status["snapshot"]["totals"];
    let count = |name: &str| totals[name].as_u64().expect("a number");
    assert_eq!(count("reported"), incidents_in(&answer.body));
    assert_eq!(
        count("fetched"),
        count("reported") + count("unattributed") + count("rejected")
    );
    let rows = sample
        .answers
        .iter()
        .filter(|(name, _)| *name != "identities");
    let rows = rows.map(|(_, body)| {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        body["results"].as_array().expect("rows").len() as u64
    });
    assert_eq!(count("fetched"), rows.sum::<u64>());
}

#[tokio::test]
async fn what_says_the_same_is_not_published_again() {
    let (_, system) = sample_system().await;
    let client = &system.host.client;
    let first = client.get("/incidents").await;
    let generation = async || {
        let status = client.get("/status").await.json();
        status["snapshot"]["generation"].as_u64().expect("a number")
    };
    let before = generation().await;
    // Further refreshes find nothing new, and say so without publishing anything.
    let asked = system.upstream.requests("denial").await;
    until(
        "three more refreshes",
        Duration::from_secs(30),
        async || (system.upstream.requests("denial").await > asked + 3).then_some(()),
    )
    .await;
    assert_eq!(generation().await, before);
    let again = client.get("/incidents").await;
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(again.header("last-modified"), first.header("last-modified"));

    // The identity map in another order is another text, but says the same.
    let identities = system.upstream.data("identities").await;
    let Value::Object(entries) = identities else {
        panic!("no map");
    };
    let turned: Vec<String> = entries
        .iter()
        .rev()
        .map(|(address, id)| format!("{address:?}: {id}"))
        .collect();
    let turned = format!("{{\n{}\n}}", turned.join(",\n"));
    system.upstream.serve("identities", turned).await;
    let asked = system.upstream.requests("denial").await;
    until("two more refreshes", Duration::from_secs(30), async || {
        (system.upstream.requests("denial").await > asked + 2).then_some(())
    })
    .await;
    assert_eq!(generation().await, before);
    assert_eq!(client.get("/incidents").await.body, first.body);
}
