//! A real Redis Cluster: all keys are in one slot, wherever that is.

use std::collections::HashSet;

use end_to_end::{Process, Redis, Upstream, host, keys, mark, refresher, stored_snapshot, until};

use super::{BOUND, serves};

/// The slots of each node.
const SHARES: [[u16; 2]; 3] = [[0, 5460], [5461, 10922], [10923, 16383]];

const NODE: [&str; 4] = [
    "--cluster-enabled",
    "yes",
    "--repl-diskless-sync-delay",
    "0",
];

/// Waits until `node` takes the whole cluster for usable, with so many `nodes`.
async fn agrees(node: &Redis, nodes: usize) {
    until("the cluster is formed", BOUND, async || {
        let info: String = node.ask("CLUSTER INFO").await;
        let has_all = info.contains(&format!("cluster_known_nodes:{nodes}\r\n"));
        (has_all && info.contains("cluster_state:ok")).then_some(())
    })
    .await;
}

/// Three nodes that share the slots.
async fn cluster() -> Vec<Redis> {
    let mut nodes = Vec::new();
    for [first, last] in SHARES {
        let node = Redis::start_with(&NODE).await;
        let _: String = node
            .ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"))
            .await;
        nodes.push(node);
    }
    for other in &nodes[1..] {
        meet(&nodes[0], other).await;
    }
    for node in &nodes {
        agrees(node, nodes.len()).await;
    }
    nodes
}

async fn meet(one: &Redis, other: &Redis) {
    let _: String = one
        .ask(&format!("CLUSTER MEET 127.0.0.1 {}", other.port()))
        .await;
}

/// A replica of `owner` that has all that it has, and of which all `nodes` know, so that it may take
/// over.
async fn replica_of(owner: &Redis, nodes: &[Redis]) -> Redis {
    let replica = Redis::start_with(&NODE).await;
    meet(owner, &replica).await;
    for node in nodes.iter().chain([&replica]) {
        agrees(node, nodes.len() + 1).await;
    }
    let id: String = owner.ask("CLUSTER MYID").await;
    let _: String = replica.ask(&format!("CLUSTER REPLICATE {id}")).await;
    until("the replica has everything", BOUND, async || {
        let info: String = replica.ask("INFO replication").await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let of_owner = format!("slave {id}");
    for node in nodes {
        until("all know the replica", BOUND, async || {
            let known: String = node.ask("CLUSTER NODES").await;
            known.contains(&of_owner).then_some(())
        })
        .await;
    }
    replica
}

#[tokio::test]
async fn a_cluster_is_used_by_way_of_any_node_and_followed_when_the_slot_moves() {
    let nodes = cluster().await;
    let slot: u16 = nodes[0]
        .ask(&format!("CLUSTER KEYSLOT {}", keys().current()))
        .await;
    let is_owner = |[first, last]: &[u16; 2]| (*first..=*last).contains(&slot);
    let owner = SHARES.iter().position(is_owner).expect("all are shared");
    let (owner, others) = (
        &nodes[owner],
        [1, 2].map(|step| &nodes[(owner + step) % nodes.len()]),
    );
    let upstream = Upstream::start().await;
    mark(&upstream, 1).await;
    let mut refresher = Process::start(refresher(&["run"], others[0], &upstream, &[]));
    let limits = [("dashboard_rate_limits", "3 per day")];
    let (limited, unlimited) = tokio::join!(host(owner, &limits), host(owner, &[]));
    serves(&unlimited.client, 1).await;
    let employee = unlimited.client.get("/incidents/1").await;
    assert_eq!(employee.status, 200, "{employee:?}");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(limited.client.get("/status").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);

    // Every key is in the one slot, and nothing anywhere else.
    let all: Vec<String> = owner.ask("KEYS *").await;
    assert!(all.len() > 10, "{all:?}");
    let mut slots = HashSet::new();
    for key in &all {
        let slot: u16 = owner.ask(&format!("CLUSTER KEYSLOT {key}")).await;
        slots.insert(slot);
    }
    assert_eq!(slots, HashSet::from([slot]), "{all:?}");
    for other in others {
        assert_eq!(other.ask::<u64>("DBSIZE").await, 0);
    }
    let before = stored_snapshot(owner).await;

    // The slot gets another owner, which the refresher finds by way of the same node.
    let heir = replica_of(owner, &nodes).await;
    let _: String = heir.ask("CLUSTER FAILOVER").await;
    until("the replica is the owner", BOUND, async || {
        let info: String = heir.ask("INFO replication").await;
        info.contains("role:master").then_some(())
    })
    .await;
    mark(&upstream, 2).await;
    let there = host(&heir, &[]).await;
    serves(&there.client, 2).await;
    let after = stored_snapshot(&heir).await;
    assert!(after.generation > before.generation);
    // A command of a client reaches the refresher from there.
    assert_eq!(there.client.get("/shutdown").await.status, 200);
    let status = refresher.exit(BOUND).await;
    assert!(status.success(), "{}", refresher.log());
}
