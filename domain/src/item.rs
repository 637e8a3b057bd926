//! Items: an incident of a list over all employees, as JSON and as a line of CSV, made of the row's bytes
//! in the report. Numbers keep their digits: bytes are copied, never parsed and printed again.

use std::borrow::Cow;
use std::io::Write as _;

use thiserror::Error;

/// The names of the cells that [`Item::write_csv`] writes, without the end of the line.
pub const CSV_HEADER: &str = "time,timestamp,priority,type,employee,identity,details";

/// How a line of CSV ends (RFC 4180).
pub const CSV_LINE_END: &str = "\r\n";

/// What is no row of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a row of the report is damaged")]
pub struct DamagedRow;

/// An incident and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The employee's id.
    pub employee: u64,
    /// The row, an object, as the report has it.
    pub row: &'a [u8],
}

impl Item<'_> {
    /// Appends `{"employee":775,"incident":{…}}`: one line, since a line break that upstream has between
    /// the members of a row becomes a blank.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"employee\":");
        push_number(out, self.employee);
        out.extend_from_slice(b",\"incident\":");
        push_on_one_line(out, self.row);
        out.push(b'}');
    }

    /// Appends the cells of [`CSV_HEADER`], without the end of the line, so that others may follow:
    ///
    /// - `time`: see [`push_rfc3339`]; empty for a time that it cannot write
    /// - `timestamp`: the digits that upstream sent
    /// - `priority`, `type`, `employee`
    /// - `identity`: what the row's member `identity_field` holds, which is its type's; empty where that is
    ///   not known
    /// - `details`: the row's other members, a JSON object. Of a name that stands twice, the last one is
    ///   in its cell, and the others are here.
    ///
    /// Cells are quoted where RFC 4180 wants it. A text that a spreadsheet would run as a formula has a `'`
    /// before it.
    ///
    /// # Errors
    /// The row is no object, or has no timestamp: what is in `out` then is a part of a line.
    pub fn write_csv(
        &self,
        out: &mut Vec<u8>,
        identity_field: Option<&str>,
    ) -> Result<(), DamagedRow> {
        let known = Known::of(self.row, identity_field)?;
        let timestamp = known.timestamp.ok_or(DamagedRow)?;
        // For a time that cannot be written, the cell stays empty.
        let _ = push_rfc3339(out, timestamp.value);
        out.push(b',');
        push_value(out, Some(timestamp));
        out.push(b',');
        push_value(out, known.priority);
        out.push(b',');
        push_value(out, known.kind);
        out.push(b',');
        push_number(out, self.employee);
        out.push(b',');
        push_value(out, known.identity);
        out.push(b',');
        push_details(out, self.row, &known)
    }
}

/// The digits of a row's timestamp; of several, the last one counts, as for the report.
///
/// # Errors
/// The row is no object, or has no timestamp.
pub fn timestamp(row: &[u8]) -> Result<&[u8], DamagedRow> {
    let timestamp = Known::of(row, None)?.timestamp.ok_or(DamagedRow)?;
    Ok(timestamp.value)
}

/// The members of a row that have a cell of their own.
struct Known<'a> {
    priority: Option<Member<'a>>,
    kind: Option<Member<'a>>,
    timestamp: Option<Member<'a>>,
    identity: Option<Member<'a>>,
    /// Whether the row has others.
    has_others: bool,
}

impl<'a> Known<'a> {
    /// Those of `row`; of a name that stands twice, the last one counts, as for the report.
    fn of(row: &'a [u8], identity_field: Option<&str>) -> Result<Self, DamagedRow> {
        let mut known = Self {
            priority: None,
            kind: None,
            timestamp: None,
            identity: None,
            has_others: false,
        };
        for member in Members::of(row)? {
            let member = member?;
            let name = member.name();
            let place = match &*name {
                b"priority" => &mut known.priority,
                b"type" => &mut known.kind,
                b"timestamp" => &mut known.timestamp,
                name if identity_field.is_some_and(|field| field.as_bytes() == name) => {
                    &mut known.identity
                }
                _ => {
                    known.has_others = true;
                    continue;
                }
            };
            known.has_others |= place.replace(member).is_some();
        }
        Ok(known)
    }

    /// Whether this member is one of them.
    fn has(&self, member: Member<'_>) -> bool {
        [self.priority, self.kind, self.timestamp, self.identity]
            .into_iter()
            .flatten()
            .any(|known| known.at == member.at)
    }
}

/// Appends the members of `row` that are not among those `known`.
fn push_details(out: &mut Vec<u8>, row: &[u8], known: &Known<'_>) -> Result<(), DamagedRow> {
    if !known.has_others {
        out.extend_from_slice(b"{}");
        return Ok(());
    }
    // An object with a member has quotes in it, so the cell is quoted.
    out.extend_from_slice(b"\"{");
    let mut is_first = true;
    for member in Members::of(row)? {
        let member = member?;
        if known.has(member) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        for byte in member.text {
            match byte {
                b'"' => out.extend_from_slice(b"\"\""),
                b'\n' | b'\r' => out.push(b' '),
                _ => out.push(*byte),
            }
        }
    }
    out.extend_from_slice(b"}\"");
    Ok(())
}

/// Appends what a member holds as a cell: a text as it reads, anything else as its JSON; nothing if there is
/// no such member.
fn push_value(out: &mut Vec<u8>, member: Option<Member<'_>>) {
    let value = member.map_or(&[][..], |member| member.value);
    match value {
        [b'"', text @ .., b'"'] => {
            let text = match text.contains(&b'\\') {
                false => Cow::Borrowed(text),
                true => serde_json::from_slice(value)
                    .map_or(Cow::Borrowed(text), |text: String| text.into_bytes().into()),
            };
            // What else Excel and LibreOffice take for the beginning of a formula, or pass over before one.
            let is_formula = matches!(
                text.first(),
                Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n')
            );
            push_cell(out, if is_formula { &b"'"[..] } else { b"" }, &text);
        }
        // A number that is negative is still a number.
        _ => push_cell(out, b"", value),
    }
}

/// Appends a cell that begins with `mark`, quoted where it has to be.
fn push_cell(out: &mut Vec<u8>, mark: &[u8], text: &[u8]) {
    let needs_quotes = |byte: &u8| matches!(byte, b'"' | b',' | b'\r' | b'\n');
    if !text.iter().any(needs_quotes) {
        out.extend_from_slice(mark);
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(mark);
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// Appends JSON without line breaks: they can only stand between its values.
fn push_on_one_line(out: &mut Vec<u8>, json: &[u8]) {
    if !json.contains(&b'\n') && !json.contains(&b'\r') {
        out.extend_from_slice(json);
        return;
    }
    let on_one_line = |byte: &u8| match byte {
        b'\n' | b'\r' => b' ',
        _ => *byte,
    };
    out.extend(json.iter().map(on_one_line));
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    // Writing into memory does not fail.
    let _ = write!(out, "{number}");
}

/// Appends the time that `timestamp`, a JSON number, writes in seconds since the Unix epoch: RFC 3339,
/// in UTC, with six digits after the second, so that times as texts order as the times do. They are
/// upstream's own digits, not those of a double; what is shorter than a microsecond is cut off.
///
/// `None`, and nothing appended, for what is before the year 1, after the year 9999 or no number.
#[must_use]
pub fn push_rfc3339(out: &mut Vec<u8>, timestamp: &[u8]) -> Option<()> {
    const DAY_S: i64 = 24 * 3600;
    let micros = microseconds(timestamp)?;
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = date(days);
    if !(1..=9999).contains(&year) {
        return None;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z"
    );
    Some(())
}

/// The microseconds that `number`, a JSON number of seconds, writes, rounded down. `None` if it is none, or
/// far from every year that has four digits.
fn microseconds(number: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let end = digits.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match end {
        None => (digits, 0),
        Some(end) => (&digits[..end], exponent(&digits[end + 1..])?),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let whole = point.unwrap_or(mantissa.len());
    let mut digits = mantissa.iter().filter(|byte| **byte != b'.').peekable();
    digits.peek()?;
    // Where the unit of the result, a microsecond, is among the digits.
    let mut place = i64::try_from(whole)
        .ok()?
        .saturating_add(exponent)
        .saturating_add(6);
    let mut micros = 0_i64;
    while place > 0 && (digits.peek().is_some() || micros != 0) {
        let digit = match digits.next() {
            None => 0,
            Some(digit @ b'0'..=b'9') => i64::from(digit - b'0'),
            Some(_) => return None,
        };
        micros = micros.checked_mul(10)?.checked_add(digit)?;
        place -= 1;
    }
    let is_cut = digits.any(|digit| *digit != b'0');
    Some(match is_negative {
        true => -micros - i64::from(is_cut),
        false => micros,
    })
}

/// The power of ten behind a number's `e`.
fn exponent(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let mut exponent = 0_i64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        exponent = exponent.saturating_mul(10).saturating_add(digit.into());
    }
    Some(if is_negative { -exponent } else { exponent })
}

/// The year, month and day that are `days` after 1970-01-01, in the Gregorian calendar, also before it was
/// introduced (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
const fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is their last; eras have 400 of them.
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + next, month, day)
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
struct Member<'a> {
    /// Where it begins in the object.
    at: usize,
    /// Name, colon and value.
    text: &'a [u8],
    /// What stands between the quotes of the name.
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Member<'a> {
    /// The name as it reads.
    fn name(&self) -> Cow<'a, [u8]> {
        if !self.name.contains(&b'\\') {
            return self.name.into();
        }
        let quoted = self.text.get(..self.name.len() + 2).unwrap_or_default();
        serde_json::from_slice(quoted)
            .map_or(self.name.into(), |name: String| name.into_bytes().into())
    }
}

/// The members of an object, which is JSON: no more of it is looked at than is needed to find them.
struct Members<'a> {
    json: &'a [u8],
    /// Where the next one begins; none after the last.
    at: Option<usize>,
}

impl<'a> Members<'a> {
    fn of(json: &'a [u8]) -> Result<Self, DamagedRow> {
        let at = blank_end(json, 0);
        if json.get(at) != Some(&b'{') {
            return Err(DamagedRow);
        }
        let at = blank_end(json, at + 1);
        let is_empty = json.get(at) == Some(&b'}');
        Ok(Self {
            json,
            at: (!is_empty).then_some(at),
        })
    }

    fn member(&mut self, at: usize) -> Option<Member<'a>> {
        let name_end = string_end(self.json, at)?;
        let colon = blank_end(self.json, name_end);
        (self.json.get(colon) == Some(&b':')).then_some(())?;
        let start = blank_end(self.json, colon + 1);
        let end = value_end(self.json, start)?;
        let after = blank_end(self.json, end);
        self.at = match self.json.get(after)? {
            b',' => Some(blank_end(self.json, after + 1)),
            b'}' => None,
            _ => return None,
        };
        Some(Member {
            at,
            text: &self.json[at..end],
            name: &self.json[at + 1..name_end - 1],
            value: &self.json[start..end],
        })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, DamagedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at.take()?;
        Some(self.member(at).ok_or(DamagedRow))
    }
}

/// Where the white space ends that begins at `at`.
fn blank_end(json: &[u8], at: usize) -> usize {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let rest = json.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| is_blank(byte)).count()
}

/// Where the string ends that begins at `at`, behind its quote.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    (json.get(at) == Some(&b'"')).then_some(())?;
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the value ends that begins at `at`.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    let mut depth = 0_usize;
    loop {
        match json.get(end)? {
            b'"' => end = string_end(json, end)?,
            b'{' | b'[' => {
                depth += 1;
                end += 1;
            }
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                end += 1;
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth > 0 => {
                end += 1;
                continue;
            }
            b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' => break,
            _ => {
                end += 1;
                continue;
            }
        }
        if depth == 0 {
            break;
        }
    }
    (end > at).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn item(row: &str) -> Item<'_> {
        Item {
            employee: 775,
            row: row.as_bytes(),
        }
    }

    fn csv(row: &str, field: Option<&str>) -> String {
        let mut out = Vec::new();
        item(row).write_csv(&mut out, field).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn time(timestamp: &str) -> String {
        let mut out = Vec::new();
        let found = push_rfc3339(&mut out, timestamp.as_bytes());
        assert_eq!(found.is_some(), !out.is_empty());
        String::from_utf8(out).unwrap()
    }

    /// The cells of a line, as RFC 4180 reads it.
    fn cells(line: &str) -> Vec<String> {
        let (mut cells, mut is_quoted) = (vec![String::new()], false);
        let mut characters = line.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '"' if is_quoted && characters.next_if_eq(&'"').is_some() => {
                    cells.last_mut().unwrap().push('"');
                }
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                _ => cells.last_mut().unwrap().push(character),
            }
        }
        assert!(!is_quoted, "{line}");
        cells
    }

    #[test]
    fn an_item_has_the_row_as_it_is_on_one_line() {
        let mut out = Vec::new();
        item("{\"type\":\"other\",\r\n \"a\\n\": 1.50 }").write_json(&mut out);
        let expected = r#"{"employee":775,"incident":{"type":"other",   "a\n": 1.50 }}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        for line_break in ["\n", "\r"] {
            let mut out = Vec::new();
            item(&format!("{{{line_break}\"a\":1}}")).write_json(&mut out);
            let expected = r#"{"employee":775,"incident":{ "a":1}}"#;
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn the_lines_of_what_upstream_sends_today() {
        assert_eq!(
            csv(
                r#"{"type":"denial","priority":"low","reported_by":1234,"timestamp":1629939474.1346128,"source_ip":"17.105.244.255"}"#,
                Some("reported_by")
            ),
            r#"2021-08-26T00:57:54.134612Z,1629939474.1346128,low,denial,775,1234,"{""source_ip"":""17.105.244.255""}""#
        );
        assert_eq!(
            csv(
                r#"{"type":"probing","priority":"critical","ip":"17.229.47.234","timestamp":1629933416}"#,
                Some("ip")
            ),
            "2021-08-25T23:16:56.000000Z,1629933416,critical,probing,775,17.229.47.234,{}"
        );
        assert_eq!(CSV_HEADER.split(',').count(), 7);
    }

    #[test]
    fn what_is_in_no_cell_is_in_the_details_with_its_digits() {
        let row = "{\"type\":\"other\",\"priority\":\"high\", \"timestamp\" : 1 ,\n\
            \"identifier\":\"1.2.3.4\",\"a\":1.50e+2,\"b\":[1,{\"c\":\"},\\\"\"}],\"timestamp\":2.0}";
        let line = csv(row, Some("identifier"));
        let expected = r#""timestamp" : 1,"a":1.50e+2,"b":[1,{"c":"},\""}]"#;
        let found = cells(&line);
        assert_eq!(found[1], "2.0");
        assert_eq!(found[5], "1.2.3.4");
        assert_eq!(found[6], format!("{{{expected}}}"));
        // A type whose member is not known.
        let found = cells(&csv(row, None));
        assert_eq!(found[5], "");
        assert!(found[6].contains("identifier"), "{}", found[6]);
        assert_eq!(timestamp(row.as_bytes()), Ok(&b"2.0"[..]));
        // A name that is written with escapes.
        let row = r#"{"type":"a","priority":"low","timest\u0061mp":5,"i\u0070":"1.2.3.4"}"#;
        let found = cells(&csv(row, Some("ip")));
        assert_eq!((&*found[1], &*found[5], &*found[6]), ("5", "1.2.3.4", "{}"));
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (value, cell) in [
            (r#""=1+2""#, "'=1+2"),
            (r#""+1""#, "'+1"),
            (r#""-1""#, "'-1"),
            (r#""@a""#, "'@a"),
            (r#""\t=1""#, "'\t=1"),
            (r#""\r=1""#, "'\r=1"),
            (r#""\n=1""#, "'\n=1"),
            (r#"" =1""#, " =1"),
            (r#""a=1""#, "a=1"),
            (r#""a,\"b\"""#, "a,\"b\""),
            ("-1", "-1"),
            ("null", "null"),
            (r#"[1,"a"]"#, r#"[1,"a"]"#),
        ] {
            let row = format!(r#"{{"timestamp":-1,"id":{value}}}"#);
            let found = cells(&csv(&row, Some("id")));
            assert_eq!((&*found[1], &*found[5]), ("-1", cell), "{value}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (timestamp, expected) in [
            ("0", "1970-01-01T00:00:00.000000Z"),
            ("-0.0", "1970-01-01T00:00:00.000000Z"),
            ("1629939474.1346128", "2021-08-26T00:57:54.134612Z"),
            ("1629939474.9999999", "2021-08-26T00:57:54.999999Z"),
            ("1.6299394741346128E9", "2021-08-26T00:57:54.134612Z"),
            ("16299394741346128e-7", "2021-08-26T00:57:54.134612Z"),
            ("951782400", "2000-02-29T00:00:00.000000Z"),
            ("-0.0000001", "1969-12-31T23:59:59.999999Z"),
            ("-0.5", "1969-12-31T23:59:59.500000Z"),
            ("-62135596800", "0001-01-01T00:00:00.000000Z"),
            ("-62135596800.1", ""),
            ("253402300799.9999999", "9999-12-31T23:59:59.999999Z"),
            ("253402300800", ""),
            ("1e300", ""),
            ("-1e300", ""),
            ("1e-300", "1970-01-01T00:00:00.000000Z"),
            ("0e999999999999999999999", "1970-01-01T00:00:00.000000Z"),
            ("1e999999999999999999999", ""),
            ("1e-999999999999999999999", "1970-01-01T00:00:00.000000Z"),
            ("1x", ""),
            ("1e:", ""),
        ] {
            assert_eq!(time(timestamp), expected, "{timestamp}");
        }
        let long = format!("{}.5e-{}", "1".repeat(300), 299);
        assert_eq!(time(&long), "1970-01-01T00:00:01.111111Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let is_leap = |year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_of = |year, month| match month {
            2 if is_leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day) = (1, 1, 1);
        for days in -719_162..=2_932_896 {
            assert_eq!(date(days), (year, month, day), "{days}");
            day += 1;
            if day > days_of(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let mut out = Vec::new();
        for row in [
            "",
            "null",
            "[]",
            "{",
            "{}",
            r#"{"a":1}"#,
            r#"{"timestamp":1"#,
            r#"{"timestamp":1,"#,
            r#"{"timestamp":1,}"#,
            r#"{"timestamp" 1}"#,
            r#"{"timestamp":}"#,
            r#"{"timestamp":1,"a":"b}"#,
            r#"{"timestamp":1,"a":[1}"#,
        ] {
            let found = item(row).write_csv(&mut out, Some("id"));
            assert_eq!(found, Err(DamagedRow), "{row}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let members = prop::collection::btree_map(any::<String>(), inner, 0..4);
            let object = members.prop_map(|members| members.into_iter().collect::<Map<_, _>>());
            prop_oneof![list, object.prop_map(Value::from)]
        })
    }

    proptest! {
        #[test]
        fn a_line_says_what_its_row_says(
            others in prop::collection::btree_map("[a-z\"\\\\,\n]{0,5}", value(), 0..5),
            identity in value(), timestamp: i32, is_pretty: bool
        ) {
            let mut row: Map<String, Value> = others.into_iter().collect();
            let own = ["type", "priority", "timestamp", "identity"];
            row.retain(|name, _| !own.contains(&name.as_str()));
            let others = Value::from(row.clone());
            row.insert("type".into(), "other".into());
            row.insert("priority".into(), "low".into());
            row.insert("timestamp".into(), timestamp.into());
            row.insert("identity".into(), identity.clone());
            let text = if is_pretty { serde_json::to_string_pretty(&row) } else { serde_json::to_string(&row) };
            let text = text.unwrap();
            let found = cells(&csv(&text, Some("identity")));
            prop_assert_eq!(found.len(), 7);
            prop_assert_eq!(&found[1], &timestamp.to_string());
            prop_assert_eq!((&*found[2], &*found[3], &*found[4]), ("low", "other", "775"));
            let shown = found[5].strip_prefix('\'').unwrap_or(&found[5]);
            match &identity {
                Value::String(text) => prop_assert_eq!(shown, text.strip_prefix('\'').unwrap_or(text)),
                other => prop_assert_eq!(&serde_json::from_str::<Value>(&found[5]).unwrap(), other),
            }
            prop_assert_eq!(serde_json::from_str::<Value>(&found[6]).unwrap(), others);
            prop_assert!(!found[6].contains(['\n', '\r']));
            let mut json = Vec::new();
            item(&text).write_json(&mut json);
            prop_assert!(!json.contains(&b'\n'));
            let read: Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(read, json!({"employee": 775, "incident": row}));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[{}\\[\\]\",:\\\\ a0-9eE.+-]{0,40}") {
            for row in [&bytes[..], text.as_bytes()] {
                let item = Item { employee: 1, row };
                let _ = item.write_csv(&mut Vec::new(), Some("a"));
                let _ = push_rfc3339(&mut Vec::new(), row);
            }
        }
    }
}
