//! Encoding: the documents of a report, compressed once for all who will ask for them.

use std::io;

use bytes::Bytes;
use domain::contract::record::{Document, Encoding};

use crate::compress::compress;
use crate::parallel::in_parallel;
use crate::report::Report;

/// A document in one encoding.
#[derive(Debug)]
pub struct Encoded {
    /// Which document.
    pub document: Document,
    /// In which encoding.
    pub encoding: Encoding,
    /// Its bytes.
    pub body: Bytes,
}

/// The documents of a report in all encodings in which they are served; the rows that could not be
/// used only as they are, for operators.
///
/// # Errors
/// When there is no memory left to compress with.
pub fn encode(report: &mut Report, threads: usize) -> io::Result<Vec<Encoded>> {
    let mut work = Vec::new();
    for (document, body) in [
        (Document::Report, std::mem::take(&mut report.json)),
        (
            Document::Unattributed,
            std::mem::take(&mut report.unattributed),
        ),
        (Document::Rejected, std::mem::take(&mut report.rejected)),
    ] {
        let body = Bytes::from(body);
        // The slowest first, so that the others run beside it.
        let encodings: &[Encoding] = match document {
            Document::Rejected => &[Encoding::Identity],
            _ => &[
                Encoding::Brotli,
                Encoding::Gzip,
                Encoding::Zstd,
                Encoding::Identity,
            ],
        };
        work.extend(
            encodings
                .iter()
                .map(|encoding| (document, *encoding, body.clone())),
        );
    }
    let encoded = in_parallel(threads, work, |(document, encoding, body)| {
        let body = match encoding {
            Encoding::Identity => body,
            _ => compress(encoding, &body, 1)?.into(),
        };
        Ok(Encoded {
            document,
            encoding,
            body,
        })
    });
    encoded.into_iter().collect()
}
