//! What a run keeps of each row. Small, because a refresh holds millions of them.

use std::fmt;

use domain::contract::timeline::TimeKey;
use domain::incident::Priority;

use crate::scan::Flaw;

/// Why a row cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It is not JSON; what is wrong.
    NotJson(&'static str),
    /// It contains bytes that are not UTF-8.
    NotUtf8,
    /// It contains `NaN` or an infinity, which JSON does not have.
    NotFinite,
    /// It contains an integer beyond 64 bits or a number beyond the range of a double, which many
    /// parsers refuse together with all that stands around it.
    OutOfRange,
    /// It contains an escape that is half of a surrogate pair, which is no character.
    Surrogate,
    /// It is no JSON object.
    NotAnObject,
    /// It has no priority, or an unknown one.
    Priority,
    /// It has no timestamp, or one that is no finite number.
    Timestamp,
    /// It has no identity, or one that is neither an employee id nor an address, as its type wants.
    Identity,
}

impl fmt::Display for Reason {
    /// What operators read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson(problem) => return write!(f, "not JSON: {problem}"),
            Self::NotUtf8 => "contains bytes that are not UTF-8",
            Self::NotFinite => "contains NaN or an infinity, which is not JSON",
            Self::OutOfRange => {
                "contains a number that neither a 64-bit integer nor a double can hold"
            }
            Self::Surrogate => "contains half of a surrogate pair, which is no character",
            Self::NotAnObject => "not an object",
            Self::Priority => "no priority, or an unknown one",
            Self::Timestamp => "no timestamp, or not a finite number",
            Self::Identity => "no usable identity",
        })
    }
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::NotFinite => Self::NotFinite,
            Flaw::OutOfRange => Self::OutOfRange,
            Flaw::Surrogate => Self::Surrogate,
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
    /// An address that was written with escapes, at this index of the run's texts.
    Escaped(u32),
}

/// One usable row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// When it happened.
    pub(crate) time: TimeKey,
    /// What an [`Identity`] has beside its kind: an id; a start and a length; an index.
    identity: (u32, u32),
    /// The whole row in the body.
    pub(super) start: u32,
    pub(super) len: u32,
    rest: u32,
    rest_is_rewritten: bool,
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

/// Where the members after `type` and `priority` are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rest {
    /// In the body, from here to the row's end.
    Body(u32),
    /// At this index of the run's rewritten rows.
    Rewritten(u32),
}

impl Row {
    #[inline]
    pub(super) fn new(
        time: TimeKey,
        identity: Identity,
        priority: Priority,
        (start, len): (u32, u32),
        rest: Rest,
    ) -> Self {
        let (kind, identity) = match identity {
            Identity::Employee(id) => {
                let halves = ((id >> 32) as u32, id as u32);
                (IdentityKind::Employee, halves)
            }
            Identity::Address { start, len } => (IdentityKind::Address, (start, len)),
            Identity::Escaped(index) => (IdentityKind::Escaped, (index, 0)),
        };
        let (rest, rest_is_rewritten) = match rest {
            Rest::Body(at) => (at, false),
            Rest::Rewritten(index) => (index, true),
        };
        Self {
            time,
            identity,
            start,
            len,
            rest,
            rest_is_rewritten,
            kind,
            priority,
        }
    }

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

    #[inline]
    pub(super) fn rest(&self) -> Rest {
        if self.rest_is_rewritten {
            Rest::Rewritten(self.rest)
        } else {
            Rest::Body(self.rest)
        }
    }
}

/// A row that cannot be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Where a row is in its [`Run`](super::Run).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowAt {
    /// An index of its usable rows.
    Usable(u32),
    /// An index of its rejections.
    Rejected(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_small() {
        assert_eq!(size_of::<Row>(), 32);
    }
}
