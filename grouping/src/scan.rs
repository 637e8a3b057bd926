//! A strict JSON scanner (RFC 8259) that checks the grammar in one pass and hands out positions
//! instead of values, so that rows can be copied as upstream wrote them.
//!
//! It differs from the RFC in one point, on purpose: `NaN`, `Infinity` and `-Infinity`, which some
//! encoders emit, are passed over as values and noted, so that one such row does not cost the
//! others. The caller rejects what contains them.

use thiserror::Error;

/// Deeper nesting than this is refused. In the report a row lies two levels deeper than in upstream's
/// answer, and must not be too deep for its readers there: many parsers take no more than 127.
const DEEPEST: u32 = 120;

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("at byte {at}: {problem}")]
pub(crate) struct ScanError {
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
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

/// A position in a text that is known to be UTF-8.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
    not_finite: bool,
}

pub(crate) type Scan<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    /// A scanner at the start of `body`.
    pub(crate) fn new(body: &'a [u8]) -> Scan<Self> {
        match std::str::from_utf8(body) {
            Ok(_) => Ok(Self {
                bytes: body,
                at: 0,
                depth: 0,
                not_finite: false,
            }),
            Err(error) => Err(ScanError {
                at: error.valid_up_to(),
                problem: "not UTF-8",
            }),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Whether `NaN` or an infinity has been passed since the last call.
    pub(crate) fn take_not_finite(&mut self) -> bool {
        std::mem::take(&mut self.not_finite)
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
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.fail("an incomplete \\u escape");
                }
                self.at += 5;
            }
            _ => return self.fail("an unknown escape"),
        }
        Ok(())
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
        if self.take(b'-') && self.peek() == Some(b'I') {
            return self.not_finite(b"Infinity");
        }
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number)
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
        self.not_finite = true;
        self.literal(word)
    }
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
        Scanner::new(text)
            .and_then(|mut scanner| {
                scanner.skip_whitespace();
                scanner.value()?;
                scanner.end()
            })
            .is_ok()
    }

    #[test]
    fn not_a_number_is_passed_and_noted() {
        for text in ["NaN", "[1,-Infinity]", r#"{"a":Infinity}"#] {
            let mut scanner = Scanner::new(text.as_bytes()).unwrap();
            scanner.value().unwrap();
            assert!(
                scanner.take_not_finite() && !scanner.take_not_finite(),
                "{text}"
            );
        }
        assert!(!accepts(b"-NaN") && !accepts(b"Na") && !accepts(b"nan"));
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
