//! Monitoring the nodes: the leader notices who is well, who hangs and who is gone, tells it in its log
//! and counts it; and it asks those that cannot report themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::contract::node::{Kind, Node, State};
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use super::probe::Prober;
use super::registry;
use crate::store::{Store, StoreError};

/// How often the heartbeats are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a node that cannot report itself is asked.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The leader's eye on all nodes.
#[derive(Debug)]
pub(crate) struct NodeMonitor {
    store: Arc<Store>,
    prober: Prober,
    probed: Vec<Probed>,
}

/// A node that has to be asked.
#[derive(Debug)]
struct Probed {
    id: String,
    url: Url,
}

impl NodeMonitor {
    /// Monitors the nodes that report themselves to `store`, and asks those at `to_probe`.
    ///
    /// # Errors
    /// When the system's certificates cannot be read.
    pub(crate) fn new(store: Arc<Store>, to_probe: &[Url]) -> Result<Self, reqwest::Error> {
        let probed = to_probe.iter().map(|url| Probed {
            id: id(url),
            url: url.clone(),
        });
        Ok(Self {
            store,
            prober: Prober::new()?,
            probed: probed.collect(),
        })
    }

    /// Monitors; never ends.
    pub(crate) async fn run(&self) {
        tokio::join!(self.look_on(), self.probe_on());
    }

    async fn look_on(&self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            // That Redis is away is the lease's to tell.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the nodes could not be looked at");
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let now_ms = self.store.now_ms().await?;
        let (nodes, known) = registry::read(&self.store).await?;
        let seen = Seen::compare(&nodes, &known, now_ms, |id| {
            self.probed.iter().any(|probed| probed.id == id)
        });
        for (id, state) in &seen.changes {
            if let Some(node) = nodes.get(id) {
                tell(node, known.get(id).copied(), *state);
            }
        }
        for id in &seen.left {
            tracing::info!(node = id, "a node has left");
        }
        if !seen.changes.is_empty() {
            registry::note_changes(&self.store, &seen.changes).await?;
        }
        let gone: Vec<String> = [seen.left, seen.forgotten].concat();
        if !gone.is_empty() {
            registry::forget(&self.store, &gone).await?;
        }
        Ok(())
    }

    async fn probe_on(&self) {
        let mut asked: HashMap<&str, Node> = HashMap::new();
        let mut rounds = interval(PROBE_EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.probed.is_empty() {
            rounds.tick().await;
            let answers = self
                .probed
                .iter()
                .map(|probed| self.prober.ask(&probed.url));
            let answers = join_all(answers).await;
            let Ok(now_ms) = self.store.now_ms().await else {
                continue;
            };
            for (probed, (state, last)) in self.probed.iter().zip(answers) {
                let node = asked
                    .entry(&probed.id)
                    .or_insert_with(|| unasked(&probed.id, now_ms));
                node.beat_ms = now_ms;
                node.probed = Some(state);
                node.last = last;
                if state == State::Healthy {
                    node.progress_ms = now_ms;
                }
                if let Err(error) = registry::beat(&self.store, node).await {
                    tracing::debug!(%error, "what a node answered could not be written");
                }
            }
        }
        std::future::pending().await
    }
}

/// What is new about the nodes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Who has come into another state, and which.
    changes: Vec<(String, State)>,
    /// Who has taken itself off the list.
    left: Vec<String>,
    /// Who is to be taken off it: gone for long, or not to be asked any more.
    forgotten: Vec<String>,
}

impl Seen {
    /// Compares the heartbeats with the states that are `known`.
    fn compare(
        nodes: &HashMap<String, Node>,
        known: &HashMap<String, State>,
        now_ms: u64,
        is_probed: impl Fn(&str) -> bool,
    ) -> Self {
        let mut seen = Self::default();
        for (id, node) in nodes {
            let stray = node.kind == Kind::Probed && !is_probed(id);
            let state = node.state(now_ms);
            if stray || node.is_forgotten(now_ms) {
                seen.forgotten.push(id.clone());
            } else if known.get(id) != Some(&state) {
                seen.changes.push((id.clone(), state));
            }
        }
        let there: HashSet<&String> = nodes.keys().collect();
        let left = known.keys().filter(|id| !there.contains(id));
        seen.left = left.cloned().collect();
        seen
    }
}

fn tell(node: &Node, was: Option<State>, is: State) {
    let kind = node.kind.name();
    let was = was.map_or("unknown", State::name);
    match is {
        State::Healthy => tracing::info!(node = node.id, kind, was, "a node is healthy"),
        State::Hanging => tracing::warn!(
            node = node.id,
            kind,
            was,
            last = node.last,
            "a node is hanging: it is there, but does not get on"
        ),
        State::Offline => tracing::warn!(
            node = node.id,
            kind,
            was,
            last = node.last,
            "a node is offline: nothing is heard of it any more"
        ),
    }
}

/// A node of which nothing is known yet.
fn unasked(id: &str, now_ms: u64) -> Node {
    Node {
        id: id.to_owned(),
        kind: Kind::Probed,
        release: String::new(),
        since_ms: now_ms,
        beat_ms: now_ms,
        progress_ms: now_ms,
        stall_ms: 0,
        last: String::new(),
        leads: false,
        probed: None,
    }
}

/// What the list calls a node: its address without scheme and query.
fn id(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::contract::node::OFFLINE_KEPT_MS;

    const NOW: u64 = 10_000_000;

    fn node(id: &str, kind: Kind, beat_ms: u64) -> (String, Node) {
        let node = Node {
            kind,
            beat_ms,
            progress_ms: beat_ms,
            stall_ms: 1_000,
            ..unasked(id, beat_ms)
        };
        (id.to_owned(), node)
    }

    #[test]
    fn what_is_new_about_the_nodes_is_seen_once() {
        let nodes = HashMap::from([
            node("well", Kind::Host, NOW),
            node("new", Kind::Refresher, NOW),
            node("silent", Kind::Host, NOW - 60_000),
            node("old", Kind::Host, NOW - OFFLINE_KEPT_MS - 1),
            node("stray", Kind::Probed, NOW),
        ]);
        let mut known = HashMap::from([
            ("well".to_owned(), State::Healthy),
            ("silent".to_owned(), State::Healthy),
            ("old".to_owned(), State::Offline),
            ("left".to_owned(), State::Healthy),
        ]);
        let mut seen = Seen::compare(&nodes, &known, NOW, |_| false);
        seen.changes.sort_by(|a, b| a.0.cmp(&b.0));
        seen.forgotten.sort();
        assert_eq!(
            seen.changes,
            [
                ("new".to_owned(), State::Healthy),
                ("silent".to_owned(), State::Offline)
            ]
        );
        assert_eq!(seen.left, ["left"]);
        assert_eq!(seen.forgotten, ["old", "stray"]);

        known.extend(seen.changes);
        known.remove("left");
        let mut nodes = nodes;
        nodes.retain(|id, _| !seen.forgotten.contains(id));
        known.remove("old");
        assert_eq!(
            Seen::compare(&nodes, &known, NOW, |_| false),
            Seen::default()
        );
    }

    #[test]
    fn a_node_is_called_by_its_address() {
        let id = |url: &str| id(&url.parse().unwrap());
        assert_eq!(id("http://10.0.0.7:9000/healthz"), "10.0.0.7:9000/healthz");
        assert_eq!(id("https://spin.example/healthz?x"), "spin.example/healthz");
    }
}
