//! `cargo xtask setup`: what cargo does not fetch by itself.

pub(crate) mod browser;
mod debian;
pub(crate) mod python;
mod redis;
mod standard_library;
mod wasm_target;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

pub(crate) use self::redis::RedisServer;
use crate::task::{Task, say};
use crate::toolchain::TARGET;

/// Makes sure of the component's target and of a Redis server, and answers the latter.
pub(crate) fn run(task: &Task) -> Result<RedisServer> {
    let target = wasm_target::ensure(task)?;
    let redis = RedisServer::ensure(task)?;
    let program = redis.program.display();
    say(&format!("ready: {TARGET} {target}, Redis {program}"));
    Ok(redis)
}

/// Where programs for administrators are, which is not on everybody's `PATH`.
const ADMINISTRATORS: &str = "/usr/sbin";

/// A `PATH` on which the program is found, unpacked from Debian's `package` where the machine has none.
pub(crate) fn on_a_path(
    program: &str,
    package: &str,
    path: OsString,
    task: &Task,
) -> Result<OsString> {
    if env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Ok(path);
    }
    if Path::new(ADMINISTRATORS).join(program).is_file() {
        let folders = env::split_paths(&path).chain([ADMINISTRATORS.into()]);
        return Ok(env::join_paths(folders)?);
    }
    let folder = task.setup.join("tools").join(package);
    if !folder.join("bin").join(program).is_file() {
        debian::unpack_programs(package, &folder, task)
            .with_context(|| format!("{program} is needed: install it"))?;
    }
    let folders = env::split_paths(&path).chain([folder.join("bin")]);
    Ok(env::join_paths(folders)?)
}

/// A program from the registry that is no dependency of anything, installed once into the target
/// folder with these options of cargo's; `version` is the one whose options we know.
pub(crate) fn cargo_tool(
    name: &str,
    version: &str,
    options: &[&str],
    task: &Task,
) -> Result<PathBuf> {
    let folder = task.setup.join("cargo").join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    let cargo = &task.cargo;
    let package = format!("{name}@{version}");
    // It is run a few times: what makes it faster costs more than it saves.
    let install = cmd!(
        task.sh,
        "{cargo} install --locked {package} {options...} --root {folder}"
    )
    .env("CARGO_PROFILE_RELEASE_LTO", "off")
    .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
    .env_remove("CARGO_TARGET_DIR")
    .env_remove("RUSTC_WORKSPACE_WRAPPER");
    task.run(
        &format!("installing {package} (some minutes, once)"),
        install,
    )?;
    Ok(program)
}
