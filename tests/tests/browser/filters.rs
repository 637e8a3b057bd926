//! What a person may choose, and how it is kept: in the address.

use end_to_end::{Key, System};
use serde_json::{Value, json};

use crate::{LISTED, Page, SETTLED, now, row, small_system, system, total};

/// 250 rows of one employee, a minute apart.
async fn long_list() -> System {
    let rows = (0..250)
        .rev()
        .map(|at| row(5, "medium", now() - 60 * at - 30));
    system(&[("misuse", rows.collect())]).await
}

#[tokio::test]
async fn every_filter_narrows_the_list_and_the_back_button_undoes() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    page.lists(48).await;
    let steps = [
        ("#filter-priority [data-key=high]", "priority=high"),
        (
            "#filter-priority [data-key=critical]",
            "priority=high,critical",
        ),
        (
            "#filter-type [data-key=misuse]",
            "priority=high,critical&type=misuse",
        ),
    ];
    for (chip, question) in steps {
        browser.click(chip).await;
        page.lists(total(&system, question).await).await;
    }
    // The page has them in an order of its own.
    assert_eq!(page.query().await, "?priority=critical,high&type=misuse");
    let title = browser.run("return document.title").await;
    assert_eq!(title, "critical, high · misuse – Incidents");
    let csv = browser
        .run("return document.getElementById('filter-csv').href")
        .await;
    let csv = csv.as_str().expect("an address");
    assert!(
        csv.ends_with("/incidents/timeline?priority=critical,high&type=misuse&format=csv"),
        "{csv}"
    );
    for (_, question) in steps.iter().rev().skip(1) {
        browser.back().await;
        page.lists(total(&system, question).await).await;
    }
    browser.back().await;
    page.lists(48).await;
    browser.fill("#filters [name=employee]", "2, 3").await;
    page.lists(total(&system, "employee=2,3").await).await;
    browser.click("#list thead a").await;
    browser.until("location.search.includes('order=asc')").await;
    browser
        .until("document.querySelector('#list th').getAttribute('aria-sort') === 'ascending'")
        .await;
    let ages = "(([a, b]) => a.dateTime < b.dateTime)(document.querySelectorAll('#list time'))";
    browser.until(ages).await;
    browser.click("#filter-clear").await;
    page.lists(48).await;
    // Fields for local times; the browser's zone is that of the machine. Whoever types into one has the focus
    // there: any other field is set to what the address says whenever the page is renewed.
    let since = now() - 86_400;
    let script = format!(
        "const field = document.querySelector('[name=since]');
         field.focus();
         const date = new Date({since} * 1000);
         field.value = new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
         field.dispatchEvent(new Event('change', {{ bubbles: true }}));"
    );
    browser.run(&script).await;
    let some = total(&system, &format!("since={since}")).await;
    page.lists(some).await;
    let tile = ".tile-low";
    browser.click(tile).await;
    page.lists(total(&system, &format!("since={since}&priority=low")).await)
        .await;
    let shared = page.query().await;
    browser.click(tile).await;
    page.lists(some).await;
    // Somebody else opens the address.
    page.settle_at(&format!("/{shared}")).await;
    page.lists(total(&system, &format!("since={since}&priority=low")).await)
        .await;
    let checked = "return document.querySelector('#filter-priority [value=low]').checked";
    assert_eq!(browser.run(checked).await, true);
    page.is_sound().await;
}

#[tokio::test]
async fn what_the_service_does_not_accept_is_said_in_its_words() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/?type=nonsense").await else {
        return;
    };
    let browser = &page.browser;
    let told = browser
        .until("document.querySelector('#list .nothing').textContent.includes('nonsense')")
        .await;
    assert_eq!(told, true);
    browser.click("#list .nothing a").await;
    page.lists(48).await;
    assert_eq!(page.query().await, "");
    page.is_sound().await;
}

#[tokio::test]
async fn pages_follow_each_other_and_lead_back() {
    let system = long_list().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    let times = "return [...document.querySelectorAll('#list time')].map((time) => time.title)";
    let told = |range: &str| {
        format!("document.getElementById('list-count').textContent === '{range} of 250'")
    };
    let mut seen = Vec::new();
    for range in ["1–100", "101–200", "201–250"] {
        browser.until(&told(range)).await;
        seen.extend(browser.run(times).await.as_array().expect("a list").clone());
        if range != "201–250" {
            browser.click("#pages li:nth-child(3) a").await;
            browser
                .until("document.activeElement.id === 'title-list'")
                .await;
        }
    }
    let mut distinct: Vec<&str> = seen.iter().filter_map(Value::as_str).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (250, 250));
    browser
        .until("document.querySelector('#pages li:nth-child(3) .is-off')")
        .await;
    let shared = page.query().await;
    browser.click("#pages li:nth-child(2) a").await;
    browser.until(&told("101–200")).await;
    browser.back().await;
    browser.until(&told("201–250")).await;
    browser.click("#pages li:nth-child(1) a").await;
    browser.until(&told("1–100")).await;
    page.settle_at(&format!("/{shared}")).await;
    browser
        .until("document.getElementById('list-count').textContent === '50 rows of 250'")
        .await;
    page.is_sound().await;
}

#[tokio::test]
async fn a_range_is_chosen_by_mouse_finger_and_keyboard() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/").await else {
        return;
    };
    let browser = &page.browser;
    browser.until(LISTED).await;
    browser.until("document.querySelector('.bar')").await;
    let place = "return (({ left, top, width }) => [left, top, width])(document.getElementById('plot').getBoundingClientRect())";
    for pointer in ["mouse", "touch"] {
        page.settle_at("/").await;
        browser.until("document.querySelector('.bar')").await;
        let place = browser.run(place).await;
        let number = |at: usize| place[at].as_f64().expect("a number");
        let (left, y, width) = (number(0), number(1) + 80.0, number(2));
        browser
            .drag(pointer, left + width * 0.3, left + width * 0.6, y)
            .await;
        browser
            .until("location.search.includes('since') && location.search.includes('until')")
            .await;
        let question = page.query().await;
        let chosen = total(&system, question.trim_start_matches('?')).await;
        assert!((5..30).contains(&chosen), "{chosen}");
        page.lists(chosen).await;
        assert!(page.text("#range-text").await.starts_with("Chosen: "));
        browser.click("#range-clear").await;
        page.lists(48).await;
    }
    browser
        .run("document.getElementById('range-from').focus()")
        .await;
    browser.press(&[Key::Right, Key::Right, Key::Right]).await;
    browser.until("location.search.startsWith('?since')").await;
    browser
        .run("document.getElementById('range-to').focus()")
        .await;
    browser.press(&[Key::Left]).await;
    browser.until("location.search.includes('until')").await;
    let slider = "(({ id, ariaValueNow, ariaValueMax }) => id === 'range-to' && ariaValueMax - ariaValueNow === 1)(document.activeElement)";
    browser.until(slider).await;
    let question = page.query().await;
    page.lists(total(&system, question.trim_start_matches('?')).await)
        .await;
    browser.press(&[Key::End]).await;
    browser.until("!location.search.includes('until')").await;
    browser
        .run("document.getElementById('range-from').focus()")
        .await;
    browser.press(&[Key::Home]).await;
    page.lists(48).await;
    page.is_sound().await;
}

#[tokio::test]
async fn an_employee_has_a_page() {
    let system = small_system().await;
    let Some(page) = Page::open(&system, "/?view=employees").await else {
        return;
    };
    let browser = &page.browser;
    browser
        .until("document.querySelector('#all-employees tbody a')")
        .await;
    browser.click("#all-employees tbody a").await;
    browser
        .until("document.activeElement.id === 'employee-title'")
        .await;
    let id = page.query().await.replace("?employee=", "");
    let all = total(&system, &format!("employee={id}")).await;
    page.lists(all).await;
    browser.until(SETTLED).await;
    assert!(
        page.text("#employee .facts")
            .await
            .starts_with(&format!("{all} incidents · the last "))
    );
    let report = system
        .host
        .client
        .get(&format!("/incidents/{id}"))
        .await
        .json();
    for priority in ["critical", "high", "medium", "low"] {
        let told = page.text(&format!(".tile-{priority} .tile-count")).await;
        assert_eq!(told, report[priority]["count"].to_string());
    }
    assert_eq!(
        browser.run("return document.title").await,
        json!(format!("employee {id} – Incidents"))
    );
    browser.back().await;
    browser
        .until("!document.getElementById('view-employees').hidden")
        .await;
    page.is_sound().await;
}
