//! Why Redis did not do what it should, told apart by what is to be done about it.

use domain::contract::scripts::{CONFLICT, FENCED, MISSING};
use redis::{ErrorKind, RedisError};
use thiserror::Error;

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
