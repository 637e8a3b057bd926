//! Whether an answer is only one page of several: its rows would silently be taken for all.

use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Whether the headers (RFC 8288) or the body name a next page.
pub(super) fn has_next(headers: &HeaderMap, body: &[u8]) -> bool {
    let links = headers.get_all(LINK).into_iter();
    let mut links = links.map(|link| String::from_utf8_lossy(link.as_bytes()).to_ascii_lowercase());
    links.any(|link| link.split(',').any(is_next)) || names_next(body)
}

/// Whether one link, `<address>; rel="…"`, leads to the next page.
fn is_next(link: &str) -> bool {
    let mut parameters = link.split(';').skip(1);
    parameters.any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or_default();
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim() == "rel" && relations.any(|relation| relation == "next")
    })
}

/// Whether the answer has a member `next` beside its rows that is not empty. What is no JSON is left to
/// whoever parses it.
fn names_next(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Page {
        next: Option<String>,
        #[serde(rename = "results")]
        _results: IgnoredAny,
    }
    // Looking for the name costs a fraction of reading the whole answer.
    memchr::memmem::find(body, b"\"next\"").is_some()
        && serde_json::from_slice(body)
            .is_ok_and(|page: Page| page.next.is_some_and(|next| !next.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, value.parse().unwrap());
        has_next(&headers, b"{}")
    }

    #[test]
    fn a_next_page_is_seen_in_the_link() {
        for link in [
            "<https://h/x?page=2>; rel=next",
            "</x>; rel=\"prev\", </y>; title=\"z\"; REL=\"last next\"",
        ] {
            assert!(linked(link), "{link}");
        }
        for link in [
            "</x>; rel=prev",
            "</next>; rel=\"nextish\"",
            "</x>",
            "</x>; title=next",
        ] {
            assert!(!linked(link), "{link}");
        }
    }

    #[test]
    fn a_next_page_is_seen_in_the_body() {
        let named = |body: &str| has_next(&HeaderMap::new(), body.as_bytes());
        for body in [
            r#"{"count": 9, "next": "https://h/x?page=2", "results": []}"#,
            r#"{"results": [{"next": 1}], "next": "token"}"#,
        ] {
            assert!(named(body), "{body}");
        }
        for body in [
            r#"{"results": [{"next": "x"}]}"#,
            r#"{"results": [], "next": null}"#,
            r#"{"results": [], "next": ""}"#,
            r#"{"10.0.0.1": 5, "next": "7"}"#,
            "{",
        ] {
            assert!(!named(body), "{body}");
        }
    }
}
