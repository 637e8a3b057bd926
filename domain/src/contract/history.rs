//! The state of the history of snapshots, as the refresher reports it and `/status` shows it. What is in
//! the history itself only the refresher knows.

use serde::{Deserialize, Serialize};

/// The state of the history. All times are milliseconds of Redis's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryStatus {
    /// What kind of store it is: `folder` or `s3`. Never an address.
    pub store: String,
    /// When a refresh was last recorded; absent if none was yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_ms: Option<u64>,
    /// Refreshes that could not be recorded since the refresher began to lead.
    #[serde(default)]
    pub failures: u64,
    /// Why the last one could not be recorded, or what was found damaged; absent while all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl HistoryStatus {
    /// Reads what is stored; `None` for what is none.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The record as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of texts and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let all_well = HistoryStatus {
            store: "s3".to_owned(),
            recorded_ms: Some(5),
            ..HistoryStatus::default()
        };
        let failing = HistoryStatus {
            failures: 3,
            error: Some("the bucket is full".to_owned()),
            ..all_well.clone()
        };
        for status in [all_well, failing, HistoryStatus::default()] {
            let stored = status.to_json();
            assert_eq!(HistoryStatus::parse(stored.as_bytes()), Some(status));
        }
        assert_eq!(HistoryStatus::parse(b"nonsense"), None);
    }
}
