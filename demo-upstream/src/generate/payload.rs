//! Bytes to answer with.

use std::sync::Arc;

use bytes::Bytes;

/// The body of an answer, in pieces that are shared and not copied.
#[derive(Debug, Clone)]
pub struct Payload {
    parts: Arc<[Bytes]>,
}

impl Payload {
    /// One of these pieces.
    pub(super) fn new(parts: impl Into<Arc<[Bytes]>>) -> Self {
        Self {
            parts: parts.into(),
        }
    }

    /// The pieces, in order.
    #[must_use]
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::new([bytes])
    }
}
