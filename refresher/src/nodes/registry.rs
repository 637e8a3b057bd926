//! What Redis keeps of the nodes: their heartbeats, and the states in which a leader last saw them.

use std::collections::HashMap;

use domain::contract::node::{Node, State};
use redis::{Cmd, Pipeline};

use crate::store::{Store, StoreError};

/// Writes a node's heartbeat.
///
/// # Errors
/// When Redis cannot be told.
pub(crate) async fn beat(store: &Store, node: &Node) -> Result<(), StoreError> {
    let beat = Cmd::hset(store.keys.nodes(), &node.id, node.to_json());
    store.control.query(&beat).await
}

/// Takes nodes off the list, in all that is kept of them.
///
/// # Errors
/// When Redis cannot be told.
pub(crate) async fn forget(store: &Store, ids: &[String]) -> Result<(), StoreError> {
    let mut both = Pipeline::with_capacity(2);
    both.hdel(store.keys.nodes(), ids).ignore();
    both.hdel(store.keys.node_states(), ids).ignore();
    store.control.pipeline(&both).await
}

/// The heartbeats of all nodes by their ids, and the states in which a leader last saw them. What is
/// no heartbeat is left out.
///
/// # Errors
/// When Redis cannot be asked.
pub(crate) async fn read(
    store: &Store,
) -> Result<(HashMap<String, Node>, HashMap<String, State>), StoreError> {
    let mut both = Pipeline::with_capacity(2);
    both.hgetall(store.keys.nodes());
    both.hgetall(store.keys.node_states());
    let (nodes, states): (HashMap<String, Vec<u8>>, HashMap<String, String>) =
        store.control.pipeline(&both).await?;
    let nodes = nodes
        .into_iter()
        .filter_map(|(id, json)| Some((id, Node::parse(&json)?)));
    let states = states
        .into_iter()
        .filter_map(|(id, name)| Some((id, State::from_name(&name)?)));
    Ok((nodes.collect(), states.collect()))
}

/// Keeps the states into which nodes have come, and counts them.
///
/// # Errors
/// When Redis cannot be told.
pub(crate) async fn note_changes(
    store: &Store,
    changes: &[(String, State)],
) -> Result<(), StoreError> {
    let mut all = Pipeline::with_capacity(2 * changes.len());
    for (id, state) in changes {
        let name = state.name();
        all.hset(store.keys.node_states(), id, name).ignore();
        all.hincr(store.keys.node_changes(), name, 1).ignore();
    }
    store.control.pipeline(&all).await
}
