//! A body in Redis: which one, and its pieces one after the other.

use std::ops::Range;

use domain::contract::document::{Document, Encoding};
use domain::contract::record::{BLOCK_BYTES, Body};

use super::{Store, StoreError};

/// One encoding of a document of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoredBody {
    pub(crate) generation: u64,
    pub(crate) document: Document,
    pub(crate) encoding: Encoding,
    /// How long it is.
    pub(crate) size: Body,
}

impl StoredBody {
    /// The block in which `range` begins, and what it has of it; `None` where that is nothing.
    pub(super) fn first_piece(&self, range: Range<u64>) -> Option<(u32, Range<usize>)> {
        let block = BLOCK_BYTES as u64;
        let number = range.start / block;
        let base = number * block;
        let end = range
            .end
            .min(self.size.bytes)
            .min(base.saturating_add(block));
        let [first, end] = [range.start, end].map(|at| usize::try_from(at.saturating_sub(base)));
        let within = first.ok()?..end.ok()?;
        (!within.is_empty()).then_some((u32::try_from(number).ok()?, within))
    }
}

/// A part of a body that is still to be read.
pub(crate) struct Pieces {
    store: Store,
    body: StoredBody,
    rest: Range<u64>,
}

impl Pieces {
    /// The bytes of `body` that lie in `rest`.
    pub(crate) fn new(store: Store, body: StoredBody, rest: Range<u64>) -> Self {
        Self { store, body, rest }
    }

    /// The next piece, a block at most; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, StoreError>> {
        if self.rest.is_empty() {
            return None;
        }
        self.store.expect_block();
        let piece = self.store.piece(&self.body, self.rest.clone()).await;
        if let Ok(piece) = &piece {
            self.rest.start += piece.len() as u64;
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u64 = BLOCK_BYTES as u64;

    fn body(bytes: u64) -> StoredBody {
        StoredBody {
            generation: 1,
            document: Document::Report,
            encoding: Encoding::Gzip,
            size: Body { bytes },
        }
    }

    #[test]
    fn a_piece_ends_with_its_block_the_range_or_the_body() {
        assert_eq!(body(5).first_piece(0..5), Some((0, 0..5)));
        assert_eq!(body(5).first_piece(2..9), Some((0, 2..5)));
        assert_eq!(body(5).first_piece(5..9), None);
        assert_eq!(body(0).first_piece(0..1), None);
        let long = body(2 * BLOCK + 7);
        assert_eq!(long.first_piece(0..u64::MAX), Some((0, 0..BLOCK_BYTES)));
        let second = BLOCK + 3..2 * BLOCK + 1;
        assert_eq!(long.first_piece(second), Some((1, 3..BLOCK_BYTES)));
        assert_eq!(long.first_piece(2 * BLOCK..u64::MAX), Some((2, 0..7)));
        assert_eq!(long.first_piece(u64::MAX - 1..u64::MAX), None);
    }

    proptest! {
        #[test]
        fn pieces_cover_a_range_once(bytes in 1..5 * BLOCK, from: u64, to: u64) {
            let body = body(bytes);
            let mut range = from % bytes..to % (2 * bytes);
            let end = range.end.min(bytes);
            while let Some((number, within)) = body.first_piece(range.clone()) {
                prop_assert_eq!(u64::from(number) * BLOCK + within.start as u64, range.start);
                prop_assert!(within.end <= BLOCK_BYTES);
                range.start += within.len() as u64;
            }
            prop_assert!(range.start >= end);
        }
    }
}
