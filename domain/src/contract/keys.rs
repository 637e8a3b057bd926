//! The names of every Redis key, in one place.
//!
//! All of them carry the same hash tag, so that a script may touch several and Redis Cluster keeps
//! them in one slot
//! (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).

use crate::contract::document::{Document, Encoding};

/// In the place of a keyed hash where the password is not checked by hashing.
const PLAIN: &str = "plain";

/// The names of one service's keys.
#[derive(Debug, Clone)]
pub struct Keys {
    tag: String,
}

impl Keys {
    /// The keys whose hash tag is `prefix` (`REDIS_KEY_PREFIX`).
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self {
            tag: format!("{{{prefix}}}:"),
        }
    }

    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.tag)
    }

    /// The record of the snapshot that is served: [`Current`](crate::contract::record::Current) as JSON.
    #[must_use]
    pub fn current(&self) -> String {
        self.key("current")
    }

    /// The counter from which generations are drawn.
    #[must_use]
    pub fn generation(&self) -> String {
        self.key("generation")
    }

    /// One block of one encoding of a document of a generation.
    #[must_use]
    pub fn block(
        &self,
        generation: u64,
        document: Document,
        encoding: Encoding,
        block: u32,
    ) -> String {
        let (document, encoding) = (document.name(), encoding.name());
        self.key(&format!("{generation}:{document}:{encoding}:{block}"))
    }

    /// Where each employee's part lies in the report: see
    /// [`EmployeeEntry`](crate::contract::record::EmployeeEntry).
    #[must_use]
    pub fn employees(&self, generation: u64) -> String {
        self.key(&format!("{generation}:employees"))
    }

    /// One block of the timeline's lanes: see [`RowEntry`](crate::contract::timeline::RowEntry).
    #[must_use]
    pub fn lanes(&self, generation: u64, block: u32) -> String {
        self.key(&format!("{generation}:lanes:{block}"))
    }

    /// One block of the list of the employees' rows in the timeline: see
    /// [`timeline`](crate::contract::timeline).
    #[must_use]
    pub fn employee_rows(&self, generation: u64, block: u32) -> String {
        self.key(&format!("{generation}:employee-rows:{block}"))
    }

    /// One block of a kept upstream answer: see [`Payload`](crate::contract::record::Payload).
    #[must_use]
    pub fn payload(&self, hash: &str, block: u32) -> String {
        self.key(&format!("payload:{hash}:{block}"))
    }

    /// Who refreshes: a hash of `token`, `holder` and `expires_ms`.
    #[must_use]
    pub fn lease(&self) -> String {
        self.key("lease")
    }

    /// The stream of commands to the refreshers.
    #[must_use]
    pub fn commands(&self) -> String {
        self.key("commands")
    }

    /// The dead letters: a stream of entries of [`commands`](Self::commands) that were no commands.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        self.key("dead-letters")
    }

    /// Present while a refresh has been asked for and is not done yet.
    #[must_use]
    pub fn refresh_asked(&self) -> String {
        self.key("refresh-asked")
    }

    /// The id of the command on the stream by which the service was last shut down.
    #[must_use]
    pub fn shutdown(&self) -> String {
        self.key("shutdown")
    }

    /// How many requests `client` has made to `scope` in the window of the limit numbered `limit`.
    #[must_use]
    pub fn limit(&self, scope: &str, limit: usize, client: &str) -> String {
        self.key(&format!("limit:{scope}:{limit}:{client}"))
    }

    /// How many wrong passwords `client` has sent in the window of the failure limit numbered `limit`.
    #[must_use]
    pub fn failures(&self, limit: usize, client: &str) -> String {
        self.key(&format!("failures:{limit}:{client}"))
    }

    /// The heartbeats of all nodes: a hash of ids and [`Node`](crate::contract::node::Node)s as JSON.
    #[must_use]
    pub fn nodes(&self) -> String {
        self.key("nodes")
    }

    /// The state in which the leader last saw each node: a hash of ids and states' names.
    #[must_use]
    pub fn node_states(&self) -> String {
        self.key("node-states")
    }

    /// How often a node came into each state: a hash of the states' names and counts.
    #[must_use]
    pub fn node_changes(&self) -> String {
        self.key("node-changes")
    }

    /// What is counted: a hash, see [`counters`](crate::contract::counters).
    #[must_use]
    pub fn counters(&self) -> String {
        self.key("counters")
    }

    /// Which incidents have been seen, so that others are new: see
    /// [`SeenIncidents`](crate::contract::alerts::SeenIncidents).
    #[must_use]
    pub fn alerts_seen(&self) -> String {
        self.key("alerts-seen")
    }

    /// The alerts that wait for an Alertmanager: a list, oldest first, each as it is sent.
    #[must_use]
    pub fn alerts_waiting(&self, receiver: &str) -> String {
        self.key(&format!("alerts-waiting:{receiver}"))
    }

    /// The state of the history: [`HistoryStatus`](crate::contract::history::HistoryStatus) as JSON.
    #[must_use]
    pub fn history(&self) -> String {
        self.key("history")
    }

    /// Present while the credential with this keyed hash counts as verified.
    #[must_use]
    pub fn verified(&self, mac: Option<&str>) -> String {
        self.key(&format!("verified:{}", mac.unwrap_or(PLAIN)))
    }

    /// Present while the credential with this keyed hash (without one, the plain password's) counts as
    /// known from `client`.
    #[must_use]
    pub fn known(&self, mac: Option<&str>, client: &str) -> String {
        self.key(&format!("known:{}:{client}", mac.unwrap_or(PLAIN)))
    }

    /// The keyed hash of the credential that is being checked with the permit numbered `permit`.
    #[must_use]
    pub fn check_permit(&self, permit: usize) -> String {
        self.key(&format!("check-permit:{permit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_carries_the_hash_tag() {
        let keys = Keys::new("incidents");
        for key in [
            keys.current(),
            keys.generation(),
            keys.block(7, Document::Report, Encoding::Gzip, 3),
            keys.employees(7),
            keys.lanes(7, 1),
            keys.employee_rows(7, 1),
            keys.payload("00", 0),
            keys.lease(),
            keys.commands(),
            keys.dead_letters(),
            keys.refresh_asked(),
            keys.shutdown(),
            keys.limit("incidents", 0, "{evil}:1"),
            keys.failures(0, "{evil}:1"),
            keys.nodes(),
            keys.node_states(),
            keys.node_changes(),
            keys.counters(),
            keys.alerts_seen(),
            keys.alerts_waiting("00"),
            keys.history(),
            keys.verified(Some("00")),
            keys.known(None, "{evil}:1"),
            keys.check_permit(0),
        ] {
            assert!(key.starts_with("{incidents}:"), "{key}");
        }
        assert_eq!(
            keys.block(7, Document::Report, Encoding::Gzip, 3),
            "{incidents}:7:report:gzip:3"
        );
    }
}
