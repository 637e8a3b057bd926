//! Reads rows of the report, wherever they lie.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{Argument, Call, Script, Values};
use crate::contract::document::{Document, Encoding};
use crate::contract::keys::Keys;
use crate::contract::record::BLOCK_BYTES;

/// `KEYS`: blocks of the report's identity encoding. `ARGV`: the pieces (10 bytes each: the number of the
/// key, the first byte in the block, the length). Returns the pieces, put together; or an error `MISSING`
/// when the generation is gone.
static SCRIPT: Script = Script::new("read_rows", include_str!("read_rows.lua"));

/// Asks for some parts of the report. Answers with all of them, one after the other. Redis serves nobody
/// else while it puts them together: whoever asks sees to it that they are no more than a block, and no
/// more than a thousand.
#[derive(Debug)]
pub struct ReadRows {
    names: Vec<String>,
    pieces: Vec<u8>,
}

impl ReadRows {
    /// Parts of the report of this generation, as it is.
    #[must_use]
    pub fn new<'a>(
        keys: &Keys,
        generation: u64,
        rows: impl Iterator<Item = &'a Range<u64>>,
    ) -> Self {
        let block_bytes = BLOCK_BYTES as u64;
        let mut read = Self {
            names: Vec::new(),
            pieces: Vec::new(),
        };
        let mut numbers: BTreeMap<u64, u16> = BTreeMap::new();
        for row in rows {
            let mut start = row.start;
            while start < row.end {
                let block = start / block_bytes;
                let end = row.end.min((block + 1) * block_bytes);
                let key = *numbers.entry(block).or_insert_with(|| {
                    let block = u32::try_from(block).unwrap_or(u32::MAX);
                    let (document, encoding) = (Document::Report, Encoding::Identity);
                    read.names
                        .push(keys.block(generation, document, encoding, block));
                    u16::try_from(read.names.len()).unwrap_or(u16::MAX)
                });
                let within = (start % block_bytes) as u32;
                read.pieces.extend_from_slice(&key.to_be_bytes());
                read.pieces.extend_from_slice(&within.to_be_bytes());
                read.pieces
                    .extend_from_slice(&((end - start) as u32).to_be_bytes());
                start = end;
            }
        }
        read
    }
}

impl Call for ReadRows {
    type Reply = Vec<u8>;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        self.names.iter().map(|name| name.as_str().into()).collect()
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![Argument::Bytes(&self.pieces)]
    }

    fn parse(mut values: Values<'_>) -> Option<Vec<u8>> {
        values.bytes()
    }
}
