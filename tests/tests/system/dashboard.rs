//! The dashboard as HTTP sees it; `tests/browser` looks at it.

use end_to_end::{Redis, System, host};
use reqwest::Method;

/// What stands in quotes behind `attribute` and begins with `dashboard/`.
fn named(page: &str) -> Vec<String> {
    let parts = page.split("=\"dashboard/").skip(1);
    let names = parts.filter_map(|part| part.split('"').next());
    names.map(|name| format!("/dashboard/{name}")).collect()
}

#[tokio::test]
async fn the_page_and_its_files_are_served_small_and_for_good() {
    let system = System::start().await;
    let client = &system.host.client;
    let page = client.get("/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "private, no-cache");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    // Whatever a view's address says is the page's business.
    assert_eq!(client.get("/?priority=high&cursor=x").await.body, page.body);
    let mut addresses = named(&String::from_utf8_lossy(&page.body));
    assert!(addresses.len() > 10, "{addresses:?}");
    addresses.push("/".to_owned());
    let mut sent = 0;
    for address in &addresses {
        let plain = client.get(address).await;
        for coding in ["br", "gzip"] {
            let small = client
                .send(Method::GET, address, &[("accept-encoding", coding)])
                .await;
            assert_eq!(
                (small.status.as_u16(), small.header("content-encoding")),
                (200, coding)
            );
            assert_eq!(small.decoded(), plain.body, "{address}");
            sent += if coding == "br" { small.body.len() } else { 0 };
            let etag = small.header("etag");
            let known = [("accept-encoding", coding), ("if-none-match", etag)];
            let again = client.send(Method::GET, address, &known).await;
            assert_eq!(
                (
                    again.status.as_u16(),
                    again.header("etag"),
                    again.body.len()
                ),
                (304, etag, 0)
            );
        }
        let head = client.send(Method::HEAD, address, &[]).await;
        assert_eq!(head.header("etag"), plain.header("etag"));
        assert_eq!(head.header("content-length"), plain.body.len().to_string());
        if address != "/" {
            let kept = "private, max-age=31536000, immutable";
            assert_eq!(plain.header("cache-control"), kept, "{address}");
        }
        let refused = client.send(Method::POST, address, &[]).await;
        let _ = refused.problem(405);
    }
    println!("the dashboard: {sent} bytes in {} files", addresses.len());
    assert!(sent < 60 << 10, "{sent} bytes");
    // Of another release, as while servers are replaced.
    let other = addresses[0].replacen("/dashboard/", "/dashboard/0", 1);
    let found = client.get(&other).await;
    assert_eq!(
        (found.status.as_u16(), found.header("cache-control")),
        (200, "no-store")
    );
    let _ = client.get("/dashboard/0/none.js").await.problem(404);
}

#[tokio::test]
async fn nobody_sees_it_without_the_password_or_too_often() {
    let redis = Redis::start().await;
    let limited = host(&redis, &[("dashboard_rate_limits", "3 per day")]).await;
    let _ = limited.client.get_as_stranger("/").await.problem(401);
    let _ = limited
        .client
        .get_as_stranger("/dashboard/0/app.js")
        .await
        .problem(401);
    // It is there before the first snapshot: it says that there is none.
    assert_eq!(limited.client.get("/").await.status, 200);
    let refused = limited.client.get("/").await;
    let _ = refused.problem(429);
    assert_ne!(refused.header("retry-after"), "");
}
