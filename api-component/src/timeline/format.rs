//! In which form incidents are given.

use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

use crate::negotiate;
use crate::problem::Problem;

/// What an answer depends on whose form is negotiated.
pub(crate) const VARY: &str = "Authorization, Accept, Accept-Encoding";

/// A form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A page: an object with the items, and where the next page is.
    Json,
    /// An item a line.
    Ndjson,
    /// A table.
    Csv,
}

impl Format {
    /// Every form, the preferred ones first.
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    /// The word for it in a query.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// What its body is.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// Its media type, in two parts.
    const fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::Ndjson => ("application", "x-ndjson"),
            Self::Csv => ("text", "csv"),
        }
    }

    /// How much a client wants it whose `Accept` has these ranges: what names it most exactly counts (RFC
    /// 9110, section 12.5.1). `None` if that is not at all.
    fn weight(self, ranges: &[Range<'_>]) -> Option<u16> {
        let (kind, subtype) = self.media_type();
        let exactness = |range: &Range<'_>| match *range {
            Range {
                kind: "*",
                subtype: "*",
                ..
            } => Some(0),
            Range {
                kind: of,
                subtype: "*",
                ..
            } if of.eq_ignore_ascii_case(kind) => Some(1),
            Range {
                kind: of,
                subtype: own,
                ..
            } if of.eq_ignore_ascii_case(kind) && own.eq_ignore_ascii_case(subtype) => Some(2),
            Range { .. } => None,
        };
        let matching = ranges
            .iter()
            .filter_map(|range| Some((exactness(range)?, range.weight)));
        let (_, weight) = matching.max()?;
        (weight > 0).then_some(weight)
    }
}

/// Media types that a client accepts.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    /// Reads one; `None` for what is malformed, which counts as not said.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut weight = 1000;
        for parameter in parts {
            let (name, value) = parameter.split_once('=')?;
            if name.trim_end().eq_ignore_ascii_case("q") {
                weight = negotiate::weight(value.trim_start())?;
            }
        }
        Some(Self {
            kind,
            subtype,
            weight,
        })
    }
}

/// Chooses the form that the client wants most; among those that it wants equally, the one that this
/// service prefers.
///
/// # Errors
/// 406 when it rules out all of them.
pub(crate) fn negotiated(headers: &HeaderMap) -> Result<Format, Problem> {
    let values = headers.get_all(ACCEPT).iter();
    let ranges: Vec<Range<'_>> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(Range::read)
        .collect();
    if ranges.is_empty() {
        return Ok(Format::Json);
    }
    let mut best: Option<(u16, Format)> = None;
    for format in Format::ALL {
        if let Some(weight) = format.weight(&ranges)
            && best.is_none_or(|(most, _)| weight > most)
        {
            best = Some((weight, format));
        }
    }
    best.map(|(_, format)| format).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "Your Accept rules out every form that this resource has: application/json, \
             application/x-ndjson and text/csv. Accept one of them, or choose with the parameter format.",
        )
        .with("vary", VARY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Format::{Csv, Json, Ndjson};
    use proptest::prelude::*;

    fn choose(accept: &[&str]) -> Option<Format> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        negotiated(&headers).ok()
    }

    #[test]
    fn the_client_decides_and_then_our_order() {
        for (accept, expected) in [
            ("*/*", Some(Json)),
            ("application/json", Some(Json)),
            ("application/x-ndjson", Some(Ndjson)),
            ("Application/X-NDJSON ; q=0.5", Some(Ndjson)),
            ("text/csv", Some(Csv)),
            ("text/csv;charset=utf-8", Some(Csv)),
            ("text/*", Some(Csv)),
            ("application/*", Some(Json)),
            ("text/csv, application/json", Some(Json)),
            ("text/csv, application/json;q=0.9", Some(Csv)),
            ("*/*;q=0.1, text/csv", Some(Csv)),
            ("application/*, application/json;q=0", Some(Ndjson)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(Json)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("*/*;q=0", None),
            ("", Some(Json)),
            ("nonsense", Some(Json)),
            ("text/csv;q=7", Some(Json)),
        ] {
            assert_eq!(choose(&[accept]), expected, "{accept}");
        }
        assert_eq!(choose(&[]), Some(Json));
        assert_eq!(choose(&["text/html", "text/csv"]), Some(Csv));
    }

    proptest! {
        #[test]
        fn no_header_panics(accept in "[ -~]{0,60}") {
            let _ = choose(&[&accept]);
        }
    }
}
