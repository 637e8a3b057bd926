//! The one place that talks to Redis: what can be asked of it, and in which words.

mod body;
mod connection;

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use domain::contract::commands::{self, Command};
use domain::contract::keys::Keys;
use domain::contract::record::{Current, MAX_RECORD_BYTES};
use domain::contract::scripts::{
    Admission, Admit, Argument, AskRefresh, Call, Counts, CredentialCheck, EmployeeFound,
    EmployeePart, FindEmployee, FindEmployeeRows, FindRows, Found, LaneSearch, Order, ReadCounters,
    ReadRows, ReadStatus, Reports, SettleCheck, Value,
};
use domain::settings::credentials::Secret;
use domain::settings::rate_limit::RateLimit;
use spin_sdk::redis::{RedisParameter, RedisResult};

pub(crate) use body::{Pieces, StoredBody};
pub(crate) use connection::StoreError;
use connection::{Deadline, on_connection};

/// How long a request waits for Redis altogether before its answer begins: a 503 is due within a
/// second.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(800);

/// How long an answer that has begun waits for its next block.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request for a refresh stands before another one may follow it.
const REFRESH_ASKED_MS: u64 = 15_000;

/// Where the service's data are.
pub(crate) struct Location {
    /// The address of Redis, which may hold a password.
    pub(crate) address: Secret,
    /// The names of the keys.
    pub(crate) keys: Keys,
}

/// Which requests are counted together, and what they are allowed.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// The resource: each is counted for itself.
    pub(crate) name: &'static str,
    /// How many requests a client may send there.
    pub(crate) limits: &'a [RateLimit],
    /// How many wrong passwords a client may send, to all resources together.
    pub(crate) failure_limits: &'a [RateLimit],
    /// Whose requests.
    pub(crate) client: String,
}

/// Redis, as one request sees it: until its deadline.
pub(crate) struct Store {
    location: Rc<Location>,
    deadline: Deadline,
}

impl Store {
    pub(crate) fn new(location: Rc<Location>) -> Self {
        Self {
            location,
            deadline: Deadline::after(REQUEST_TIMEOUT),
        }
    }

    /// Hands this one over with what is left of its time; in its place is one that has time anew.
    pub(crate) fn take(&mut self) -> Self {
        let anew = Self::new(Rc::clone(&self.location));
        std::mem::replace(self, anew)
    }

    /// Grants as much time again as a request has at first.
    pub(crate) fn renew_deadline(&mut self) {
        self.deadline = Deadline::after(REQUEST_TIMEOUT);
    }

    /// Grants as much time as an answer that has begun has for its next block.
    pub(crate) fn expect_block(&mut self) {
        self.deadline = Deadline::after(BLOCK_TIMEOUT);
    }

    /// Counts a request, and its credential as a guess unless that is known to be right, and reads
    /// all that most requests need: one round trip. `mac` stands for a credential that is checked by
    /// hashing.
    pub(crate) async fn admit(
        &mut self,
        scope: &Scope<'_>,
        credential: CredentialCheck,
        mac: Option<&str>,
    ) -> Result<Admission, StoreError> {
        let location = Rc::clone(&self.location);
        self.run(&Admit {
            keys: &location.keys,
            scope: scope.name,
            client: &scope.client,
            limits: scope.limits,
            failure_limits: scope.failure_limits,
            credential,
            mac,
        })
        .await
    }

    /// Says whether the credential of an admitted request that had to be checked by hashing is right.
    pub(crate) async fn settle_check(
        &mut self,
        scope: &Scope<'_>,
        mac: &str,
        right: bool,
    ) -> Result<(), StoreError> {
        let location = Rc::clone(&self.location);
        self.run(&SettleCheck {
            keys: &location.keys,
            client: &scope.client,
            failure_limits: scope.failure_limits.len(),
            mac,
            right,
        })
        .await
    }

    /// The current record as it is stored; empty if there is none.
    pub(crate) async fn current(&mut self) -> Result<Vec<u8>, StoreError> {
        let key = self.location.keys.current();
        let record = self.range(&key, 0..MAX_RECORD_BYTES + 1).await?;
        match record.len() > MAX_RECORD_BYTES {
            true => Err(StoreError::Damaged),
            false => Ok(record),
        }
    }

    /// The bytes of a body from `range.start` to its end, or to the end of the block in which it
    /// begins. There must be some.
    pub(crate) async fn piece(
        &mut self,
        body: &StoredBody,
        range: Range<u64>,
    ) -> Result<Vec<u8>, StoreError> {
        let (number, within) = body.first_piece(range).ok_or(StoreError::Missing)?;
        let (document, encoding) = (body.document, body.encoding);
        let keys = &self.location.keys;
        let key = keys.block(body.generation, document, encoding, number);
        let piece = self.range(&key, within.clone()).await?;
        match piece.len() == within.len() {
            true => Ok(piece),
            false => Err(StoreError::Missing),
        }
    }

    /// Where the groups of one employee lie in the report of a snapshot; `None` if it has none.
    pub(crate) async fn employee(
        &mut self,
        record: &Current,
        report: &StoredBody,
        employee: u64,
    ) -> Result<Option<EmployeePart>, StoreError> {
        let location = Rc::clone(&self.location);
        let find = FindEmployee {
            keys: &location.keys,
            generation: report.generation,
            report: report.size,
            employees: record.employees,
            employee,
        };
        let part = self.run(&find).await?;
        match &part {
            Some(part) if part.range.end > report.size.bytes => Err(StoreError::Damaged),
            _ => Ok(part),
        }
    }

    /// The next rows of some lanes of the timeline, of each at most `most`.
    pub(crate) async fn find_rows(
        &mut self,
        generation: u64,
        lanes: &[LaneSearch],
        order: Order,
        most: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let location = Rc::clone(&self.location);
        let find = FindRows::new(&location.keys, generation, lanes, order, most);
        let found = self.run(&find).await?;
        match found.len() == lanes.len() {
            true => Ok(found),
            false => Err(StoreError::Broken),
        }
    }

    /// The next rows of some employees in some lanes of the timeline, of each at most `most`. What cursors
    /// skip are rows of the employee `last_read`.
    pub(crate) async fn find_employee_rows(
        &mut self,
        record: &Current,
        lanes: &[LaneSearch],
        employees: &[u64],
        last_read: u64,
        order: Order,
        most: usize,
    ) -> Result<Vec<EmployeeFound>, StoreError> {
        let location = Rc::clone(&self.location);
        let keys = &location.keys;
        let find = FindEmployeeRows::new(keys, record, lanes, employees, last_read, order, most);
        self.run(&find).await
    }

    /// Rows of a generation's report, one after the other: no more than a thousand, and no more than a
    /// block.
    pub(crate) async fn read_rows(
        &mut self,
        generation: u64,
        rows: impl Iterator<Item = &Range<u64>> + Clone,
    ) -> Result<Vec<u8>, StoreError> {
        let location = Rc::clone(&self.location);
        let bytes: u64 = rows
            .clone()
            .map(|row| row.end.saturating_sub(row.start))
            .sum();
        let read = self
            .run(&ReadRows::new(&location.keys, generation, rows))
            .await?;
        match read.len() as u64 == bytes {
            true => Ok(read),
            false => Err(StoreError::Missing),
        }
    }

    /// What the service's processes report of themselves.
    pub(crate) async fn reports(&mut self) -> Result<Reports, StoreError> {
        let location = Rc::clone(&self.location);
        self.run(&ReadStatus {
            keys: &location.keys,
        })
        .await
    }

    /// What is counted, and whether anybody leads.
    pub(crate) async fn counts(&mut self) -> Result<Counts, StoreError> {
        let location = Rc::clone(&self.location);
        self.run(&ReadCounters::new(&location.keys)).await
    }

    /// Asks the refreshers for a snapshot, unless that was done already.
    pub(crate) async fn ask_refresh(&mut self) -> Result<(), StoreError> {
        let location = Rc::clone(&self.location);
        self.run(&AskRefresh {
            keys: &location.keys,
            stands_ms: REFRESH_ASKED_MS,
        })
        .await?;
        Ok(())
    }

    /// Asks the refreshers to end the service.
    pub(crate) async fn ask_shutdown(&mut self) -> Result<(), StoreError> {
        let stream = self.location.keys.commands();
        let (field, name) = (commands::FIELD, Command::Shutdown.name());
        let words = [&stream, "MAXLEN", "~", "1000", "*", field, name];
        self.execute("XADD", &|| words.map(text).to_vec()).await?;
        Ok(())
    }

    /// The bytes of a value that lie in `range`, as far as it has them; none of a key that is not
    /// there. So no value is read that is longer than it may be.
    async fn range(&mut self, key: &str, range: Range<usize>) -> Result<Vec<u8>, StoreError> {
        let last = range.end.saturating_sub(1);
        let [first, last] = [range.start, last].map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        let arguments = || vec![text(key), number(first), number(last)];
        let results = self.execute("GETRANGE", &arguments).await?;
        match <[RedisResult; 1]>::try_from(results) {
            Ok([RedisResult::Binary(bytes)]) => Ok(bytes),
            _ => Err(StoreError::Broken),
        }
    }

    async fn run<C: Call>(&mut self, call: &C) -> Result<C::Reply, StoreError> {
        let arguments = |script: &str| {
            let keys = call.keys();
            let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
            let mut arguments = vec![text(script), number(count)];
            arguments.extend(keys.iter().map(|key| text(key)));
            arguments.extend(call.arguments().into_iter().map(parameter));
            arguments
        };
        let script = call.script();
        let results = match self.execute("EVALSHA", &|| arguments(script.sha1())).await {
            // Redis was restarted, or has never seen it.
            Err(StoreError::UnknownScript) => {
                self.execute("EVAL", &|| arguments(script.source())).await
            }
            results => results,
        };
        let values = results?.into_iter().map(value);
        call.reply(values).map_err(|_| StoreError::Broken)
    }

    async fn execute(
        &mut self,
        command: &str,
        arguments: &dyn Fn() -> Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, StoreError> {
        let address = self.location.address.expose();
        on_connection(address, &mut self.deadline, async |connection| {
            connection.execute(command, arguments()).await
        })
        .await
    }
}

fn text(text: &str) -> RedisParameter {
    RedisParameter::Binary(text.as_bytes().to_vec())
}

fn number(number: i64) -> RedisParameter {
    RedisParameter::Int64(number)
}

fn parameter(argument: Argument<'_>) -> RedisParameter {
    match argument {
        Argument::Integer(integer) => RedisParameter::Int64(integer),
        Argument::Bytes(bytes) => RedisParameter::Binary(bytes.to_vec()),
    }
}

fn value(result: RedisResult) -> Value {
    match result {
        RedisResult::Nil => Value::Nil,
        RedisResult::Status(text) => Value::Bytes(text.into_bytes()),
        RedisResult::Int64(integer) => Value::Integer(integer),
        RedisResult::Binary(bytes) => Value::Bytes(bytes),
    }
}
