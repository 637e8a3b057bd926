//! Encoding: the documents of a report, compressed once for all who will ask for them.

mod compress;

use std::io;

use bytes::Bytes;
use domain::contract::document::{Document, Encoding};
use rayon::prelude::*;

use self::compress::compress;
use crate::report::Report;

/// Documents of fewer bytes are compressed on one thread: handing them over would take longer.
const SMALL: usize = 64 << 10;

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

/// The documents of a report that is published as this `generation`, in all encodings in which they are served; the rows that could not be
/// used only as they are, for operators.
///
/// # Errors
/// When there is no memory left to compress with.
pub fn encode(report: &Report, generation: u64) -> io::Result<Vec<Encoded>> {
    let every = [
        Encoding::Brotli,
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Identity,
    ];
    let summary = summary(report, generation);
    let documents = [
        (Document::Report, &report.json, &every[..]),
        (Document::Unattributed, &report.unattributed, &every[..]),
        (Document::Summary, &summary, &every[..]),
        (
            Document::Rejected,
            &report.rejected,
            &[Encoding::Identity][..],
        ),
    ];
    let bytes: usize = documents.iter().map(|(_, body, _)| body.len()).sum();
    let work: Vec<_> = documents
        .into_iter()
        .flat_map(|(document, body, encodings)| {
            encodings
                .iter()
                .map(move |encoding| (document, *encoding, body))
        })
        .collect();
    let encoded = |(document, encoding, body): (Document, Encoding, &Bytes)| {
        Ok(Encoded {
            document,
            encoding,
            body: match encoding {
                Encoding::Identity => body.clone(),
                _ => compress(encoding, body)?.into(),
            },
        })
    };
    if bytes < SMALL {
        return work.into_iter().map(encoded).collect();
    }
    work.into_par_iter().with_max_len(1).map(encoded).collect()
}

/// The summary of a report that is published as this `generation`, as it is served.
#[must_use]
pub fn summary(report: &Report, generation: u64) -> Bytes {
    let mut body = format!("{{\"generation\":{generation},").into_bytes();
    // Behind the brace with which it begins.
    body.extend_from_slice(report.summary.get(1..).unwrap_or_default());
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_there_in_its_encodings() {
        for bytes in [0, SMALL, 3 * SMALL] {
            let document = |name: &str| Bytes::from(name.repeat(bytes / name.len()));
            let report = Report {
                json: document("[1]"),
                unattributed: document("{\"a\":2}"),
                rejected: document("3"),
                summary: Bytes::from_static(br#"{"priorities":{}}"#),
                ..Report::default()
            };
            let encoded = encode(&report, 7).unwrap();
            assert_eq!(encoded.len(), 4 + 4 + 1 + 4);
            let summary = Bytes::from_static(br#"{"generation":7,"priorities":{}}"#);
            for one in encoded {
                let plain = match one.document {
                    Document::Report => &report.json,
                    Document::Unattributed => &report.unattributed,
                    Document::Rejected => &report.rejected,
                    Document::Summary => &summary,
                };
                assert_eq!(one.body, compress(one.encoding, plain).unwrap());
                if one.encoding == Encoding::Identity && one.document != Document::Summary {
                    // It is what it was: not a copy.
                    assert_eq!(one.body.as_ptr(), plain.as_ptr());
                }
            }
        }
    }
}
