//! Which of a document's codings a client gets (RFC 9110, section 12.5.3).

use domain::contract::document::Encoding;
use domain::contract::record::Bodies;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::problem::Problem;

/// A weight in thousandths: 1000 is `q=1`.
type Weight = u16;

/// What a client said about codings. `None` where it said nothing.
#[derive(Debug, Default)]
struct Preferences {
    /// By the position in [`Encoding::ALL`].
    named: [Option<Weight>; Encoding::ALL.len()],
    /// `*`: of all that are not named.
    others: Option<Weight>,
}

impl Preferences {
    fn of(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let values = headers.get_all(ACCEPT_ENCODING).iter();
        for item in values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            if let Some((coding, weight)) = preference(item) {
                let slot = match Encoding::ALL
                    .iter()
                    .position(|known| is_named(*known, coding))
                {
                    Some(known) => &mut preferences.named[known],
                    None if coding == "*" => &mut preferences.others,
                    None => continue,
                };
                *slot = Some(weight);
            }
        }
        preferences
    }

    /// How much the client wants the coding at `position`; `None` if it must not have it.
    fn weight(&self, position: usize) -> Option<Weight> {
        let said = self.named[position].or(self.others);
        match Encoding::ALL[position] {
            // Acceptable unless it was ruled out, but after all that was asked for.
            Encoding::Identity => (said != Some(0)).then(|| said.unwrap_or(0)),
            _ => said.filter(|weight| *weight > 0),
        }
    }
}

/// Whether `coding` names `encoding`; `x-gzip` is an older name of gzip (RFC 9110, 8.4.1.3).
fn is_named(encoding: Encoding, coding: &str) -> bool {
    coding.eq_ignore_ascii_case(encoding.name())
        || (encoding == Encoding::Gzip && coding.eq_ignore_ascii_case("x-gzip"))
}

/// A coding and its weight; `None` for what is malformed, which counts as not said.
fn preference(item: &str) -> Option<(&str, Weight)> {
    let mut parts = item.split(';').map(str::trim);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => {
            let (name, value) = parameter.split_once('=')?;
            if !name.trim_end().eq_ignore_ascii_case("q") {
                return None;
            }
            weight(value.trim_start())?
        }
    };
    parts.next().is_none().then_some((coding, weight))
}

/// `0`, `1` and what is between them, with at most three decimals (RFC 9110, section 12.4.2).
pub(crate) fn weight(text: &str) -> Option<Weight> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths: Weight = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// Chooses among the codings that were made: the one that the client wants most; among those that
/// it wants equally, the one that this service prefers.
///
/// # Errors
/// 406 when the client rules out all of them.
pub(crate) fn encoding(headers: &HeaderMap, bodies: &Bodies) -> Result<Encoding, Problem> {
    let preferences = Preferences::of(headers);
    let mut best: Option<(Weight, Encoding)> = None;
    for (position, encoding) in Encoding::ALL.into_iter().enumerate() {
        if bodies.get(encoding).is_some()
            && let Some(weight) = preferences.weight(position)
            && best.is_none_or(|(most, _)| weight > most)
        {
            best = Some((weight, encoding));
        }
    }
    best.map(|(_, encoding)| encoding).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            "Your Accept-Encoding rules out every coding that this resource has. \
             Leave the field out, or accept identity.",
        )
        .with("vary", "Authorization, Accept-Encoding")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Encoding::{Brotli, Gzip, Identity, Zstd};
    use proptest::prelude::*;

    fn made(encodings: &[Encoding]) -> Bodies {
        let mut bodies = Bodies::default();
        for encoding in encodings {
            bodies.set(*encoding, 1);
        }
        bodies
    }

    fn choose(accept: &[&str], encodings: &[Encoding]) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT_ENCODING, value.parse().unwrap());
        }
        encoding(&headers, &made(encodings)).ok()
    }

    #[test]
    fn the_client_decides_and_then_our_order() {
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", Zstd),
            ("gzip, deflate, br", Brotli),
            ("gzip", Gzip),
            ("x-gzip", Gzip),
            ("GZIP", Gzip),
            ("gzip;q=1.0, zstd;q=0.5", Gzip),
            ("gzip;q=0.001", Gzip),
            ("gzip ; Q=0.5 , br;q=0.4", Gzip),
            ("identity, gzip", Gzip),
            ("identity;q=1, gzip;q=0.5", Identity),
            ("gzip;q=0", Identity),
            ("*", Zstd),
            ("*;q=0.5, br", Brotli),
            ("*, zstd;q=0", Brotli),
            ("deflate", Identity),
            ("", Identity),
            ("gzip;q=2", Identity),
            ("gzip;q=0.1234", Identity),
            ("gzip;level=9", Identity),
            (";q=1,,", Identity),
            ("identity;q=0, *;q=0, br", Brotli),
        ] {
            assert_eq!(
                choose(&[accept], &Encoding::ALL),
                Some(expected),
                "{accept}"
            );
        }
        assert_eq!(choose(&[], &Encoding::ALL), Some(Identity));
        assert_eq!(choose(&["br;q=0.5", "gzip"], &Encoding::ALL), Some(Gzip));
    }

    #[test]
    fn only_what_was_made_is_chosen() {
        assert_eq!(choose(&["zstd, gzip"], &[Gzip, Identity]), Some(Gzip));
        assert_eq!(choose(&["zstd, gzip"], &[Identity]), Some(Identity));
        assert_eq!(choose(&["*"], &[Identity]), Some(Identity));
    }

    #[test]
    fn what_is_ruled_out_is_not_sent() {
        assert_eq!(choose(&["identity;q=0"], &Encoding::ALL), None);
        assert_eq!(choose(&["*;q=0"], &Encoding::ALL), None);
        assert_eq!(choose(&["identity;q=0, gzip"], &[Identity]), None);
        assert_eq!(choose(&["*;q=0, identity"], &Encoding::ALL), Some(Identity));
    }

    proptest! {
        #[test]
        fn no_header_panics(accept in "[ -~]{0,60}") {
            let _ = choose(&[&accept], &Encoding::ALL);
        }
    }
}
