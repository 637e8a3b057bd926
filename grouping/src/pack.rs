//! Packing: upstream's answers as they are kept beside the snapshot and in the history.

use std::io::{self, Read as _};

/// An answer as it is kept: one Zstandard frame, made as fast as possible.
///
/// # Errors
/// Only if the compressor fails.
pub fn pack(answer: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(answer, 1)
}

/// The answer that [`pack`] made `packed` of.
///
/// # Errors
/// When it is damaged, or larger than `limit` bytes.
pub fn unpack(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    zstd::Decoder::with_buffer(packed)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut answer)?;
    if answer.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "the answer is larger than {limit} bytes"
        )));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_are_bounded_and_damage_is_seen() {
        let packed = pack(&[7; 1000]).unwrap();
        assert_eq!(unpack(&packed, 1000).unwrap(), [7; 1000]);
        assert!(unpack(&packed, 999).is_err());
        assert!(unpack(&packed[..packed.len() - 1], 1000).is_err());
        assert!(unpack(b"nonsense", 1000).is_err());
    }

    proptest! {
        #[test]
        fn every_answer_comes_back(answer in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(&unpack(&pack(&answer).unwrap(), 5000).unwrap(), &answer);
        }
    }
}
