//! The dashboard in a real browser, before the whole system.

mod access;
mod contents;
mod filters;
mod renewal;

use std::time::{SystemTime, UNIX_EPOCH};

use end_to_end::{Browser, ID, PASSWORD, System, TYPES, Upstream, driver};
use serde_json::{Value, json};

/// What watches a page from before its first line: nothing may be refused by its policy, and no script run
/// that is not the page's.
const WATCH: &str = "
    window.seen = { violations: [], errors: [], dialogs: 0 };
    addEventListener('securitypolicyviolation', (event) =>
        seen.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
    addEventListener('error', (event) => seen.errors.push(event.message ?? event.target.src), true);
    window.alert = () => { seen.dialogs += 1; };
    performance.setResourceTimingBufferSize(2000);
";

/// What is true once the list is there.
const LISTED: &str = "document.querySelector('#list tbody tr time')";

/// What is true once nothing is asked for and the numbers are there.
const SETTLED: &str = "document.getElementById('main').getAttribute('aria-busy') === 'false' \
    && document.getElementById('live').textContent.startsWith('Renewed')";

/// What is there once the changes have been counted: eight questions, one after the other, beside all else.
const COUNTED: &str = "document.querySelector('.tile-critical .tile-change').textContent.trim()";

/// A dashboard that somebody looks at.
struct Page {
    browser: Browser,
    /// The service's address.
    url: String,
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs()
}

/// The system around an upstream that has these rows and, for each other type, none.
async fn system(kinds: &[(&str, Vec<Value>)]) -> System {
    system_with(kinds, &[]).await
}

/// The same with settings of the component.
async fn system_with(kinds: &[(&str, Vec<Value>)], settings: &[(&str, &str)]) -> System {
    let upstream = Upstream::start().await;
    upstream
        .serve("identities", json!({ "17.0.0.1": 1 }).to_string())
        .await;
    for kind in TYPES {
        let rows = kinds.iter().find(|(name, _)| *name == kind);
        upstream
            .serve_rows(kind, rows.map_or(&[], |(_, rows)| rows))
            .await;
    }
    System::start_with(upstream, &[], settings).await
}

/// A row of the type misuse or unauthorized.
fn row(employee: u64, priority: &str, timestamp: u64) -> Value {
    json!({ "priority": priority, "employee_id": employee, "timestamp": timestamp })
}

/// 48 rows of five employees, in all priorities, over the last four days, one every two hours.
async fn small_system() -> System {
    small_system_with(&[]).await
}

/// The same with settings of the component.
async fn small_system_with(settings: &[(&str, &str)]) -> System {
    let rows = |kind: u64| {
        let rows = (0..24).rev().map(|at| {
            let priority = ["low", "low", "medium", "low", "high", "critical"][at as usize % 6];
            row(1 + at % 5, priority, now() - 600 - (2 * at + kind) * 7200)
        });
        rows.collect()
    };
    let kinds = [("misuse", rows(0)), ("unauthorized", rows(1))];
    system_with(&kinds, settings).await
}

impl Page {
    /// Opens the dashboard of `system` at `path`; `None` where there is no browser.
    async fn open(system: &System, path: &str) -> Option<Self> {
        let driver = driver("the dashboard is")?;
        let page = Self {
            browser: Browser::start(driver, WATCH).await,
            url: system.host.url.clone(),
        };
        page.go(path, PASSWORD).await;
        Some(page)
    }

    /// Goes to `path`, as somebody who signs in.
    async fn go(&self, path: &str, password: &str) {
        let password = password.replace(' ', "%20").replace(':', "%3A");
        let host = self.url.trim_start_matches("http://");
        self.browser
            .open(&format!("http://{ID}:{password}@{host}{path}"))
            .await;
    }

    /// Goes to `path` and waits until what is asked for there is there.
    async fn settle_at(&self, path: &str) {
        self.go(path, PASSWORD).await;
        self.browser.until(SETTLED).await;
    }

    /// The text of the first element that `selector` finds.
    async fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).textContent");
        self.browser
            .run(&script)
            .await
            .as_str()
            .expect("text")
            .to_owned()
    }

    /// The page's query.
    async fn query(&self) -> String {
        let query = self.browser.run("return location.search").await;
        query.as_str().expect("text").to_owned()
    }

    /// Waits until the list says that it has `total` rows.
    async fn lists(&self, total: u64) {
        let told = match total {
            0 => "=== 'none'".to_owned(),
            total => format!(".endsWith(' of {total}')"),
        };
        self.browser
            .until(&format!(
                "document.getElementById('list-count').textContent{told}"
            ))
            .await;
    }

    /// Asks the service at once whether there is something new, as somebody would who cannot wait.
    async fn renew(&self) {
        let twice = "for (const _ of [1, 2]) { document.getElementById('pause').click(); }";
        self.browser.run(twice).await;
    }

    /// That nothing has happened that must never happen.
    async fn is_sound(&self) {
        let seen = self.browser.run("return seen").await;
        assert_eq!(
            seen,
            json!({ "violations": [], "errors": [], "dialogs": 0 })
        );
        // What sticks out of the window, where the whole page does.
        let wide = "
            if (document.documentElement.scrollWidth <= innerWidth) { return []; }
            const out = (one) => one.getBoundingClientRect().right > innerWidth + 1;
            return [...document.querySelectorAll('body *')].filter(out).slice(0, 5)
                .map((one) => `${one.tagName} ${one.id} ${one.className} in ${location.search}`);
        ";
        assert_eq!(self.browser.run(wide).await, json!([]), "too wide");
    }
}

/// How many incidents the service itself finds for a question.
async fn total(system: &System, question: &str) -> u64 {
    let path = format!("/incidents/timeline?limit=1&{question}");
    let answer = system.host.client.get(&path).await;
    answer.json()["total"]
        .as_u64()
        .unwrap_or_else(|| panic!("{path}: {answer:?}"))
}
