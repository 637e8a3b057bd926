//! Ends what a task started, should the task itself be killed: a process of its own that reads, from
//! a pipe that only the task holds, what is running. When the pipe closes, what is left is ended.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::process::{POLL, group, is_alive, signal};

/// How long the processes have to end by themselves.
const GRACE: Duration = Duration::from_secs(4);

/// The guard, as the task sees it.
pub(crate) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Starts it, out of the reach of the terminal's Ctrl-C.
    pub(crate) fn start() -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the guard")?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// The process group that this child leads is to be ended.
    pub(crate) fn watch(&mut self, child: u32) {
        self.tell(&format!("watch {child}"));
    }

    /// The child ended.
    pub(crate) fn forget(&mut self, child: u32) {
        self.tell(&format!("forget {child}"));
    }

    /// The folder is to be removed.
    pub(crate) fn remove(&mut self, folder: &Path) {
        self.tell(&format!("remove {}", folder.display()));
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // Without a guard things go on: it matters only if this process is killed as well.
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pipe = None;
        // It has nothing left to do, and ends.
        let _ = self.process.wait();
    }
}

/// The guard itself: listens until the pipe closes, then ends what is left.
///
/// # Errors
/// The pipe cannot be read.
pub(crate) fn run(pipe: impl BufRead) -> Result<()> {
    let mut watched = BTreeSet::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for line in pipe.lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("watch", id)) => drop(watched.insert(id.parse()?)),
            Some(("forget", id)) => drop(watched.remove(&id.parse()?)),
            Some(("remove", folder)) => folders.push(folder.into()),
            _ => anyhow::bail!("the guard does not know `{line}`"),
        }
    }
    end_all(&watched);
    for folder in folders {
        // After an orderly end it is gone already.
        let _ = fs::remove_dir_all(folder);
    }
    Ok(())
}

fn end_all(watched: &BTreeSet<u32>) {
    let groups = || watched.iter().map(|&id| group(id));
    groups().for_each(|id| signal(id, Signal::TERM));
    let deadline = Instant::now() + GRACE;
    while groups().any(is_alive) && Instant::now() < deadline {
        sleep(POLL);
    }
    groups().for_each(|id| signal(id, Signal::KILL));
}
