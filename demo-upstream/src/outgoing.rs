//! How a body leaves: whole, in drops, without end, or broken off.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use thiserror::Error;

use crate::generate::Payload;
use crate::journal::InFlight;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BrokenOff>;

/// The connection is to end here, on purpose.
#[derive(Debug, Error)]
#[error("broken off on purpose")]
pub(crate) struct BrokenOff;

/// How many drops a dripping body sends a second.
const DROPS: u32 = 10;

/// How long what was sent has to leave before the connection is broken off.
const LEAVING: Duration = Duration::from_millis(20);

/// What a body sends, and how it ends.
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// The time before each piece.
    pace: Duration,
    end: End,
    /// Held until the body has left or its reader is gone.
    _in_flight: InFlight,
}

enum End {
    Complete,
    BrokenOff,
    Repeated(Bytes),
}

impl Outgoing {
    /// All of it, as fast as it is read.
    pub(crate) fn whole(payload: &Payload, in_flight: InFlight) -> Self {
        Self {
            pieces: payload.parts().iter().cloned().collect(),
            pace: Duration::ZERO,
            end: End::Complete,
            _in_flight: in_flight,
        }
    }

    /// The first half, then the connection breaks off.
    pub(crate) fn half(payload: &Payload, in_flight: InFlight) -> Self {
        let mut wanted = (payload.len() / 2) as usize;
        let mut pieces = VecDeque::new();
        for part in payload.parts() {
            let piece = part.slice(..part.len().min(wanted));
            wanted -= piece.len();
            pieces.push_back(piece);
        }
        Self {
            pieces,
            end: End::BrokenOff,
            ..Self::whole(payload, in_flight)
        }
    }

    /// All of it, `rate` bytes a second.
    pub(crate) fn dripping(payload: &Payload, rate: u32, in_flight: InFlight) -> Self {
        let drop = rate.div_ceil(DROPS) as usize;
        let pieces = payload
            .parts()
            .iter()
            .flat_map(|part| {
                let starts = (0..part.len()).step_by(drop);
                starts.map(|start| part.slice(start..part.len().min(start + drop)))
            })
            .collect();
        Self {
            pieces,
            // A rate below one byte a drop makes the drops rarer.
            pace: Duration::from_secs_f64(drop as f64 / f64::from(rate)),
            ..Self::whole(payload, in_flight)
        }
    }

    /// `beginning`, then `repeated` for as long as anybody reads.
    pub(crate) fn endless(beginning: Bytes, repeated: Bytes, in_flight: InFlight) -> Self {
        Self {
            end: End::Repeated(repeated),
            ..Self::whole(&Payload::from(beginning), in_flight)
        }
    }

    /// The body that sends it.
    pub(crate) fn into_body(self) -> Body {
        let frames = stream::unfold(self, async |mut rest| {
            let frame = rest.next().await?;
            Some((frame.map(Frame::data), rest))
        });
        StreamBody::new(frames).boxed_unsync()
    }

    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        if let Some(piece) = self.pieces.pop_front() {
            return Some(Ok(piece));
        }
        match &self.end {
            End::Complete => None,
            End::Repeated(piece) => Some(Ok(piece.clone())),
            End::BrokenOff => {
                tokio::time::sleep(LEAVING).await;
                Some(Err(BrokenOff))
            }
        }
    }
}

/// A short body, at once.
pub(crate) fn text(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
