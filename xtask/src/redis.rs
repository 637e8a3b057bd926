//! The Redis server: the machine's own, or one from the distribution's packages, unpacked into the
//! target folder, so that it takes no rights and no service starts behind anyone's back.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::lock;
use crate::process::Steps;
use crate::progress::say;
use crate::workspace::{Workspace, on_path};

/// The programs that will do; the packages of Debian have the same names.
const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// The fetched server's folder, below what setup keeps.
const FOLDER: &str = "redis";

/// Where the distribution's programs look for their libraries, below the unpacked root.
const LIBRARIES: &str = "usr/lib";

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
        let fetched = fetch(&setup.join(FOLDER), steps);
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

/// Unpacks the distribution's server, and puts it into `folder` when it is whole.
fn fetch(folder: &Path, steps: &Steps) -> Result<PathBuf> {
    let apt = Apt::new(steps, &steps.scratch().join("apt"))?;
    apt.update()?;
    let unpacked = steps.scratch().join("unpacked");
    let root = unpacked.join("root");
    let server = fetch_server(&apt, &root, steps)?;
    let script = unpacked.join("bin").join(NAMES[0]);
    fs::create_dir_all(unpacked.join("bin"))?;
    fs::write(&script, launcher(&root, &server)?)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    if !runs(&script) {
        bail!("the server of Debian's package does not start here");
    }
    // An earlier one does not run, or it would have been taken.
    let _ = fs::remove_dir_all(folder);
    fs::rename(&unpacked, folder)?;
    Ok(folder.join("bin").join(NAMES[0]))
}

/// Fetches the first package that there is; answers its program's name.
fn fetch_server(apt: &Apt, root: &Path, steps: &Steps) -> Result<String> {
    let mut problems = Vec::new();
    for name in NAMES {
        let fetched = apt.unpack_with_dependencies(name, root);
        steps.interrupt.check()?;
        match fetched {
            Ok(()) => return Ok(name.to_owned()),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    bail!(problems.join("; "))
}

/// A script that starts the unpacked server with its libraries, wherever the folder is moved to.
fn launcher(root: &Path, server: &str) -> Result<String> {
    let mut folders = vec![LIBRARIES.to_owned()];
    for entry in fs::read_dir(root.join(LIBRARIES)).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("-linux-gnu") || name.contains("-linux-gnueabi") {
            folders.push(format!("{LIBRARIES}/{name}"));
        }
    }
    let libraries: Vec<String> = folders
        .iter()
        .map(|folder| format!("$root/{folder}"))
        .collect();
    Ok(format!(
        "#!/bin/sh\nroot=$(dirname \"$(readlink -f \"$0\")\")/../root\n\
         LD_LIBRARY_PATH=\"{}\" exec \"$root/usr/bin/{server}\" \"$@\"\n",
        libraries.join(":")
    ))
}
