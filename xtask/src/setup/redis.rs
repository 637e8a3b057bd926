//! The Redis server: the machine's own, or one from the distribution's packages, unpacked into the
//! target folder, so that it takes no rights and no service starts behind anyone's back.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use super::debian;
use crate::task::{Task, on_path, say};

/// The name under which it is looked for, and another program that will do; the packages of Debian have
/// the same names.
const NAME: &str = "redis-server";
const OTHER: &str = "valkey-server";

/// A Redis server that runs on this machine.
pub(crate) struct RedisServer {
    pub(crate) program: PathBuf,
}

impl RedisServer {
    /// Finds it, or gets it.
    pub(super) fn ensure(task: &Task) -> Result<Self> {
        if let Some(program) = find(task) {
            return Ok(Self { program });
        }
        say(&format!("there is no {NAME} or {OTHER} on this machine"));
        let _lock = task.lock(&task.setup)?;
        let folder = task.setup.join("redis");
        let fetched = debian::unpack_programs(NAME, &folder, task).or_else(|first| {
            debian::unpack_programs(OTHER, &folder, task).with_context(|| format!("{first:#}"))
        });
        fetched.with_context(|| {
            "no Redis server can be fetched here: install one (`apt install redis-server`, `dnf install \
             valkey`, `brew install redis`) and run this again. Tried Debian's packages"
        })?;
        let program = find(task).context("the Redis server of Debian does not start here")?;
        Ok(Self { program })
    }

    /// A `PATH` on which the server is found as `redis-server`, whatever its name and place.
    pub(crate) fn search_path(&self, task: &Task) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        if on_path(NAME).is_some_and(|found| found == self.program) {
            return Ok(path);
        }
        let folder = task.sh.create_dir(task.scratch.join("bin"))?;
        let link = folder.join(NAME);
        if !link.exists() {
            symlink(&self.program, link)?;
        }
        Ok(env::join_paths(
            [folder].into_iter().chain(env::split_paths(&path)),
        )?)
    }

    /// What starts it on this port of the loopback address, keeping nothing on disk.
    pub(crate) fn command<'a>(&self, port: u16, task: &'a Task) -> Cmd<'a> {
        let program = &self.program;
        let (folder, port, nothing) = (&task.scratch, port.to_string(), "");
        cmd!(
            task.sh,
            "{program} --bind 127.0.0.1 --port {port} --save {nothing} --appendonly no
             --loglevel warning --dir {folder}"
        )
    }
}

/// The machine's own server, or the one that was fetched before. One may be there and not start, since a
/// library is missing.
fn find(task: &Task) -> Option<PathBuf> {
    let fetched = task.setup.join("redis/bin");
    let own = [NAME, OTHER].into_iter().filter_map(on_path);
    own.chain([fetched.join(NAME), fetched.join(OTHER)])
        .find(|program| {
            let version = cmd!(task.sh, "{program} --version");
            version.quiet().ignore_stderr().read().is_ok()
        })
}
