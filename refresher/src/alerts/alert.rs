//! What an Alertmanager is told: alerts as its API takes them
//! (<https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>).

use chrono::{DateTime, SecondsFormat};
use domain::incident::Priority;
use serde::Serialize;
use url::Url;

use super::find::NewIncident;
use super::published::Published;

/// Bytes of an incident's row that are told, at most.
const LONGEST_ROW: usize = 2048;

/// Digits of an incident's hash in its label: enough to tell two incidents of an employee apart.
const DIGITS: usize = 16;

/// An alert about one incident, or about many.
#[derive(Serialize)]
struct Alert<'a> {
    labels: Labels<'a>,
    annotations: Annotations<'a>,
    #[serde(rename = "startsAt")]
    starts_at: String,
    /// Where it comes from.
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

/// What makes an alert the same one when it is sent again, and by what it is routed and grouped.
#[derive(Default, Serialize)]
struct Labels<'a> {
    alertname: &'static str,
    priority: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    employee: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incident: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
}

#[derive(Serialize)]
struct Annotations<'a> {
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dashboard: Option<&'a str>,
}

/// Why many incidents are told as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Many {
    /// They were there when somebody first looked.
    First,
    /// They are new, but too many.
    New,
}

/// Writes alerts for the dashboard at an address, if that is known.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) dashboard: Option<Url>,
}

impl Writer {
    /// The alert about a new incident, as JSON. `now_ms` is the time by Redis's clock.
    pub(super) fn one(&self, published: &Published, new: &NewIncident, now_ms: u64) -> String {
        let kind = &published.record.types[new.kind].name;
        let (priority, employee) = (new.priority.name(), new.employee.to_string());
        let filters = [
            ("priority", priority),
            ("type", kind),
            ("employee", &employee),
        ];
        let link = self.link(&filters);
        json(&Alert {
            annotations: Annotations {
                summary: format!("{priority} {kind} incident of employee {employee}"),
                count: None,
                row: Some(shortened(&published.report[new.row.clone()])),
                dashboard: link.as_deref(),
            },
            labels: Labels {
                alertname: "IncidentReported",
                priority,
                r#type: Some(kind),
                employee: Some(employee.clone()),
                incident: Some(digits(&new.hash)),
                generation: None,
            },
            starts_at: time(new.time.seconds(), now_ms),
            source: link.as_deref(),
        })
    }

    /// The alert about so many incidents of a priority in a generation, as JSON.
    pub(super) fn many(
        &self,
        why: Many,
        priority: Priority,
        count: u64,
        generation: u64,
        now_ms: u64,
    ) -> String {
        let priority = priority.name();
        let link = self.link(&[("priority", priority)]);
        let (alertname, said) = match why {
            Many::First => ("IncidentsFirstSeen", "were there at the first look"),
            Many::New => (
                "IncidentsReported",
                "are new, too many to be told one by one",
            ),
        };
        json(&Alert {
            annotations: Annotations {
                summary: format!("{count} {priority} incidents {said}"),
                count: Some(count.to_string()),
                row: None,
                dashboard: link.as_deref(),
            },
            labels: Labels {
                alertname,
                priority,
                generation: Some(generation.to_string()),
                ..Labels::default()
            },
            starts_at: time(f64::INFINITY, now_ms),
            source: link.as_deref(),
        })
    }

    /// The dashboard with these filters.
    fn link(&self, filters: &[(&str, &str)]) -> Option<String> {
        let mut url = self.dashboard.clone()?;
        url.query_pairs_mut().extend_pairs(filters);
        Some(url.into())
    }
}

fn json(alert: &Alert<'_>) -> String {
    // A struct of texts always serialises.
    serde_json::to_string(alert).unwrap_or_default()
}

fn digits(hash: &[u8]) -> String {
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>()[..DIGITS].to_owned()
}

/// A time as the API takes it (RFC 3339). An alert that begins later than it ends is refused, and so is what is
/// no year there: what is not between the epoch and now begins at one of them.
fn time(seconds: f64, now_ms: u64) -> String {
    let ms = ((seconds * 1000.0).max(0.0) as u64).min(now_ms);
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A row as text, cut off where it is long.
fn shortened(row: &[u8]) -> String {
    let text = String::from_utf8_lossy(row);
    if text.len() <= LONGEST_ROW {
        return text.into_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(LONGEST_ROW)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use domain::contract::record::Current;
    use domain::contract::timeline::TimeKey;
    use serde_json::{Value, json};

    fn published(row: &str) -> Published {
        let record = json!({"version": 2, "generation": 3, "etag": "e", "published_at_ms": 1,
            "checked_at_ms": 1, "employees": 1, "report": {}, "unattributed": {}, "rejected": {},
            "identities": {"entries": 1, "rejected": 0, "stale": false},
            "types": [{"name": "denial", "fetched": 1, "reported": 1, "unattributed": 0,
                "rejected": 0, "priorities": [0, 0, 0, 1], "stale": false}]});
        Published {
            record: Current::parse(record.to_string().as_bytes()).unwrap(),
            lanes: Bytes::new(),
            report: Bytes::from(row.to_owned()),
        }
    }

    fn told(writer: &Writer, row: &str, seconds: f64) -> Value {
        let new = NewIncident {
            hash: [0xab; 16],
            kind: 0,
            priority: Priority::Critical,
            employee: 775,
            time: TimeKey::new(seconds).unwrap(),
            row: 0..row.len(),
        };
        serde_json::from_str(&writer.one(&published(row), &new, 1_800_000_000_000)).unwrap()
    }

    #[test]
    fn an_incident_is_told_with_its_row_and_a_link() {
        let writer = Writer {
            dashboard: Some("https://h.example/incidents/".parse().unwrap()),
        };
        let link = "https://h.example/incidents/?priority=critical&type=denial&employee=775";
        assert_eq!(
            told(&writer, "{\"a\": 1}", 1_629_939_474.134_612_8),
            json!({
                "labels": {"alertname": "IncidentReported", "priority": "critical", "type": "denial",
                    "employee": "775", "incident": "abababababababab"},
                "annotations": {"summary": "critical denial incident of employee 775",
                    "row": "{\"a\": 1}", "dashboard": link},
                "startsAt": "2021-08-26T00:57:54.134Z",
                "generatorURL": link,
            })
        );
        let without = told(&Writer { dashboard: None }, "{}", 5.0);
        assert_eq!(without["annotations"].get("dashboard"), None);
        assert_eq!(without.get("generatorURL"), None);
    }

    #[test]
    fn many_are_told_as_one() {
        let writer = Writer { dashboard: None };
        let many = writer.many(Many::First, Priority::Critical, 4711, 3, 1_800_000_000_000);
        let many: Value = serde_json::from_str(&many).unwrap();
        assert_eq!(
            many,
            json!({
                "labels": {"alertname": "IncidentsFirstSeen", "priority": "critical",
                    "generation": "3"},
                "annotations": {"summary": "4711 critical incidents were there at the first look",
                    "count": "4711"},
                "startsAt": "2027-01-15T08:00:00.000Z",
            })
        );
    }

    #[test]
    fn a_time_is_one_that_is_taken() {
        let now = "2027-01-15T08:00:00.000Z";
        for (seconds, expected) in [
            (-1e300, "1970-01-01T00:00:00.000Z"),
            (-1.0, "1970-01-01T00:00:00.000Z"),
            (1.5, "1970-01-01T00:00:01.500Z"),
            (1_800_000_001.0, now),
            (1e300, now),
            (f64::INFINITY, now),
        ] {
            assert_eq!(time(seconds, 1_800_000_000_000), expected, "{seconds}");
        }
    }

    #[test]
    fn a_long_row_is_cut_off() {
        let row = format!("{{\"a\": \"{}\"}}", "ü".repeat(2000));
        let told = told(&Writer { dashboard: None }, &row, 5.0);
        let text = told["annotations"]["row"].as_str().unwrap();
        assert!(
            text.len() <= LONGEST_ROW + 3 && text.ends_with("ü…"),
            "{text}"
        );
    }
}
