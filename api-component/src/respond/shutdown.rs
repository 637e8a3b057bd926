//! Shuts the whole service down, on request.

use domain::settings::Settings;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, HOST, ORIGIN, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::problem::Problem;
use crate::reply::Reply;
use crate::store::Store;

/// What a browser gets in place of the end: a button that posts to the address of this very page.
const PAGE: &str = include_str!("shutdown.html");

/// What the page may do: nothing but to post to this service, and not within another page.
const PAGE_POLICY: &str =
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a request for the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    /// A program's, or that of the page's button.
    Shutdown,
    /// A browser opens the address; it sends the password along, whoever made it come here.
    Page,
    /// A browser asks for another site's page, in advance, or for a part of a page.
    Forged,
}

/// Asks the refreshers to end the service. HEAD gets the same answer, but ends nothing: it is a
/// safe method. A browser that opens the address gets a page that asks back.
///
/// # Errors
/// 403 where it is switched off, or a browser asks on its own or another site's account; 503 when
/// it cannot be asked for, or nobody is there at `now_ms` who would do it.
pub(crate) async fn respond(
    request: &Parts,
    store: &mut Store,
    settings: &Settings,
    now_ms: u64,
) -> Result<Reply, Problem> {
    if !settings.shutdown_enabled {
        return Err(forbidden(
            "The service cannot be shut down this way: SHUTDOWN_ENABLED is false.",
        ));
    }
    match intent(request) {
        Intent::Shutdown => {}
        Intent::Page => return Ok(page()),
        Intent::Forged => {
            return Err(forbidden(
                "Browsers may not shut the service down for another site or in advance. \
                 Use curl, or open this address by hand.",
            ));
        }
    }
    let nodes = store.reports().await?.nodes;
    if !nodes.iter().any(|node| node.takes_commands(now_ms)) {
        return Err(Problem::unavailable(
            "Nobody has been heard of who could shut the service down: no refresher runs, and no \
             server that one watches. End what still runs where it was started.",
        )
        .retry_after(5));
    }
    if request.method != Method::HEAD {
        store.ask_shutdown().await?;
    }
    Ok(Reply::new(200).uncached().containing(
        "text/plain; charset=utf-8",
        "shutting down server...".into(),
    ))
}

fn page() -> Reply {
    Reply::new(200)
        .uncached()
        .with("content-security-policy", PAGE_POLICY)
        .with("x-frame-options", "DENY")
        .with("cross-origin-opener-policy", "same-origin")
        // With less, the button's request would not tell where it comes from.
        .with("referrer-policy", "same-origin")
        .containing("text/html; charset=utf-8", PAGE.into())
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// Whether somebody really asks for the end. A browser sends the password along with whatever another
/// page makes it fetch, and with what it fetches in advance.
fn intent(request: &Parts) -> Intent {
    let headers = &request.headers;
    let in_advance = ["sec-purpose", "purpose", "x-moz"]
        .into_iter()
        .any(|name| text(headers, name).is_some_and(|purpose| purpose.contains("prefetch")));
    match request.method {
        _ if in_advance => Intent::Forged,
        Method::POST if is_same_origin(request) => Intent::Shutdown,
        Method::POST => Intent::Forged,
        _ if !is_browser(headers) => Intent::Shutdown,
        _ if opens_a_page(headers) || is_same_origin(request) => Intent::Page,
        _ => Intent::Forged,
    }
}

/// Whether a browser says by one of these fields that it is one. Not all of them say so by all: the
/// first family is sent only over TLS and on the own machine, an image is asked for without HTML.
fn is_browser(headers: &HeaderMap) -> bool {
    let fetches = headers
        .keys()
        .any(|name| name.as_str().starts_with("sec-") || name == "upgrade-insecure-requests");
    let names = [ORIGIN, REFERER, ACCEPT_LANGUAGE];
    fetches
        || names.iter().any(|name| headers.contains_key(name))
        || accepts_html(headers)
        || text(headers, USER_AGENT.as_str()).is_some_and(|agent| agent.starts_with("Mozilla/"))
}

/// Whether what is asked for is going to be shown as a page of its own.
fn opens_a_page(headers: &HeaderMap) -> bool {
    let is = |name, expected| text(headers, name).is_some_and(|value| value == expected);
    match headers.contains_key("sec-fetch-dest") {
        true => is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document"),
        false => is("sec-fetch-mode", "navigate") || accepts_html(headers),
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter();
    values.any(|value| {
        let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
        ["text/html", "application/xhtml+xml"]
            .into_iter()
            .any(|kind| value.contains(kind))
    })
}

/// Whether the request comes from a page of this service, or from no page. Browsers say so in one of
/// three fields; what says nothing is none.
fn is_same_origin(request: &Parts) -> bool {
    let headers = &request.headers;
    // https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header: no page can set it.
    if let Some(site) = text(headers, "sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let told = [ORIGIN, REFERER].map(|name| text(headers, name.as_str()));
    let Some(told) = told.into_iter().flatten().next() else {
        return true;
    };
    let asked = match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => text(headers, HOST.as_str()),
    };
    let authority = |address: &str| address.parse::<Uri>().ok()?.into_parts().authority;
    match (authority(told), asked) {
        (Some(from), Some(asked)) => from.as_str().eq_ignore_ascii_case(asked),
        _ => false,
    }
}

/// A field's value; what is no text counts as empty.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Body;

    fn of(method: &Method, fields: &[(&str, &str)]) -> Intent {
        let mut request = http::Request::builder().uri("http://service.example:9000/shutdown");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.method(method.clone()).body(()).unwrap();
        intent(&request.into_parts().0)
    }

    #[test]
    fn programs_mean_it() {
        for fields in [
            &[][..],
            &[("accept", "*/*"), ("user-agent", "curl/8.14.1")],
            &[
                ("user-agent", "python-requests/2.32"),
                ("accept-encoding", "gzip, deflate"),
            ],
        ] {
            assert_eq!(of(&Method::GET, fields), Intent::Shutdown, "{fields:?}");
            assert_eq!(of(&Method::POST, fields), Intent::Shutdown, "{fields:?}");
        }
    }

    #[test]
    fn a_browser_that_opens_the_address_is_asked_back() {
        let html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for fields in [
            &[("accept", html)][..],
            &[("accept", "TEXT/HTML")],
            &[("accept", "application/xhtml+xml")],
            &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
                ("accept", html),
            ],
            &[("referer", "http://evil.example/"), ("accept", html)],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://service.example:9000")],
            &[("referer", "http://service.example:9000/")],
            &[("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")],
            &[("accept-language", "de")],
        ] {
            assert_eq!(of(&Method::GET, fields), Intent::Page, "{fields:?}");
            assert_eq!(of(&Method::HEAD, fields), Intent::Page, "{fields:?}");
        }
    }

    #[test]
    fn what_a_page_of_another_site_fetches_is_refused() {
        for fields in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "\u{fc}")],
            &[("origin", "https://evil.example")],
            &[("origin", "http://service.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("referer", "http://evil.example/http://service.example:9000")],
            &[("sec-purpose", "prefetch;prerender")],
            &[("purpose", "prefetch")],
            &[("x-moz", "prefetch")],
            &[("sec-fetch-site", "none"), ("sec-purpose", "prefetch")],
        ] {
            assert_eq!(of(&Method::GET, fields), Intent::Forged, "{fields:?}");
            assert_eq!(of(&Method::POST, fields), Intent::Forged, "{fields:?}");
        }
        let frame = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
            ("accept", "text/html"),
        ];
        assert_eq!(of(&Method::GET, &frame), Intent::Forged);
    }

    #[test]
    fn the_button_means_it() {
        for fields in [
            &[("sec-fetch-site", "same-origin"), ("origin", "null")][..],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://service.example:9000")],
            &[("origin", "https://Service.example:9000")],
            &[("referer", "http://service.example:9000/shutdown")],
            // Behind a proxy that changes the host, the browser's own word decides.
            &[
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://public.example"),
            ],
        ] {
            assert_eq!(of(&Method::POST, fields), Intent::Shutdown, "{fields:?}");
        }
        let form = [("origin", "https://evil.example"), ("accept", "text/html")];
        assert_eq!(of(&Method::POST, &form), Intent::Forged);
    }

    #[test]
    fn the_page_has_a_button_and_may_do_nothing_else() {
        let page = page();
        assert_eq!(page.value("content-security-policy"), PAGE_POLICY);
        assert!(!PAGE_POLICY.contains("unsafe"));
        let Body::Whole(html) = page.body else {
            panic!("no page");
        };
        let html = String::from_utf8(html.to_vec()).unwrap();
        assert!(
            html.contains("<form method=\"post\">") && html.contains("<button>"),
            "{html}"
        );
        for inline in ["<script", "<style", "style=", "onclick", "src=", "href="] {
            assert!(!html.to_lowercase().contains(inline), "{inline}");
        }
    }
}
