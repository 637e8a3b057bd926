//! Runs the scripts of the contract.

use domain::contract::scripts::{Argument, Call, Value};
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind};

/// Runs a script by its hash; Redis is given its text first where it does not know it yet.
///
/// # Errors
/// When Redis cannot be asked, refuses, or replies what the script should not.
pub async fn call<C: Call>(
    connection: &mut impl ConnectionLike,
    call: &C,
) -> RedisResult<C::Reply> {
    let command = command(call);
    let reply = match command.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(call.script().source());
            load.query_async::<()>(connection).await?;
            command.query_async(connection).await?
        }
        known => known?,
    };
    let mut values = Vec::new();
    flatten(reply, &mut values);
    call.reply(values).map_err(|error| {
        let kind = ErrorKind::UnexpectedReturnType;
        RedisError::from((kind, "a script's reply", error.to_string()))
    })
}

fn command(call: &impl Call) -> Cmd {
    let keys = call.keys();
    let mut command = redis::cmd("EVALSHA");
    command.arg(call.script().sha1()).arg(keys.len());
    for key in &keys {
        command.arg(key.as_ref());
    }
    for argument in call.arguments() {
        match argument {
            Argument::Integer(number) => command.arg(number),
            Argument::Bytes(bytes) => command.arg(bytes),
        };
    }
    command
}

/// The values of a reply, as the contract has them. What is none of its kinds counts as nothing.
fn flatten(reply: redis::Value, values: &mut Vec<Value>) {
    values.push(match reply {
        redis::Value::Int(number) => Value::Integer(number),
        redis::Value::BulkString(bytes) => Value::Bytes(bytes),
        redis::Value::SimpleString(text) => Value::Bytes(text.into_bytes()),
        redis::Value::Okay => Value::Bytes(b"OK".to_vec()),
        redis::Value::Array(items) => {
            return items.into_iter().for_each(|item| flatten(item, values));
        }
        _ => Value::Nil,
    });
}
