//! The processes of the service as they report themselves: a heartbeat each, from which anybody can
//! tell who is well, who hangs and who is gone.
//!
//! All times are milliseconds of Redis's clock, so that no two machines' clocks are compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often a node reports itself, in milliseconds.
pub const BEAT_EVERY_MS: u64 = 1_000;

/// A node that has not reported itself for so long is offline, in milliseconds.
pub const OFFLINE_AFTER_MS: u64 = 4_000;

/// A node that is offline is listed for so long, in milliseconds.
pub const OFFLINE_KEPT_MS: u64 = 3_600_000;

/// The id of the process `pid` on the machine named `host`. `random` tells it from one that had the same
/// number before it, or has it in another container of the same name.
#[must_use]
pub fn id(host: &str, pid: u32, random: u64) -> String {
    format!("{host}:{pid}:{:08x}", random & 0xffff_ffff)
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A refresher: it leads or stands by.
    Refresher,
    /// A server of the component, as the refresher that runs it reports it.
    Host,
    /// A server that no refresher runs, whose `/healthz` the leader asks.
    Probed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Refresher, Self::Host, Self::Probed];

    /// The word in records and in `/status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refresher => "refresher",
            Self::Host => "host",
            Self::Probed => "probed",
        }
    }
}

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It reports itself, and its work makes progress.
    Healthy,
    /// It reports itself, but its work makes no progress.
    Hanging,
    /// It does not report itself any more.
    Offline,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Hanging, Self::Offline];

    /// The word in records and in `/status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Hanging => "hanging",
            Self::Offline => "offline",
        }
    }

    /// The state that `word` names.
    #[must_use]
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One heartbeat: what a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Tells a person where to look; no two nodes have the same.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// The release that it runs; empty where that is not known.
    #[serde(default)]
    pub release: String,
    /// When it was started (a probed one: first asked).
    pub since_ms: u64,
    /// When it reported itself last (a probed one: was asked last).
    pub beat_ms: u64,
    /// When its work made progress last (a probed one: when it answered well last).
    pub progress_ms: u64,
    /// Without progress for longer than this, it hangs.
    pub stall_ms: u64,
    /// What it did last, for a person. Never holds a secret or an address.
    pub last: String,
    /// Whether it is the leading refresher.
    #[serde(default)]
    pub leads: bool,
    /// Of a probed node alone: the state in which it was found. It cannot report itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<State>,
}

impl Node {
    /// Reads a heartbeat; `None` for what is none.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The heartbeat as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of texts and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Its state at `now_ms`. A beat from the future counts as one of now: the clock was set back.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> State {
        if let Some(probed) = self.probed {
            return probed;
        }
        if now_ms.saturating_sub(self.beat_ms) > OFFLINE_AFTER_MS {
            State::Offline
        } else if now_ms.saturating_sub(self.progress_ms) > self.stall_ms {
            State::Hanging
        } else {
            State::Healthy
        }
    }

    /// Whether it was heard of so lately that it will carry out a command that is sent at `now_ms`: a
    /// refresher does, and the one that runs a server.
    #[must_use]
    pub fn takes_commands(&self, now_ms: u64) -> bool {
        self.kind != Kind::Probed && now_ms.saturating_sub(self.beat_ms) <= OFFLINE_AFTER_MS
    }

    /// Whether it has been offline for so long that it is listed no more.
    #[must_use]
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.beat_ms) > OFFLINE_KEPT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            id: "a:1".to_owned(),
            kind: Kind::Host,
            release: "0.1.0".to_owned(),
            since_ms: 1_000,
            beat_ms: 100_000,
            progress_ms: 95_000,
            stall_ms: 10_000,
            last: "answered".to_owned(),
            leads: false,
            probed: None,
        }
    }

    #[test]
    fn a_node_is_known_by_its_beats_and_its_progress() {
        let node = node();
        assert_eq!(node.state(100_000), State::Healthy);
        assert_eq!(node.state(104_000), State::Healthy);
        assert_eq!(node.state(104_001), State::Offline);
        // The clock was set back.
        assert_eq!(node.state(50_000), State::Healthy);
        let stuck = Node {
            progress_ms: 89_000,
            ..node.clone()
        };
        assert_eq!(stuck.state(100_000), State::Hanging);
        let just_moving = Node {
            progress_ms: 90_000,
            ..node.clone()
        };
        assert_eq!(just_moving.state(100_000), State::Healthy);
        assert!(!node.is_forgotten(100_000 + OFFLINE_KEPT_MS));
        assert!(node.is_forgotten(100_001 + OFFLINE_KEPT_MS));
        let probed = Node {
            kind: Kind::Probed,
            probed: Some(State::Hanging),
            ..node
        };
        assert_eq!(probed.state(1_000_000), State::Hanging);
        assert!(!probed.takes_commands(100_000));
    }

    #[test]
    fn commands_are_taken_by_whoever_was_heard_of_lately() {
        let node = node();
        assert!(node.takes_commands(104_000) && node.takes_commands(50_000));
        assert!(!node.takes_commands(104_001));
        // That its server hangs does not keep a supervisor from ending it.
        let hanging = Node {
            stall_ms: 0,
            ..node
        };
        assert_eq!(hanging.state(100_000), State::Hanging);
        assert!(hanging.takes_commands(100_000));
    }

    #[test]
    fn names_are_those_that_records_have() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(state.to_string(), state.name());
        }
        assert_eq!(State::from_name("Healthy"), None);
    }

    #[test]
    fn an_id_says_where_to_look() {
        assert_eq!(id("web1", 7, 0x1_0000_002a), "web1:7:0000002a");
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written() {
        let node = node();
        assert_eq!(Node::parse(node.to_json().as_bytes()), Some(node));
        assert_eq!(Node::parse(b"nonsense"), None);
    }
}
