//! A browser, which sends the password along wherever somebody leads it, shuts nothing down by itself.

use end_to_end::{Answer, ID, PASSWORD, System, keys};
use reqwest::Method;

const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// How many commands were sent.
async fn commands(system: &System) -> u64 {
    system
        .redis
        .ask(&format!("XLEN {}", keys().commands()))
        .await
}

/// That an answer is the page with the button, and that the page may do nothing but what the button does.
fn asks_back(answer: &Answer) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    // With `no-referrer`, the button's request would have no origin.
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    let policy = answer.header("content-security-policy");
    for directive in [
        "default-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    let page = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(
        page.contains("<form method=\"post\">") && page.contains("<button>"),
        "{page}"
    );
    for inline in ["<script", "<style", "style=", "src=", "href=", "onclick"] {
        assert!(!page.contains(inline), "{page}");
    }
}

#[tokio::test]
async fn what_a_browser_opens_is_a_page_that_asks_back() {
    let system = System::start().await;
    let client = &system.host.client;
    for fields in [
        // A link, a redirect or a meta refresh of another site; over http nothing else is told.
        &[("accept", HTML)][..],
        &[("accept", HTML), ("referer", "http://elsewhere.example/")],
        &[("accept", HTML), ("upgrade-insecure-requests", "1")],
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "cross-site"),
        ],
        &[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-user", "?1"),
            ("accept", HTML),
        ],
        &[(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )],
        // An image of a page without referrer.
        &[
            ("accept", "image/avif,image/webp,*/*;q=0.8"),
            ("accept-language", "en"),
        ],
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = client.send(method.clone(), "/shutdown", fields).await;
            match method {
                Method::GET => asks_back(&answer),
                _ => assert_eq!(answer.status, 200),
            }
        }
    }
    let stranger = [("accept", HTML)];
    let answer = client
        .try_send(Method::GET, "/shutdown", None, &stranger)
        .await;
    let _ = answer.expect("an answer").problem(401);
    assert_eq!(commands(&system).await, 0);
}

#[tokio::test]
async fn only_the_page_itself_may_post() {
    let mut system = System::start().await;
    let client = system.host.client.clone();
    let own = system.host.url.clone();
    let port = own.rsplit(':').next().expect("a port");
    let other_port = format!("http://127.0.0.1:1{port}");
    let other_name = format!("http://localhost:{port}");
    for fields in [
        &[("origin", "https://elsewhere.example"), ("accept", HTML)][..],
        &[("origin", "null"), ("accept", HTML)],
        &[("origin", "file://")],
        &[("origin", other_port.as_str())],
        &[("origin", other_name.as_str())],
        &[("origin", "http://127.0.0.1")],
        &[("referer", "https://elsewhere.example/form")],
        &[("sec-fetch-site", "cross-site"), ("origin", own.as_str())],
        &[("sec-fetch-site", "same-site")],
        &[
            ("sec-fetch-site", "same-origin"),
            ("sec-purpose", "prefetch"),
        ],
    ] {
        let answer = client.send(Method::POST, "/shutdown", fields).await;
        let detail = answer.problem(403);
        assert!(detail.contains("curl"), "{fields:?}: {detail}");
    }
    assert_eq!(commands(&system).await, 0);

    // What a browser sends when the button is pressed, over http to a name that is not its own machine's.
    let pressed = [
        ("origin", own.as_str()),
        ("accept", HTML),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let answer = client
        .try_send(Method::POST, "/shutdown", Some((ID, PASSWORD)), &pressed)
        .await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(&answer.body[..], b"shutting down server...");
    let status = system
        .refresher
        .exit(std::time::Duration::from_secs(30))
        .await;
    assert_eq!(status.code(), Some(0), "{}", system.refresher.log());
}
