//! What the service's processes report of themselves in Redis, for operators.

use domain::contract::history::HistoryStatus;
use domain::contract::node::Node;
use spin_sdk::redis::{RedisParameter, RedisResult};

/// How many nodes are read: somewhat more than are shown, so that those that were gone long ago do
/// not crowd out others.
const MOST_NODES: i64 = 1000;

/// Bytes that one record may have. They have some hundreds; a longer one is none of ours.
const LONGEST_RECORD: i64 = 8192;

/// All reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    /// Commands that were none, and are kept aside.
    pub(crate) set_aside: u64,
    /// How the history does, if there is one.
    pub(crate) history: Option<HistoryStatus>,
    /// How often a node came into each state, in the order of [`State::ALL`].
    ///
    /// [`State::ALL`]: domain::contract::node::State::ALL
    pub(crate) node_changes: [u64; 3],
    /// The heartbeats, in no order.
    pub(crate) nodes: Vec<Node>,
}

impl Reports {
    /// What the script is to keep to.
    pub(super) fn bounds() -> [RedisParameter; 2] {
        [MOST_NODES, LONGEST_RECORD].map(RedisParameter::Int64)
    }

    /// Reads the script's answer. What is no record is left out; `None` if it is not such an answer.
    pub(super) fn read(results: Vec<RedisResult>) -> Option<Self> {
        let mut results = results.into_iter();
        let mut next = || results.next();
        let set_aside = number(next()?)?;
        let RedisResult::Binary(history) = next()? else {
            return None;
        };
        let node_changes = [number(next()?)?, number(next()?)?, number(next()?)?];
        let nodes = results.filter_map(|result| match result {
            RedisResult::Binary(record) => Node::parse(&record),
            _ => None,
        });
        Some(Self {
            set_aside,
            history: HistoryStatus::parse(&history),
            node_changes,
            nodes: nodes.collect(),
        })
    }
}

/// A count; none is below zero.
fn number(result: RedisResult) -> Option<u64> {
    match result {
        RedisResult::Int64(number) => Some(u64::try_from(number).unwrap_or_default()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> RedisResult {
        RedisResult::Binary(text.as_bytes().to_vec())
    }

    fn fixed(history: &str) -> Vec<RedisResult> {
        let mut results = vec![RedisResult::Int64(2), text(history)];
        results.extend([5, -1, 7].map(RedisResult::Int64));
        results
    }

    #[test]
    fn garbage_among_the_reports_is_left_out() {
        let node = r#"{"id": "a", "kind": "host", "since_ms": 1, "beat_ms": 2, "progress_ms": 2,
            "stall_ms": 9, "last": "answered 1 requests"}"#;
        let mut results = fixed(r#"{"store": "folder", "failures": 3}"#);
        results.extend([text("{}"), text(node), RedisResult::Nil, text("\u{0}")]);
        let reports = Reports::read(results).unwrap();
        assert_eq!(reports.set_aside, 2);
        assert_eq!(reports.history.unwrap().failures, 3);
        assert_eq!(reports.node_changes, [5, 0, 7]);
        let ids: Vec<&str> = reports.nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["a"]);
        for none in ["", "nonsense", "[]"] {
            let reports = Reports::read(fixed(none)).unwrap();
            assert_eq!((reports.history, reports.nodes), (None, vec![]), "{none}");
        }
    }

    #[test]
    fn what_is_no_such_answer_is_refused() {
        assert_eq!(Reports::read(vec![]), None);
        let mut cut = fixed("");
        cut.truncate(4);
        assert_eq!(Reports::read(cut), None);
        let mut other = fixed("");
        other[0] = text("2");
        assert_eq!(Reports::read(other), None);
    }
}
