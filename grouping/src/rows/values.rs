//! The values of a row that matter, read from their bytes.

use domain::contract::timeline::TimeKey;
use domain::incident::Priority;

use crate::scan::Text;

/// Whether a member's name is `expected`, also when it is written with escapes.
#[inline]
pub(crate) fn is_named(body: &[u8], name: Text, expected: &[u8]) -> bool {
    if name.escaped {
        return unescape(body, name).is_some_and(|name| name.as_bytes() == expected);
    }
    &body[name.start..name.end] == expected
}

/// What a string with escapes says; `None` for half a surrogate pair, which says nothing.
#[cold]
pub(crate) fn unescape(body: &[u8], text: Text) -> Option<String> {
    serde_json::from_slice(&body[text.start - 1..=text.end]).ok()
}

#[inline]
pub(super) fn priority(body: &[u8], text: Text) -> Option<Priority> {
    if text.escaped {
        return Priority::from_name(unescape(body, text)?.as_bytes());
    }
    Priority::from_name(&body[text.start..text.end])
}

/// The employee id that `digits` write: a whole number from 0 to 2^64 - 1 without sign, fraction,
/// exponent or leading zero. Anything else (`77.0`, `7.7e1`) would have to be guessed at, and is not:
/// it may be a float that has lost digits on its way.
#[inline]
pub(crate) fn employee_id(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0'] => return Some(0),
        [] | [b'0', ..] => return None,
        _ => {}
    }
    let mut id = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        id = id.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(id)
}

/// The time that the JSON number `text` says. `None` if it is too large for a double.
#[inline]
pub(super) fn time_key(text: &[u8]) -> Option<TimeKey> {
    let time: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    TimeKey::new(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn employee_ids_are_whole_numbers_as_they_are_usually_written() {
        for (digits, id) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("1090", Some(1090)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("18446744073709551620", None),
            ("99999999999999999999", None),
            ("", None),
            ("00", None),
            ("07", None),
            ("-1", None),
            ("+1", None),
            ("77.0", None),
            ("7e1", None),
            (" 7", None),
            ("7:", None),
        ] {
            assert_eq!(employee_id(digits.as_bytes()), id, "{digits}");
        }
    }

    #[test]
    fn times_that_are_equal_have_one_key() {
        assert_eq!(time_key(b"-0"), time_key(b"0.0"));
        assert_eq!(time_key(b"10"), time_key(b"1e1"));
        assert_eq!(time_key(b"1e999"), None);
    }
}
