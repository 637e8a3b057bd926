//! The pipeline as a whole: from parsed answers to the report and what identifies it.

use blake3::{Hash, Hasher};
use domain::incident::IncidentType;

use crate::attribute::{Identities, RejectedEntry};
use crate::report::{Report, TooLarge};
use crate::rows::Run;

/// A report and what identifies it.
#[derive(Debug)]
pub struct Grouped {
    /// The report.
    pub report: Report,
    /// Of the report's bytes: its entity tag is made of it.
    pub hash: Hash,
    /// Of all documents.
    pub contents: Hash,
    /// Addresses in the identity map.
    pub entries: u64,
    /// Entries of it that cannot be used.
    pub rejected_entries: u64,
    /// The first of those, for the log.
    pub rejected_samples: Vec<RejectedEntry>,
}

/// Makes the report of `runs`, which stand in the order of `types`; a type that has no answer has no
/// run. The answers' bodies go with the runs when their rows are written.
///
/// # Errors
/// There are more rows than can be numbered, or one is too long.
pub fn group(
    types: &[IncidentType],
    identities: &Identities,
    runs: Vec<Option<Run>>,
) -> Result<Grouped, TooLarge> {
    let report = Report::build(types, runs, identities)?;
    let hash = blake3::hash(&report.json);
    let mut contents = Hasher::new();
    for part in [
        hash,
        blake3::hash(&report.unattributed),
        blake3::hash(&report.rejected),
        blake3::hash(&report.summary),
    ] {
        contents.update(part.as_bytes());
    }
    Ok(Grouped {
        report,
        hash,
        contents: contents.finalize(),
        entries: identities.entries(),
        rejected_entries: identities.rejected(),
        rejected_samples: identities.samples().to_vec(),
    })
}
