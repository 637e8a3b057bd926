//! The end of the whole service, on request.

use domain::settings::Settings;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};

use crate::problem::Problem;
use crate::reply::Reply;
use crate::store::Store;

/// Asks the refreshers to end the service. HEAD gets the same answer, but ends nothing: it is a
/// safe method.
///
/// # Errors
/// 403 where it is switched off, or a browser asks on its own or another site's account; 503 when
/// it cannot be asked for.
pub(crate) async fn respond(
    request: &Parts,
    store: &mut Store,
    settings: &Settings,
) -> Result<Reply, Problem> {
    if !settings.shutdown_enabled {
        return Err(forbidden(
            "The service cannot be shut down this way: SHUTDOWN_ENABLED is false.",
        ));
    }
    if !is_meant(request) {
        return Err(forbidden(
            "Browsers may not shut the service down for another site or in advance. \
             Use curl, or open this address by hand.",
        ));
    }
    if request.method != Method::HEAD {
        store.ask_shutdown().await?;
    }
    Ok(Reply::new(200).uncached().containing(
        "text/plain; charset=utf-8",
        "shutting down server...".into(),
    ))
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// Whether somebody really asks for it. A browser sends the password along with whatever another
/// page makes it fetch, and with what it fetches in advance.
fn is_meant(request: &Parts) -> bool {
    let headers = &request.headers;
    let in_advance = ["sec-purpose", "purpose", "x-moz"]
        .into_iter()
        .any(|name| text(headers, name).is_some_and(|purpose| purpose.contains("prefetch")));
    if in_advance {
        return false;
    }
    // https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header: no page can set it.
    if let Some(site) = text(headers, "sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    // Older browsers tell at least with POST where it comes from.
    match text(headers, ORIGIN.as_str()) {
        None => true,
        Some(origin) => {
            let host = request.uri.authority().map(http::uri::Authority::as_str);
            let host = host.or_else(|| text(headers, HOST.as_str()));
            let asked = origin.split_once("://").map(|(_, host)| host);
            asked.is_some() && asked == host
        }
    }
}

/// A field's value; what is no text counts as empty.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(fields: &[(&str, &str)]) -> bool {
        let mut request = http::Request::get("http://service.example:9000/shutdown");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        is_meant(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn programs_and_typed_addresses_may() {
        assert!(meant(&[]));
        assert!(meant(&[("sec-fetch-site", "none")]));
        assert!(meant(&[("sec-fetch-site", "same-origin")]));
        assert!(meant(&[("origin", "http://service.example:9000")]));
        assert!(meant(&[("origin", "https://service.example:9000")]));
        // Behind a proxy that changes the host, the browser's own word decides.
        assert!(meant(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://public.example")
        ]));
    }

    #[test]
    fn other_sites_and_prefetching_may_not() {
        for field in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "\u{fc}"),
            ("origin", "https://evil.example"),
            ("origin", "http://service.example"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "prefetch"),
            ("x-moz", "prefetch"),
        ] {
            assert!(!meant(&[field]), "{field:?}");
        }
        assert!(!meant(&[
            ("sec-fetch-site", "none"),
            ("sec-purpose", "prefetch")
        ]));
    }
}
