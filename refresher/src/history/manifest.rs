//! A manifest: what a refresh came to, and which answers it was made of.

use chrono::{DateTime, NaiveDateTime};
use domain::contract::record::{Current, Freshness, Payload};
use domain::incident::IncidentType;
use grouping::endpoint::PerEndpoint;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the format. A reader that meets another one says so.
const VERSION: u32 = 1;

/// What a manifest's name says of its time, after the folder of its day.
const TIME: &str = "%Y-%m-%d/%H%M%S%.3fZ";

/// What a refresh came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// When it was: milliseconds of Redis's clock.
    pub(crate) at_ms: u64,
    /// The fencing token of the leader that did it: no two leaders write the same name.
    pub(crate) token: u64,
    /// The types as they were configured, in their order: what the report depends on besides the
    /// answers.
    pub(crate) types: Vec<IncidentType>,
    /// What was served then: times, counts, freshness, and the hashes of the answers.
    pub(crate) record: Current,
}

/// What is stored: the contents, and by what a torn or changed manifest is known.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    /// BLAKE3 of the contents, in hexadecimal.
    checksum: String,
    #[serde(borrow)]
    contents: &'a RawValue,
}

impl Manifest {
    /// Of a refresh by the leader with this `token` that was done at `at_ms` and served `record`.
    #[must_use]
    pub(crate) fn new(at_ms: u64, token: u64, types: Vec<IncidentType>, record: Current) -> Self {
        Self {
            version: VERSION,
            at_ms,
            token,
            types,
            record,
        }
    }

    /// Its name below `folder`.
    pub(crate) fn name(&self, folder: &str) -> String {
        let time = i64::try_from(self.at_ms)
            .ok()
            .and_then(DateTime::from_timestamp_millis)
            .unwrap_or_default();
        let (generation, token) = (self.record.generation, self.token);
        format!("{folder}/{}-{generation}-{token}.json", time.format(TIME))
    }

    /// How fresh each endpoint's answer was; one that the record says nothing of had none.
    pub(crate) fn freshness(&self) -> PerEndpoint<Freshness> {
        let none = Freshness {
            good_at_ms: None,
            stale: true,
            error: None,
            payload: None,
        };
        let of = |kind: &IncidentType| {
            let mut summaries = self.record.types.iter();
            let summary = summaries.find(|summary| summary.name == kind.name);
            summary.map_or_else(|| none.clone(), |summary| summary.freshness.clone())
        };
        PerEndpoint {
            identities: self.record.identities.freshness.clone(),
            incidents: self.types.iter().map(of).collect(),
        }
    }

    /// The answers that it was made of.
    pub(crate) fn answers(&self) -> Vec<Payload> {
        let freshness = self.freshness().into_iter();
        freshness
            .filter_map(|freshness| freshness.payload)
            .collect()
    }

    /// Whether it tells of a refresh that was made of the same answers, for the same types, as `other`: then
    /// the same was served.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        let payloads = |manifest: &Self| manifest.freshness().map(|freshness| freshness.payload);
        self.types == other.types && payloads(self) == payloads(other)
    }

    /// The endpoints that had failed by then.
    #[must_use]
    pub(crate) fn stale(&self) -> Vec<&str> {
        let identities = self.record.identities.freshness.stale;
        let types = self.record.types.iter();
        let types = types.filter(|kind| kind.freshness.stale);
        identities
            .then_some("identities")
            .into_iter()
            .chain(types.map(|kind| kind.name.as_str()))
            .collect()
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// It is damaged, or of another release.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let stored: Stored<'_> = serde_json::from_slice(bytes)
            .map_err(|error| ManifestError::Damaged(error.to_string()))?;
        let contents = stored.contents.get();
        if blake3::hash(contents.as_bytes()).to_hex().as_str() != stored.checksum {
            let why = "it does not match its checksum".to_owned();
            return Err(ManifestError::Damaged(why));
        }
        // It is as it was written: what cannot be read of it is not damage.
        let manifest: Self = serde_json::from_str(contents)
            .map_err(|error| ManifestError::Foreign(error.to_string()))?;
        if manifest.version != VERSION {
            return Err(ManifestError::Foreign(format!(
                "it has format {}, this program reads format {VERSION}",
                manifest.version
            )));
        }
        Ok(manifest)
    }

    /// What is to be stored.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A struct of texts and numbers always serialises.
        let contents = serde_json::value::to_raw_value(self).unwrap_or_default();
        let stored = Stored {
            checksum: blake3::hash(contents.get().as_bytes()).to_hex().to_string(),
            contents: &contents,
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }
}

/// Why something is no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestError {
    /// It is not what was written.
    Damaged(String),
    /// Another release wrote it: what it names is not known.
    Foreign(String),
}

/// The time in a manifest's name, in milliseconds; `None` for what is no manifest's.
pub(crate) fn time_in(name: &str) -> Option<u64> {
    let (folders, file) = name.strip_suffix(".json")?.rsplit_once('/')?;
    let (_, day) = folders.rsplit_once('/').unwrap_or(("", folders));
    let (time, _) = file.split_once('-')?;
    let time = NaiveDateTime::parse_from_str(&format!("{day}/{time}"), TIME).ok()?;
    u64::try_from(time.and_utc().timestamp_millis()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::contract::record::{Bodies, IdentitiesSummary, VERSION as RECORD_VERSION};

    /// A manifest that names one answer.
    pub(crate) fn manifest(at_ms: u64, hash: &str) -> Manifest {
        let freshness = Freshness {
            good_at_ms: Some(at_ms),
            stale: false,
            error: None,
            payload: Some(Payload {
                hash: hash.to_owned(),
                stored_bytes: 10,
            }),
        };
        let record = Current {
            version: RECORD_VERSION,
            generation: 7,
            etag: "e".to_owned(),
            published_at_ms: at_ms,
            checked_at_ms: at_ms,
            interval_ms: 60_000,
            recovered_at_ms: None,
            employees: 1,
            report: Bodies::default(),
            unattributed: Bodies::default(),
            rejected: Bodies::default(),
            summary: Bodies::default(),
            types: Vec::new(),
            identities: IdentitiesSummary {
                entries: 1,
                rejected: 0,
                freshness,
            },
        };
        Manifest::new(at_ms, 3, IncidentType::defaults(), record)
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_found_by_its_time() {
        let manifest = manifest(1_764_066_600_123, "ab");
        assert_eq!(Manifest::parse(&manifest.to_bytes()), Ok(manifest.clone()));
        let name = manifest.name("manifests");
        assert_eq!(name, "manifests/2025-11-25/103000.123Z-7-3.json");
        assert_eq!(time_in(&name), Some(1_764_066_600_123));
        assert_eq!(manifest.answers()[0].hash, "ab");
        for other in ["manifests/x.json", "2025-11-25/103000.123Z-7-3.json#1", "a"] {
            assert_eq!(time_in(other), None, "{other}");
        }
    }

    #[test]
    fn what_another_release_wrote_is_not_damaged() {
        let newer = Manifest {
            version: VERSION + 1,
            ..manifest(1_764_066_600_123, "ab")
        };
        let found = Manifest::parse(&newer.to_bytes());
        assert!(matches!(found, Err(ManifestError::Foreign(_))), "{found:?}");
    }

    #[test]
    fn whatever_is_torn_or_changed_is_noticed() {
        let whole = manifest(1_764_066_600_123, "ab").to_bytes();
        for end in 0..whole.len() {
            assert!(Manifest::parse(&whole[..end]).is_err(), "cut at {end}");
        }
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(Manifest::parse(&changed).is_err(), "changed at {place}");
        }
    }
}
