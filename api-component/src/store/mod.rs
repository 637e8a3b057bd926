//! The one place that talks to Redis: what can be asked of it, and in which words.

mod connection;

use std::rc::Rc;
use std::time::Duration;

use domain::contract::commands::{self, Command};
use domain::contract::record::{BLOCK_BYTES, Body, Document, Encoding};
use domain::contract::scripts::{
    Admission, Admit, Argument, AskRefresh, Call, CredentialCheck, FindEmployee, NoteFailure,
    ReadStatus, Reports, Value,
};
use spin_sdk::redis::{RedisParameter, RedisResult};

use crate::config::Config;
use crate::limit::Scope;
pub(crate) use connection::StoreError;
use connection::{Patience, attempt};

/// How long a request waits for Redis altogether before its answer begins: a 503 is due within a
/// second.
const PATIENCE: Duration = Duration::from_millis(800);

/// How long an answer that has begun waits for its next block.
const BLOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How long a credential that was costly to verify is remembered.
const REMEMBERED_MS: i64 = 300_000;

/// How long a request for a refresh stands before another one may follow it.
const REFRESH_ASKED_MS: u64 = 15_000;

/// Redis, as one request sees it: with what is left of its patience.
pub(crate) struct Store {
    config: Rc<Config>,
    patience: Patience,
}

impl Store {
    pub(crate) fn new(config: Rc<Config>) -> Self {
        Self {
            config,
            patience: Patience::of(PATIENCE),
        }
    }

    /// Grants as much time again as a request has at first.
    pub(crate) fn renew_patience(&mut self) {
        self.patience = Patience::of(PATIENCE);
    }

    /// Counts a request, and what it presents if that is known to be wrong, and reads all that most
    /// requests need: one round trip.
    pub(crate) async fn admit(
        &mut self,
        scope: &Scope<'_>,
        credential: CredentialCheck,
        mac: &str,
    ) -> Result<Admission, StoreError> {
        let config = self.config.clone();
        let request = Admit {
            keys: &config.keys,
            scope: scope.name,
            client: &scope.client,
            limits: scope.limits,
            failure_limits: scope.failure_limits,
            credential,
            mac,
        };
        self.call(&request).await
    }

    /// Counts a wrong password of an admitted request. Those that are checked at the same time are
    /// all admitted before the first of them is counted: the rate limits bound how many.
    pub(crate) async fn note_failure(&mut self, scope: &Scope<'_>) -> Result<(), StoreError> {
        if scope.failure_limits.is_empty() {
            return Ok(());
        }
        let config = self.config.clone();
        let failure = NoteFailure {
            keys: &config.keys,
            client: &scope.client,
            failure_limits: scope.failure_limits,
        };
        self.call(&failure).await
    }

    /// The counters of a client's wrong passwords.
    fn failures(&self, scope: &Scope<'_>) -> impl Iterator<Item = String> {
        let counters = 0..scope.failure_limits.len();
        counters.map(|limit| self.config.keys.failures(limit, &scope.client))
    }

    /// The current record as it is stored; empty if there is none.
    pub(crate) async fn current(&mut self) -> Result<Vec<u8>, StoreError> {
        Ok(self
            .get(self.config.keys.current())
            .await?
            .unwrap_or_default())
    }

    /// The block numbered `number` of a body.
    pub(crate) async fn block(&mut self, part: &Part, number: u32) -> Result<Vec<u8>, StoreError> {
        let key = self
            .config
            .keys
            .block(part.generation, part.document, part.encoding, number);
        let block = self.get(key).await?.ok_or(StoreError::Missing)?;
        match block.len() == part.block_bytes(number) {
            true => Ok(block),
            false => Err(StoreError::Missing),
        }
    }

    /// The groups of one employee as they stand in the report of `generation`; `None` if it has
    /// none.
    pub(crate) async fn employee(
        &mut self,
        generation: u64,
        report: Body,
        employee: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let config = self.config.clone();
        let search = FindEmployee {
            keys: &config.keys,
            generation,
            report,
            employee,
        };
        self.call(&search).await
    }

    /// What the service's processes report of themselves.
    pub(crate) async fn reports(&mut self) -> Result<Reports, StoreError> {
        let config = self.config.clone();
        let keys = &config.keys;
        self.call(&ReadStatus { keys }).await
    }

    /// Asks the refreshers for a snapshot, unless that was done already.
    pub(crate) async fn ask_refresh(&mut self) -> Result<(), StoreError> {
        let config = self.config.clone();
        let wish = AskRefresh {
            keys: &config.keys,
            stands_ms: REFRESH_ASKED_MS,
        };
        self.call(&wish).await?;
        Ok(())
    }

    /// Asks the refreshers to end the service.
    pub(crate) async fn ask_shutdown(&mut self) -> Result<(), StoreError> {
        let stream = self.config.keys.commands();
        let (field, name) = (commands::FIELD, Command::Shutdown.name());
        let words = [&stream, "MAXLEN", "~", "1000", "*", field, name];
        self.execute("XADD", &|| words.map(text).to_vec()).await?;
        Ok(())
    }

    /// Remembers a credential as verified, and ends the counting of this client's guesses.
    pub(crate) async fn remember(
        &mut self,
        scope: &Scope<'_>,
        memory: &str,
    ) -> Result<(), StoreError> {
        let key = self.config.keys.verified(memory);
        let arguments = || vec![text(&key), text("1"), text("PX"), number(REMEMBERED_MS)];
        self.execute("SET", &arguments).await?;
        let failures: Vec<String> = self.failures(scope).collect();
        if !failures.is_empty() {
            let arguments = || failures.iter().map(|key| text(key)).collect();
            self.execute("DEL", &arguments).await?;
        }
        Ok(())
    }

    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        let address = self.config.settings.redis_url.expose();
        attempt(address, &mut self.patience, async |connection| {
            connection.get(&key).await
        })
        .await
    }

    async fn call<C: Call>(&mut self, call: &C) -> Result<C::Reply, StoreError> {
        let (script, keys, further) = (call.script(), call.keys(), call.arguments());
        let arguments = |name: &str| {
            let mut arguments = Vec::with_capacity(2 + keys.len() + further.len());
            arguments.push(text(name));
            arguments.push(number(i64::try_from(keys.len()).unwrap_or(i64::MAX)));
            arguments.extend(keys.iter().map(|key| text(key)));
            arguments.extend(further.iter().map(|argument| match *argument {
                Argument::Integer(value) => number(value),
                Argument::Bytes(bytes) => RedisParameter::Binary(bytes.to_vec()),
            }));
            arguments
        };
        let results = match self.execute("EVALSHA", &|| arguments(script.sha1())).await {
            // Redis was restarted, or has never seen it.
            Err(StoreError::UnknownScript) => {
                self.execute("EVAL", &|| arguments(script.source())).await
            }
            results => results,
        };
        call.reply(results?.into_iter().map(value))
            .map_err(|_| StoreError::Broken)
    }

    async fn execute(
        &mut self,
        command: &str,
        arguments: &dyn Fn() -> Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, StoreError> {
        let address = self.config.settings.redis_url.expose();
        attempt(address, &mut self.patience, async |connection| {
            connection.execute(command, arguments()).await
        })
        .await
    }
}

/// One encoding of a document of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) generation: u64,
    pub(crate) document: Document,
    pub(crate) encoding: Encoding,
    /// How long it is.
    pub(crate) body: Body,
}

impl Part {
    /// How long its block numbered `number` is.
    fn block_bytes(&self, number: u32) -> usize {
        let before = u64::from(number) * BLOCK_BYTES as u64;
        let left = self.body.bytes.saturating_sub(before);
        usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES))
    }
}

/// The blocks of a body that are still to be read.
pub(crate) struct Blocks {
    store: Store,
    part: Part,
    next: u32,
}

impl Blocks {
    /// All blocks after the first.
    pub(crate) fn after_first(store: Store, part: Part) -> Self {
        Self {
            store,
            part,
            next: 1,
        }
    }

    /// The next block; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, StoreError>> {
        if self.next >= self.part.body.blocks() {
            return None;
        }
        self.store.patience = Patience::of(BLOCK_PATIENCE);
        let block = self.store.block(&self.part, self.next).await;
        self.next += 1;
        Some(block)
    }
}

fn text(text: &str) -> RedisParameter {
    RedisParameter::Binary(text.as_bytes().to_vec())
}

fn number(number: i64) -> RedisParameter {
    RedisParameter::Int64(number)
}

fn value(result: RedisResult) -> Value {
    match result {
        RedisResult::Nil => Value::Nil,
        RedisResult::Int64(number) => Value::Integer(number),
        RedisResult::Status(text) => Value::Bytes(text.into_bytes()),
        RedisResult::Binary(bytes) => Value::Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_as_long_as_what_is_left() {
        let part = |bytes| Part {
            generation: 1,
            document: Document::Report,
            encoding: Encoding::Gzip,
            body: Body { bytes },
        };
        assert_eq!(part(5).block_bytes(0), 5);
        let block = BLOCK_BYTES as u64;
        assert_eq!(part(2 * block).block_bytes(1), BLOCK_BYTES);
        assert_eq!(part(2 * block + 7).block_bytes(1), BLOCK_BYTES);
        assert_eq!(part(2 * block + 7).block_bytes(2), 7);
        assert_eq!(part(0).block_bytes(0), 0);
    }
}
