//! A good answer of upstream as it is kept, in memory, beside the snapshot and in the history: what a
//! refresh falls back on.

use std::io;

use blake3::Hash;
use bytes::Bytes;
use domain::contract::record::Payload;
use grouping::pack::{pack, unpack};
use thiserror::Error;
use tokio::task::spawn_blocking;

/// A good answer, compressed: a refresh seldom needs it again.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Of the answer's bytes.
    pub(crate) hash: Hash,
    /// The answer, compressed.
    pub(crate) packed: Bytes,
    /// When it arrived: milliseconds of Redis's clock.
    pub(crate) at_ms: u64,
}

/// Why stored bytes are not the answer that they should be.
#[derive(Debug, Error)]
pub(crate) enum DamagedAnswer {
    #[error("its name is no hash")]
    Name,
    #[error("it cannot be unpacked: {0}")]
    Packing(#[from] io::Error),
    #[error("it does not match its hash")]
    Hash,
    #[error("it cannot be checked: {0}")]
    Internal(String),
}

impl Answer {
    /// Keeps `body`, whose hash is `hash` and which arrived at `at_ms`.
    ///
    /// # Errors
    /// Only if the compressor fails.
    pub(crate) fn keep(body: &[u8], hash: Hash, at_ms: u64) -> io::Result<Self> {
        Ok(Self {
            hash,
            packed: pack(body)?.into(),
            at_ms,
        })
    }

    /// The answer that `payload` names, if that is what is `packed`; no more than `largest` bytes.
    ///
    /// # Errors
    /// When it is damaged, or larger.
    pub(crate) async fn verified(
        payload: &Payload,
        packed: Bytes,
        at_ms: u64,
        largest: u64,
    ) -> Result<Self, DamagedAnswer> {
        let hash = Hash::from_hex(&payload.hash).map_err(|_| DamagedAnswer::Name)?;
        let answer = Self {
            hash,
            packed,
            at_ms,
        };
        let checked = spawn_blocking(move || {
            let body = answer.body(largest)?;
            match blake3::hash(&body) == answer.hash {
                true => Ok(answer),
                false => Err(DamagedAnswer::Hash),
            }
        });
        checked
            .await
            .map_err(|error| DamagedAnswer::Internal(error.to_string()))?
    }

    /// How the record names it.
    pub(crate) fn payload(&self) -> Payload {
        Payload {
            hash: self.hash.to_hex().to_string(),
            stored_bytes: self.packed.len() as u64,
        }
    }

    /// The answer itself.
    ///
    /// # Errors
    /// When it is damaged or larger than `largest` bytes.
    pub(crate) fn body(&self, largest: u64) -> io::Result<Bytes> {
        unpack(&self.packed, largest).map(Bytes::from)
    }
}
