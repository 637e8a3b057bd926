//! Runs the scripts of the contract.

use domain::contract::scripts::{Argument, Call, Value};
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind};

/// Runs a script by its hash, and by its text where Redis does not know it yet.
///
/// # Errors
/// When Redis cannot be asked, refuses, or replies what the script should not.
pub async fn call<C: Call>(
    connection: &mut impl ConnectionLike,
    call: &C,
) -> RedisResult<C::Reply> {
    let script = call.script();
    let known = command("EVALSHA", script.sha1(), call)
        .query_async::<redis::Value>(connection)
        .await;
    let reply = match known {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            command("EVAL", script.source(), call)
                .query_async(connection)
                .await?
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

fn command(name: &str, script: &str, call: &impl Call) -> Cmd {
    let keys = call.keys();
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len());
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
