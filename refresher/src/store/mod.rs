//! The connection to Redis: finds it, mends itself, tells errors apart, and knows the one clock. Whoever
//! uses Redis for something has the commands for it.

mod call;
mod error;
mod locator;

use std::sync::Arc;
use std::time::Duration;

use domain::contract::keys::Keys;
use domain::contract::scripts::Call;
use domain::settings::credentials::Secret;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::call::call;
pub use self::error::StoreError;
use self::locator::Locator;

/// How long to wait for the answer to a small command.
const ANSWER: Duration = Duration::from_millis(900);

/// How long to wait until a few blocks have been moved.
const MOVED: Duration = Duration::from_secs(15);

/// Redis, as the refresher uses it.
#[derive(Debug)]
pub struct Store {
    /// The names of the keys.
    pub keys: Keys,
    locator: Arc<Locator>,
    /// For what must not wait behind large bodies: above all the lease.
    pub(crate) control: Link,
    /// For blocks of bodies.
    pub(crate) bodies: Link,
}

impl Store {
    /// Redis at `url`, with keys below `prefix`. Does not connect yet.
    ///
    /// # Errors
    /// When `url` is not one of a Redis.
    pub fn new(url: &Secret, prefix: &str) -> Result<Self, StoreError> {
        let keys = Keys::new(prefix);
        let locator = Arc::new(Locator::parse(url, keys.current())?);
        Ok(Self {
            keys,
            control: Link::new(Arc::clone(&locator), ANSWER),
            bodies: Link::new(Arc::clone(&locator), MOVED),
            locator,
        })
    }

    /// A connection of its own, for commands that block for less than `answer`.
    pub(crate) fn link(&self, answer: Duration) -> Link {
        Link::new(Arc::clone(&self.locator), answer)
    }

    /// Redis's clock: milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(crate) async fn now_ms(&self) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = self.control.query(&redis::cmd("TIME")).await?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Redis's clock, to go on reading without asking.
    ///
    /// # Errors
    /// When Redis cannot be asked.
    pub(crate) async fn clock(&self) -> Result<Clock, StoreError> {
        let at = Instant::now();
        let ms = self.now_ms().await?;
        Ok(Clock { ms, at })
    }
}

/// Redis's clock, as it was at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// What it showed, in milliseconds since the Unix epoch.
    ms: u64,
    /// When that was.
    at: Instant,
}

impl Clock {
    /// One that shows `ms` now.
    #[cfg(test)]
    pub(crate) fn at(ms: u64) -> Self {
        let at = Instant::now();
        Self { ms, at }
    }

    /// What it shows now.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ms.saturating_add(millis(self.at.elapsed()))
    }
}

/// A duration as Redis takes it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A connection that is opened when it is needed, and replaced when it proves broken.
#[derive(Debug)]
pub(crate) struct Link {
    locator: Arc<Locator>,
    answer: Duration,
    open: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    fn new(locator: Arc<Locator>, answer: Duration) -> Self {
        Self {
            locator,
            answer,
            open: Mutex::new(None),
        }
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.checked(command.query_async(&mut connection).await)
            .await
    }

    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        self.checked(pipeline.query_async(&mut connection).await)
            .await
    }

    /// Runs a script, which Redis is given first where it does not know it.
    pub(crate) async fn call<C: Call>(&self, call: &C) -> Result<C::Reply, StoreError> {
        let mut connection = self.connection().await?;
        let result = self::call(&mut connection, call).await;
        self.checked(result).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let connection = self.locator.connect(self.answer).await?;
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
