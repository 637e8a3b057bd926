//! `cargo xtask setup`: what the machine lacks.

use anyhow::Result;

use crate::process::Steps;
use crate::progress::say;
use crate::redis::RedisServer;
use crate::wasm_target;
use crate::workspace::Workspace;

/// Makes sure of both things that cargo cannot fetch, and answers the Redis server that was found.
///
/// # Errors
/// One of them is missing and none of the ways to get it works here.
pub(crate) fn run(workspace: &Workspace, steps: &Steps) -> Result<RedisServer> {
    let target = wasm_target::ensure(steps)?;
    let redis = RedisServer::ensure(workspace, steps)?;
    say(&format!(
        "ready: {} {target}, Redis {}",
        wasm_target::TARGET,
        redis.program().display()
    ));
    Ok(redis)
}
