//! New incidents are handed to Alertmanager: at least once, whoever leads, and without a flood.

use std::collections::BTreeSet;
use std::time::Duration;

use end_to_end::{
    Alertmanager, FakeAlertmanager, Host, Metrics, Process, Redis, TYPES, Upstream, free_port,
    host, keys, refresher, until,
};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(60);

const UNTESTED: &str = "what is handed to Alertmanager is";

/// A row of `unauthorized`, whose text nobody else has.
fn row(priority: &str, number: u64) -> Value {
    json!({"priority": priority, "employee_id": 775, "timestamp": 1_629_930_924.25, "number": number})
}

/// An upstream that has nothing but these rows of `unauthorized`.
async fn upstream(rows: &[Value]) -> Upstream {
    let upstream = Upstream::start().await;
    upstream.serve("identities", r#"{"17.1.1.1": 86}"#).await;
    for kind in TYPES {
        upstream.serve_rows(kind, &[]).await;
    }
    upstream.serve_rows("unauthorized", rows).await;
    upstream
}

/// Everything but the Alertmanager.
struct Service {
    redis: Redis,
    upstream: Upstream,
    host: Host,
}

impl Service {
    async fn start(rows: &[Value]) -> Self {
        let redis = Redis::start().await;
        Self {
            host: host(&redis, &[]).await,
            upstream: upstream(rows).await,
            redis,
        }
    }

    fn refresher(&self, urls: &str, more: &[(&str, &str)]) -> Process {
        let mut settings = vec![("ALERTMANAGER_URLS", urls)];
        settings.extend_from_slice(more);
        Process::start(refresher(&["run"], &self.redis, &self.upstream, &settings))
    }

    /// Waits until the metrics satisfy `condition`, and gives them.
    async fn metrics(&self, what: &str, condition: impl Fn(&Metrics) -> bool) -> Metrics {
        until(what, BOUND, async || {
            let metrics = Metrics::of(&self.host.client).await;
            condition(&metrics).then_some(metrics)
        })
        .await
    }

    /// Waits until so many alerts were handed over, and none waits.
    async fn handed_over(&self, count: f64) -> Metrics {
        self.metrics(&format!("{count} alerts are handed over"), |metrics| {
            metrics.value("incidents_alerts_handed_over_total") >= count
                && metrics.value("incidents_alerts_waiting") == 0.0
        })
        .await
    }

    /// Waits until a first snapshot was looked through.
    async fn has_looked(&self) {
        until("the first snapshot is looked through", BOUND, async || {
            let exists: bool = self
                .redis
                .ask(&format!("EXISTS {}", keys().alerts_seen()))
                .await;
            exists.then_some(())
        })
        .await;
    }

    /// The process that leads.
    async fn leader(&self) -> u32 {
        until("one leads", BOUND, async || {
            let ask = format!("HGET {} holder", keys().lease());
            let holder: Option<String> = self.redis.ask(&ask).await;
            holder?.rsplit(':').nth(1)?.parse().ok()
        })
        .await
    }

    /// Waits until so many critical incidents are reported.
    async fn has_reported(&self, count: f64) {
        let critical = "incidents_reported{type=\"unauthorized\",priority=\"critical\"}";
        self.metrics("they are reported", |metrics| {
            metrics.value(critical) == count
        })
        .await;
    }
}

fn name(alert: &Value) -> &str {
    alert["labels"]["alertname"].as_str().expect("a name")
}

/// The numbers of the rows that were told one by one.
fn numbers(alerts: &[Value]) -> BTreeSet<u64> {
    let single = alerts
        .iter()
        .filter(|alert| name(alert) == "IncidentReported");
    let row = |alert: &Value| -> Option<u64> {
        let row: Value = serde_json::from_str(alert["annotations"]["row"].as_str()?).ok()?;
        row["number"].as_u64()
    };
    single.map(|alert| row(alert).expect("a row")).collect()
}

#[tokio::test]
async fn a_first_snapshot_is_one_alert_and_what_is_new_then_is_told_with_its_labels() {
    let Some(alertmanager) = Alertmanager::start(UNTESTED).await else {
        return;
    };
    let mut rows: Vec<Value> = (0..300).map(|number| row("critical", number)).collect();
    rows.push(row("high", 1000));
    let service = Service::start(&rows).await;
    let dashboard = [("DASHBOARD_URL", "https://incidents.example.com/")];
    let _refresher = service.refresher(&alertmanager.url(), &dashboard);
    let before = service.handed_over(1.0).await;
    assert_eq!(before.value("incidents_alerts_handed_over_total"), 1.0);
    let alerts = alertmanager.alerts().await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(name(&alerts[0]), "IncidentsFirstSeen");
    assert_eq!(alerts[0]["labels"]["priority"], "critical");
    assert_eq!(alerts[0]["annotations"]["count"], "300");

    // Two of one employee, of one moment; one of another type; and one of a priority that is not asked for.
    rows.extend([
        row("critical", 300),
        row("critical", 301),
        row("high", 1001),
    ]);
    service.upstream.serve_rows("unauthorized", &rows).await;
    let probing = json!({"priority": "critical", "ip": "17.1.1.1", "timestamp": 5, "number": 302});
    service.upstream.serve_rows("probing", &[probing]).await;
    let after = service.handed_over(4.0).await;
    assert_eq!(after.value("incidents_alerts_handed_over_total"), 4.0);
    assert_eq!(after.value("incidents_alert_failures_total"), 0.0);
    let alerts = alertmanager.alerts().await;
    assert_eq!(numbers(&alerts), BTreeSet::from([300, 301, 302]));
    let of = |number: u64| {
        let found = alerts.iter().find(|alert| {
            let row = alert["annotations"]["row"].as_str().unwrap_or_default();
            row.contains(&format!("\"number\":{number}"))
        });
        found.unwrap_or_else(|| panic!("no {number}: {alerts:?}"))
    };
    let (one, two) = (of(300), of(302));
    assert_eq!(one["labels"]["employee"], "775");
    assert_eq!(one["labels"]["type"], "unauthorized");
    assert_eq!(one["labels"]["priority"], "critical");
    assert_eq!(one["startsAt"], "2021-08-25T22:35:24.250Z");
    let link = "https://incidents.example.com/?priority=critical&type=unauthorized&employee=775";
    assert_eq!(one["annotations"]["dashboard"], link);
    assert_eq!(one["generatorURL"], link);
    assert_eq!(two["labels"]["employee"], "86");
    let incidents: BTreeSet<&str> = alerts
        .iter()
        .filter_map(|alert| alert["labels"]["incident"].as_str())
        .collect();
    assert_eq!(incidents.len(), 3);
    // Grouped as an operator does it.
    let groups = until("they are grouped", BOUND, async || {
        let groups = alertmanager.groups().await;
        (groups.len() == 3).then_some(groups)
    })
    .await;
    let sizes: BTreeSet<(String, usize)> = groups
        .iter()
        .map(|group| {
            let kind = group["labels"]["type"].as_str().unwrap_or_default();
            let alerts = group["alerts"].as_array().expect("a list");
            (kind.to_owned(), alerts.len())
        })
        .collect();
    let expected = [("", 1), ("probing", 1), ("unauthorized", 2)];
    assert_eq!(
        sizes,
        expected.map(|(kind, size)| (kind.to_owned(), size)).into()
    );

    // What comes back is not new.
    service
        .upstream
        .serve_rows("unauthorized", &rows[1..])
        .await;
    service.has_reported(301.0).await;
    service.upstream.serve_rows("unauthorized", &rows).await;
    service.has_reported(302.0).await;
    rows.push(row("critical", 303));
    service.upstream.serve_rows("unauthorized", &rows).await;
    let after = service.handed_over(5.0).await;
    assert_eq!(after.value("incidents_alerts_handed_over_total"), 5.0);
}

#[tokio::test]
async fn who_was_away_is_told_when_it_is_back_and_nobody_waits_for_it() {
    let Some(mut alertmanager) = Alertmanager::start(UNTESTED).await else {
        return;
    };
    let Some(other) = Alertmanager::start(UNTESTED).await else {
        return;
    };
    let service = Service::start(&[]).await;
    let urls = format!("{},{}", alertmanager.url(), other.url());
    let refresher = service.refresher(&urls, &[]);
    service.has_looked().await;
    alertmanager.stop().await;
    let mut rows = Vec::new();
    for number in 0..3 {
        rows.push(row("critical", number));
        service.upstream.serve_rows("unauthorized", &rows).await;
        service.has_reported(rows.len() as f64).await;
    }
    // The other one has them meanwhile.
    until("the other one knows all", BOUND, async || {
        (numbers(&other.alerts().await).len() == 3).then_some(())
    })
    .await;
    let waiting = service
        .metrics("they wait, and attempts are counted", |metrics| {
            metrics.value("incidents_alerts_waiting") == 3.0
                && metrics.value("incidents_alert_failures_total") > 0.0
        })
        .await;
    // Refreshes go on.
    service
        .metrics("refreshes go on", |metrics| {
            metrics.sum("incidents_refreshes_total")
                >= waiting.sum("incidents_refreshes_total") + 2.0
        })
        .await;
    alertmanager.start_again().await;
    service.handed_over(6.0).await;
    assert_eq!(
        numbers(&alertmanager.alerts().await),
        BTreeSet::from([0, 1, 2])
    );
    assert_eq!(refresher.logged("cannot hand alerts over"), 1);
    assert_eq!(refresher.logged("Alertmanager takes alerts again"), 1);

    // It was restarted: what it has taken it is not told again, what is new it is.
    alertmanager.stop().await;
    alertmanager.start_again().await;
    rows.push(row("critical", 3));
    service.upstream.serve_rows("unauthorized", &rows).await;
    service.handed_over(8.0).await;
    assert_eq!(numbers(&alertmanager.alerts().await), BTreeSet::from([3]));
}

#[tokio::test]
async fn no_incident_is_lost_when_leaders_are_killed() {
    let Some(alertmanager) = Alertmanager::start(UNTESTED).await else {
        return;
    };
    let Some(mut other) = Alertmanager::start(UNTESTED).await else {
        return;
    };
    let service = Service::start(&[]).await;
    let urls = format!("{},{}", alertmanager.url(), other.url());
    let mut refreshers = [(); 2].map(|()| service.refresher(&urls, &[]));
    service.has_looked().await;
    let mut rows = Vec::new();
    for number in 0..6 {
        if number % 2 == 0 {
            other.stop().await;
        }
        rows.push(row("critical", number));
        service.upstream.serve_rows("unauthorized", &rows).await;
        service.has_reported(rows.len() as f64).await;
        // The leader is gone as soon as the incident is reported.
        let leader = service.leader().await;
        let mut all = refreshers.iter_mut();
        let leading = all
            .find(|own| own.id() == Some(leader))
            .expect("it is ours");
        leading.kill().await;
        *leading = service.refresher(&urls, &[]);
        if number % 2 == 0 {
            other.start_again().await;
        }
    }
    until("all have been told", BOUND, async || {
        let told = numbers(&alertmanager.alerts().await);
        (told == (0..6).collect()).then_some(())
    })
    .await;
    let metrics = service.handed_over(12.0).await;
    assert_eq!(metrics.value("incidents_alerts_waiting"), 0.0);
}

#[tokio::test]
async fn what_was_published_and_not_looked_through_is_told_by_the_next_leader() {
    let fake = FakeAlertmanager::start(&[]).await;
    let service = Service::start(&[row("critical", 0)]).await;
    // One that knows nothing of alerts has published what is new, and is gone.
    let mut first = service.refresher(&fake.url, &[]);
    service.handed_over(1.0).await;
    first.kill().await;
    let mut connection = service.redis.connection().await;
    let key = keys().alerts_seen();
    let seen: Vec<u8> = redis::cmd("GET")
        .arg(&key)
        .query_async(&mut connection)
        .await
        .unwrap();
    service
        .upstream
        .serve_rows("unauthorized", &[row("critical", 0), row("critical", 1)])
        .await;
    let run = refresher(&["run"], &service.redis, &service.upstream, &[]);
    let mut silent = Process::start(run);
    service.has_reported(2.0).await;
    silent.kill().await;
    let () = redis::cmd("SET")
        .arg(&key)
        .arg(seen)
        .query_async(&mut connection)
        .await
        .unwrap();
    // And upstream is away when the next one begins.
    service
        .upstream
        .fault("all", json!({"effect": "status-503"}))
        .await;
    let _next = service.refresher(&fake.url, &[]);
    service.handed_over(2.0).await;
    let told: Vec<Value> = fake.bodies().concat_all();
    assert_eq!(numbers(&told), BTreeSet::from([1]));
}

#[tokio::test]
async fn an_answer_that_is_none_is_tried_again_and_a_refusal_is_not() {
    // At first it fails twice; then it refuses two together, and the first of them alone.
    let fake = FakeAlertmanager::start(&[500, 503, 200, 400, 400, 200]).await;
    let service = Service::start(&[row("critical", 0)]).await;
    let refresher = service.refresher(&fake.url, &[]);
    let metrics = service.handed_over(1.0).await;
    assert_eq!(metrics.value("incidents_alert_failures_total"), 2.0);
    let bodies = fake.bodies();
    assert_eq!(bodies.len(), 3);
    assert_eq!((&bodies[0], &bodies[1]), (&bodies[1], &bodies[2]));
    let rows = [0, 1, 2].map(|number| row("critical", number));
    service.upstream.serve_rows("unauthorized", &rows).await;
    let metrics = service.handed_over(2.0).await;
    assert_eq!(metrics.value("incidents_alert_failures_total"), 3.0);
    let sizes: Vec<usize> = fake.bodies()[3..]
        .iter()
        .map(|body| body.as_array().expect("a list").len())
        .collect();
    assert_eq!(sizes, [2, 1, 1]);
    assert_eq!(refresher.logged("an alert is given up"), 1);
}

#[tokio::test]
async fn one_that_does_not_answer_delays_no_refresh() {
    let fake = FakeAlertmanager::start(&[0]).await;
    let service = Service::start(&[row("critical", 0)]).await;
    let _refresher = service.refresher(&fake.url, &[]);
    until("it is told", BOUND, async || {
        (!fake.bodies().is_empty()).then_some(())
    })
    .await;
    let before = Metrics::of(&service.host.client).await;
    let after = service
        .metrics("refreshes go on", |metrics| {
            metrics.sum("incidents_refreshes_total")
                >= before.sum("incidents_refreshes_total") + 3.0
        })
        .await;
    // It still has time to answer.
    assert_eq!(after.value("incidents_alert_failures_total"), 0.0);
    assert_eq!(after.value("incidents_alerts_waiting"), 1.0);
    let metrics = service.handed_over(1.0).await;
    assert_eq!(metrics.value("incidents_alert_failures_total"), 1.0);
}

#[tokio::test]
async fn a_burst_and_what_was_not_asked_for_before_are_told_by_their_count() {
    let fake = FakeAlertmanager::start(&[]).await;
    let service = Service::start(&[row("high", 0)]).await;
    let mut first = service.refresher(&fake.url, &[]);
    service.has_looked().await;
    let rows: Vec<Value> = (0..2500)
        .map(|number| row("critical", number))
        .chain([row("high", 0)])
        .collect();
    service.upstream.serve_rows("unauthorized", &rows).await;
    service.handed_over(1.0).await;
    let told = fake.bodies().concat_all();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(name(&told[0]), "IncidentsReported");
    assert_eq!(told[0]["annotations"]["count"], "2500");
    first.kill().await;
    let _second = service.refresher(&fake.url, &[("ALERT_PRIORITIES", "high, critical")]);
    service.handed_over(2.0).await;
    let told = fake.bodies().concat_all();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(name(&told[1]), "IncidentsFirstSeen");
    assert_eq!(told[1]["labels"]["priority"], "high");
    assert_eq!(told[1]["annotations"]["count"], "1");
}

#[tokio::test]
async fn one_refresh_hands_over_what_it_finds() {
    let fake = FakeAlertmanager::start(&[]).await;
    let service = Service::start(&[row("critical", 0)]).await;
    // One that is down keeps nothing from the other.
    let both = format!("http://127.0.0.1:{}, {}", free_port(), fake.url);
    let urls = [("ALERTMANAGER_URLS", both.as_str())];
    for (rows, told) in [(1, 1), (2, 2), (2, 2)] {
        let rows: Vec<Value> = (0..rows).map(|number| row("critical", number)).collect();
        service.upstream.serve_rows("unauthorized", &rows).await;
        let once = refresher(&["once"], &service.redis, &service.upstream, &urls);
        assert!(Process::start(once).exit(BOUND).await.success());
        assert_eq!(fake.bodies().len(), told);
    }
}

/// All alerts of some requests.
trait ConcatAll {
    fn concat_all(self) -> Vec<Value>;
}

impl ConcatAll for Vec<Value> {
    fn concat_all(self) -> Vec<Value> {
        let alerts = self.into_iter();
        let alerts = alerts.flat_map(|body| body.as_array().cloned().expect("a list"));
        alerts.collect()
    }
}
