//! A strict JSON scanner (RFC 8259) that checks the grammar in one pass and hands out positions
//! instead of values, so that rows can be copied as upstream wrote them.
//!
//! What the grammar allows is not yet what every parser takes. Half a surrogate pair and a number that
//! no 64-bit integer or double holds are noted as a [`Flaw`] and passed over; so are `NaN`, `Infinity`
//! and `-Infinity`, which some encoders emit. The caller rejects what has one. Behind a value that is
//! not JSON at all, [`Scanner::skip_broken`] finds the next one.

use std::ops::Range;

use thiserror::Error;

/// Deeper nesting than this is refused. In the report a row lies two levels deeper than in upstream's
/// answer, and must not be too deep for its readers there: many parsers take no more than 127.
const DEEPEST: u32 = 120;

/// Whole numbers of up to this many characters fit into 64 bits.
const SURELY_64_BITS: usize = 18;

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at byte {at}: {problem}")]
pub(crate) struct ScanError {
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
}

/// What strict parsers refuse although the scanner passes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// `NaN` or an infinity.
    NotFinite,
    /// An integer beyond 64 bits, or a number beyond the range of a double.
    OutOfRange,
    /// An escape that is half of a surrogate pair.
    Surrogate,
}

/// What a value that was passed over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// A string; whether it contains escapes.
    String { escaped: bool },
    /// A number.
    Number,
    /// An object, an array, `true`, `false`, `null` or something that is not JSON.
    Other,
}

/// A string's contents: the bytes between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// A position in a text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    flaw: Option<Flaw>,
    is_utf8: bool,
}

pub(crate) type Scan<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    /// A scanner at the first value of `body`. A byte order mark before it is passed over.
    pub(crate) fn new(body: &'a [u8]) -> Self {
        let mark = "\u{feff}".as_bytes();
        let mut scanner = Self {
            bytes: body,
            at: if body.starts_with(mark) {
                mark.len()
            } else {
                0
            },
            depth: 0,
            flaw: None,
            is_utf8: std::str::from_utf8(body).is_ok(),
        };
        scanner.skip_whitespace();
        scanner
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// What was wrong with something that has been passed since the last call.
    #[inline]
    pub(crate) fn take_flaw(&mut self) -> Option<Flaw> {
        self.flaw.take()
    }

    /// Whether something has been passed that is wrong.
    pub(crate) fn has_flaw(&self) -> bool {
        self.flaw.is_some()
    }

    /// Whether these bytes are UTF-8, which the scanner does not look at otherwise.
    #[inline]
    pub(crate) fn is_utf8(&self, place: Range<usize>) -> bool {
        self.is_utf8 || std::str::from_utf8(&self.bytes[place]).is_ok()
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(crate) fn fail<T>(&self, problem: &'static str) -> Scan<T> {
        Err(ScanError {
            at: self.at,
            problem,
        })
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, problem: &'static str) -> Scan<()> {
        if self.take(byte) {
            Ok(())
        } else {
            self.fail(problem)
        }
    }

    /// Takes exactly these bytes, if they come next.
    #[inline]
    pub(crate) fn take_all(&mut self, expected: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Scan<()> {
        self.skip_whitespace();
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            self.fail("something follows the value")
        }
    }

    /// Enters an object or array; [`Self::leave`] belongs to it.
    pub(crate) fn enter(&mut self) -> Scan<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.fail("nested too deeply");
        }
        self.skip_whitespace();
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// After a member or element: whether another one follows. Otherwise `close` is taken.
    #[inline]
    pub(crate) fn another(&mut self, close: u8) -> Scan<bool> {
        self.skip_whitespace();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_whitespace();
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.leave();
                Ok(false)
            }
            _ => self.fail("expected `,` or the end of the object or array"),
        }
    }

    /// A member's name and its colon; the scanner stands at the value then.
    #[inline]
    pub(crate) fn name(&mut self) -> Scan<Text> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a member's name");
        }
        let name = self.string()?;
        self.skip_whitespace();
        self.expect(b':', "expected `:`")?;
        self.skip_whitespace();
        Ok(name)
    }

    /// Passes a string over; the scanner stands at its opening quote.
    #[inline]
    pub(crate) fn string(&mut self) -> Scan<Text> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at = next_special(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    let text = Text {
                        start,
                        end: self.at,
                        escaped,
                    };
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail("a control character in a string"),
                None => return self.fail("the text ends within a string"),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Scan<()> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let Some(unit) = self.code_unit(self.at + 1) else {
                    return self.fail("an incomplete \\u escape");
                };
                self.at += 5;
                self.pair(unit);
                Ok(())
            }
            _ => self.fail("an unknown escape"),
        }
    }

    /// Passes the second half of a surrogate pair over, where `unit` is the first.
    fn pair(&mut self, unit: u16) {
        let second = || {
            let is_escape = self.bytes[self.at..].starts_with(b"\\u");
            is_escape.then(|| self.code_unit(self.at + 2)).flatten()
        };
        match unit {
            0xd800..0xdc00 if matches!(second(), Some(0xdc00..0xe000)) => self.at += 6,
            0xd800..0xe000 => self.flaw = Some(Flaw::Surrogate),
            _ => {}
        }
    }

    /// The UTF-16 code unit that the four digits at `at` write.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.bytes.get(at..at + 4)?;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(unit << 4 | digit as u16)
        })
    }

    /// Passes any value over.
    #[inline]
    pub(crate) fn value(&mut self) -> Scan<Value> {
        match self.peek() {
            Some(b'"') => {
                let Text { escaped, .. } = self.string()?;
                Ok(Value::String { escaped })
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'N') => self.not_finite(b"NaN"),
            Some(b'I') => self.not_finite(b"Infinity"),
            Some(_) => self.fail("expected a value"),
            None => self.fail("the text ends where a value should be"),
        }
    }

    #[inline]
    fn number(&mut self) -> Scan<Value> {
        let start = self.at;
        if self.take(b'-') && self.peek() == Some(b'I') {
            return self.not_finite(b"Infinity");
        }
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut is_plain = self.at - start <= SURELY_64_BITS;
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
            is_plain = false;
        }
        if !is_plain {
            self.check_range(start);
        }
        Ok(Value::Number)
    }

    /// Notes whether the number from `start` on is one that 64 bits or a double cannot hold.
    #[cold]
    fn check_range(&mut self, start: usize) {
        let text = &self.bytes[start..self.at];
        let is_whole = !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let text = std::str::from_utf8(text).unwrap_or_default();
        let fits = if is_whole {
            text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()
        } else {
            text.parse().is_ok_and(f64::is_finite)
        };
        if !fits {
            self.flaw = Some(Flaw::OutOfRange);
        }
    }

    #[inline]
    fn digits(&mut self) -> Scan<()> {
        let start = self.at;
        while let Some(Ok(chunk)) = self
            .bytes
            .get(self.at..self.at + 8)
            .map(<[u8; 8]>::try_from)
        {
            if !are_digits(u64::from_le_bytes(chunk)) {
                break;
            }
            self.at += 8;
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            self.fail("expected a digit")
        } else {
            Ok(())
        }
    }

    fn object(&mut self) -> Scan<Value> {
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(Value::Other);
        }
        loop {
            self.name()?;
            self.value()?;
            if !self.another(b'}')? {
                return Ok(Value::Other);
            }
        }
    }

    fn array(&mut self) -> Scan<Value> {
        self.enter()?;
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(Value::Other);
        }
        loop {
            self.value()?;
            if !self.another(b']')? {
                return Ok(Value::Other);
            }
        }
    }

    fn literal(&mut self, word: &[u8]) -> Scan<Value> {
        if !self.bytes[self.at..].starts_with(word) {
            return self.fail("expected a value");
        }
        self.at += word.len();
        Ok(Value::Other)
    }

    #[cold]
    fn not_finite(&mut self, word: &[u8]) -> Scan<Value> {
        self.flaw = Some(Flaw::NotFinite);
        self.literal(word)
    }

    /// Goes behind a value that is not JSON, which begins at `start` within `depth` objects and
    /// arrays, if it is certain where it ends: its quotes and brackets must be balanced, and what
    /// follows must be the end of the object or array (`close`) or a comma and the beginning of the
    /// next element (`next`).
    ///
    /// A lost quote makes text of what is structure and structure of what is text. Then either a
    /// backslash, which belongs to texts, stands where there should be none, or a text ends with what
    /// stands between two elements (`between`, which the quote of the next follows): both are refused.
    #[cold]
    pub(crate) fn skip_broken(&mut self, start: usize, depth: u32, element: Element) -> bool {
        let Some(end) = end_of_broken(self.bytes, start, element) else {
            return false;
        };
        self.at = end;
        self.depth = depth;
        self.flaw = None;
        true
    }

    /// How many objects and arrays the scanner is in.
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }
}

/// What stands where values are that may be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// An object in an array of objects.
    Row,
    /// The value of a member.
    MemberValue,
}

impl Element {
    /// What ends the array or object.
    const fn close(self) -> u8 {
        match self {
            Self::Row => b']',
            Self::MemberValue => b'}',
        }
    }

    /// What the next element begins with.
    const fn next(self) -> u8 {
        match self {
            Self::Row => b'{',
            Self::MemberValue => b'"',
        }
    }

    /// What stands between the last quote of one element and the first of the next.
    const fn between(self) -> &'static [u8] {
        match self {
            Self::Row => b"},{",
            Self::MemberValue => b",",
        }
    }
}

/// Where the value from `start` on ends, as [`Scanner::skip_broken`] wants it.
fn end_of_broken(bytes: &[u8], start: usize, element: Element) -> Option<usize> {
    // Without the white space that follows; nothing is no value.
    let end = |at: usize| match bytes[start..at].trim_ascii_end().len() {
        0 => None,
        len => Some(start + len),
    };
    let mut awaited = Vec::new();
    let mut at = start;
    loop {
        let byte = *bytes.get(at)?;
        match byte {
            b'"' => {
                let quote = end_of_string(bytes, at + 1)?;
                if ends_with(&bytes[at + 1..quote], element.between()) {
                    return None;
                }
                at = quote;
            }
            b'\\' => return None,
            b'{' => awaited.push(b'}'),
            b'[' => awaited.push(b']'),
            b',' if awaited.is_empty() => {
                let next = bytes[at + 1..].trim_ascii_start().first();
                return (next == Some(&element.next())).then(|| end(at)).flatten();
            }
            b'}' | b']' if awaited.is_empty() => {
                return (byte == element.close()).then(|| end(at)).flatten();
            }
            b'}' | b']' if awaited.pop() != Some(byte) => return None,
            _ => {}
        }
        at += 1;
    }
}

/// Where the closing quote of a string is whose contents begin at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Whether `text` ends with these bytes, white space between them aside.
fn ends_with(text: &[u8], bytes: &[u8]) -> bool {
    let mut rest = text;
    bytes.iter().rev().all(|byte| {
        rest = rest.trim_ascii_end();
        let last = rest.split_last();
        rest = last.map_or(&[], |(_, before)| before);
        last.is_some_and(|(last, _)| last == byte)
    })
}

/// Whether all eight bytes are decimal digits: their upper halves are 3, and stay so when 6 is added,
/// which carries from 10 on.
#[inline]
fn are_digits(word: u64) -> bool {
    const UPPER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const THREES: u64 = 0x3030_3030_3030_3030;
    word & UPPER == THREES && word.wrapping_add(0x0606_0606_0606_0606) & UPPER == THREES
}

/// The first position from `at` on that holds a quote, a backslash or a control character; the
/// text's length if there is none.
#[inline]
fn next_special(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    // Eight bytes at a time. A subtraction may borrow into the next byte and mark it wrongly, but
    // only above a byte that is marked rightly, and the lowest mark is the one that counts.
    while let Some(Ok(chunk)) = bytes.get(at..at + 8).map(<[u8; 8]>::try_from) {
        let word = u64::from_le_bytes(chunk);
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let marks = (quote | backslash | below(word, 0x20)) & HIGHS;
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + rest.iter().position(special).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn accepts(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        let scanned = scanner.value().and_then(|_| scanner.end());
        scanned.is_ok() && scanner.is_utf8(0..text.len())
    }

    fn flaw(text: &str) -> Option<Flaw> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.value().unwrap();
        scanner.end().unwrap();
        let flaw = scanner.take_flaw();
        assert_eq!(scanner.take_flaw(), None);
        flaw
    }

    #[test]
    fn not_a_number_is_passed_and_noted() {
        for text in ["NaN", "[1,-Infinity]", r#"{"a":Infinity}"#] {
            assert_eq!(flaw(text), Some(Flaw::NotFinite), "{text}");
        }
        assert!(!accepts(b"-NaN") && !accepts(b"Na") && !accepts(b"nan"));
    }

    #[test]
    fn half_a_surrogate_pair_is_noted() {
        for text in [
            r#""\ud800""#,
            r#""\uDFFF""#,
            r#"["a\udc00\ud800"]"#,
            r#"{"\ud800\u0041":1}"#,
            r#""\ud800\ud800\udc00\udc00""#,
            r#""\ud800udc00""#,
        ] {
            assert_eq!(flaw(text), Some(Flaw::Surrogate), "{text}");
        }
        for text in [r#""\ud83d\ude00""#, r#""\u0000\ud7ff\ue000\uffff""#] {
            assert_eq!(flaw(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_nothing_usual_can_hold_are_noted() {
        for text in [
            "1e309",
            "-1.8e308",
            "18446744073709551616",
            "-9223372036854775809",
            "100000000000000000000",
            &"1".repeat(400),
            &format!("{}.5", "1".repeat(310)),
        ] {
            assert_eq!(flaw(text), Some(Flaw::OutOfRange), "{text}");
        }
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "999999999999999999",
            "100000000000000000000.0",
            "1e308",
            "1e-999",
            "0e999",
            "-0",
            "0.10000000000000000000000000000000001",
            &format!("{}e-400", "1".repeat(400)),
        ] {
            assert_eq!(flaw(text), None, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_at_the_start_only() {
        assert!(accepts(b"\xef\xbb\xbf [1]"));
        assert!(!accepts(b" \xef\xbb\xbf[1]") && !accepts(b"\xef\xbb\xbf\xef\xbb\xbf[1]"));
    }

    /// What is left of `text` behind a broken value at its beginning.
    fn behind(text: &str, element: Element) -> Option<&str> {
        end_of_broken(text.as_bytes(), 0, element).map(|end| &text[end..])
    }

    #[test]
    fn the_end_of_a_broken_row_is_found_or_it_is_not_certain() {
        for broken in [
            "{\"a\":}",
            "{\"a\":tru, \"b\":[1,,2]}",
            "{'a':1}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"x}.{\",\"b\":\"\\\"\",}",
            "{a:{b:\"]}\"}}",
            "undefined",
            "{\"a\":1 \"b\":2}",
        ] {
            for rest in [" ]}", "]", ", {}]", ",{\"a\":1}]"] {
                let text = format!("{broken}{rest}");
                assert_eq!(behind(&text, Element::Row), Some(rest), "{text}");
            }
        }
        for uncertain in [
            "",
            ",{}]",
            "]",
            "{\"a\":1]",
            "{\"a\":1",
            "{\"a\":1},\"b\"]",
            "{\"a\":1}}",
            // A lost quote.
            "{\"a\":\"x,\"b\":1},{\"a\":\"y\"}]",
            "{\"a\":x\",\"b\":1} , {\"a\":y\"}]",
            "{\"a\":\"x,\"b\":\"\\\"},{\\\"\"}]",
        ] {
            assert_eq!(behind(uncertain, Element::Row), None, "{uncertain}");
        }
    }

    #[test]
    fn the_end_of_a_broken_value_is_found_or_it_is_not_certain() {
        for (text, rest) in [
            ("tru, \"b\":1}", Some(", \"b\":1}")),
            ("[1,,2] }", Some(" }")),
            ("{\"x\":},\"b\":1}", Some(",\"b\":1}")),
            ("1\", \"b\":2, \"c\":\"3\"}", None),
            (", \"b\":1}", None),
            ("1]", None),
            ("tru, b}", None),
        ] {
            assert_eq!(behind(text, Element::MemberValue), rest, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(nested(120).as_bytes()));
        assert!(!accepts(nested(121).as_bytes()));
        assert!(!accepts("[".repeat(1_000_000).as_bytes()));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            "\"(\\\\u[0-9a-fA-F]{4}|\\\\[nrt/]|[a-z ]){0,12}\"",
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6)
                    .prop_map(|items| format!("[ {} ]", items.join(" ,\n"))),
                prop::collection::vec(inner, 0..6).prop_map(|items| {
                    let members: Vec<String> = items
                        .iter()
                        .map(|item| format!("\"k\" :\t{item}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        /// Eight bytes at a time find what one at a time would.
        #[test]
        fn bytes_are_looked_at_eight_at_a_time(
            bytes in prop::collection::vec(prop_oneof![b'/'..=b':', any::<u8>()], 8..40),
            specials in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(b"\"\\\x00\x1f\x20!#[]".to_vec())), 0..3),
            at in 0..8_usize,
        ) {
            let word: [u8; 8] = bytes[..8].try_into().unwrap();
            prop_assert_eq!(
                are_digits(u64::from_le_bytes(word)),
                word.iter().all(u8::is_ascii_digit)
            );
            let mut text = vec![b'a'; bytes.len()];
            for (place, byte) in specials {
                text[place.index(bytes.len())] = byte;
            }
            for text in [&text, &bytes] {
                let is_special = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
                let expected = text[at..].iter().position(is_special);
                let expected = expected.map_or(text.len(), |found| at + found);
                prop_assert_eq!(next_special(text, at), expected);
            }
        }

        #[test]
        fn what_is_json_is_accepted(text in json()) {
            prop_assert!(accepts(text.as_bytes()), "{}", text);
        }

        /// One byte changed, removed or added: the verdict is that of serde_json.
        #[test]
        fn damage_is_judged_as_serde_json_does(text in json(), place in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
            let mut bytes = text.into_bytes();
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
            let utf8 = std::str::from_utf8(&bytes).is_ok();
            let expected = utf8 && serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(accepts(&bytes), expected, "{}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn specials_are_found_wherever_they_stand(mut text in prop::collection::vec(0x20_u8..=0xff, 0..40), place in any::<prop::sample::Index>(), special in prop_oneof![Just(b'"'), Just(b'\\'), 0_u8..0x20]) {
            text.push(special);
            let at = place.index(text.len());
            text[at] = special;
            let plain = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap();
            prop_assert_eq!(next_special(&text, 0), plain);
        }
    }
}
