//! Receiving a body: its bytes are counted as they arrive, after decompression, against what all answers
//! of a refresh may have together.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};
use thiserror::Error;
use zstd::stream::raw::{DParameter, Decoder as RawZstd};
use zstd::stream::zio;

use super::FetchError;

/// The largest window of a Zstandard frame, as a power of two: what HTTP allows (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// How many bytes all answers of one refresh may have together. Where that is not enough, the largest of
/// those that are being received has to go: it does not take the others with it.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    shares: Mutex<Shares>,
}

#[derive(Debug)]
struct Shares {
    left: u64,
    /// What each answer that is being received has taken.
    taken: HashMap<u64, u64>,
    last_id: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            shares: Mutex::new(Shares {
                left: limit,
                taken: HashMap::new(),
                last_id: 0,
            }),
        })
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // Whatever a thread died of, numbers stay numbers.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer has taken of the budget; given back unless it is kept.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    id: u64,
}

impl Share {
    pub(super) fn of(budget: &Arc<Budget>) -> Self {
        let mut shares = budget.shares();
        shares.last_id += 1;
        let id = shares.last_id;
        shares.taken.insert(id, 0);
        drop(shares);
        Self {
            budget: Arc::clone(budget),
            id,
        }
    }

    /// Whether so many bytes could fit at all.
    fn check(&self, bytes: u64) -> Result<(), Exceeded> {
        let limit = self.budget.limit;
        match bytes <= limit {
            true => Ok(()),
            false => Err(Exceeded(limit)),
        }
    }

    /// Takes so many bytes more.
    fn take(&mut self, bytes: u64) -> Result<(), Exceeded> {
        let exceeded = Exceeded(self.budget.limit);
        let mut shares = self.budget.shares();
        let own = *shares.taken.get(&self.id).ok_or(exceeded)? + bytes;
        while shares.left < bytes {
            let largest = shares.taken.iter().max_by_key(|(_, taken)| **taken);
            let (id, taken) = largest.map(|(id, taken)| (*id, *taken)).ok_or(exceeded)?;
            if own >= taken {
                return Err(exceeded);
            }
            // It finds out when its next bytes arrive.
            shares.taken.remove(&id);
            shares.left += taken;
        }
        shares.left -= bytes;
        shares.taken.insert(self.id, own);
        Ok(())
    }

    /// The bytes stay taken for as long as the budget lasts.
    pub(super) fn keep(self) {
        self.budget.shares().taken.remove(&self.id);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shares = self.budget.shares();
        let taken = shares.taken.remove(&self.id).unwrap_or(0);
        shares.left += taken;
    }
}

/// The budget, of so many bytes, is used up.
#[derive(Debug, Clone, Copy, Error)]
#[error("the answers are larger than {0} bytes")]
struct Exceeded(u64);

impl From<Exceeded> for FetchError {
    fn from(Exceeded(limit): Exceeded) -> Self {
        Self::TooLarge(limit)
    }
}

/// The bytes of a body that have arrived.
pub(super) struct Received {
    bytes: Vec<u8>,
    share: Share,
}

impl Write for Received {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.share
            .take(bytes.len() as u64)
            .map_err(io::Error::other)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Receives one body, and decompresses it on the way.
pub(super) enum Receiver {
    Plain(Received),
    Gzip(Box<MultiGzDecoder<Received>>),
    Zstd(Box<zio::Writer<Received, RawZstd<'static>>>),
}

impl Receiver {
    /// For a body with these `headers`, of which so many bytes are announced.
    ///
    /// # Errors
    /// When it is too large, or has a content coding that is not understood.
    pub(super) fn new(
        headers: &HeaderMap,
        announced: Option<u64>,
        share: Share,
    ) -> Result<Self, FetchError> {
        // What cannot fit need not be sent. Memory that is not written to costs nothing.
        let announced = announced.unwrap_or(0);
        share.check(announced)?;
        let received = |bytes| Received {
            bytes: Vec::with_capacity(usize::try_from(bytes).unwrap_or(0)),
            share,
        };
        Ok(match coding(headers)? {
            Coding::None => Self::Plain(received(announced)),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(received(0)))),
            Coding::Zstd => {
                let mut decoder = RawZstd::new().map_err(|error| refused(&error))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|error| refused(&error))?;
                Self::Zstd(Box::new(zio::Writer::new(received(0), decoder)))
            }
        })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When the answer is too large, or not what its content coding says.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        let written = match self {
            Self::Plain(received) => received.write_all(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk),
            Self::Zstd(decoder) => decoder.write_all(chunk),
        };
        written.map_err(|error| refused(&error))
    }

    /// The whole body, and what it has taken of the budget.
    ///
    /// # Errors
    /// When it ends too early.
    pub(super) fn finish(self) -> Result<(Bytes, Share), FetchError> {
        let Received { bytes, share } = match self {
            Self::Plain(received) => received,
            Self::Gzip(decoder) => decoder.finish().map_err(|error| refused(&error))?,
            Self::Zstd(mut decoder) => {
                decoder.finish().map_err(|error| refused(&error))?;
                decoder.into_inner().0
            }
        };
        Ok((bytes.into(), share))
    }
}

fn refused(error: &io::Error) -> FetchError {
    let exceeded = error.get_ref().and_then(|cause| cause.downcast_ref());
    exceeded.map_or_else(
        || FetchError::Decompression(error.to_string()),
        |exceeded: &Exceeded| (*exceeded).into(),
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    Gzip,
    Zstd,
}

/// The content coding of an answer (RFC 9110, section 8.4). Some servers write there what is none, such
/// as a character set; whether such a body can be used is found when it is parsed.
fn coding(headers: &HeaderMap) -> Result<Coding, FetchError> {
    let values = headers.get_all(CONTENT_ENCODING).into_iter();
    let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let joined = values.collect::<Vec<_>>().join(",");
    let mut found = Coding::None;
    for label in joined.split(',').map(str::trim) {
        let coding = match label {
            "gzip" | "x-gzip" => Coding::Gzip,
            "zstd" => Coding::Zstd,
            "br" | "deflate" | "compress" | "x-compress" => {
                return Err(FetchError::Coding(label.to_owned()));
            }
            _ => continue,
        };
        if found != Coding::None {
            return Err(FetchError::Coding(joined.chars().take(40).collect()));
        }
        found = coding;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, value.parse().unwrap());
        }
        headers
    }

    fn receive(values: &[&str], body: &[u8], limit: u64) -> Result<(Bytes, Share), FetchError> {
        let share = Share::of(&Budget::new(limit));
        let mut receiver = Receiver::new(&headers(values), None, share)?;
        body.chunks(7).try_for_each(|chunk| receiver.write(chunk))?;
        receiver.finish()
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn codings_are_told_by_their_labels() {
        for (values, coding) in [
            (&[][..], Coding::None),
            (&[""], Coding::None),
            (&["identity"], Coding::None),
            (&["utf-8"], Coding::None),
            (&["GZip"], Coding::Gzip),
            (&["identity, x-gzip"], Coding::Gzip),
            (&["identity", "zstd"], Coding::Zstd),
        ] {
            assert_eq!(
                super::coding(&headers(values)).unwrap(),
                coding,
                "{values:?}"
            );
        }
        for values in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"]] {
            let refused = super::coding(&headers(values));
            assert!(matches!(refused, Err(FetchError::Coding(_))), "{values:?}");
        }
    }

    #[test]
    fn bodies_are_decompressed_and_torn_ones_are_noticed() {
        let body = vec![b'x'; 100_000];
        for (label, packed) in [
            ("gzip", gzip(&body)),
            ("zstd", zstd::bulk::compress(&body, 1).unwrap()),
            ("identity", body.clone()),
        ] {
            let (received, _) = receive(&[label], &packed, 100_000).unwrap();
            assert_eq!(received, body, "{label}");
            if label != "identity" {
                let torn = receive(&[label], &packed[..packed.len() - 1], 100_000);
                assert!(matches!(torn, Err(FetchError::Decompression(_))), "{label}");
                let wrong = receive(&[label], &body, 100_000);
                assert!(
                    matches!(wrong, Err(FetchError::Decompression(_))),
                    "{label}"
                );
            }
        }
        // Two members are one body (RFC 1952, section 2.2).
        let both = [gzip(b"{"), gzip(b"}")].concat();
        assert_eq!(receive(&["gzip"], &both, 10).unwrap().0, "{}");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = vec![0; 50 << 20];
        for (label, packed) in [
            ("gzip", gzip(&bomb)),
            ("zstd", zstd::bulk::compress(&bomb, 1).unwrap()),
        ] {
            let exceeded = receive(&[label], &packed, 1 << 20);
            assert!(matches!(exceeded, Err(FetchError::TooLarge(_))), "{label}");
        }
    }

    #[test]
    fn answers_share_one_budget_and_the_largest_has_to_go() {
        let budget = Budget::new(100);
        let mut kept = Share::of(&budget);
        kept.take(40).unwrap();
        kept.keep();
        let (mut small, mut large) = (Share::of(&budget), Share::of(&budget));
        small.take(10).unwrap();
        large.take(50).unwrap();
        // The small one goes on, and the large one ends.
        small.take(10).unwrap();
        assert!(large.take(1).is_err());
        drop(large);
        small.take(40).unwrap();
        assert!(small.take(1).is_err());
        // What is not used is given back.
        drop(small);
        let mut next = Share::of(&budget);
        next.take(60).unwrap();
        assert!(next.take(1).is_err());
        assert!(next.check(100).is_ok() && next.check(101).is_err());
    }
}
