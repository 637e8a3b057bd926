//! Finds one employee's part of the report.

use std::borrow::Cow;

use super::{Argument, Call, Script, Values};
use crate::contract::keys::Keys;
use crate::contract::record::{BLOCK_BYTES, Body, Document, Encoding};

/// `KEYS`: employees, then every block of the report's identity encoding. `ARGV`: the upper and the
/// lower 32 bits of the id, the length of a block. Returns `[found 0|1, part]`, or an error `MISSING`
/// when the generation is gone.
static SCRIPT: Script = Script::new("find_employee", include_str!("find_employee.lua"));

/// Asks for the groups of one employee as they stand in the report; `None` if it has none.
#[derive(Debug)]
pub struct FindEmployee<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
    /// The snapshot.
    pub generation: u64,
    /// Its report, as it is.
    pub report: Body,
    /// The employee's id.
    pub employee: u64,
}

impl Call for FindEmployee<'_> {
    type Reply = Option<Vec<u8>>;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let mut names = vec![self.keys.employees(self.generation).into()];
        names.extend((0..self.report.blocks()).map(|number| {
            self.keys
                .block(
                    self.generation,
                    Document::Report,
                    Encoding::Identity,
                    number,
                )
                .into()
        }));
        names
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        let (upper, lower) = (self.employee >> 32, self.employee & 0xffff_ffff);
        vec![upper.into(), lower.into(), BLOCK_BYTES.into()]
    }

    fn parse(mut values: Values<'_>) -> Option<Option<Vec<u8>>> {
        let (found, part) = (values.integer()?, values.bytes()?);
        match found {
            0 => Some(None),
            1 => Some(Some(part)),
            _ => None,
        }
    }
}
