//! What every task works with: the folders, and programs that never outlast it.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;
use xshell::{Cmd, Shell, cmd};

use crate::guard::Guard;

/// How often a waiting loop looks.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// How long programs may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(4);

/// The task that was asked for.
pub(crate) struct Task {
    /// Builds commands; it is in the repository's root.
    pub(crate) sh: Shell,
    /// The cargo that runs this program, so that everything is built by one toolchain.
    pub(crate) cargo: OsString,
    pub(crate) root: PathBuf,
    /// Where cargo puts the programs that it builds.
    pub(crate) programs: PathBuf,
    pub(crate) target: PathBuf,
    /// For what setup fetches and keeps; `cargo clean` removes it.
    pub(crate) setup: PathBuf,
    /// For files of this run, private to this user, removed at the end whatever happens.
    pub(crate) scratch: PathBuf,
    // Dropped, and with it everything ended, before the folder is removed.
    guard: Guard,
    _scratch: TempDir,
    interrupted: Arc<AtomicBool>,
}

impl Task {
    /// Notices SIGINT, SIGTERM, SIGHUP and SIGQUIT from now on. A second one ends this program at once. What is started
    /// does not find them ignored then, as a shell has two of them for what it runs in the background.
    pub(crate) fn begin() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
            flag::register(signal, Arc::clone(&interrupted))?;
        }
        let sh = Shell::new()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
        sh.change_dir(&root);
        // Cargo has built this program where it builds the others.
        let programs = env::current_exe()?.with_file_name("");
        let target = programs.join("..").canonicalize()?;
        // Beside what setup keeps, so that things can be renamed into place.
        let setup = sh.create_dir(target.join("setup"))?;
        let scratch = tempfile::Builder::new().prefix("tmp-").tempdir_in(&setup);
        let scratch = scratch.with_context(|| format!("cannot write to {}", setup.display()))?;
        Ok(Self {
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            guard: Guard::begin(scratch.path()).context("cannot run `sh`")?,
            sh,
            root,
            programs,
            target,
            setup,
            scratch: scratch.path().to_owned(),
            _scratch: scratch,
            interrupted,
        })
    }

    /// Cargo with this subcommand, in the release profile, which all that is native shares.
    pub(crate) fn cargo(&self, subcommand: &str) -> Cmd<'_> {
        self.cargo_for("release", subcommand)
    }

    /// Cargo with this subcommand, in another profile.
    pub(crate) fn cargo_for(&self, profile: &str, subcommand: &str) -> Cmd<'_> {
        let cargo = &self.cargo;
        let command = cmd!(self.sh, "{cargo} {subcommand} --profile {profile} --locked");
        // What cargo has told this program of its own package. `ring` is compiled anew where that changes, and
        // with it much else: so it would be by every `cargo test` after `cargo xtask test`.
        env::vars_os()
            .map(|(name, _)| name)
            .filter(|name| {
                let name = name.as_encoded_bytes();
                name.starts_with(b"CARGO_PKG_") || name.starts_with(b"CARGO_MANIFEST_")
            })
            .fold(command, Cmd::env_remove)
    }

    /// Says what is done, and runs the program that does it, its output shown as it comes.
    pub(crate) fn run(&self, what: &str, command: impl Into<Command>) -> Result<()> {
        self.run_within(Duration::MAX, what, command)
    }

    /// As [`Task::run`], for no longer than `limit`.
    pub(crate) fn run_within(
        &self,
        limit: Duration,
        what: &str,
        command: impl Into<Command>,
    ) -> Result<()> {
        say(what);
        let mut child = self.spawn(&mut command.into())?;
        let started = Instant::now();
        while child.try_wait()?.is_none() {
            if self.interrupted() {
                self.guard.signal(Signal::TERM);
                wait_for(&mut child, GRACE);
            }
            if started.elapsed() > limit {
                end(&mut child, GRACE);
                bail!("{what}: stopped after {} s", limit.as_secs());
            }
            self.pause();
        }
        let status = child.wait()?;
        ensure!(status.success(), "{what}: it failed, see above ({status})");
        Ok(())
    }

    /// Starts a program without input; it ends with this one at the latest.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.guard.enclose(command);
        let spawned = command.stdin(Stdio::null()).spawn();
        spawned.with_context(|| format!("cannot run `{}`", command.get_program().display()))
    }

    /// Whether a signal asked this program to end.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Waits a moment; ends this program, with all that it started, if it was asked to end.
    pub(crate) fn pause(&self) {
        sleep(POLL);
        if self.interrupted() {
            self.guard.signal(Signal::KILL);
            let _ = fs::remove_dir_all(&self.scratch);
            say("interrupted");
            process::exit(130);
        }
    }

    /// Locks a folder, by itself, so that no file is left and a process that dies lets go; waits while
    /// another process has it.
    pub(crate) fn lock(&self, folder: &Path) -> Result<File> {
        let problem = || format!("cannot lock {}", folder.display());
        let file = File::open(folder).with_context(problem)?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        say(&format!(
            "waiting for another set-up in {}",
            folder.display()
        ));
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => self.pause(),
                locked => return locked.map(|()| file).with_context(problem),
            }
        }
    }
}

/// Says one line, on stderr: stdout is for what `up` hands over.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Asks a program to end, and makes it end after `grace`.
pub(crate) fn end(child: &mut Child, grace: Duration) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    wait_for(child, grace);
    // Both do nothing if it has ended.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits for the program's end, but not longer than that.
fn wait_for(child: &mut Child, limit: Duration) {
    let started = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && started.elapsed() < limit {
        sleep(POLL);
    }
}

/// The first file of this name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    let mut files = env::split_paths(&folders).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_in_time_or_is_ended() {
        let task = Task::begin().unwrap();
        let run = |script: &str| {
            let limit = Duration::from_secs(1);
            task.run_within(limit, "a test", cmd!(task.sh, "sh -c {script}"))
        };
        run("exit 0").unwrap();
        let error = run("exit 7").unwrap_err().to_string();
        assert_eq!(error, "a test: it failed, see above (exit status: 7)");
        let error = run("sleep 600").unwrap_err().to_string();
        assert_eq!(error, "a test: stopped after 1 s");
        let error = task
            .run("a test", Command::new("no-such-program"))
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot run `no-such-program`");
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let task = Task::begin().unwrap();
        let first = task.lock(folder.path()).unwrap();
        let second = File::open(folder.path()).unwrap();
        assert!(matches!(second.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        second.try_lock().unwrap();
    }
}
