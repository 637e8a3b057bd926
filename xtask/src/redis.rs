//! The Redis server: the machine's own, or one from the distribution's packages, unpacked into the
//! target folder, so that it takes no rights and no service starts behind anyone's back.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lock;
use crate::process::Steps;
use crate::progress::say;
use crate::unpacked;
use crate::workspace::{Workspace, on_path};

/// The programs that will do; the packages of Debian have the same names.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The fetched server's folder, below what setup keeps.
const FOLDER: &str = "redis";

/// A Redis server that runs on this machine.
pub(crate) struct RedisServer {
    program: PathBuf,
}

impl RedisServer {
    /// Finds it, or gets it.
    ///
    /// # Errors
    /// There is none, and no way to get one.
    pub(crate) fn ensure(workspace: &Workspace, steps: &Steps) -> Result<Self> {
        let setup = workspace.setup();
        if let Some(program) = find(&setup) {
            return Ok(Self { program });
        }
        say("there is no redis-server or valkey-server on this machine");
        let _lock = lock::folder(&setup, &steps.interrupt)?;
        if let Some(program) = find(&setup) {
            return Ok(Self { program });
        }
        let fetched = fetch(&setup, steps);
        steps.interrupt.check()?;
        let program = fetched.context(
            "no Redis server can be fetched here: install one (`apt install redis-server`, \
             `dnf install valkey`, `brew install redis`) and run this again. Tried",
        )?;
        Ok(Self { program })
    }

    /// The server's program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A `PATH` on which the server is found as `redis-server`, whatever its name and place.
    pub(crate) fn search_path(&self, steps: &Steps) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        if on_path(NAMES[0]).is_some_and(|found| found == self.program) {
            return Ok(path);
        }
        let folder = steps.scratch().join("bin");
        fs::create_dir(&folder)
            .and_then(|()| symlink(&self.program, folder.join(NAMES[0])))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok(env::join_paths(
            [folder].into_iter().chain(env::split_paths(&path)),
        )?)
    }

    /// What starts it on this port of the loopback address, keeping nothing on disk.
    pub(crate) fn command(&self, port: u16, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--loglevel",
                "warning",
                "--dir",
            ])
            .arg(folder)
            .current_dir(folder);
        command
    }
}

/// A port of the loopback address that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// Whether a Redis answers there.
pub(crate) fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ping = || -> std::io::Result<bool> {
        let limit = Duration::from_millis(500);
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ping().unwrap_or(false)
}

/// The machine's own server, or the one that was fetched before.
fn find(setup: &Path) -> Option<PathBuf> {
    let known = NAMES.iter().filter_map(|name| on_path(name));
    let fetched = setup.join(FOLDER).join("bin").join(NAMES[0]);
    known.chain([fetched]).find(|program| runs(program))
}

/// Whether the program starts at all: a library may be missing.
fn runs(program: &Path) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Gets the distribution's server.
fn fetch(setup: &Path, steps: &Steps) -> Result<PathBuf> {
    let mut problems = Vec::new();
    for name in NAMES {
        let fetched = unpacked::fetch(&setup.join(FOLDER), name, steps);
        steps.interrupt.check()?;
        let folder = match fetched {
            Ok(folder) => folder,
            Err(error) => {
                problems.push(format!("{error:#}"));
                continue;
            }
        };
        let program = folder.join(NAMES[0]);
        if name != NAMES[0] {
            symlink(name, &program)?;
        }
        if runs(&program) {
            return Ok(program);
        }
        problems.push(format!("{name} of Debian does not start here"));
    }
    bail!(problems.join("; "))
}
