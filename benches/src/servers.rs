//! Programs that run beside a measurement, each on a free port, gone when they are dropped.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often it is looked whether one is where it is to be.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long one may take to end when it is asked to.
const END: Duration = Duration::from_secs(2);

/// How long one may take to listen.
const START: Duration = Duration::from_secs(60);

/// The unit in which Linux tells processor time (proc_pid_stat(5)), the same on all machines that we build for.
const TICKS_PER_S: f64 = 100.0;

/// A running program.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Server {
    /// Starts `command`, which is to listen on `port`; its output goes to a file in `folder`.
    pub(crate) fn start(
        name: &str,
        mut command: Command,
        port: u16,
        folder: &Path,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}: see {}", log.display());
            }
            if started.elapsed() > START {
                bail!("{name} does not listen: see {}", log.display());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(server)
    }

    /// A Redis that keeps nothing on disk.
    pub(crate) fn redis(folder: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder);
        Self::start("redis", command, port, folder)
    }

    /// Its process and all that it has started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(id) = found.get(next) {
            let file = format!("/proc/{id}/task/{id}/children");
            let children = std::fs::read_to_string(file).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
            next += 1;
        }
        found
    }

    /// Seconds of a processor that it has had, with all that it has started.
    pub(crate) fn processor_time(&self) -> f64 {
        let ticks = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The name, in brackets, may hold anything; of the fields after it, two are the time in the
            // program and the time in the kernel for it.
            let (_, fields) = stat.rsplit_once(')')?;
            let mut fields = fields.split_whitespace().skip(11);
            let mut next = || fields.next()?.parse::<f64>().ok();
            Some(next()? + next()?)
        };
        self.processes().iter().filter_map(ticks).sum::<f64>() / TICKS_PER_S
    }

    /// The memory that it has now (`VmRSS`), with all that it has started.
    pub(crate) fn memory(&self) -> u64 {
        let resident = |id: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        1024 * self.processes().iter().filter_map(resident).sum::<u64>()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Server {
    /// Ends it.
    pub(crate) fn end(&mut self) {
        // Asked first, since nginx leaves its workers behind when it is killed.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < END {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of the loopback address that nothing listens on.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
