//! The members of a row that matter.

use std::ops::Range;

use domain::incident::IncidentType;

use super::values::is_named;
use crate::scan::{Scan, ScanError, Scanner, Text, Value};

/// An identity as the row holds it.
#[derive(Clone, Copy)]
pub(super) enum Found {
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
pub(super) struct Shape<'a> {
    pub(super) kind: &'a IncidentType,
    pub(super) body: &'a [u8],
    /// A name with all up to its value, and what it is for us.
    names: Vec<(Range<usize>, Role)>,
}

impl<'a> Shape<'a> {
    /// Names beyond this many are not remembered.
    const MOST: usize = 64;

    /// Of rows of `kind` in `body`, none of which has been seen yet.
    pub(super) fn new(kind: &'a IncidentType, body: &'a [u8]) -> Self {
        Self {
            kind,
            body,
            names: Vec::new(),
        }
    }

    /// Passes the name of the member at `place`, and says what it is for us.
    #[inline]
    fn name(&mut self, place: usize, scanner: &mut Scanner<'_>) -> Scan<Role> {
        match self.names.get(place) {
            Some((name, role)) if scanner.take_all(&self.body[name.clone()]) => Ok(*role),
            _ => self.other_name(place, scanner),
        }
    }

    #[cold]
    fn other_name(&mut self, place: usize, scanner: &mut Scanner<'_>) -> Scan<Role> {
        let start = scanner.at();
        let name = scanner.name()?;
        let role = Role::of(self.kind, self.body, name);
        // What is wrong with a name is noted where it is scanned: it must be each time.
        if scanner.has_flaw() {
            return Ok(role);
        }
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
pub(super) struct Members {
    pub(super) priority: Option<Text>,
    pub(super) timestamp: Option<(usize, usize)>,
    pub(super) identity: Option<Found>,
    /// Where the other members begin, if all of them stand together after a leading `priority`.
    pub(super) rest: Option<usize>,
}

impl Members {
    /// Passes a row over; the scanner stands at its brace.
    #[inline]
    pub(super) fn scan(scanner: &mut Scanner<'_>, shape: &mut Shape<'_>) -> Scan<Self> {
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
pub(super) fn rewrite(row: &[u8]) -> Box<[u8]> {
    let mut rest = Vec::with_capacity(row.len());
    // The row has been scanned before: neither can an error occur, nor would it be lost, since the
    // row would then be without its members.
    let copied = (|| -> Result<(), ScanError> {
        let mut scanner = Scanner::new(row);
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
