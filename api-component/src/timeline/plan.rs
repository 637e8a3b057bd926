//! Which lanes of a snapshot a question concerns, and from where on.

use std::cmp::Ordering;

use domain::contract::record::Current;
use domain::contract::scripts::{Bound, LaneSearch};
use domain::contract::timeline::{Lane, RowKey, lanes};
use domain::incident::Priority;

use super::cursor::Cursor;
use super::question::{Question, refused};
use crate::problem::Problem;

/// A lane that is to be searched.
#[derive(Debug, Clone)]
pub(crate) struct PlannedLane {
    /// The type's index in the record.
    pub(crate) kind: usize,
    /// The priority of its rows.
    pub(crate) priority: Priority,
    /// Orders rows of the same time.
    pub(crate) rank: u64,
    /// What to look for.
    pub(crate) search: LaneSearch,
}

/// The lanes that have rows and that `question` concerns, in the order of the record.
///
/// # Errors
/// 400 where it names a type that the record does not have.
pub(crate) fn plan(question: &Question, record: &Current) -> Result<Vec<PlannedLane>, Problem> {
    let names: Vec<&str> = record.types.iter().map(|kind| kind.name.as_str()).collect();
    if let Some(unknown) = question
        .types
        .iter()
        .find(|name| !names.contains(&name.as_str()))
    {
        let accepted = format!("a list of {}", names.join(","));
        return Err(refused("type", unknown, &accepted));
    }
    let is_wanted = |lane: &Lane| {
        let kind = names[lane.kind];
        !lane.rows.is_empty()
            && (question.types.is_empty() || question.types.iter().any(|name| name == kind))
            && (question.priorities.is_empty() || question.priorities.contains(&lane.priority))
    };
    let planned = |lane: Lane| {
        let earlier = names
            .iter()
            .filter(|name| **name < names[lane.kind])
            .count();
        let cursor = question.cursor.as_ref();
        PlannedLane {
            kind: lane.kind,
            priority: lane.priority,
            rank: (earlier * Priority::ALL.len() + lane.priority as usize) as u64,
            search: LaneSearch {
                since: question
                    .since
                    .as_ref()
                    .map(|since| RowKey::before(since.time)),
                until: question
                    .until
                    .as_ref()
                    .map(|until| RowKey::before(until.time)),
                cursor: cursor.map(|cursor| bound(cursor, names[lane.kind], lane.priority)),
                rows: lane.rows,
            },
        }
    };
    let counts = record.types.iter().map(|kind| kind.priorities);
    Ok(lanes(counts).filter(is_wanted).map(planned).collect())
}

/// Where a lane is to be read on from after `cursor`, in either direction: rows of the cursor's very time in
/// a lane that is before the cursor's are on the one side, in a later lane on the other.
fn bound(cursor: &Cursor, kind: &str, priority: Priority) -> Bound {
    let time = cursor.key.time;
    let whole = |time| Bound {
        key: RowKey::before(time),
        skip: 0,
    };
    match (kind, priority).cmp(&(cursor.kind.as_str(), cursor.priority)) {
        Ordering::Less => whole(time.next()),
        Ordering::Greater => whole(time),
        Ordering::Equal => Bound {
            key: cursor.key,
            skip: cursor.given,
        },
    }
}
