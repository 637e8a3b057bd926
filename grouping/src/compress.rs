//! Compression, once per refresh: of the bodies that are served and of the payloads that are kept.

use std::io::{self, Read as _, Write as _};

use domain::contract::record::Encoding;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::parallel::in_parallel;

/// Pieces of this size are compressed at the same time.
const PIECE: usize = 1 << 20;
const GZIP_LEVEL: u32 = 5;
/// Reports come out smaller with it than with levels 2 to 4, in half the time: matches of a whole
/// row's length are what there is to find. Its window stays within the 8 MiB that HTTP clients must
/// be able to hold (RFC 9659).
const ZSTD_LEVEL: i32 = 1;
/// As small as with quality 4, in a third of the time.
const BROTLI_QUALITY: u32 = 1;
const BROTLI_WINDOW_BITS: u32 = 22;

/// `body` in `encoding`, made on up to `threads` threads.
///
/// # Errors
/// Only if a compressor fails, which would be its own mistake or a lack of memory.
pub fn compress(encoding: Encoding, body: &[u8], threads: usize) -> io::Result<Vec<u8>> {
    match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => gzip(body, threads),
        Encoding::Zstd => zstd_frame(body, threads),
        Encoding::Brotli => brotli(body),
    }
}

/// One gzip member (RFC 1952) whose deflate blocks are made in pieces: each piece but the last ends
/// with a flush to a byte border, so that they can simply stand one after the other. Several
/// members would be shorter to write, but many clients read only the first.
fn gzip(body: &[u8], threads: usize) -> io::Result<Vec<u8>> {
    // Deflate, no flags, no time, no extra flags, unknown system.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let pieces: Vec<&[u8]> = if body.is_empty() {
        vec![body]
    } else {
        body.chunks(PIECE).collect()
    };
    let last = pieces.len() - 1;
    let work = pieces.into_iter().enumerate().collect();
    let deflated = in_parallel(threads, work, |(index, piece): (usize, &[u8])| {
        let flush = if index == last {
            FlushCompress::Finish
        } else {
            FlushCompress::Sync
        };
        let mut crc = Crc::new();
        crc.update(piece);
        deflate(piece, flush).map(|bytes| (bytes, crc))
    });
    let mut whole = HEADER.to_vec();
    let mut check = Crc::new();
    for piece in deflated {
        let (bytes, crc) = piece?;
        whole.extend_from_slice(&bytes);
        check.combine(&crc);
    }
    whole.extend_from_slice(&check.sum().to_le_bytes());
    // The length modulo 2^32, as the format has it.
    whole.extend_from_slice(&(body.len() as u32).to_le_bytes());
    Ok(whole)
}

fn deflate(piece: &[u8], flush: FlushCompress) -> io::Result<Vec<u8>> {
    let mut deflater = Compress::new(Compression::new(GZIP_LEVEL), false);
    let mut out = Vec::with_capacity(piece.len() / 4 + 64);
    loop {
        let read = usize::try_from(deflater.total_in()).map_err(io::Error::other)?;
        let status = deflater.compress_vec(&piece[read..], &mut out, flush)?;
        // With room to spare everything has been flushed (zlib.h on Z_SYNC_FLUSH).
        if status == Status::StreamEnd
            || (flush == FlushCompress::Sync && out.len() < out.capacity())
        {
            return Ok(out);
        }
        out.reserve(out.capacity());
    }
}

/// One frame: clients need not read several (RFC 8878, section 3, leaves it to them).
fn zstd_frame(body: &[u8], threads: usize) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(body.len() / 8), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(body.len() as u64))?;
    encoder.include_contentsize(true)?;
    if threads > 1 && body.len() > PIECE {
        encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
    }
    encoder.write_all(body)?;
    encoder.finish()
}

fn brotli(body: &[u8]) -> io::Result<Vec<u8>> {
    let out = Vec::with_capacity(body.len() / 8);
    let mut encoder =
        brotli::CompressorWriter::new(out, 1 << 16, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
    encoder.write_all(body)?;
    encoder.flush()?;
    Ok(encoder.into_inner())
}

/// A payload as it is kept: one Zstandard frame, made as fast as possible.
///
/// # Errors
/// Only if the compressor fails.
pub fn pack(payload: &[u8]) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(payload, 1)
}

/// The payload that [`pack`] made `stored` of.
///
/// # Errors
/// When it is damaged, or larger than `limit` bytes.
pub fn unpack(stored: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    zstd::Decoder::with_buffer(stored)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut payload)?;
    if payload.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "the payload is larger than {limit} bytes"
        )));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decompress(encoding: Encoding, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match encoding {
            Encoding::Identity => return body.to_vec(),
            // A decoder that stops after the first member, as many clients do.
            Encoding::Gzip => flate2::read::GzDecoder::new(body).read_to_end(&mut out),
            Encoding::Zstd => zstd::Decoder::with_buffer(body)
                .unwrap()
                .single_frame()
                .read_to_end(&mut out),
            Encoding::Brotli => brotli::Decompressor::new(body, 4096).read_to_end(&mut out),
        }
        .unwrap();
        out
    }

    #[test]
    fn bodies_of_every_size_come_back() {
        let text: Vec<u8> = (0..400_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes())
            .collect();
        for size in [
            0,
            1,
            1000,
            PIECE - 1,
            PIECE,
            PIECE + 1,
            2 * PIECE,
            text.len(),
        ] {
            for encoding in Encoding::ALL {
                for threads in [1, 3] {
                    let packed = compress(encoding, &text[..size], threads).unwrap();
                    assert!(
                        decompress(encoding, &packed) == text[..size],
                        "{encoding:?} {size} {threads}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_incompressible_body_comes_back() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
        .take(3 * PIECE)
        .collect();
        for encoding in Encoding::ALL {
            assert!(decompress(encoding, &compress(encoding, &noise, 2).unwrap()) == noise);
        }
    }

    #[test]
    fn payloads_are_bounded_and_damage_is_seen() {
        let packed = pack(&[7; 1000]).unwrap();
        assert_eq!(unpack(&packed, 1000).unwrap(), [7; 1000]);
        assert!(unpack(&packed, 999).is_err());
        assert!(unpack(&packed[..packed.len() - 1], 1000).is_err());
        assert!(unpack(b"nonsense", 1000).is_err());
    }

    proptest! {
        #[test]
        fn every_body_comes_back(body in prop::collection::vec(any::<u8>(), 0..5000), threads in 1_usize..3) {
            for encoding in Encoding::ALL {
                prop_assert_eq!(&decompress(encoding, &compress(encoding, &body, threads).unwrap()), &body);
            }
            prop_assert_eq!(&unpack(&pack(&body).unwrap(), 5000).unwrap(), &body);
        }
    }
}
