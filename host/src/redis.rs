//! `spin:redis`: a component's connections to the Redis servers that the manifest allows.
//!
//! As in Spin, each `open` makes a connection of its own, which closes with the instance at the
//! latest; calls on one connection share it (multiplexed), no call has a time limit, and an
//! answer over [`MAX_REPLY_BYTES`] is an error.

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    RedisError, Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tracing::Level;
use url::Url;
use wasmtime::component::{Accessor, HasData, Resource, ResourceTable};

use crate::{
    errors,
    interfaces::spin::redis::redis::{
        Error, Host, HostConnection, HostConnectionWithStore, Payload, RedisParameter, RedisResult,
    },
    outbound::AllowedHosts,
};

/// Bytes that one answer may have, counted as it is handed to the component; Spin's bound.
const MAX_REPLY_BYTES: usize = 128 << 20;

/// Connections that one instance may hold; Spin's bound.
const MAX_CONNECTIONS: usize = 1024;

/// One connection of a component.
type Connection = MultiplexedConnection;

/// The connections of one instance.
pub(crate) struct Connections {
    allowed: Arc<AllowedHosts>,
    open: ResourceTable,
}

impl Connections {
    /// No connections yet.
    pub(crate) fn new(allowed: Arc<AllowedHosts>) -> Self {
        let mut open = ResourceTable::new();
        open.set_max_capacity(MAX_CONNECTIONS);
        Self { allowed, open }
    }
}

/// Marks `spin:redis`, whose data are the instance's connections.
pub(crate) struct Redis;

impl HasData for Redis {
    type Data<'a> = &'a mut Connections;
}

impl Redis {
    /// Sends a command and converts its answer.
    async fn query<T: Send, A: FromRedisValue>(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: Cmd,
    ) -> Result<A, Error> {
        let mut connection = accessor
            .with(|mut access| access.get().open.get(&connection).cloned())
            .map_err(other)?;
        let answer: Value = command.query_async(&mut connection).await.map_err(other)?;
        if bytes_of(&answer) > MAX_REPLY_BYTES {
            return Err(Error::Other(format!(
                "the answer exceeds {MAX_REPLY_BYTES} bytes"
            )));
        }
        A::from_redis_value(answer).map_err(|error| other(RedisError::from(error)))
    }
}

impl Host for &mut Connections {}

impl HostConnection for &mut Connections {
    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.open.delete(connection)?;
        Ok(())
    }
}

impl<T: Send> HostConnectionWithStore<T> for Redis {
    async fn open(
        accessor: &Accessor<T, Self>,
        address: String,
    ) -> Result<Resource<Connection>, Error> {
        let allowed = accessor.with(|mut access| Arc::clone(&access.get().allowed));
        let connection = connect(&address, &allowed).await?;
        accessor
            .with(|mut access| access.get().open.push(connection))
            .map_err(|_| Error::TooManyConnections)
    }

    async fn publish(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        channel: String,
        payload: Payload,
    ) -> Result<(), Error> {
        Self::query(accessor, connection, Cmd::publish(channel, payload)).await
    }

    async fn get(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Option<Payload>, Error> {
        Self::query(accessor, connection, Cmd::get(key)).await
    }

    async fn set(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        value: Payload,
    ) -> Result<(), Error> {
        Self::query(accessor, connection, Cmd::set(key, value)).await
    }

    async fn incr(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<i64, Error> {
        Self::query(accessor, connection, Cmd::incr(key, 1)).await
    }

    async fn del(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        keys: Vec<String>,
    ) -> Result<u32, Error> {
        Self::query(accessor, connection, Cmd::del(keys)).await
    }

    async fn sadd(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Self::query(accessor, connection, Cmd::sadd(key, values)).await
    }

    async fn smembers(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
    ) -> Result<Vec<String>, Error> {
        Self::query(accessor, connection, Cmd::smembers(key)).await
    }

    async fn srem(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        key: String,
        values: Vec<String>,
    ) -> Result<u32, Error> {
        Self::query(accessor, connection, Cmd::srem(key, values)).await
    }

    async fn execute(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let mut request = redis::cmd(&command);
        for argument in arguments {
            match argument {
                RedisParameter::Int64(number) => request.arg(number),
                RedisParameter::Binary(bytes) => request.arg(bytes),
            };
        }
        let answer = Self::query(accessor, connection, request).await?;
        let mut results = Vec::new();
        flatten(answer, &mut results)?;
        Ok(results)
    }
}

/// Opens a connection, if the manifest allows it. The address is parsed once: what is checked
/// is what is connected to.
async fn connect(address: &str, allowed: &AllowedHosts) -> Result<Connection, Error> {
    let address = redis::parse_redis_url(address).ok_or(Error::InvalidAddress)?;
    if !allowed.allows(&address) {
        errors::tell(
            Level::WARN,
            &format!(
                "the component asked for {}:{}, which allowed_outbound_hosts does not list",
                address.host_str().unwrap_or_default(),
                address.port().unwrap_or_default()
            ),
        );
        return Err(Error::InvalidAddress);
    }
    dial(address).await.map_err(other)
}

/// Opens a connection, whose calls have no time limit.
async fn dial(address: Url) -> Result<Connection, RedisError> {
    let target: ConnectionInfo = address.into_connection_info()?;
    // A command is one small write: it must not wait for the answer to the one before.
    let target = target.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    Client::open(target)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::Other(error.to_string())
}

/// The size of an answer as the component gets it: each piece, and the bytes in it.
fn bytes_of(answer: &Value) -> usize {
    let content = match answer {
        Value::BulkString(bytes) => bytes.len(),
        Value::SimpleString(text) => text.len(),
        Value::Array(items) | Value::Set(items) => return items.iter().map(bytes_of).sum(),
        _ => 0,
    };
    size_of::<RedisResult>() + content
}

/// Appends the pieces of an answer in their order, those of arrays within arrays too.
fn flatten(answer: Value, results: &mut Vec<RedisResult>) -> Result<(), Error> {
    results.push(match answer {
        Value::Nil => RedisResult::Nil,
        Value::Okay => RedisResult::Status("OK".into()),
        Value::SimpleString(text) => RedisResult::Status(text),
        Value::Int(number) => RedisResult::Int64(number),
        Value::Boolean(truth) => RedisResult::Int64(truth.into()),
        Value::BulkString(bytes) => RedisResult::Binary(bytes),
        Value::BigNumber(digits) => RedisResult::Binary(digits),
        Value::Double(number) => RedisResult::Binary(number.to_string().into_bytes()),
        Value::Array(items) | Value::Set(items) => {
            return items
                .into_iter()
                .try_for_each(|item| flatten(item, results));
        }
        Value::ServerError(error) => return Err(other(RedisError::from(error))),
        unsupported => {
            return Err(Error::Other(format!(
                "the interface has no type for this answer: {}",
                kind_of(&unsupported)
            )));
        }
    });
    Ok(())
}

/// What RESP3 calls a value that the interface has no type for.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Map(_) => "a map",
        Value::Attribute { .. } => "an attribute",
        Value::VerbatimString { .. } => "a verbatim string",
        Value::Push { .. } => "a push message",
        _ => "an unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(answer: Value) -> Vec<RedisResult> {
        let mut results = Vec::new();
        flatten(answer, &mut results).unwrap();
        results
    }

    #[test]
    fn an_answer_is_flattened_in_order() {
        let bulk = |text: &str| Value::BulkString(text.into());
        let answer = Value::Array(vec![
            Value::Int(-1),
            Value::Array(vec![bulk("a"), Value::Array(vec![]), Value::Nil]),
            Value::Okay,
            Value::Set(vec![Value::Boolean(true), Value::Double(1.5)]),
            Value::SimpleString("QUEUED".into()),
        ]);
        let texts: Vec<String> = flat(answer)
            .iter()
            .map(|result| match result {
                RedisResult::Nil => "nil".into(),
                RedisResult::Status(text) => format!("+{text}"),
                RedisResult::Int64(number) => format!(":{number}"),
                RedisResult::Binary(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            })
            .collect();
        assert_eq!(texts, [":-1", "a", "nil", "+OK", ":1", "1.5", "+QUEUED"]);
    }

    #[test]
    fn what_the_interface_cannot_say_is_an_error() {
        let map = Value::Array(vec![Value::Map(vec![(Value::Nil, Value::Nil)])]);
        let error = flatten(map, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Other(text) if text.contains("a map")));
    }

    #[test]
    fn sizes_count_every_piece() {
        let piece = size_of::<RedisResult>();
        assert_eq!(bytes_of(&Value::Nil), piece);
        assert_eq!(bytes_of(&Value::BulkString(vec![0; 100])), piece + 100);
        let nested = Value::Array(vec![
            Value::Int(1),
            Value::Array(vec![Value::SimpleString("abc".into())]),
        ]);
        assert_eq!(bytes_of(&nested), 2 * piece + 3);
    }
}
