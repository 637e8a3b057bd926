//! The record of the current snapshot, and how the bodies beside it are laid out.

use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::contract::document::BLOCK_BYTES;
use crate::contract::document::{Document, Encoding};
use crate::contract::keys::Keys;
use crate::contract::timeline::{ORDINAL_BYTES, RowEntry};

/// The version of everything that is written to Redis. A reader that meets another one says so.
pub const VERSION: u32 = 2;

/// The version since which a snapshot has a timeline and a summary.
const WITH_TIMELINE: u32 = 2;

/// The longest record, in bytes: a reader does not fetch a longer one.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// The largest body, in bytes: 64 GiB, more than a Redis holds.
const MAX_BODY_BYTES: u64 = 1 << 36;

/// A snapshot that was not confirmed for so many intervals, and some seconds more, is overdue.
const OVERDUE_INTERVALS: u64 = 3;

/// The seconds more: a refresh takes some, and a standby that takes over too. In milliseconds.
const OVERDUE_GRACE_MS: u64 = 10_000;

/// How large a body is; it fills its blocks one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Length in bytes.
    pub bytes: u64,
}

impl Body {
    /// How many blocks the body takes.
    #[must_use]
    pub const fn blocks(self) -> u32 {
        self.bytes.div_ceil(BLOCK_BYTES as u64) as u32
    }
}

/// One document's bodies, by encoding; one that is absent was not made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bodies {
    /// As it is
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Body>,
    /// gzip
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gzip: Option<Body>,
    /// Zstandard
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zstd: Option<Body>,
    /// Brotli
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub br: Option<Body>,
}

impl Bodies {
    /// The body in `encoding`, if it was made.
    #[must_use]
    pub const fn get(&self, encoding: Encoding) -> Option<Body> {
        match encoding {
            Encoding::Identity => self.identity,
            Encoding::Gzip => self.gzip,
            Encoding::Zstd => self.zstd,
            Encoding::Brotli => self.br,
        }
    }

    /// Notes that the body in `encoding` has `bytes` bytes.
    pub const fn set(&mut self, encoding: Encoding, bytes: u64) {
        let body = Some(Body { bytes });
        match encoding {
            Encoding::Identity => self.identity = body,
            Encoding::Gzip => self.gzip = body,
            Encoding::Zstd => self.zstd = body,
            Encoding::Brotli => self.br = body,
        }
    }
}

/// Where every fetched row of a type went: `fetched = reported + unattributed + rejected`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows that upstream sent.
    pub fetched: u64,
    /// Rows in the report.
    pub reported: u64,
    /// Rows whose IP address the identity map lacks.
    pub unattributed: u64,
    /// Rows that could not be used.
    pub rejected: u64,
}

/// How fresh one upstream endpoint's data is. All times are milliseconds of Redis's clock since
/// the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// When upstream last gave a good answer; absent if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_at_ms: Option<u64>,
    /// Whether the last refresh had to use an older answer (or none).
    pub stale: bool,
    /// What the last failure was, kept until the endpoint answers well again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The good answer itself, so that a refresher that has just started has it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
}

/// An upstream answer that is kept beside the snapshot, compressed as one Zstandard frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// BLAKE3 of the uncompressed bytes, in hexadecimal.
    pub hash: String,
    /// Length when compressed, in bytes.
    pub stored_bytes: u64,
}

impl Payload {
    /// How many blocks the payload takes.
    #[must_use]
    pub const fn blocks(&self) -> u32 {
        Body {
            bytes: self.stored_bytes,
        }
        .blocks()
    }
}

/// One incident type in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeSummary {
    /// The type's name.
    pub name: String,
    /// Where its rows went.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many of the reported ones have each priority, in the report's order.
    #[serde(default)]
    pub priorities: [u64; 4],
    /// How old its rows are.
    #[serde(flatten)]
    pub freshness: Freshness,
}

impl TypeSummary {
    /// Whether each reported row has one priority.
    fn adds_up(&self) -> bool {
        let priorities = self.priorities.iter().copied();
        let sum = priorities.fold(0, u64::saturating_add);
        sum == self.counts.reported
    }
}

/// The identity map in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentitiesSummary {
    /// Addresses that it maps.
    pub entries: u64,
    /// Entries whose value is no employee id.
    pub rejected: u64,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// The snapshot that is served: small, and all that a 304 needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Grows with each snapshot whose contents differ from the one before.
    pub generation: u64,
    /// Of the report's identity encoding, without quotes.
    pub etag: String,
    /// When the contents last changed: milliseconds of Redis's clock since the Unix epoch.
    pub published_at_ms: u64,
    /// When the contents were last confirmed with upstream, likewise.
    pub checked_at_ms: u64,
    /// How often it is to be confirmed, in milliseconds (`DEFAULT_CACHE_REFRESH`); 0 if that is not known.
    #[serde(default)]
    pub interval_ms: u64,
    /// When it was taken from the history; absent once upstream has confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered_at_ms: Option<u64>,
    /// Employees in the report.
    pub employees: u64,
    /// The report's bodies.
    pub report: Bodies,
    /// The bodies of the rows that no employee was found for.
    pub unattributed: Bodies,
    /// The bodies of the rows that could not be used.
    pub rejected: Bodies,
    /// The bodies of the snapshot's numbers.
    #[serde(default)]
    pub summary: Bodies,
    /// Each type, in the configured order.
    pub types: Vec<TypeSummary>,
    /// The identity map.
    pub identities: IdentitiesSummary,
}

/// Why a record cannot be used.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It was written by another version of this program.
    #[error(
        "the snapshot in Redis has format {0}, this program reads format {VERSION}: run the same release everywhere"
    )]
    Version(u32),
    /// It is not what this version writes.
    #[error("the snapshot record in Redis is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// It says what cannot be.
    #[error("the snapshot record in Redis is damaged: {0}")]
    Impossible(&'static str),
}

impl Current {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is of another version or damaged.
    pub fn parse(json: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        match serde_json::from_slice(json) {
            Ok(
                current @ Self {
                    version: VERSION, ..
                },
            ) => match current.impossibility() {
                None => Ok(current),
                Some(problem) => Err(RecordError::Impossible(problem)),
            },
            Ok(Self { version, .. }) => Err(RecordError::Version(version)),
            Err(error) => Err(match serde_json::from_slice(json) {
                Ok(Versioned { version }) if version != VERSION => RecordError::Version(version),
                _ => RecordError::Damaged(error),
            }),
        }
    }

    /// Reads what a record of an earlier version says, for whoever replaces it: what its snapshot consists
    /// of, and which answers were kept. `None` if it is of no earlier version, or damaged.
    #[must_use]
    pub fn parse_earlier(json: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(json).ok()?;
        let is_usable = record.version < VERSION && record.impossibility().is_none();
        is_usable.then_some(record)
    }

    /// What is in it that no writer writes, and no reader could use: an entity tag that is no part of a
    /// header, a body that is empty or larger than all of Redis.
    fn impossibility(&self) -> Option<&'static str> {
        let bodies = Document::ALL.into_iter().flat_map(|document| {
            let bodies = self.bodies(document);
            Encoding::ALL.map(|encoding| bodies.get(encoding))
        });
        let freshness = self.types.iter().map(|kind| &kind.freshness);
        let payloads = freshness
            .chain([&self.identities.freshness])
            .filter_map(|freshness| freshness.payload.as_ref());
        if !is_word(&self.etag, b'!'..=b'~') {
            Some("its entity tag is none")
        } else if !bodies
            .flatten()
            .all(|body| (1..=MAX_BODY_BYTES).contains(&body.bytes))
        {
            Some("the size of a body is none")
        } else if !payloads
            .clone()
            .all(|payload| payload.stored_bytes <= MAX_BODY_BYTES)
        {
            Some("the size of a kept answer is none")
        } else if !payloads
            .clone()
            .all(|payload| is_word(&payload.hash, b'0'..=b'z'))
        {
            Some("the hash of a kept answer is none")
        } else if !self
            .types
            .iter()
            .all(|kind| is_word(&kind.name, b'-'..=b'z'))
        {
            Some("the name of a type is none")
        } else if !(self.version < WITH_TIMELINE || self.types.iter().all(TypeSummary::adds_up))
            || self.totals().reported > u64::from(u32::MAX)
        {
            Some("its counts do not add up")
        } else {
            None
        }
    }

    /// The record as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of texts and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The bodies of `document`.
    #[must_use]
    pub const fn bodies(&self, document: Document) -> &Bodies {
        match document {
            Document::Report => &self.report,
            Document::Unattributed => &self.unattributed,
            Document::Rejected => &self.rejected,
            Document::Summary => &self.summary,
        }
    }

    /// The sums over all types.
    #[must_use]
    pub fn totals(&self) -> Counts {
        let mut totals = Counts::default();
        for Counts {
            fetched,
            reported,
            unattributed,
            rejected,
        } in self.types.iter().map(|kind| kind.counts)
        {
            totals.fetched = totals.fetched.saturating_add(fetched);
            totals.reported = totals.reported.saturating_add(reported);
            totals.unattributed = totals.unattributed.saturating_add(unattributed);
            totals.rejected = totals.rejected.saturating_add(rejected);
        }
        totals
    }

    /// Every key that the snapshot consists of, besides the record itself; sorted, each once.
    #[must_use]
    pub fn keys(&self, keys: &Keys) -> Vec<String> {
        let mut names = vec![keys.employees(self.generation)];
        let rows = match self.version {
            ..WITH_TIMELINE => 0,
            _ => self.totals().reported,
        };
        let blocks = |bytes| {
            Body {
                bytes: rows.saturating_mul(bytes as u64),
            }
            .blocks()
        };
        let lanes = 0..blocks(RowEntry::BYTES);
        names.extend(lanes.map(|block| keys.lanes(self.generation, block)));
        let employee_rows = 0..blocks(ORDINAL_BYTES);
        names.extend(employee_rows.map(|block| keys.employee_rows(self.generation, block)));
        for document in Document::ALL {
            for encoding in Encoding::ALL {
                let blocks = self.bodies(document).get(encoding).map_or(0, Body::blocks);
                names.extend(
                    (0..blocks).map(|n| keys.block(self.generation, document, encoding, n)),
                );
            }
        }
        let freshness = self.types.iter().map(|kind| &kind.freshness);
        for payload in freshness
            .chain([&self.identities.freshness])
            .filter_map(|f| f.payload.as_ref())
        {
            names.extend((0..payload.blocks()).map(|n| keys.payload(&payload.hash, n)));
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether nobody has confirmed it for longer than some intervals: whoever should is gone or stuck, and
    /// what it says of its freshness may be out of date too.
    #[must_use]
    pub const fn is_overdue(&self, now_ms: u64) -> bool {
        let bound_ms = self
            .interval_ms
            .saturating_mul(OVERDUE_INTERVALS)
            .saturating_add(OVERDUE_GRACE_MS);
        self.interval_ms > 0 && now_ms.saturating_sub(self.checked_at_ms) > bound_ms
    }

    /// The endpoints that never gave a good answer, so that the report lacks all that they have.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let types = self.types.iter();
        let types = types.map(|kind| (kind.name.as_str(), &kind.freshness));
        std::iter::once(("identities", &self.identities.freshness))
            .chain(types)
            .filter(|(_, freshness)| freshness.good_at_ms.is_none())
            .map(|(name, _)| name)
    }

    /// Whether something in it is older than the last refresh.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.identities.freshness.stale || self.types.iter().any(|kind| kind.freshness.stale)
    }
}

/// Whether `text` is short and consists of characters in `range`, but for quotes and backslashes: it can
/// stand in a header, and in the name of a key.
fn is_word(text: &str, range: RangeInclusive<u8>) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|byte| range.contains(&byte) && byte != b'"' && byte != b'\\')
}

/// Where one employee's groups lie in the report's identity encoding.
///
/// The value of the employees key is a run of these, 24 bytes each, ascending by employee: a script
/// finds one by bisection without reading the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmployeeEntry {
    /// The employee's id.
    pub employee: u64,
    /// The bytes of the object with the four groups.
    pub part: Range<u64>,
    /// Where its rows begin in the list of the employees' rows; they end where the next employee's begin.
    pub first_row: u32,
}

impl EmployeeEntry {
    /// The length of an entry.
    pub const BYTES: usize = 24;

    /// `employee` and the part's start as 64-bit, its length and the first row as 32-bit integers,
    /// big-endian.
    /// `None` when the part is 4 GiB or longer.
    #[must_use]
    pub fn to_bytes(&self) -> Option<[u8; Self::BYTES]> {
        let length = u32::try_from(self.part.end.checked_sub(self.part.start)?).ok()?;
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.employee.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.part.start.to_be_bytes());
        bytes[16..20].copy_from_slice(&length.to_be_bytes());
        bytes[20..].copy_from_slice(&self.first_row.to_be_bytes());
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Current {
        let fresh = Freshness {
            good_at_ms: Some(1),
            stale: false,
            error: None,
            payload: Some(Payload {
                hash: "h".to_owned(),
                stored_bytes: 1,
            }),
        };
        Current {
            version: VERSION,
            generation: 3,
            etag: "abc".to_owned(),
            published_at_ms: 1,
            checked_at_ms: 2,
            interval_ms: 60_000,
            recovered_at_ms: None,
            employees: 1,
            report: Bodies {
                identity: Some(Body {
                    bytes: BLOCK_BYTES as u64 + 1,
                }),
                ..Bodies::default()
            },
            unattributed: Bodies::default(),
            rejected: Bodies::default(),
            summary: Bodies::default(),
            types: vec![TypeSummary {
                name: "denial".to_owned(),
                counts: Counts {
                    fetched: 3,
                    reported: 1,
                    unattributed: 1,
                    rejected: 1,
                },
                priorities: [0, 0, 1, 0],
                freshness: fresh.clone(),
            }],
            identities: IdentitiesSummary {
                entries: 1,
                rejected: 0,
                freshness: fresh,
            },
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let current = record();
        assert_eq!(
            Current::parse(current.to_json().as_bytes()).unwrap(),
            current
        );
        assert_eq!(current.report.identity.unwrap().blocks(), 2);
    }

    #[test]
    fn a_snapshot_names_all_its_keys_once() {
        assert_eq!(
            record().keys(&Keys::new("t")),
            [
                "{t}:3:employee-rows:0",
                "{t}:3:employees",
                "{t}:3:lanes:0",
                "{t}:3:report:identity:0",
                "{t}:3:report:identity:1",
                "{t}:payload:h:0"
            ]
        );
    }

    #[test]
    fn a_kept_answer_has_a_key_for_each_of_its_blocks() {
        let mut record = record();
        let payload = record.types[0].freshness.payload.as_mut().unwrap();
        payload.hash = "l".to_owned();
        payload.stored_bytes = 2 * BLOCK_BYTES as u64 + 1;
        let names = record.keys(&Keys::new("t"));
        let of_payload = names.iter().filter(|name| name.contains(":payload:l:"));
        assert_eq!(of_payload.count(), 3);
    }

    #[test]
    fn one_endpoint_that_is_stale_makes_it_stale() {
        assert!(!record().is_stale());
        let mut types = record();
        types.types[0].freshness.stale = true;
        let mut identities = record();
        identities.identities.freshness.stale = true;
        assert!(types.is_stale() && identities.is_stale());
    }

    #[test]
    fn an_employees_entry_is_what_the_script_reads() {
        let entry = |part| EmployeeEntry {
            employee: 0x0102,
            part,
            first_row: 0x0a0b,
        };
        assert_eq!(
            entry(0x0304..0x0304 + 0x0506).to_bytes(),
            Some([
                0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 0, 0, 5, 6, 0, 0, 10, 11
            ])
        );
        assert!(entry(1..1 + u64::from(u32::MAX)).to_bytes().is_some());
        assert_eq!(entry(0..1 << 32).to_bytes(), None);
    }

    #[test]
    fn a_snapshot_that_nobody_confirms_is_overdue() {
        let mut record = record();
        assert!(!record.is_overdue(190_002) && record.is_overdue(190_003));
        // The clock was set back.
        assert!(!record.is_overdue(0));
        record.interval_ms = 0;
        assert!(!record.is_overdue(u64::MAX));
    }

    #[test]
    fn what_upstream_never_answered_is_missing() {
        let mut record = record();
        assert_eq!(record.missing().count(), 0);
        record.identities.freshness.good_at_ms = None;
        assert_eq!(record.missing().collect::<Vec<_>>(), ["identities"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |change: &dyn Fn(&mut Current)| {
            let mut record = record();
            change(&mut record);
            let error = Current::parse(record.to_json().as_bytes()).unwrap_err();
            assert!(matches!(error, RecordError::Impossible(_)), "{error}");
        };
        for tag in [
            "",
            "a\r\nb: c",
            "a\"b",
            "a\\",
            "a b",
            "\u{fc}",
            &"a".repeat(129),
        ] {
            refused(&|record| record.etag = tag.to_owned());
        }
        for bytes in [0, MAX_BODY_BYTES + 1, 1 << 40, u64::MAX] {
            refused(&|record| record.report.set(Encoding::Identity, bytes));
            refused(&|record| record.rejected.set(Encoding::Gzip, bytes));
        }
        for name in ["", "a\r\n", "a\"", "a b", &"a".repeat(129)] {
            refused(&|record| record.types[0].name = name.to_owned());
        }
        let payload = |hash: &str, stored_bytes| {
            Some(Payload {
                hash: hash.to_owned(),
                stored_bytes,
            })
        };
        refused(&|record| record.identities.freshness.payload = payload("h", 1 << 40));
        refused(&|record| record.types[0].freshness.payload = payload("a\nb", 1));
        // A row more than there are of all priorities, and more rows than can be numbered.
        refused(&|record| record.types[0].counts.reported = 2);
        let rows = |rows: u64| {
            move |record: &mut Current| {
                record.types[0].counts.reported = rows;
                record.types[0].priorities = [0, 0, 0, rows];
            }
        };
        refused(&rows(1 << 32));
        let mut most = record();
        rows(u64::from(u32::MAX))(&mut most);
        assert!(Current::parse(most.to_json().as_bytes()).is_ok());
        let mut large = record();
        large.types[0].counts.fetched = u64::MAX;
        large.types.push(large.types[0].clone());
        assert_eq!(large.totals().fetched, u64::MAX);
        large.report.set(Encoding::Gzip, MAX_BODY_BYTES);
        assert!(Current::parse(large.to_json().as_bytes()).is_ok());
    }

    #[test]
    fn of_an_earlier_version_the_keys_are_known() {
        let mut earlier: serde_json::Value = serde_json::from_str(&record().to_json()).unwrap();
        earlier["version"] = 1.into();
        earlier["types"][0]
            .as_object_mut()
            .unwrap()
            .remove("priorities");
        earlier.as_object_mut().unwrap().remove("summary");
        let json = earlier.to_string();
        assert!(matches!(
            Current::parse(json.as_bytes()),
            Err(RecordError::Version(1))
        ));
        let earlier = Current::parse_earlier(json.as_bytes()).unwrap();
        assert_eq!(
            earlier.keys(&Keys::new("t")),
            [
                "{t}:3:employees",
                "{t}:3:report:identity:0",
                "{t}:3:report:identity:1",
                "{t}:payload:h:0"
            ]
        );
        assert_eq!(Current::parse_earlier(record().to_json().as_bytes()), None);
        assert_eq!(Current::parse_earlier(b"{\"version\":1}"), None);
    }

    #[test]
    fn another_version_says_so_and_damage_too() {
        assert!(matches!(
            Current::parse(br#"{"version":3,"shape":"new"}"#),
            Err(RecordError::Version(3))
        ));
        let newer = Current {
            version: 9,
            ..record()
        };
        assert!(matches!(
            Current::parse(newer.to_json().as_bytes()),
            Err(RecordError::Version(9))
        ));
        assert!(matches!(
            Current::parse(br#"{"version":2}"#),
            Err(RecordError::Damaged(_))
        ));
        assert!(matches!(
            Current::parse(b"nonsense"),
            Err(RecordError::Damaged(_))
        ));
    }
}
