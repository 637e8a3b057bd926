//! How the page keeps itself up to date, and what it says when it cannot.

use std::time::Duration;

use end_to_end::{Host, PASSWORD, System, host_at, until};
use serde_json::json;

use crate::{COUNTED, Page, SETTLED, now, small_system, small_system_with};

const TROUBLE: &str = "!document.getElementById('trouble').hidden";
const NO_TROUBLE: &str = "document.getElementById('trouble').hidden";

#[tokio::test]
async fn new_incidents_come_without_a_flicker_and_stale_ones_are_told() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    page.lists(48).await;
    browser.until(SETTLED).await;
    // A row that is folded out and has the focus stays so, and is the same element.
    browser.click("#list tbody tr:nth-child(2) summary").await;
    browser.run("window.kept = document.activeElement").await;
    let other = vec![json!({ "priority": "critical", "identifier": 9, "timestamp": now() })];
    system.upstream.serve_rows("other", &other).await;
    system
        .status("it is served", |status| {
            status["snapshot"]["totals"]["reported"] == 49
        })
        .await;
    page.renew().await;
    page.lists(49).await;
    let kept = "return kept === document.activeElement && kept.isConnected && kept.parentElement.open \
        && kept.closest('tr') === document.querySelector('#list tbody tr:nth-child(3)')";
    assert_eq!(browser.run(kept).await, true);
    assert_eq!(page.text("#announce").await, "1 new incident");
    system
        .upstream
        .fault("misuse", json!({ "effect": "status-503" }))
        .await;
    system
        .status("it is stale", |status| status["snapshot"]["stale"] == true)
        .await;
    page.renew().await;
    browser
        .until("document.querySelector('[data-key=snapshot] .fact-word').textContent === 'Stale'")
        .await;
    assert!(
        page.text("[data-key=endpoints] .fact-note")
            .await
            .contains("misuse: ")
    );
    assert!(page.text("#announce").await.contains("stale"));
    browser.until("document.title.startsWith('⚠')").await;
    system.upstream.mend("misuse").await;
    system
        .status("it is fresh", |status| status["snapshot"]["stale"] == false)
        .await;
    page.renew().await;
    browser
        .until("document.querySelector('[data-key=snapshot] .fact-word').textContent === 'Fresh'")
        .await;
    page.is_sound().await;
}

#[tokio::test]
async fn it_says_when_nobody_answers_and_comes_back_by_itself() {
    let mut system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    page.lists(48).await;
    browser.until(SETTLED).await;
    system.host.process.kill().await;
    page.renew().await;
    browser.until(TROUBLE).await;
    assert!(page.text("#trouble").await.contains("cannot be reached"));
    assert_eq!(page.text("#live").await, "Not up to date");
    // What was there stays.
    assert_eq!(
        browser
            .run("return document.querySelectorAll('#list tbody time').length")
            .await,
        48
    );
    system.host = again(&system, PASSWORD).await;
    browser.until(NO_TROUBLE).await;
    browser.until(SETTLED).await;
    // Redis away: the service says so itself.
    let redis = &system.redis;
    redis.freeze();
    page.renew().await;
    browser.until(TROUBLE).await;
    redis.thaw();
    browser.until(NO_TROUBLE).await;
    page.is_sound().await;
}

#[tokio::test]
async fn a_changed_password_is_told_and_the_page_waits_for_a_person() {
    let mut system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    page.lists(48).await;
    browser.until(SETTLED).await;
    // A question of the counting that is still to come would be refused beside the renewal's.
    browser.until(COUNTED).await;
    system.host.process.kill().await;
    system.host = again(&system, "another password").await;
    page.renew().await;
    browser.until(TROUBLE).await;
    assert!(page.text("#trouble-text").await.contains("password"));
    assert_eq!(page.text("#trouble-act").await, "Sign in again");
    // It guesses no more: a page that went on would lock its reader out.
    let refused = || {
        browser.run("return performance.getEntriesByType('resource').filter((one) => one.responseStatus === 401).length")
    };
    let once = refused().await;
    assert_eq!(once, 1);
    page.renew().await;
    page.go("/", "another password").await;
    page.lists(48).await;
    browser.until(SETTLED).await;
    page.is_sound().await;
}

#[tokio::test]
async fn a_limit_is_told_and_waited_for() {
    let system = small_system_with(&[("dashboard_rate_limits", "40 per 10 seconds")]).await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    page.lists(48).await;
    browser.until(SETTLED).await;
    // Others at the same address take all that there is; should a new window of the limit begin in between,
    // they do it again.
    until(
        "the page reaches the limit",
        Duration::from_secs(60),
        async || {
            while system.host.client.get("/status").await.status != 429 {}
            page.renew().await;
            let told = "return document.getElementById('trouble').textContent";
            browser
                .run(told)
                .await
                .as_str()?
                .contains("are allowed")
                .then_some(())
        },
    )
    .await;
    assert_eq!(page.text("#live").await, "Not up to date");
    browser.until(NO_TROUBLE).await;
    page.lists(48).await;
    page.is_sound().await;
}

#[tokio::test]
async fn a_page_some_of_whose_files_are_refused_loads_again() {
    // The page has more files than this.
    let system = small_system_with(&[("dashboard_rate_limits", "12 per 3 seconds")]).await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    page.lists(48).await;
}

/// A host in the place of one that has ended.
async fn again(system: &System, password: &str) -> Host {
    let address = system.host.url.trim_start_matches("http://");
    let settings = [("service_password", password)];
    host_at(address, &system.redis, &settings, &[]).await
}
