//! Finds one employee's part of the report.

use std::borrow::Cow;
use std::ops::Range;

use super::{Argument, Call, Script, Values};
use crate::contract::document::{Document, Encoding};
use crate::contract::keys::Keys;
use crate::contract::record::{BLOCK_BYTES, Body};

/// `KEYS`: employees, then the first blocks of the report's identity encoding. `ARGV`: the upper and the
/// lower 32 bits of the id, the length of a block, the longest part that is returned, how many entries the
/// index has. Returns `[found 0|1, start, length, part]`, where the part is empty if it is longer or in a
/// later block; or an error `MISSING` when the generation is gone, `DAMAGED` when it cannot be as it is.
static SCRIPT: Script = Script::new("find_employee", include_str!("find_employee.lua"));

/// Bytes of a part that comes with the reply, at most. Redis serves nobody else while it puts it together.
const MAX_INLINE_BYTES: usize = 256 << 10;

/// How many blocks the script is given: in a longer report, only where a part lies is told.
const MAX_BLOCKS: u32 = 256;

/// Asks for the groups of one employee as they stand in the report; `None` if it has none.
#[derive(Debug)]
pub struct FindEmployee<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// The snapshot.
    pub generation: u64,
    /// Its report, as it is.
    pub report: Body,
    /// How many employees it has.
    pub employees: u64,
    /// The employee's id.
    pub employee: u64,
}

/// One employee's part of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmployeePart {
    /// Where it lies in the identity encoding.
    pub range: Range<u64>,
    /// The part itself, if it is short; otherwise it has to be read from the report's blocks.
    pub bytes: Option<Vec<u8>>,
}

impl Call for FindEmployee<'_> {
    type Reply = Option<EmployeePart>;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let block = |number| {
            let (document, encoding) = (Document::Report, Encoding::Identity);
            self.keys
                .block(self.generation, document, encoding, number)
                .into()
        };
        let mut names = vec![self.keys.employees(self.generation).into()];
        names.extend((0..self.report.blocks().min(MAX_BLOCKS)).map(block));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let (upper, lower) = (self.employee >> 32, self.employee & 0xffff_ffff);
        vec![
            upper.into(),
            lower.into(),
            BLOCK_BYTES.into(),
            MAX_INLINE_BYTES.into(),
            self.employees.into(),
        ]
    }

    fn parse(mut values: Values<'_>) -> Option<Option<EmployeePart>> {
        let (found, start) = (values.integer()?, values.count()?);
        let (length, bytes) = (values.count()?, values.bytes()?);
        match found {
            0 => Some(None),
            1 => Some(Some(EmployeePart {
                range: start..start.checked_add(length)?,
                bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            })),
            _ => None,
        }
    }
}
