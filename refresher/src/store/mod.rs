//! The one place that talks to Redis: connections that mend themselves, and a method for each step
//! of the protocol.

mod call;
mod place;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::contract::commands::EntryId;
use domain::contract::history::HistoryStatus;
use domain::contract::keys::Keys;
use domain::contract::node::{Node, State};
use domain::contract::record::{BLOCK_BYTES, Payload};
use domain::contract::scripts::{
    CONFLICT, Call, FENCED, Holding, MISSING, NextGeneration, Publish, ReleaseLease, TakeLease,
    Unstage,
};
use domain::settings::credentials::Secret;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{Cmd, ErrorKind, FromRedisValue, InfoDict, Pipeline, RedisError, RedisResult};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::leadership::lease::{self, Leadership};
pub use call::call;
use place::Place;

/// How long to wait for the answer to a small command.
const ANSWER: Duration = Duration::from_millis(900);

/// How long to wait until a few blocks have been moved.
const MOVED: Duration = Duration::from_secs(15);

/// Blocks that are on their way at the same time.
const BLOCKS_AT_ONCE: usize = 4;

/// Keys that are deleted or looked at by one command.
const KEYS_AT_ONCE: usize = 500;

/// How long a part of a snapshot stays that is not published, in milliseconds.
const STAGED_MS: u64 = 600_000;

/// Why Redis did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// It cannot be reached, breaks off or takes too long.
    #[error("Redis cannot be reached: {0}; check that it runs and that REDIS_URL points to it")]
    Unreachable(String),
    /// Its certificate, or its name in it, is not to be trusted.
    #[error(
        "Redis is not trusted: {0}; let the system trust who issued its certificate, or name that one's certificate in SSL_CERT_FILE, and check that REDIS_URL has a name that is in Redis's"
    )]
    Untrusted(String),
    /// Its memory is used up.
    #[error(
        "Redis is out of memory: raise its `maxmemory`, or give the service a Redis of its own"
    )]
    OutOfMemory,
    /// It is a replica, or cannot write to its disk.
    #[error("Redis takes no writes: {0}; point REDIS_URL to the primary, and check its disk")]
    ReadOnly(String),
    /// The slot of our keys is on its way from one node of a cluster to another, or has no owner.
    #[error("Redis Cluster is being rearranged: {0}")]
    Moving(String),
    /// It is still reading its data set.
    #[error("Redis is still loading its data")]
    Loading,
    /// It wants another user or password, or does not let this user do it.
    #[error("Redis denies access: {0}; check user and password in REDIS_URL, and the user's ACL")]
    Denied(String),
    /// Another refresher leads.
    #[error("another refresher leads")]
    Fenced,
    /// The current record is not the expected one.
    #[error("the current record in Redis is not the one that this refresher knows")]
    Conflict,
    /// A part of the snapshot is gone.
    #[error("a part of the snapshot is gone from Redis")]
    Missing,
    /// Anything else that it says.
    #[error("Redis answers with an error: {0}")]
    Refused(String),
}

impl StoreError {
    /// Whether it may well work a little later.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        !matches!(self, Self::Fenced | Self::Conflict | Self::Missing)
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        let (kind, said) = (error.kind(), error.to_string());
        // Of a pipeline, the first that failed.
        let errors = error.into_server_errors();
        let code = errors.as_ref().and_then(|errors| errors.first());
        match code.map(|(_, error)| error.code()) {
            Some(FENCED) => Self::Fenced,
            Some(CONFLICT) => Self::Conflict,
            Some(MISSING) => Self::Missing,
            Some("OOM") => Self::OutOfMemory,
            Some("READONLY" | "MISCONF" | "NOREPLICAS") => Self::ReadOnly(said),
            Some("LOADING") => Self::Loading,
            Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN") => Self::Moving(said),
            Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Self::Denied(said),
            Some(_) => Self::Refused(said),
            None if kind == ErrorKind::AuthenticationFailed => Self::Denied(said),
            None if said.contains("invalid peer certificate") => Self::Untrusted(said),
            None if kind == ErrorKind::Io => Self::Unreachable(said),
            None => Self::Refused(said),
        }
    }
}

/// A connection that is opened when it is needed, and replaced when it proves broken.
#[derive(Debug)]
pub(crate) struct Link {
    place: Arc<Place>,
    answer: Duration,
    open: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    fn new(place: Arc<Place>, answer: Duration) -> Self {
        Self {
            place,
            answer,
            open: Mutex::new(None),
        }
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.checked(command.query_async(&mut connection).await)
            .await
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.checked(pipeline.query_async(&mut connection).await)
            .await
    }

    async fn call<C: Call>(&self, script: &C) -> Result<C::Reply, StoreError> {
        let mut connection = self.connection().await?;
        self.checked(call(&mut connection, script).await).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let connection = self.place.connect(self.answer).await?;
        Ok(open.insert(connection).clone())
    }

    async fn checked<T>(&self, result: RedisResult<T>) -> Result<T, StoreError> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let broken = error.is_io_error() || error.is_unrecoverable_error();
        let error = StoreError::from(error);
        // Another node may have taken over: a new connection finds it.
        if broken || matches!(error, StoreError::ReadOnly(_) | StoreError::Moving(_)) {
            *self.open.lock().await = None;
        }
        Err(error)
    }
}

/// Redis, as the refresher uses it.
#[derive(Debug)]
pub struct Store {
    /// The names of the keys.
    pub keys: Keys,
    place: Arc<Place>,
    /// For what must not wait behind large bodies: above all the lease.
    control: Link,
    bodies: Link,
}

/// One part of a snapshot, ready to be written.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its key.
    pub key: String,
    /// Its value, at most one block.
    pub value: Bytes,
}

/// Cuts a body into parts of one block each, which share its bytes.
pub fn parts(body: &Bytes, key: impl Fn(u32) -> String) -> Vec<Part> {
    (0..body.len())
        .step_by(BLOCK_BYTES)
        .zip(0..)
        .map(|(start, number)| Part {
            key: key(number),
            value: body.slice(start..body.len().min(start + BLOCK_BYTES)),
        })
        .collect()
}

impl Store {
    /// Redis at `url`, with keys below `prefix`. Does not connect yet.
    ///
    /// # Errors
    /// When `url` is not one of a Redis.
    pub fn new(url: &Secret, prefix: &str) -> Result<Self, StoreError> {
        let keys = Keys::new(prefix);
        let place = Arc::new(Place::parse(url, keys.current())?);
        Ok(Self {
            keys,
            control: Link::new(Arc::clone(&place), ANSWER),
            bodies: Link::new(Arc::clone(&place), MOVED),
            place,
        })
    }

    /// A connection of its own, for commands that block for less than `answer`.
    pub(crate) fn link(&self, answer: Duration) -> Link {
        Link::new(Arc::clone(&self.place), answer)
    }

    /// The connection for small commands.
    pub(crate) const fn control(&self) -> &Link {
        &self.control
    }

    /// Redis's clock: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn now_ms(&self) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = self.control.query(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// The current record as it is stored; empty if there is none.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn current(&self) -> Result<Vec<u8>, StoreError> {
        let found: Option<Vec<u8>> = self.control.query(&Cmd::get(self.keys.current())).await?;
        Ok(found.unwrap_or_default())
    }

    /// The newest entry of the stream of commands (the smallest id where there is none), and the
    /// command by which the service was last shut down.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn commands_seen(&self) -> Result<(EntryId, Option<EntryId>), StoreError> {
        let mut both = Pipeline::with_capacity(2);
        both.cmd("XREVRANGE")
            .arg(self.keys.commands())
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        both.get(self.keys.shutdown());
        let (newest, shut_down): (StreamRangeReply, Option<String>) =
            self.control.pipeline(&both).await?;
        let newest = newest.ids.first();
        let newest = newest.and_then(|entry| EntryId::parse(&entry.id));
        let shut_down = shut_down.and_then(|id| EntryId::parse(&id));
        Ok((newest.unwrap_or_default(), shut_down))
    }

    /// Lets every process of the service end that was started before `command` was sent.
    ///
    /// # Errors
    /// When Redis cannot be told.
    pub async fn shut_down(&self, command: EntryId) -> Result<(), StoreError> {
        self.control
            .query(&Cmd::set(self.keys.shutdown(), command.to_string()))
            .await
    }

    /// Writes a node's heartbeat.
    ///
    /// # Errors
    /// When Redis cannot be told.
    pub async fn beat(&self, node: &Node) -> Result<(), StoreError> {
        let beat = Cmd::hset(self.keys.nodes(), &node.id, node.to_json());
        self.control.query(&beat).await
    }

    /// Tells how the history does.
    ///
    /// # Errors
    /// When Redis cannot be told.
    pub async fn tell_history(&self, status: &HistoryStatus) -> Result<(), StoreError> {
        let tell = Cmd::set(self.keys.history(), status.to_json());
        self.control.query(&tell).await
    }

    /// Takes nodes off the list, in all that is kept of them.
    ///
    /// # Errors
    /// When Redis cannot be told.
    pub async fn forget_nodes(&self, ids: &[String]) -> Result<(), StoreError> {
        let mut both = Pipeline::with_capacity(2);
        both.hdel(self.keys.nodes(), ids).ignore();
        both.hdel(self.keys.node_states(), ids).ignore();
        self.control.pipeline(&both).await
    }

    /// The heartbeats of all nodes by their ids, and the states in which a leader last saw them. What
    /// is no heartbeat is left out.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn nodes(
        &self,
    ) -> Result<(HashMap<String, Node>, HashMap<String, State>), StoreError> {
        let mut both = Pipeline::with_capacity(2);
        both.hgetall(self.keys.nodes());
        both.hgetall(self.keys.node_states());
        let (nodes, states): (HashMap<String, Vec<u8>>, HashMap<String, String>) =
            self.control.pipeline(&both).await?;
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
    pub async fn note_states(&self, changes: &[(String, State)]) -> Result<(), StoreError> {
        let mut all = Pipeline::with_capacity(2 * changes.len());
        for (id, state) in changes {
            let name = state.name();
            all.hset(self.keys.node_states(), id, name).ignore();
            all.hincr(self.keys.node_changes(), name, 1).ignore();
        }
        self.control.pipeline(&all).await
    }

    /// Takes or renews the lease for `term`; a new token is greater than `known`.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn take_lease(
        &self,
        holder: &str,
        term: Duration,
        known: u64,
    ) -> Result<Holding, StoreError> {
        let take = TakeLease {
            keys: &self.keys,
            holder,
            term_ms: millis(term),
            known_token: known,
        };
        self.control.call(&take).await
    }

    /// Gives the lease up, if it is the holder's.
    ///
    /// # Errors
    /// When Redis cannot be told.
    pub async fn release_lease(&self, holder: &str) -> Result<(), StoreError> {
        let keys = &self.keys;
        self.control.call(&ReleaseLease { keys, holder }).await?;
        Ok(())
    }

    /// Who holds the lease, or held it last.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn holder(&self) -> Result<String, StoreError> {
        let found: Option<String> = self
            .control
            .query(&Cmd::hget(self.keys.lease(), "holder"))
            .await?;
        Ok(found.unwrap_or_default())
    }

    /// Whether anybody's lease runs. One that runs for longer than a term was written before the clock
    /// went back, and says nothing.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn has_leader(&self) -> Result<bool, StoreError> {
        let expires_ms: Option<u64> = self
            .control
            .query(&Cmd::hget(self.keys.lease(), "expires_ms"))
            .await?;
        let left_ms = expires_ms.unwrap_or(0).saturating_sub(self.now_ms().await?);
        Ok((1..=millis(lease::TERM)).contains(&left_ms))
    }

    /// Draws a generation greater than all before, and than `known`.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn next_generation(&self, known: u64) -> Result<u64, StoreError> {
        let keys = &self.keys;
        self.control.call(&NextGeneration { keys, known }).await
    }

    /// Writes parts of a snapshot that is not published yet: they go by themselves if it never is.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses.
    pub async fn stage(&self, parts: &[Part]) -> Result<(), StoreError> {
        for some in parts.chunks(BLOCKS_AT_ONCE) {
            let mut pipeline = Pipeline::with_capacity(some.len());
            for Part { key, value } in some {
                pipeline.pset_ex(key, value.as_ref(), STAGED_MS).ignore();
            }
            self.bodies.pipeline::<()>(&pipeline).await?;
        }
        Ok(())
    }

    /// Deletes parts that were staged for nothing. Those that meanwhile belong to a current snapshot
    /// stay. See [`Unstage`].
    ///
    /// # Errors
    /// When Redis cannot be told; they then go by themselves.
    pub async fn unstage(&self, parts: &[Part]) -> Result<(), StoreError> {
        for some in parts.chunks(KEYS_AT_ONCE) {
            let parts: Vec<&str> = some.iter().map(|part| part.key.as_str()).collect();
            self.bodies.call(&Unstage { parts: &parts }).await?;
        }
        Ok(())
    }

    /// The policy by which Redis would throw parts of the snapshot away when its memory is used up;
    /// `None` if it would not, or does not tell.
    pub async fn eviction(&self) -> Option<String> {
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        // It tells nothing that matters to a user who may not ask.
        let info: InfoDict = self.control.query(&info).await.ok()?;
        let policy: String = info.get("maxmemory_policy")?;
        let bound: u64 = info.get("maxmemory")?;
        (bound > 0 && policy != "noeviction").then_some(policy)
    }

    /// Makes `record` the current one. See [`Publish`].
    ///
    /// # Errors
    /// [`StoreError::Fenced`], [`StoreError::Conflict`] or [`StoreError::Missing`], or when Redis
    /// cannot be told.
    pub async fn publish(
        &self,
        leadership: &Leadership,
        change: &Change<'_>,
    ) -> Result<(), StoreError> {
        let publish = Publish {
            keys: &self.keys,
            holder: &leadership.holder,
            token: leadership.token,
            expected: change.expected,
            record: change.record,
            snapshot: change.keys,
            superseded: change.superseded,
            superseded_for_ms: millis(change.superseded_for),
        };
        self.control.call(&publish).await
    }

    /// Reads a kept upstream answer, still compressed; `None` when a part of it is gone.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub async fn payload(&self, payload: &Payload) -> Result<Option<Bytes>, StoreError> {
        let mut whole = Vec::new();
        for number in 0..payload.blocks() {
            let key = self.keys.payload(&payload.hash, number);
            let block: Option<Vec<u8>> = self.bodies.query(&Cmd::get(key)).await?;
            match block {
                Some(block) => whole.extend_from_slice(&block),
                None => return Ok(None),
            }
        }
        Ok((whole.len() as u64 == payload.stored_bytes).then(|| whole.into()))
    }
}

/// What [`Store::publish`] changes.
#[derive(Debug)]
pub struct Change<'a> {
    /// The record that must be current, as it is stored; empty for none.
    pub expected: &'a [u8],
    /// The new record.
    pub record: &'a str,
    /// All keys of the snapshot.
    pub keys: &'a [String],
    /// Keys that are of no more use.
    pub superseded: &'a [String],
    /// How long those stay, for readers that have begun.
    pub superseded_for: Duration,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_into_blocks() {
        let key = |number| format!("k{number}");
        assert!(parts(&Bytes::new(), key).is_empty());
        let body = Bytes::from(vec![7; 2 * BLOCK_BYTES + 1]);
        let cut = parts(&body, key);
        let sizes: Vec<_> = cut
            .iter()
            .map(|part| (part.key.as_str(), part.value.len()))
            .collect();
        assert_eq!(sizes, [("k0", BLOCK_BYTES), ("k1", BLOCK_BYTES), ("k2", 1)]);
    }
}
