//! Whether a client already has what it asks for (RFC 9110, section 13).

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

/// Whether the answer is 304: `If-None-Match` is `*` or lists `etag` (with its quotes), or, without
/// such a field, nothing has changed since `If-Modified-Since`.
pub(crate) fn not_modified(headers: &HeaderMap, etag: &str, changed_at_ms: u64) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        return takes_any(headers) || lists(headers, etag);
    }
    let since = headers
        .get(IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    since
        .and_then(|since| httpdate::parse_http_date(since).ok())
        // HTTP's dates have no fractions.
        .is_some_and(|since| moment(changed_at_ms / 1000 * 1000) <= since)
}

/// Whether `If-None-Match` is `*`.
pub(crate) fn takes_any(headers: &HeaderMap) -> bool {
    values(headers).any(|list| list.trim() == "*")
}

/// Whether `If-None-Match` lists `etag` itself. The comparison is the weak one.
pub(crate) fn lists(headers: &HeaderMap, etag: &str) -> bool {
    values(headers).any(|list| list_has(list, etag))
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(IF_NONE_MATCH).iter();
    values.filter_map(|value| value.to_str().ok())
}

/// Whether a list of entity tags has `etag`. A tag may contain commas, so that its quotes count.
fn list_has(list: &str, etag: &str) -> bool {
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        rest = rest.strip_prefix("W/").unwrap_or(rest);
        let Some(end) = rest.strip_prefix('"').and_then(|opaque| opaque.find('"')) else {
            return false;
        };
        let (tag, after) = rest.split_at(end + 2);
        if tag == etag {
            return true;
        }
        rest = after;
    }
}

/// A moment as HTTP writes it (RFC 9110, section 5.6.7).
pub(crate) fn http_date(unix_ms: u64) -> String {
    httpdate::fmt_http_date(moment(unix_ms))
}

fn moment(unix_ms: u64) -> SystemTime {
    // The latest that HTTP's four digits of a year can say.
    const LAST_MS: u64 = 253_402_300_799_000;
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderName;
    use proptest::prelude::*;

    /// 1994-11-15T08:12:31.500Z
    const CHANGED: u64 = 784_887_151_500;

    fn hit(fields: &[(HeaderName, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        not_modified(&headers, "\"abc-gzip\"", CHANGED)
    }

    #[test]
    fn tags_are_compared_weakly_and_whole() {
        for (value, expected) in [
            ("\"abc-gzip\"", true),
            ("W/\"abc-gzip\"", true),
            ("\"x\", \"abc-gzip\"", true),
            ("\"x\",W/\"abc-gzip\",\"y\"", true),
            ("\"a,b\" , \"abc-gzip\"", true),
            ("*", true),
            ("\"abc\"", false),
            ("abc-gzip", false),
            ("\"abc-gzip", false),
            ("\"\", \"ABC-GZIP\"", false),
            ("w/\"abc-gzip\"", false),
            ("", false),
            (",,,", false),
            ("\"x,\"abc-gzip\"", false),
        ] {
            assert_eq!(hit(&[(IF_NONE_MATCH, value)]), expected, "{value}");
        }
        assert!(hit(&[
            (IF_NONE_MATCH, "\"x\""),
            (IF_NONE_MATCH, "\"abc-gzip\"")
        ]));
        assert!(!hit(&[]));
    }

    #[test]
    fn dates_count_only_without_tags() {
        let same = "Tue, 15 Nov 1994 08:12:31 GMT";
        let before = "Tue, 15 Nov 1994 08:12:30 GMT";
        assert!(hit(&[(IF_MODIFIED_SINCE, same)]));
        assert!(!hit(&[(IF_MODIFIED_SINCE, before)]));
        assert!(!hit(&[(IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!hit(&[(IF_MODIFIED_SINCE, same), (IF_NONE_MATCH, "\"x\"")]));
        assert_eq!(http_date(CHANGED), same);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,60}", ms: u64) {
            let _ = hit(&[(IF_NONE_MATCH, &value)]);
            let _ = hit(&[(IF_MODIFIED_SINCE, &value)]);
            let _ = http_date(ms);
        }
    }
}
