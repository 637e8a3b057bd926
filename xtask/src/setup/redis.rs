//! The Redis server: the machine's own, or one from the distribution's packages, unpacked into the
//! target folder, so that it takes no rights and no service starts behind anyone's back.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xshell::{Cmd, cmd};

use super::debian;
use crate::task::{Task, on_path, say};

/// The programs that will do; the packages of Debian have the same names.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// A Redis server that runs on this machine.
pub(crate) struct RedisServer {
    /// Its program.
    pub(crate) program: PathBuf,
}

impl RedisServer {
    /// Finds it, or gets it.
    pub(super) fn ensure(task: &Task) -> Result<Self> {
        if let Some(program) = find(task) {
            return Ok(Self { program });
        }
        say("there is no redis-server or valkey-server on this machine");
        let _lock = task.lock(&task.setup())?;
        let mut problems = Vec::new();
        for name in NAMES {
            if let Some(program) = find(task) {
                return Ok(Self { program });
            }
            match fetch(name, task) {
                Ok(program) => return Ok(Self { program }),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        bail!(
            "no Redis server can be fetched here: install one (`apt install redis-server`, \
             `dnf install valkey`, `brew install redis`) and run this again. Tried: {}",
            problems.join("; ")
        )
    }

    /// A `PATH` on which the server is found as `redis-server`, whatever its name and place.
    pub(crate) fn search_path(&self, task: &Task) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        if on_path(NAMES[0]).is_some_and(|found| found == self.program) {
            return Ok(path);
        }
        let folder = task.sh.create_dir(task.scratch().join("bin"))?;
        symlink(&self.program, folder.join(NAMES[0]))?;
        Ok(env::join_paths(
            [folder].into_iter().chain(env::split_paths(&path)),
        )?)
    }

    /// What starts it on this port of the loopback address, keeping nothing on disk.
    pub(crate) fn command<'a>(&self, port: u16, task: &'a Task) -> Cmd<'a> {
        let program = &self.program;
        let (folder, port, nothing) = (task.scratch(), port.to_string(), "");
        cmd!(
            task.sh,
            "{program} --bind 127.0.0.1 --port {port} --save {nothing} --appendonly no
             --loglevel warning --dir {folder}"
        )
    }
}

/// Where the fetched server is.
fn fetched(task: &Task) -> PathBuf {
    task.setup().join("redis")
}

/// The machine's own server, or the one that was fetched before.
fn find(task: &Task) -> Option<PathBuf> {
    let known = NAMES.iter().filter_map(|name| on_path(name));
    let fetched = fetched(task).join("bin").join(NAMES[0]);
    known.chain([fetched]).find(|program| runs(program, task))
}

/// Whether the program starts at all: a library may be missing.
fn runs(program: &Path, task: &Task) -> bool {
    let version = cmd!(task.sh, "{program} --version");
    version.quiet().ignore_stderr().read().is_ok()
}

/// Gets the distribution's server of this name.
fn fetch(name: &str, task: &Task) -> Result<PathBuf> {
    let folder = fetched(task);
    debian::unpack_programs(name, &folder, task)?;
    let program = folder.join("bin").join(NAMES[0]);
    if name != NAMES[0] {
        symlink(name, &program)?;
    }
    if !runs(&program, task) {
        bail!("{name} of Debian does not start here");
    }
    Ok(program)
}
