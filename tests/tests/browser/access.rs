//! Who sees, hears or types what the page says: by the keyboard alone, with a screen reader, in a narrow
//! window, in the dark, on paper.

use std::io::Write as _;
use std::path::Path;
use std::{env, fs};

use end_to_end::Key;
use serde_json::{Value, json};

use crate::{LISTED, Page, SETTLED, small_system};

/// Each view, and a narrowed list.
const VIEWS: [&str; 7] = [
    "/",
    "/?view=employees",
    "/?view=unattributed",
    "/?view=health",
    "/?employee=1",
    "/?priority=critical,high&type=misuse",
    "/?type=nonsense",
];

/// The rules of axe that count: WCAG 2.2, A and AA, and what its makers recommend.
const RULES: &str = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";

/// axe's script, where it is on this machine: in a package of the Python for tests.
fn axe() -> Option<String> {
    let found = env::var_os("EMPLOYEE_INCIDENTS_TESTS_PYTHON").and_then(|python| {
        let libraries = Path::new(&python).parent()?.parent()?.join("lib");
        let mut folders = fs::read_dir(libraries).ok()?.flatten();
        folders.find_map(|folder| {
            let script = "site-packages/axe_playwright_python/axe.min.js";
            fs::read_to_string(folder.path().join(script)).ok()
        })
    });
    if found.is_none() {
        let told = b"\n*** SKIPPED: no axe on this machine: the dashboard's accessibility is NOT tested ***\n\n";
        let _ = std::io::stderr().write_all(told);
    }
    found
}

#[tokio::test]
async fn axe_finds_nothing_in_any_view_wide_or_narrow_light_or_dark() {
    let system = small_system().await;
    let (Some(axe), Some(page)) = (axe(), Page::open(&system, "/").await) else {
        return;
    };
    let browser = &page.browser;
    for (scheme, width) in [("light", 1440), ("dark", 1440), ("dark", 320)] {
        browser.prefer(scheme).await;
        browser.resize(width, 900).await;
        for view in VIEWS {
            page.settle_at(view).await;
            browser.run(&format!("{axe}; window.axe = axe;")).await;
            let found = browser
                .run_async(&format!(
                    "axe.run(document, {{ runOnly: {RULES} }}).then((found) => done(found.violations.map(
                        (rule) => [rule.id, rule.nodes.map((node) => [node.html, node.failureSummary])])));"
                ))
                .await;
            assert_eq!(found, json!([]), "{view}, {scheme}, {width} pixels");
            page.is_sound().await;
        }
    }
}

#[tokio::test]
async fn the_keyboard_alone_is_enough() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    browser.until(LISTED).await;
    browser.until(SETTLED).await;
    browser.press(&[Key::Tab]).await;
    assert_eq!(
        browser.run("return document.activeElement.className").await,
        "skip"
    );
    browser.press(&[Key::Enter]).await;
    assert_eq!(
        browser.run("return document.activeElement.id").await,
        "main"
    );
    // From there, each stop is seen, and none is a trap.
    let stop = "
        const at = document.activeElement;
        const seen = at.matches('.chip input') ? at.nextElementSibling : at;
        const { outlineStyle, outlineWidth } = getComputedStyle(seen);
        const { width, height } = seen.getBoundingClientRect();
        return [at.id || at.name || at.textContent.slice(0, 30), outlineStyle !== 'none' && outlineWidth !== '0px' && width > 0 && height > 0];
    ";
    let mut stops = Vec::new();
    for _ in 0..24 {
        browser.press(&[Key::Tab]).await;
        let found = browser.run(stop).await;
        assert_eq!(found[1], true, "no focus is seen on {found}");
        stops.push(found[0].as_str().expect("text").to_owned());
    }
    for wanted in [
        "range-from",
        "range-to",
        "filter-csv",
        "priority",
        "type",
        "employee",
        "since",
    ] {
        assert!(
            stops.iter().any(|stop| stop == wanted),
            "{wanted}: {stops:?}"
        );
    }
    browser
        .run("document.getElementById('filter-csv').focus()")
        .await;
    browser.press(&[Key::Tab, Key::Space]).await;
    browser
        .until("location.search === '?priority=critical'")
        .await;
    // The focus stays where it was.
    let focused = browser.run("return document.activeElement.value").await;
    assert_eq!(focused, "critical");
    page.is_sound().await;
}

#[tokio::test]
async fn no_view_is_wider_than_a_narrow_window_and_paper_has_no_buttons() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    browser.resize(320, 700).await;
    for view in VIEWS {
        page.settle_at(view).await;
        page.is_sound().await;
    }
    browser
        .devtools("Emulation.setEmulatedMedia", json!({ "media": "print" }))
        .await;
    page.settle_at("/?priority=high").await;
    let printed =
        "return ['#filters', '#pause', '#pages', '.skip', '.end', '#filter-told', '#list', '#bars']
        .map((one) => document.querySelector(one).getClientRects().length > 0)";
    let printed = browser.run(printed).await;
    let expected: Vec<Value> = [false, false, false, false, false, true, true, true]
        .map(Value::from)
        .to_vec();
    assert_eq!(printed, Value::from(expected));
}
