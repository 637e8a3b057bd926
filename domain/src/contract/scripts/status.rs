//! Reads what the service's processes report of themselves.

use std::borrow::Cow;

use super::{Argument, Call, Script, Value, Values};
use crate::contract::history::HistoryStatus;
use crate::contract::keys::Keys;
use crate::contract::node::Node;

/// `KEYS`: dead-letters, history, node-changes, nodes. `ARGV`: how many nodes there may be, and how many
/// bytes the record of a node or of the history may have (a longer one is left out). Returns
/// `[length of dead-letters, history or "", changes to healthy, to hanging, to offline, node, node, …]`:
/// flat, as Spin hands no other list to a component; or an error `DAMAGED` when there are more nodes. A
/// key of the wrong kind counts as absent.
static SCRIPT: Script = Script::new(
    "status",
    concat!(include_str!("shown.lua"), include_str!("status.lua")),
);

/// How many nodes there may be: many more than a service has, also within the hour in which those that have
/// gone are still listed, and few enough to be read at once.
const MOST_NODES: u64 = 5000;

/// Bytes that one record may have. They have some hundreds; a longer one is none of ours.
const LONGEST_RECORD: u64 = 8192;

/// Asks for all reports.
#[derive(Debug)]
pub struct ReadStatus<'a> {
    /// The names of the keys.
    pub keys: &'a Keys,
}

/// What the service's processes report of themselves. What is no record is left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// Commands that were none, and are kept aside.
    pub dead_letters: u64,
    /// The state of the history, if there is one.
    pub history: Option<HistoryStatus>,
    /// How often a node came into each state, in the order of
    /// [`State::ALL`](crate::contract::node::State::ALL).
    pub node_changes: [u64; 3],
    /// The heartbeats, in no order.
    pub nodes: Vec<Node>,
}

impl Call for ReadStatus<'_> {
    type Reply = Reports;

    fn script(&self) -> &'static Script {
        &SCRIPT
    }

    fn keys(&self) -> Vec<Cow<'_, str>> {
        let keys = self.keys;
        vec![
            keys.dead_letters().into(),
            keys.history().into(),
            keys.node_changes().into(),
            keys.nodes().into(),
        ]
    }

    fn arguments(&self) -> Vec<Argument<'_>> {
        vec![MOST_NODES.into(), LONGEST_RECORD.into()]
    }

    fn parse(mut values: Values<'_>) -> Option<Reports> {
        // Whatever somebody wrote there, no count is below zero.
        let count = |values: &mut Values<'_>| Some(values.integer()?.max(0).unsigned_abs());
        Some(Reports {
            dead_letters: count(&mut values)?,
            history: HistoryStatus::parse(&values.bytes()?),
            node_changes: [
                count(&mut values)?,
                count(&mut values)?,
                count(&mut values)?,
            ],
            nodes: values
                .0
                .filter_map(|value| match value {
                    Value::Bytes(record) => Node::parse(&record),
                    _ => None,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: Vec<Value>) -> Option<Reports> {
        let keys = Keys::new("t");
        ReadStatus { keys: &keys }.reply(values).ok()
    }

    fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    fn fixed(history: &str) -> Vec<Value> {
        let mut values = vec![Value::Integer(2), text(history)];
        values.extend([5, -1, 7].map(Value::Integer));
        values
    }

    #[test]
    fn garbage_among_the_reports_is_left_out() {
        let node = r#"{"id": "a", "kind": "host", "since_ms": 1, "beat_ms": 2, "progress_ms": 2,
            "stall_ms": 9, "last": "answered 1 requests"}"#;
        let mut values = fixed(r#"{"store": "folder", "failures": 3}"#);
        values.extend([text("{}"), text(node), Value::Nil, text("\u{0}")]);
        let reports = read(values).unwrap();
        assert_eq!(reports.dead_letters, 2);
        assert_eq!(reports.history.unwrap().failures, 3);
        assert_eq!(reports.node_changes, [5, 0, 7]);
        let ids: Vec<&str> = reports.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["a"]);
        for none in ["", "nonsense", "[]"] {
            let reports = read(fixed(none)).unwrap();
            assert_eq!((reports.history, reports.nodes), (None, vec![]), "{none}");
        }
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        assert_eq!(read(vec![]), None);
        let mut cut = fixed("");
        cut.truncate(4);
        assert_eq!(read(cut), None);
        let mut other = fixed("");
        other[0] = text("2");
        assert_eq!(read(other), None);
    }
}
