//! Packing: upstream's answers as they are kept beside the snapshot and in the history.

use std::io::{self, Read as _};

/// An answer as it is kept: one Zstandard frame, made as fast as possible.
///
/// # Errors
/// Only if the compressor fails.
pub fn pack(answer: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = zstd::bulk::compress(answer, 1)?;
    // It was made in a buffer for the worst case, and is kept for long.
    packed.shrink_to_fit();
    Ok(packed)
}

/// The answer that [`pack`] made `packed` of.
///
/// # Errors
/// When it is damaged, or larger than `limit` bytes.
pub fn unpack(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::other(format!("the answer is larger than {limit} bytes"));
    // What the frame says of itself may be wrong or missing: it only saves growing the buffer.
    let expected = zstd::zstd_safe::get_frame_content_size(packed);
    let expected = expected.ok().flatten().unwrap_or_default();
    if expected > limit {
        return Err(too_large());
    }
    let mut answer = Vec::new();
    let _ = answer.try_reserve_exact(usize::try_from(expected).unwrap_or_default());
    zstd::Decoder::with_buffer(packed)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut answer)?;
    if answer.len() as u64 > limit {
        return Err(too_large());
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
        // A frame that does not say how much it holds.
        let silent = zstd::stream::encode_all(&[7; 1000][..], 1).unwrap();
        assert_eq!(unpack(&silent, 1000).unwrap(), [7; 1000]);
        assert!(unpack(&silent, 999).is_err());
    }

    #[test]
    fn what_is_kept_takes_no_more_memory_than_it_has_bytes() {
        let packed = pack(&[7; 100_000]).unwrap();
        assert!(packed.capacity() < 1000, "{}", packed.capacity());
        assert_eq!(unpack(&packed, 100_000).unwrap().capacity(), 100_000);
    }

    proptest! {
        #[test]
        fn every_answer_comes_back(answer in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(&unpack(&pack(&answer).unwrap(), 5000).unwrap(), &answer);
        }
    }
}
