//! The rows that are not in the report: listed for operators, and a sample of them for the log.

use domain::incident::IncidentType;

use super::assign::AssignedRun;
use crate::rows::{Reason, RowAt, Run};
use crate::sample::sample;

/// Of one type's rows that are not in the report, the first of each kind, for the log; cut off
/// where they are long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// A row that no employee was found for.
    pub unattributed: Option<String>,
    /// A row that could not be used, and why.
    pub rejected: Option<(Reason, String)>,
}

pub(super) fn samples(assigned: &AssignedRun, run: Option<&Run>) -> Samples {
    let Some(run) = run else {
        return Samples::default();
    };
    let unattributed = assigned.unknown.first();
    let rejected = assigned.rejected(run).next();
    Samples {
        unattributed: unattributed.map(|row| sample(run.text(RowAt::Usable(*row)))),
        rejected: rejected.map(|(at, reason)| (reason, sample(run.text(at)))),
    }
}

/// The rows that no employee was found for: `{"<type>":[<row>, ...], ...}`.
pub(super) fn unattributed(
    types: &[IncidentType],
    runs: &[Option<Run>],
    assigned: &[AssignedRun],
) -> Vec<u8> {
    list_by_type(types, runs, assigned, |run, assigned, list| {
        for row in &assigned.unknown {
            list.push(run.text(RowAt::Usable(*row)));
        }
    })
}

/// The rows that could not be used: `{"<type>":[{"reason":"...","row":"..."}, ...], ...}`.
pub(super) fn rejected(
    types: &[IncidentType],
    runs: &[Option<Run>],
    assigned: &[AssignedRun],
) -> Vec<u8> {
    list_by_type(types, runs, assigned, |run, assigned, list| {
        for (at, reason) in assigned.rejected(run) {
            // The row as a text: it may not be JSON.
            let row = String::from_utf8_lossy(run.text(at));
            let item = serde_json::json!({ "reason": reason.to_string(), "row": row });
            list.push(item.to_string().as_bytes());
        }
    })
}

/// `{"<type>":[...], ...}` with what `list` finds for each type.
fn list_by_type(
    types: &[IncidentType],
    runs: &[Option<Run>],
    assigned: &[AssignedRun],
    list: impl Fn(&Run, &AssignedRun, &mut List),
) -> Vec<u8> {
    let mut json = b"{".to_vec();
    for (kind, (run, assigned)) in types.iter().zip(runs.iter().zip(assigned)) {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(format!("\"{}\":[", kind.name).as_bytes());
        let mut items = List {
            json,
            is_empty: true,
        };
        if let Some(run) = run {
            list(run, assigned, &mut items);
        }
        json = items.json;
        json.push(b']');
    }
    json.push(b'}');
    json
}

/// A JSON array that is being written.
struct List {
    json: Vec<u8>,
    is_empty: bool,
}

impl List {
    fn push(&mut self, item: &[u8]) {
        if !std::mem::take(&mut self.is_empty) {
            self.json.push(b',');
        }
        self.json.extend_from_slice(item);
    }
}
