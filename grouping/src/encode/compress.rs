//! Compression of one body.

use std::io::{self, Write as _};

use domain::contract::document::Encoding;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use rayon::prelude::*;

/// gzip compresses pieces of this size at the same time.
const PIECE: usize = 1 << 20;
const GZIP_LEVEL: u32 = 5;
/// Reports come out smaller with it than with levels 2 to 4, in half the time: matches of a whole
/// row's length are what there is to find. Its window stays within the 8 MiB that HTTP clients must
/// be able to hold (RFC 9659).
const ZSTD_LEVEL: i32 = 1;
/// As small as with quality 4, in a third of the time.
const BROTLI_QUALITY: u32 = 1;
const BROTLI_WINDOW_BITS: u32 = 22;

/// `body` in `encoding`: the same bytes on any number of threads.
///
/// # Errors
/// Only if a compressor fails, which would be its own mistake or a lack of memory.
pub(super) fn compress(encoding: Encoding, body: &[u8]) -> io::Result<Vec<u8>> {
    match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => gzip(body),
        Encoding::Zstd => zstd_frame(body),
        Encoding::Brotli => brotli(body),
    }
}

/// One gzip member (RFC 1952) whose deflate blocks are made in pieces: each piece but the last ends
/// with a flush to a byte border, so that they can simply stand one after the other. Several
/// members would be shorter to write, but many clients read only the first.
fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    // Deflate, no flags, no time, no extra flags, unknown system.
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let pieces: Vec<&[u8]> = if body.is_empty() {
        vec![body]
    } else {
        body.chunks(PIECE).collect()
    };
    let last = pieces.len() - 1;
    let deflated: Vec<(Vec<u8>, Crc)> = pieces
        .into_par_iter()
        .enumerate()
        .with_max_len(1)
        .map(|(index, piece)| {
            let flush = if index == last {
                FlushCompress::Finish
            } else {
                FlushCompress::Sync
            };
            let mut crc = Crc::new();
            crc.update(piece);
            deflate(piece, flush).map(|bytes| (bytes, crc))
        })
        .collect::<io::Result<_>>()?;
    let bytes: usize = deflated.iter().map(|(bytes, _)| bytes.len()).sum();
    let mut whole = Vec::with_capacity(HEADER.len() + bytes + 8);
    whole.extend_from_slice(&HEADER);
    let mut check = Crc::new();
    for (bytes, crc) in deflated {
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
fn zstd_frame(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::with_capacity(body.len() / 8), ZSTD_LEVEL)?;
    encoder.set_pledged_src_size(Some(body.len() as u64))?;
    encoder.include_contentsize(true)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

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
                let packed = compress(encoding, &text[..size]).unwrap();
                assert!(
                    decompress(encoding, &packed) == text[..size],
                    "{encoding:?} {size}"
                );
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
            assert!(decompress(encoding, &compress(encoding, &noise).unwrap()) == noise);
        }
    }

    proptest! {
        #[test]
        fn every_body_comes_back(body in prop::collection::vec(any::<u8>(), 0..5000)) {
            for encoding in Encoding::ALL {
                prop_assert_eq!(&decompress(encoding, &compress(encoding, &body).unwrap()), &body);
            }
        }
    }
}
