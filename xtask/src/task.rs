//! What every task works with: the folders, and programs that are bounded in time and never outlast it.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;
use xshell::{Cmd, Shell, cmd};

use crate::guard::Guard;

/// How often a waiting loop looks.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// How long programs may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(4);

/// How often a step whose output is not shown says that it goes on.
const TICK: Duration = Duration::from_secs(15);

/// How many of a failed step's last lines are shown.
const TAIL_LINES: usize = 15;

/// The task that was asked for.
pub(crate) struct Task {
    /// Builds commands; it is in the repository's root.
    pub(crate) sh: Shell,
    /// The cargo that runs this program, so that everything is built by one toolchain.
    pub(crate) cargo: OsString,
    /// The repository.
    pub(crate) root: PathBuf,
    /// Where cargo puts the programs that it builds.
    pub(crate) programs: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    // Dropped, and with it everything ended, before the folder is removed.
    guard: Guard,
    scratch: TempDir,
    interrupted: Arc<AtomicBool>,
}

/// A program that failed, its output not shown yet.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What went wrong.
    pub(crate) line: String,
    /// All that it said.
    pub(crate) output: String,
}

impl Task {
    /// Notices SIGINT, SIGTERM and SIGHUP from now on. A second one ends this program at once.
    pub(crate) fn begin() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
            flag::register(signal, Arc::clone(&interrupted))?;
        }
        let sh = Shell::new()?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()?;
        sh.change_dir(&root);
        // Cargo has built this program where it builds the others.
        let programs = env::current_exe()?.with_file_name("");
        let target = programs.join("..").canonicalize()?;
        // Beside what setup keeps, so that things can be renamed into place.
        let setup = sh.create_dir(target.join("setup"))?;
        let scratch = tempfile::Builder::new()
            .prefix("tmp-")
            .tempdir_in(&setup)
            .with_context(|| format!("cannot write to {}", setup.display()))?;
        Ok(Self {
            cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            guard: Guard::begin(scratch.path()).context("cannot run `sh`")?,
            sh,
            root,
            programs,
            target,
            scratch,
            interrupted,
        })
    }

    /// A folder for what setup fetches and keeps; `cargo clean` removes it.
    pub(crate) fn setup(&self) -> PathBuf {
        self.target.join("setup")
    }

    /// A folder for files of this run, private to this user, removed at the end whatever happens.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The application's manifest.
    pub(crate) fn spin_manifest(&self) -> PathBuf {
        self.root.join("spin.toml")
    }

    /// Cargo with this subcommand, for the release profile, which all that is native shares.
    pub(crate) fn cargo(&self, subcommand: &str) -> Cmd<'_> {
        let cargo = &self.cargo;
        cmd!(self.sh, "{cargo} {subcommand} --release --locked")
    }

    /// Starts a program without input; it ends with this one at the latest.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.guard.enclose(command);
        let spawned = command.stdin(Stdio::null()).spawn();
        spawned.with_context(|| format!("cannot run `{}`", command.get_program().display()))
    }

    /// Runs a program, its output shown as it comes; `problem` is said when it fails.
    pub(crate) fn show(&self, command: impl Into<Command>, problem: &str) -> Result<()> {
        let mut child = self.spawn(&mut command.into())?;
        let status = self.wait(&mut child, None, |_| ())?;
        ensure!(status.success(), "{problem}: see above");
        Ok(())
    }

    /// Runs a program of which only `label` and the time are shown, for no longer than `limit`.
    pub(crate) fn quiet(
        &self,
        label: &str,
        command: impl Into<Command>,
        limit: Duration,
    ) -> Result<()> {
        let (status, output) = self.capture(label, command, limit)?;
        if status.success() {
            return Ok(());
        }
        let status = status.to_string();
        let line = format!("{label}: {}", main_line(&output).unwrap_or(&status));
        Err(Failed { line, output }.into())
    }

    /// As [`Task::quiet`], but gives how it ended and what it said.
    pub(crate) fn capture(
        &self,
        label: &str,
        command: impl Into<Command>,
        limit: Duration,
    ) -> Result<(ExitStatus, String)> {
        let path = self.scratch().join("step.log");
        let log = File::create(&path)?;
        let mut command = command.into();
        command.stdout(log.try_clone()?).stderr(log);
        say(&format!("{label} …"));
        let started = Instant::now();
        let mut next = TICK;
        let mut child = self.spawn(&mut command)?;
        let tick = |elapsed: Duration| {
            if elapsed > next {
                say(&format!("{label} … {} s", elapsed.as_secs()));
                next += TICK;
            }
        };
        let status = self
            .wait(&mut child, Some(limit), tick)
            .with_context(|| label.to_owned())?;
        let outcome = if status.success() { "done" } else { "failed" };
        say(&format!(
            "{label}: {outcome}, {} s",
            started.elapsed().as_secs()
        ));
        let output = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        Ok((status, output))
    }

    /// Waits for the program's end, or brings it about.
    fn wait(
        &self,
        child: &mut Child,
        limit: Option<Duration>,
        mut tick: impl FnMut(Duration),
    ) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if self.interrupted() {
                self.guard.signal(Signal::TERM);
                let _ = wait_for(child, GRACE);
            }
            let elapsed = started.elapsed();
            if limit.is_some_and(|limit| elapsed > limit) {
                end(child, GRACE);
                bail!("stopped after {} s", elapsed.as_secs());
            }
            tick(elapsed);
            self.pause();
        }
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
            let _ = fs::remove_dir_all(self.scratch());
            say("interrupted");
            process::exit(130);
        }
    }

    /// Locks a folder, by itself, so that no file is left and a process that dies lets go; waits while
    /// another process has it.
    pub(crate) fn lock(&self, folder: &Path) -> Result<File> {
        let problem = || format!("cannot lock {}", folder.display());
        let file = File::open(folder).with_context(problem)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).with_context(problem),
                Err(TryLockError::WouldBlock) if told => self.pause(),
                Err(TryLockError::WouldBlock) => {
                    say(&format!("another set-up has {}; waiting", folder.display()));
                    told = true;
                }
            }
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failed {}

/// Says one line, on stderr: stdout is for what `up` hands over.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Shows what a program said last.
pub(crate) fn show_tail(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        eprintln!("  | {line}");
    }
}

/// Asks a program to end, and makes it end after `grace`.
pub(crate) fn end(child: &mut Child, grace: Duration) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    if !wait_for(child, grace) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits for the program's end; false if that takes longer.
fn wait_for(child: &mut Child, limit: Duration) -> bool {
    let started = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if started.elapsed() > limit {
            return false;
        }
        sleep(POLL);
    }
    true
}

/// The first file of this name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The line that says what went wrong: the first that is marked as an error, or the last.
fn main_line(output: &str) -> Option<&str> {
    let marked = |line: &&str| line.starts_with("error: ") || line.starts_with("E: ");
    let mut lines = output.lines().filter(|line| !line.trim().is_empty());
    lines.clone().find(marked).or_else(|| lines.next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_ends_in_time_or_is_ended() {
        let task = Task::begin().unwrap();
        let run =
            |script: &str, limit| task.capture("a test", cmd!(task.sh, "sh -c {script}"), limit);
        let (status, output) = run("echo said; exit 7", MINUTE).unwrap();
        assert_eq!((status.code(), output.as_str()), (Some(7), "said\n"));
        let error = run("sleep 600", Duration::from_millis(200)).unwrap_err();
        assert_eq!(format!("{error:#}"), "a test: stopped after 0 s");
        let error = task.show(Command::new("no-such-program"), "?").unwrap_err();
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

    #[test]
    fn of_an_output_the_error_is_told() {
        let rustup = "info: downloading\nerror: no connection\nnote: more\n";
        assert_eq!(main_line(rustup), Some("error: no connection"));
        assert_eq!(
            main_line("Reading…\nE: no such package\n"),
            Some("E: no such package")
        );
        assert_eq!(main_line("one\nthe last\n\n"), Some("the last"));
        assert_eq!(main_line(""), None);
    }
}
