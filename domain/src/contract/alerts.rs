//! What is kept of the incidents that are handed to Alertmanager: which of them have been seen, so that what is
//! new is known whoever leads.

use serde::{Deserialize, Serialize};

use crate::incident::Priority;

/// The version of what is kept. Another one counts as nothing.
const VERSION: u32 = 1;

/// Incidents that are kept at most: of more, the newest.
pub const MOST_SEEN: usize = 1_000_000;

/// Bytes of what is kept at most: a reader does not fetch more.
pub const LONGEST_SEEN: usize = (64 << 10) + MOST_SEEN * SeenIncident::BYTES;

/// Stands for an incident: the first 128 bits of BLAKE3 of its text in the report. Nobody can make an incident
/// that is taken for another one.
pub type IncidentHash = [u8; 16];

/// An incident that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenIncident {
    /// Which.
    pub hash: IncidentHash,
    /// When it was last in the report: minutes of Redis's clock since the Unix epoch.
    pub last_min: u32,
}

impl SeenIncident {
    /// The length of one: the hash, then the time, big-endian.
    const BYTES: usize = 20;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.hash);
        bytes[16..].copy_from_slice(&self.last_min.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut hash, mut last_min) = (IncidentHash::default(), [0; 4]);
        hash.copy_from_slice(&bytes[..16]);
        last_min.copy_from_slice(&bytes[16..]);
        Self {
            hash,
            last_min: u32::from_be_bytes(last_min),
        }
    }
}

/// The incidents of some priorities in a generation, and those that were in one lately: upstream, or an address that
/// the identity map lacks for a while, may take them away and bring them back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenIncidents {
    /// What was looked at.
    pub scope: Scope,
    /// Each, ascending by its hash.
    pub incidents: Vec<SeenIncident>,
}

/// Which incidents of a generation were looked at: those of others are not new when they are first seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The generation.
    pub generation: u64,
    /// The types of which upstream had given rows.
    pub types: Vec<String>,
    /// The priorities.
    pub priorities: Vec<Priority>,
    /// Where there were too many: earlier ones than this were not kept. A place on the line of time, see
    /// [`TimeKey`](crate::contract::timeline::TimeKey).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<u64>,
}

/// The first line of what is kept.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    #[serde(flatten)]
    scope: Scope,
}

impl SeenIncidents {
    /// Reads what is stored: a line of JSON, then the hashes. `None` for what is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        let (incidents, rest) = bytes[end + 1..].as_chunks();
        let incidents: Vec<SeenIncident> = incidents.iter().map(SeenIncident::from_bytes).collect();
        let is_usable = head.version == VERSION && rest.is_empty() && incidents.is_sorted();
        is_usable.then_some(Self {
            scope: head.scope,
            incidents,
        })
    }

    /// What is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head {
            version: VERSION,
            scope: self.scope.clone(),
        };
        // A struct of texts and numbers always serialises.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend(self.incidents.iter().flat_map(|seen| seen.to_bytes()));
        bytes
    }

    /// Whether the incident is among them.
    #[must_use]
    pub fn has(&self, hash: &IncidentHash) -> bool {
        let found = self.incidents.binary_search_by_key(hash, |seen| seen.hash);
        found.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(byte: u8) -> SeenIncident {
        SeenIncident {
            hash: [byte; 16],
            last_min: 7,
        }
    }

    #[test]
    fn what_is_kept_is_read_as_it_was_written() {
        let all = SeenIncidents {
            scope: Scope {
                generation: 7,
                types: vec!["denial".to_owned()],
                priorities: vec![Priority::Critical],
                kept_from: Some(5),
            },
            incidents: vec![seen(1), seen(10)],
        };
        let bytes = all.to_bytes();
        assert!(bytes.len() < LONGEST_SEEN);
        assert_eq!(SeenIncidents::parse(&bytes), Some(all.clone()));
        assert!(all.has(&[10; 16]) && !all.has(&[9; 16]));
        let none = SeenIncidents::default();
        assert_eq!(SeenIncidents::parse(&none.to_bytes()), Some(none));
    }

    #[test]
    fn what_cannot_be_is_nothing() {
        let bytes = SeenIncidents {
            incidents: vec![seen(1), seen(2)],
            ..SeenIncidents::default()
        }
        .to_bytes();
        for length in [0, 5, bytes.len() - 1] {
            assert_eq!(SeenIncidents::parse(&bytes[..length]), None, "{length}");
        }
        let mut unsorted = bytes.clone();
        let first = bytes.len() - 40;
        unsorted[first] = 9;
        assert_eq!(SeenIncidents::parse(&unsorted), None);
        let later = String::from_utf8_lossy(&bytes).replace("\"version\":1", "\"version\":2");
        assert_eq!(SeenIncidents::parse(later.as_bytes()), None);
    }

    #[test]
    fn as_many_as_are_kept_can_be_read() {
        let all = SeenIncidents {
            incidents: vec![seen(1); MOST_SEEN],
            ..SeenIncidents::default()
        };
        let left = LONGEST_SEEN.checked_sub(all.to_bytes().len());
        assert!(left.is_some_and(|left| left <= 64 << 10), "{left:?}");
    }
}
