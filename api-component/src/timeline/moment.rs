//! A moment as a client writes it.

/// The seconds since the Unix epoch that `text` says: as a JSON number, or as a date and time of RFC 3339. The
/// digits behind the second count as those of a timestamp do, so that both notations mean the same double.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let is_number = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = match is_number {
        true => serde_json::from_str(text).ok(),
        false => date_time(text),
    };
    number.filter(|seconds: &f64| seconds.is_finite())
}

/// A `date-time` (RFC 3339, section 5.6).
fn date_time(text: &str) -> Option<f64> {
    let (local, rest) = text.split_at_checked(19)?;
    let bytes = local.as_bytes();
    let separators = [
        (4, b"--"),
        (7, b"--"),
        (10, b"Tt"),
        (13, b"::"),
        (16, b"::"),
    ];
    if !separators
        .iter()
        .all(|(at, accepted)| accepted.contains(&bytes[*at]))
    {
        return None;
    }
    let [year, month, day] = [
        number(&local[..4])?,
        number(&local[5..7])?,
        number(&local[8..10])?,
    ];
    let [hour, minute] = [number(&local[11..13])?, number(&local[14..16])?];
    let second = number(&local[17..])?;
    let is_real = (1..=days_in(year, month)?).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second.
        && second <= 60;
    let digits = rest.strip_prefix('.').map(|rest| {
        let end = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest.split_at(end)
    });
    let (fraction, offset) = match digits {
        Some(("", _)) => return None,
        Some(parts) => parts,
        None => ("0", rest),
    };
    let days = days_before(year, month) + day - 1;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_s(offset)?;
    if !is_real {
        return None;
    }
    match seconds {
        0.. => format!("{seconds}.{fraction}").parse().ok(),
        _ => Some(seconds as f64 + format!("0.{fraction}").parse::<f64>().ok()?),
    }
}

/// Digits alone.
fn number(text: &str) -> Option<i64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// How far a local time is ahead of UTC, in seconds.
fn offset_s(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let is_short = hours.len() == 2 && minutes.len() == 2;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (is_short && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => Some(28 + i64::from(is_leap)),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// Days from 1970-01-01 to the first of a month (Howard Hinnant,
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
const fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March, so that the leap day is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let day = (153 * month + 2) / 5;
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn both_notations_mean_the_same() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("-1.5", Some(-1.5)),
            ("1629939474.1346128", Some(1_629_939_474.134_612_8)),
            ("1.6e9", Some(1.6e9)),
            ("1970-01-01T00:00:00Z", Some(0.0)),
            (
                "2021-08-26T00:57:54.1346128Z",
                Some(1_629_939_474.134_612_8),
            ),
            (
                "2021-08-26t02:57:54.1346128+02:00",
                Some(1_629_939_474.134_612_8),
            ),
            (
                "2021-08-25T19:27:54.1346128-05:30",
                Some(1_629_939_474.134_612_8),
            ),
            ("2000-02-29T00:00:00z", Some(951_782_400.0)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800.0)),
            ("1969-12-31T23:59:59.5Z", Some(-0.5)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800.0)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799.0)),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "inf",
            "NaN",
            "1e999",
            "+5",
            "1.",
            ".5",
            "0x10",
            "--1",
            "1_000",
            " 1",
            "2021-08-26",
            "2021-08-26T00:57Z",
            "2021-08-26 00:57:54Z",
            "2021-08-26T00:57:54",
            "2021-08-26T00:57:54.Z",
            "2021-08-26T24:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-02-29T00:00:00Z",
            "2021-00-01T00:00:00Z",
            "2021-01-00T00:00:00Z",
            "2021-01-01T00:60:00Z",
            "2021-01-01T00:00:61Z",
            "2021-01-01T00:00:00+24:00",
            "2021-01-01T00:00:00+0200",
            "2021-01-01T00:00:00+1:0",
            "+021-01-01T00:00:00Z",
            "2021-01-01T00:00:00Zx",
            "2021-01-01T00:00:00é",
            "٠٠٠٠-01-01T00:00:00Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_is_that_of_another_implementation(unix in 0..253_402_300_799_u64) {
            // HTTP's dates come from a crate of its own.
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
            let http = httpdate::fmt_http_date(date);
            let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
            let month = months.find(&http[8..11]).unwrap() / 4 + 1;
            let text = format!("{}-{month:02}-{}T{}Z", &http[12..16], &http[5..7], &http[17..25]);
            prop_assert_eq!(seconds(&text), Some(unix as f64));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}", other in "[0-9TZ:+.e-]{0,40}") {
            let _ = (seconds(&text), seconds(&other));
        }
    }
}
