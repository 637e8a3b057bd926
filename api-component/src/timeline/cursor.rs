//! Where a page ends: what the next one goes on from, as a text that means nothing to a client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::contract::timeline::{RowKey, TimeKey};
use domain::incident::Priority;
use sha2::{Digest as _, Sha256};

/// The first byte. Cursors are good for ever, so that this release's are still to be read by later ones.
const VERSION: u8 = 1;

/// The bytes of a cursor but for the type's name.
const FRAME: usize = 2 + 8 + 6 + 8 + 4 + 4 + 4;

/// The longest text that is looked at.
const MAX_TEXT: usize = 1000;

/// Stands for the question of a cursor: its filters and its order.
pub(crate) type QuestionHash = [u8; 4];

/// The last row that was given, by what it is: it need not be there any more, nor its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Its place in its lane.
    pub(crate) key: RowKey,
    /// The name of its type.
    pub(crate) kind: String,
    /// Its priority.
    pub(crate) priority: Priority,
    /// Whose it is. Only in a question about certain employees does it matter.
    pub(crate) employee: u64,
    /// How many rows with exactly this place were given, this one included.
    pub(crate) given: u32,
}

impl Cursor {
    /// The text, for the question that `question` stands for.
    pub(crate) fn to_text(&self, question: QuestionHash) -> String {
        let mut bytes = Vec::with_capacity(FRAME + self.kind.len());
        bytes.extend_from_slice(&[VERSION, self.priority as u8]);
        bytes.extend_from_slice(&self.key.time.bits().to_be_bytes());
        bytes.extend_from_slice(&self.key.tie.to_be_bytes()[2..]);
        bytes.extend_from_slice(&self.employee.to_be_bytes());
        bytes.extend_from_slice(&self.given.to_be_bytes());
        bytes.extend_from_slice(&question);
        bytes.extend_from_slice(self.kind.as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a text, and which question it belongs to. `None` for what was never given to a client.
    pub(crate) fn read(text: &str) -> Option<(Self, QuestionHash)> {
        if text.len() > MAX_TEXT {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (rest, sum) = bytes.split_last_chunk::<4>()?;
        if checksum(rest) != *sum {
            return None;
        }
        let ([version, priority], rest) = rest.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (tie, rest) = rest.split_first_chunk::<6>()?;
        let (employee, rest) = rest.split_first_chunk()?;
        let (given, rest) = rest.split_first_chunk()?;
        let (question, kind) = rest.split_first_chunk()?;
        let time = TimeKey::from_bits(u64::from_be_bytes(*time));
        let given = u32::from_be_bytes(*given);
        let is_sound = *version == VERSION && time.seconds().is_finite() && given > 0;
        let cursor = Self {
            key: RowKey {
                time,
                tie: tie.iter().fold(0, |tie, byte| tie << 8 | u64::from(*byte)),
            },
            kind: std::str::from_utf8(kind).ok()?.to_owned(),
            priority: *Priority::ALL.get(usize::from(*priority))?,
            employee: u64::from_be_bytes(*employee),
            given,
        };
        is_sound.then_some((cursor, *question))
    }
}

/// Tells damage. It keeps nobody from making cursors: each leads to a place that its maker may ask for.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(bytes).into();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cursor() -> impl Strategy<Value = Cursor> {
        let key = (-1e300..1e300_f64, 0..RowKey::TIES);
        let of = (
            prop::sample::select(&Priority::ALL),
            any::<u64>(),
            1..u32::MAX,
        );
        (key, "[a-z_-]{0,30}", of).prop_map(|((time, tie), kind, of)| Cursor {
            key: RowKey {
                time: TimeKey::new(time).unwrap(),
                tie,
            },
            kind,
            priority: of.0,
            employee: of.1,
            given: of.2,
        })
    }

    #[test]
    fn a_cursor_of_the_first_release_is_read_for_ever() {
        let cursor = Cursor {
            key: RowKey {
                time: TimeKey::new(1_636_364_637.451_105_6).unwrap(),
                tie: 0x0102_0304_0506,
            },
            kind: "denial".to_owned(),
            priority: Priority::Critical,
            employee: 775,
            given: 2,
        };
        let text = "AQPB2GI8V1ze6gECAwQFBgAAAAAAAAMHAAAAAgkICQhkZW5pYWwLP563";
        assert_eq!(cursor.to_text([9, 8, 9, 8]), text);
        assert_eq!(Cursor::read(text), Some((cursor, [9, 8, 9, 8])));
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(cursor in cursor(), question: QuestionHash) {
            let text = cursor.to_text(question);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
            prop_assert_eq!(Cursor::read(&text), Some((cursor, question)));
        }

        #[test]
        fn a_damaged_one_is_none(cursor in cursor(), at: prop::sample::Index, other in "[A-Za-z0-9_=+%-]") {
            let text = cursor.to_text([0; 4]);
            let at = at.index(text.len());
            let damaged = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            prop_assert!(damaged == text || Cursor::read(&damaged).is_none());
            prop_assert_eq!(Cursor::read(&text[..at]), None);
        }

        #[test]
        fn nothing_else_is_one(text in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Cursor::read(&text), None);
            prop_assert_eq!(Cursor::read(&URL_SAFE_NO_PAD.encode(bytes)), None);
        }
    }
}
