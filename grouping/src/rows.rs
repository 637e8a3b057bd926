//! Parsing: one type's upstream answer becomes a run of small rows that point into its bytes.

use std::ops::Range;

use bytes::Bytes;
use domain::incident::{IncidentType, Priority};
use thiserror::Error;

use crate::scan::{ScanError, Scanner, Text, Value};

/// The largest answer that can be parsed, in bytes: positions are kept in 32 bits.
pub const LARGEST_BODY: u64 = u32::MAX as u64;

/// Why an upstream answer cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// It is not JSON, or cut off.
    #[error("the answer is not valid JSON: {problem} at byte {at}")]
    Syntax {
        /// The offset of the first byte that does not fit.
        at: usize,
        /// What does not fit.
        problem: &'static str,
    },
    /// It is JSON of another shape.
    #[error("the answer does not have the expected shape: {0}")]
    Shape(&'static str),
    /// It is larger than [`LARGEST_BODY`].
    #[error("the answer is larger than 4 GiB")]
    TooLarge,
}

impl From<ScanError> for PayloadError {
    fn from(error: ScanError) -> Self {
        Self::Syntax {
            at: error.at,
            problem: error.problem,
        }
    }
}

/// Why a row cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is no JSON object.
    NotAnObject,
    /// It contains `NaN` or an infinity, which JSON does not have.
    NotFinite,
    /// It has no priority, or an unknown one.
    Priority,
    /// It has no timestamp, or one that is no finite number.
    Timestamp,
    /// It has no identity, or one that is neither an employee id nor an address, as its type wants.
    Identity,
}

impl Reason {
    /// What operators read.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotAnObject => "not an object",
            Self::NotFinite => "contains NaN or an infinity, which is not JSON",
            Self::Priority => "no priority, or an unknown one",
            Self::Timestamp => "no timestamp, or not a finite number",
            Self::Identity => "no usable identity",
        }
    }
}

/// Whom a row concerns, as far as the row itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Employee(u64),
    /// An address, at this place in the body.
    Address {
        start: u32,
        len: u32,
    },
    /// An address that was written with escapes, at this index of [`Run::texts`].
    Escaped(u32),
}

/// One usable row. Small, because a refresh holds millions of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Orders as the timestamp does: see [`time_key`].
    pub(crate) time: u64,
    /// What an [`Identity`] has beside its kind: an id; a start and a length; an index.
    identity: (u32, u32),
    /// The whole row in the body.
    start: u32,
    len: u32,
    /// Where in the body the members after a leading `priority` begin, or, of a row that had to be
    /// rewritten, its index in [`Run::rewritten`].
    rest: u32,
    is_rewritten: bool,
    kind: IdentityKind,
    pub(crate) priority: Priority,
}

/// Which [`Identity`] a row has.
#[derive(Debug, Clone, Copy)]
enum IdentityKind {
    Employee,
    Address,
    Escaped,
}

impl Row {
    /// Whom it concerns.
    #[inline]
    pub(crate) fn identity(&self) -> Identity {
        let (first, second) = self.identity;
        match self.kind {
            IdentityKind::Employee => {
                Identity::Employee(u64::from(first) << 32 | u64::from(second))
            }
            IdentityKind::Address => Identity::Address {
                start: first,
                len: second,
            },
            IdentityKind::Escaped => Identity::Escaped(first),
        }
    }
}

impl Identity {
    /// As a row keeps it.
    #[inline]
    fn packed(self) -> (IdentityKind, (u32, u32)) {
        match self {
            Self::Employee(id) => (IdentityKind::Employee, ((id >> 32) as u32, id as u32)),
            Self::Address { start, len } => (IdentityKind::Address, (start, len)),
            Self::Escaped(index) => (IdentityKind::Escaped, (index, 0)),
        }
    }
}

/// A row that cannot be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    start: u32,
    len: u32,
}

/// Where a row is in its [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowAt {
    /// An index of [`Run::rows`].
    Usable(u32),
    /// An index of [`Run::rejections`].
    Rejected(u32),
}

/// The rows of one incident type, in the order of their timestamps.
#[derive(Debug)]
pub struct Run {
    body: Bytes,
    pub(crate) rows: Vec<Row>,
    pub(crate) rejections: Vec<Rejection>,
    /// The members, without `type` and `priority`, of rows in which these do not come first.
    rewritten: Vec<Box<[u8]>>,
    texts: Vec<String>,
}

impl Run {
    /// Parses `{"results": [row, ...]}`. Rows that cannot be used are set aside, not lost.
    ///
    /// # Errors
    /// When the answer is not JSON or has no array `results`: then nothing of it is used.
    pub fn parse(kind: &IncidentType, body: Bytes) -> Result<Self, PayloadError> {
        if body.len() as u64 > LARGEST_BODY {
            return Err(PayloadError::TooLarge);
        }
        let mut run = Self {
            // Shorter rows than this are rare; a wrong guess costs one growth of the vector.
            rows: Vec::with_capacity(body.len() / 112),
            rejections: Vec::new(),
            rewritten: Vec::new(),
            texts: Vec::new(),
            body,
        };
        let body = run.body.clone();
        let mut scanner = Scanner::new(&body)?;
        scanner.skip_whitespace();
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            return Err(PayloadError::Shape(
                "expected an object with the array `results`",
            ));
        }
        scanner.enter()?;
        let mut found = false;
        let mut more = scanner.peek() != Some(b'}');
        if !more {
            scanner.leave();
        }
        while more {
            let name = scanner.name()?;
            if is_named(&body, name, b"results") {
                if found {
                    return Err(PayloadError::Shape("`results` is there twice"));
                }
                if scanner.peek() != Some(b'[') {
                    return Err(PayloadError::Shape("`results` is not an array"));
                }
                found = true;
                run.rows(kind, &body, &mut scanner)?;
            } else {
                scanner.value()?;
            }
            more = scanner.another(b'}')?;
        }
        scanner.end()?;
        if !found {
            return Err(PayloadError::Shape("`results` is missing"));
        }
        // Upstream normally sends sorted rows. The sort is stable: ties keep upstream's order.
        if !run.rows.is_sorted_by_key(|row| row.time) {
            run.rows.sort_by_key(|row| row.time);
        }
        Ok(run)
    }

    /// How many rows upstream sent.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        (self.rows.len() + self.rejections.len()) as u64
    }

    /// Where each row is, in the order in which upstream sent them.
    pub(crate) fn in_upstream_order(&self) -> impl Iterator<Item = RowAt> {
        let rows = self.rows.iter().zip(0..);
        let rows = rows.map(|(row, index)| (row.start, RowAt::Usable(index)));
        let rejections = self.rejections.iter().zip(0..);
        let rejections = rejections.map(|(row, index)| (row.start, RowAt::Rejected(index)));
        let mut all: Vec<_> = rows.chain(rejections).collect();
        all.sort_unstable_by_key(|(start, _)| *start);
        all.into_iter().map(|(_, at)| at)
    }

    /// The row there, as upstream sent it.
    pub(crate) fn text(&self, at: RowAt) -> &[u8] {
        let (start, len) = match at {
            RowAt::Usable(index) => {
                let row = &self.rows[index as usize];
                (row.start, row.len)
            }
            RowAt::Rejected(index) => {
                let rejection = &self.rejections[index as usize];
                (rejection.start, rejection.len)
            }
        };
        slice(&self.body, start, len)
    }

    /// What follows `type` and `priority` in the report: a row's other members and its closing
    /// brace.
    #[inline]
    pub(crate) fn rest(&self, row: &Row) -> &[u8] {
        if row.is_rewritten {
            &self.rewritten[row.rest as usize]
        } else {
            &self.body[row.rest as usize..(row.start + row.len) as usize]
        }
    }

    /// The address that a row concerns; `None` if it names an employee.
    #[inline]
    pub(crate) fn address(&self, identity: Identity) -> Option<&[u8]> {
        match identity {
            Identity::Employee(_) => None,
            Identity::Address { start, len } => Some(slice(&self.body, start, len)),
            Identity::Escaped(index) => Some(self.texts[index as usize].as_bytes()),
        }
    }

    fn rows(
        &mut self,
        kind: &IncidentType,
        body: &[u8],
        scanner: &mut Scanner<'_>,
    ) -> Result<(), ScanError> {
        scanner.enter()?;
        if scanner.peek() == Some(b']') {
            scanner.leave();
            return Ok(());
        }
        let mut shape = Shape::new(kind, body);
        loop {
            self.row(scanner, &mut shape)?;
            if !scanner.another(b']')? {
                return Ok(());
            }
        }
    }

    #[inline]
    fn row(&mut self, scanner: &mut Scanner<'_>, shape: &mut Shape<'_>) -> Result<(), ScanError> {
        let Shape { kind, body, .. } = *shape;
        let start = scanner.at();
        let members = if scanner.peek() == Some(b'{') {
            Some(Members::scan(scanner, shape)?)
        } else {
            scanner.value()?;
            None
        };
        let (start, len) = (start as u32, (scanner.at() - start) as u32);
        let usable = match members {
            _ if scanner.take_not_finite() => Err(Reason::NotFinite),
            None => Err(Reason::NotAnObject),
            Some(members) => self.usable(kind, body, &members),
        };
        match usable {
            Ok((priority, time, identity, rest)) => {
                let (rest, is_rewritten) = match rest {
                    Some(rest) => (rest as u32, false),
                    None => {
                        self.rewritten.push(rewrite(slice(body, start, len)));
                        ((self.rewritten.len() - 1) as u32, true)
                    }
                };
                let (kind, identity) = identity.packed();
                self.rows.push(Row {
                    time,
                    identity,
                    kind,
                    start,
                    len,
                    rest,
                    is_rewritten,
                    priority,
                });
            }
            Err(reason) => self.rejections.push(Rejection { reason, start, len }),
        }
        Ok(())
    }

    #[inline]
    fn usable(
        &mut self,
        kind: &IncidentType,
        body: &[u8],
        members: &Members,
    ) -> Result<(Priority, u64, Identity, Option<usize>), Reason> {
        let priority = members
            .priority
            .and_then(|text| priority(body, text))
            .ok_or(Reason::Priority)?;
        let time = members
            .timestamp
            .and_then(|(start, end)| time_key(&body[start..end]))
            .ok_or(Reason::Timestamp)?;
        let identity = members
            .identity
            .and_then(|found| self.identity(kind, body, found))
            .ok_or(Reason::Identity)?;
        Ok((priority, time, identity, members.rest))
    }

    #[inline]
    fn identity(&mut self, kind: &IncidentType, body: &[u8], found: Found) -> Option<Identity> {
        let employee = kind.identity.allows_employee();
        match found {
            Found::Number(start, end) => {
                let id = employee.then(|| employee_id(&body[start..end]))??;
                Some(Identity::Employee(id))
            }
            Found::Text(text) if !text.escaped => {
                let contents = &body[text.start..text.end];
                match employee_id(contents) {
                    Some(id) if employee => Some(Identity::Employee(id)),
                    _ => (kind.identity.allows_ip() && !contents.is_empty()).then_some(
                        Identity::Address {
                            start: text.start as u32,
                            len: contents.len() as u32,
                        },
                    ),
                }
            }
            Found::Text(text) => {
                let contents = unescape(body, text)?;
                match employee_id(contents.as_bytes()) {
                    Some(id) if employee => Some(Identity::Employee(id)),
                    _ => kind.identity.allows_ip().then(|| {
                        self.texts.push(contents);
                        Identity::Escaped((self.texts.len() - 1) as u32)
                    }),
                }
            }
        }
    }
}

/// An identity as the row holds it.
#[derive(Clone, Copy)]
enum Found {
    Number(usize, usize),
    Text(Text),
}

/// What a member of a row is for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Priority,
    Timestamp,
    Identity,
    Type,
    Other,
}

impl Role {
    fn of(kind: &IncidentType, body: &[u8], name: Text) -> Self {
        if is_named(body, name, b"priority") {
            Self::Priority
        } else if is_named(body, name, b"timestamp") {
            Self::Timestamp
        } else if is_named(body, name, kind.field.as_bytes()) {
            Self::Identity
        } else if is_named(body, name, b"type") {
            Self::Type
        } else {
            Self::Other
        }
    }
}

/// The members' names of the last rows, by their places. Nearly all rows of a type have the same
/// names in the same order: then one comparison does for reading and recognising each.
struct Shape<'a> {
    kind: &'a IncidentType,
    body: &'a [u8],
    /// A name with all up to its value, and what it is for us.
    names: Vec<(Range<usize>, Role)>,
}

impl<'a> Shape<'a> {
    /// Names beyond this many are not remembered.
    const MOST: usize = 64;

    /// Of rows of `kind` in `body`, none of which has been seen yet.
    fn new(kind: &'a IncidentType, body: &'a [u8]) -> Self {
        Self {
            kind,
            body,
            names: Vec::new(),
        }
    }

    /// Passes the name of the member at `place`, and says what it is for us.
    #[inline]
    fn name(&mut self, place: usize, scanner: &mut Scanner<'_>) -> Result<Role, ScanError> {
        match self.names.get(place) {
            Some((name, role)) if scanner.take_all(&self.body[name.clone()]) => Ok(*role),
            _ => self.other_name(place, scanner),
        }
    }

    #[cold]
    fn other_name(&mut self, place: usize, scanner: &mut Scanner<'_>) -> Result<Role, ScanError> {
        let start = scanner.at();
        let name = scanner.name()?;
        let role = Role::of(self.kind, self.body, name);
        let found = (start..scanner.at(), role);
        match self.names.get_mut(place) {
            Some(known) => *known = found,
            None if place < Self::MOST => self.names.push(found),
            None => {}
        }
        Ok(role)
    }
}

/// The members of a row that matter. Of a name that stands twice, the last one counts, as in the
/// usual parsers.
struct Members {
    priority: Option<Text>,
    timestamp: Option<(usize, usize)>,
    identity: Option<Found>,
    /// Where the other members begin, if all of them stand together after a leading `priority`.
    rest: Option<usize>,
}

impl Members {
    #[inline]
    fn scan(scanner: &mut Scanner<'_>, shape: &mut Shape<'_>) -> Result<Self, ScanError> {
        let mut members = Self {
            priority: None,
            timestamp: None,
            identity: None,
            rest: None,
        };
        scanner.enter()?;
        if scanner.peek() == Some(b'}') {
            scanner.leave();
            return Ok(members);
        }
        let mut scattered = false;
        for place in 0.. {
            let role = shape.name(place, scanner)?;
            let start = scanner.at();
            let value = scanner.value()?;
            let end = scanner.at();
            let text = |escaped| Text {
                start: start + 1,
                end: end - 1,
                escaped,
            };
            match role {
                Role::Priority => {
                    members.priority = match value {
                        Value::String { escaped } => Some(text(escaped)),
                        _ => None,
                    };
                    scattered |= place > 0;
                }
                Role::Timestamp => {
                    members.timestamp = (value == Value::Number).then_some((start, end));
                }
                Role::Identity => {
                    members.identity = match value {
                        Value::String { escaped } => Some(Found::Text(text(escaped))),
                        Value::Number => Some(Found::Number(start, end)),
                        Value::Other => None,
                    };
                }
                Role::Type => scattered = true,
                Role::Other => {}
            }
            let more = scanner.another(b'}')?;
            if place == 0 && role == Role::Priority && more {
                members.rest = Some(scanner.at());
            }
            if !more {
                break;
            }
        }
        if scattered {
            members.rest = None;
        }
        Ok(members)
    }
}

/// A row's members but for `type` and `priority`, and the closing brace.
#[cold]
fn rewrite(row: &[u8]) -> Box<[u8]> {
    let mut rest = Vec::with_capacity(row.len());
    // The row has been scanned before: neither can an error occur, nor would it be lost, since the
    // row would then be without its members.
    let copied = (|| -> Result<(), ScanError> {
        let mut scanner = Scanner::new(row)?;
        scanner.enter()?;
        loop {
            let start = scanner.at();
            let name = scanner.name()?;
            scanner.value()?;
            if !is_named(row, name, b"type") && !is_named(row, name, b"priority") {
                if !rest.is_empty() {
                    rest.push(b',');
                }
                rest.extend_from_slice(&row[start..scanner.at()]);
            }
            if !scanner.another(b'}')? {
                return Ok(());
            }
        }
    })();
    debug_assert!(copied.is_ok());
    rest.push(b'}');
    rest.into_boxed_slice()
}

/// Whether a member's name is `expected`, also when it is written with escapes.
#[inline]
pub(crate) fn is_named(body: &[u8], name: Text, expected: &[u8]) -> bool {
    if name.escaped {
        return unescape(body, name).is_some_and(|name| name.as_bytes() == expected);
    }
    &body[name.start..name.end] == expected
}

#[inline]
fn priority(body: &[u8], text: Text) -> Option<Priority> {
    if text.escaped {
        return Priority::from_name(unescape(body, text)?.as_bytes());
    }
    Priority::from_name(&body[text.start..text.end])
}

/// What a string with escapes says; `None` for half a surrogate pair, which says nothing.
#[cold]
pub(crate) fn unescape(body: &[u8], text: Text) -> Option<String> {
    serde_json::from_slice(&body[text.start - 1..=text.end]).ok()
}

/// The employee id that `digits` write: a whole number from 0 to 2^64 - 1 without sign, fraction,
/// exponent or leading zero. Anything else would have to be guessed at, and is not.
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

/// A number that orders as the JSON number `text` does when read as an IEEE 754 double, which is
/// what JSON numbers are exchanged as (RFC 8259, section 6). `None` if it is too large for one.
#[inline]
fn time_key(text: &[u8]) -> Option<u64> {
    let time: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // Adding zero makes -0 the same as 0.
    let bits = (time + 0.0).to_bits();
    let sign = 1 << 63;
    time.is_finite()
        .then_some(if bits & sign == 0 { bits | sign } else { !bits })
}

#[inline]
fn slice(body: &[u8], start: u32, len: u32) -> &[u8] {
    &body[start as usize..][..len as usize]
}
