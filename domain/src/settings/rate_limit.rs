//! Rate limits in the notation of the service's first edition: `5 per second`, `10/2 hours`.
//!
//! The grammar is that of Python's `limits` package
//! (<https://limits.readthedocs.io/en/stable/quickstart.html#rate-limit-string-notation>):
//! `[count] [per|/] [n (optional)] [second|minute|hour|day|month|year]`, singular or plural,
//! several of them separated by `,`, `;` or `|`.

use std::fmt;

use thiserror::Error;

/// At most `count` requests in a window of `window_ms` milliseconds that begins with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests that a window admits; at least 1.
    pub count: u64,
    /// The window's length in milliseconds; at least 1000.
    pub window_ms: u64,
}

/// Why a text is not a rate limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{found}` is not a rate limit: {problem}; accepted: `20 per minute`, `5/second`, `10 per 2 hours`, or several separated by `;`"
)]
pub struct RateLimitError {
    found: String,
    problem: &'static str,
}

impl RateLimitError {
    /// What is wrong with which part.
    pub(super) fn reason(&self) -> String {
        format!("`{}` ({})", self.found.escape_debug(), self.problem)
    }
}

/// The longest window that is accepted: ten years. It keeps every computation far from overflow.
const LONGEST_WINDOW_S: u64 = 10 * 365 * 24 * 3600;
/// The largest count that is accepted: what a double still holds exactly, as Redis's scripts count.
const LARGEST_COUNT: u64 = 1 << 53;

const UNITS: [(&str, u64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3600),
    ("day", 24 * 3600),
    ("month", 30 * 24 * 3600),
    ("year", 365 * 24 * 3600),
];

impl RateLimit {
    /// More limits than this on one route are a mistake, and each costs work in every request.
    pub const MOST: usize = 8;

    /// Parses one limit.
    ///
    /// # Errors
    /// When the text is not in the notation, or a number is zero or too large.
    pub fn parse(text: &str) -> Result<Self, RateLimitError> {
        let fail = |problem| RateLimitError {
            found: text.chars().take(80).collect(),
            problem,
        };
        let mut rest = text.trim();
        let count = take_number(&mut rest).ok_or_else(|| fail("it does not begin with a count"))?;
        let spaced = rest.starts_with(char::is_whitespace);
        rest = rest.trim_start();
        rest = match rest.strip_prefix('/') {
            Some(after) => after,
            None => strip_word(rest, "per")
                .filter(|_| spaced)
                .ok_or_else(|| fail("`per` or `/` must follow the count"))?,
        }
        .trim_start();
        let multiple = if rest.starts_with(|c: char| c.is_ascii_digit()) {
            take_number(&mut rest).ok_or_else(|| fail("the number of units is too large"))?
        } else {
            1
        };
        let unit = rest.trim().to_ascii_lowercase();
        let seconds = UNITS
            .iter()
            .find(|(name, _)| unit == *name || unit.strip_suffix('s') == Some(name))
            .map(|(_, seconds)| *seconds)
            .ok_or_else(|| fail("the unit must be second, minute, hour, day, month or year"))?;
        if count == 0 || multiple == 0 {
            return Err(fail("a number is zero"));
        }
        if count > LARGEST_COUNT {
            return Err(fail("the count is too large"));
        }
        let window_s = multiple
            .checked_mul(seconds)
            .filter(|window| *window <= LONGEST_WINDOW_S)
            .ok_or_else(|| fail("the window is longer than ten years"))?;
        Ok(Self {
            count,
            window_ms: window_s * 1000,
        })
    }

    /// Parses a list of limits separated by `,`, `;` or `|`.
    ///
    /// # Errors
    /// When a part is empty or not in the notation, or there are more than [`MOST`](Self::MOST).
    pub fn parse_list(text: &str) -> Result<Vec<Self>, RateLimitError> {
        let parts: Vec<&str> = text.split([',', ';', '|', '\n']).collect();
        if parts.len() > Self::MOST {
            return Err(RateLimitError {
                found: text.chars().take(80).collect(),
                problem: "there are more than 8 limits",
            });
        }
        parts.into_iter().map(Self::parse).collect()
    }

    /// The window in whole seconds, as the `RateLimit-Policy` header wants it.
    #[must_use]
    pub const fn window_s(self) -> u64 {
        self.window_ms / 1000
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.window_s();
        let (unit, seconds) = UNITS
            .iter()
            .rev()
            .find(|(_, seconds)| window.is_multiple_of(*seconds))
            .copied()
            .unwrap_or(UNITS[0]);
        match window / seconds {
            1 => write!(f, "{} per {unit}", self.count),
            n => write!(f, "{} per {n} {unit}s", self.count),
        }
    }
}

fn take_number(rest: &mut &str) -> Option<u64> {
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    let number = digits.parse().ok()?;
    *rest = after;
    Some(number)
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, after) = text.split_at_checked(word.len())?;
    (head.eq_ignore_ascii_case(word)
        && after.starts_with(|c: char| c.is_whitespace() || c.is_ascii_digit()))
    .then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(text: &str) -> (u64, u64) {
        let limit = RateLimit::parse(text).unwrap_or_else(|error| panic!("{error}"));
        (limit.count, limit.window_s())
    }

    #[test]
    fn the_notation_of_the_first_edition_is_understood() {
        assert_eq!(limit("5 per second"), (5, 1));
        assert_eq!(limit("1000 per day"), (1000, 86_400));
        assert_eq!(limit("20 per minute"), (20, 60));
        assert_eq!(limit("10/2 hours"), (10, 7200));
        assert_eq!(limit(" 10 / hour "), (10, 3600));
        assert_eq!(limit("1 PER 3 Days"), (1, 3 * 86_400));
        assert_eq!(limit("7/second"), (7, 1));
        assert_eq!(limit("7 per 2months"), (7, 60 * 86_400));
        assert_eq!(limit("7 per 3650 days"), (7, 3650 * 86_400));
        assert!(RateLimit::parse("7 per 3651 days").is_err());
        let largest = limit(&format!("{LARGEST_COUNT} per day"));
        assert_eq!(largest, (LARGEST_COUNT, 86_400));
        assert!(RateLimit::parse(&format!("{} per day", LARGEST_COUNT + 1)).is_err());
    }

    #[test]
    fn lists_may_use_every_separator() {
        let most = |count: usize| RateLimit::parse_list(&vec!["1/day"; count].join(","));
        assert_eq!(most(RateLimit::MOST).map(|limits| limits.len()), Ok(8));
        assert!(most(RateLimit::MOST + 1).is_err());
        let found = RateLimit::parse_list("5 per second, 1000 per day;20/minute | 1/year").unwrap();
        assert_eq!(
            found.iter().map(|l| l.count).collect::<Vec<_>>(),
            [5, 1000, 20, 1]
        );
        for with_nothing in ["", "  ", "1/day,", "1/day;;2/hour", ",1/day"] {
            assert!(
                RateLimit::parse_list(with_nothing).is_err(),
                "{with_nothing}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, problem) in [
            ("", "does not begin with a count"),
            ("per minute", "does not begin with a count"),
            ("-1 per minute", "does not begin with a count"),
            (
                "99999999999999999999 per day",
                "does not begin with a count",
            ),
            ("9007199254740993 per day", "count is too large"),
            ("5 minute", "`per` or `/`"),
            ("5per minute", "`per` or `/`"),
            ("5 perminute", "`per` or `/`"),
            ("5 per", "`per` or `/`"),
            ("5 per fortnight", "unit must be"),
            ("0 per minute", "zero"),
            ("5 per 0 minutes", "zero"),
            ("5 per 100 years", "ten years"),
            ("5 per 99999999999999999999 years", "too large"),
        ] {
            let error = RateLimit::parse(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        assert!(RateLimit::parse_list("1/day;".repeat(9).as_str()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(count in 1..=LARGEST_COUNT, window_s in 1..=LONGEST_WINDOW_S) {
            let limit = RateLimit { count, window_ms: window_s * 1000 };
            prop_assert_eq!(RateLimit::parse(&limit.to_string()), Ok(limit));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = RateLimit::parse_list(&text);
        }
    }
}
