//! Programs that run to their end: each in a process group of its own, so that it can be ended with
//! all that it started, and bounded in time.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;

use crate::guard::Guard;
use crate::interrupt::Interrupt;
use crate::progress::Step;
use crate::workspace::Workspace;

/// How often a waiting loop looks.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// How many of a failed step's last lines are shown.
const TAIL_LINES: usize = 15;

/// Runs programs, and sees to it that neither they nor their files outlast this one.
pub(crate) struct Steps {
    /// Ends the program that is running.
    pub(crate) interrupt: Interrupt,
    /// Removed before the guard has nothing left to do.
    scratch: TempDir,
    guard: RefCell<Guard>,
}

/// A step whose program failed.
#[derive(Debug)]
pub(crate) struct Failed {
    line: String,
    output: String,
}

impl Steps {
    /// With a scratch folder beside what setup keeps, so that things can be renamed into place.
    pub(crate) fn new(workspace: &Workspace, interrupt: Interrupt) -> Result<Self> {
        let folder = workspace.setup();
        let scratch = fs::create_dir_all(&folder)
            .and_then(|()| tempfile::Builder::new().prefix("tmp-").tempdir_in(&folder))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        let mut guard = Guard::start()?;
        guard.remove(scratch.path());
        Ok(Self {
            interrupt,
            scratch,
            guard: RefCell::new(guard),
        })
    }

    /// A folder for files of this run, private to this user, removed at the end whatever happens.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts a program that the guard knows of.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let child = spawn(command)?;
        self.guard.borrow_mut().watch(child.id());
        Ok(child)
    }

    /// Tells the guard that the program has ended, with all that it started.
    pub(crate) fn ended(&self, child: &Child) {
        self.guard.borrow_mut().forget(child.id());
    }

    /// Runs `command` and shows only `label` and the time.
    ///
    /// # Errors
    /// It cannot be started, fails (with [`Failed`]), outlasts `limit`, or a signal came.
    pub(crate) fn quietly(
        &self,
        label: &str,
        command: &mut Command,
        limit: Duration,
    ) -> Result<()> {
        let (status, output) = self.captured(label, command, limit)?;
        if status.success() {
            Ok(())
        } else {
            Err(Failed::new(label, status, output).into())
        }
    }

    /// Runs `command`, shows only `label` and the time, and gives how it ended and what it said.
    ///
    /// # Errors
    /// It cannot be started, outlasts `limit`, or a signal came.
    pub(crate) fn captured(
        &self,
        label: &str,
        command: &mut Command,
        limit: Duration,
    ) -> Result<(ExitStatus, String)> {
        let path = self.scratch().join("step.log");
        let log =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        command.stdout(log.try_clone()?).stderr(log);
        let mut step = Step::start(label);
        match self.run(command, Some(limit), || step.tick()) {
            Ok(status) => {
                step.end(if status.success() { "done" } else { "failed" });
                let output = fs::read(&path).unwrap_or_default();
                Ok((status, String::from_utf8_lossy(&output).into_owned()))
            }
            Err(error) => {
                step.end("stopped");
                Err(error.context(label.to_owned()))
            }
        }
    }

    /// Runs `command` with its output shown as it comes.
    ///
    /// # Errors
    /// It cannot be started, or a signal came.
    pub(crate) fn visibly(&self, command: &mut Command) -> Result<ExitStatus> {
        self.run(command, None, || ())
    }

    fn run(
        &self,
        command: &mut Command,
        limit: Option<Duration>,
        tick: impl FnMut(),
    ) -> Result<ExitStatus> {
        self.interrupt.check()?;
        let mut child = self.spawn(command)?;
        let ended = wait(&mut child, &self.interrupt, limit, tick);
        self.ended(&child);
        ended
    }
}

impl Failed {
    fn new(label: &str, status: ExitStatus, output: String) -> Self {
        let status = status.to_string();
        let line = format!("{label}: {}", main_line(&output).unwrap_or(&status));
        Self { line, output }
    }

    /// That of which `line` says what went wrong.
    pub(crate) fn with_line(line: String, output: String) -> Self {
        Self { line, output }
    }

    /// What the program said last.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &str> {
        tail(&self.output)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for Failed {}

/// Starts `command`, without input, as the leader of a process group of its own.
fn spawn(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run `{}`", command.get_program().to_string_lossy()))
}

/// Waits for the child's end, or brings it about.
fn wait(
    child: &mut Child,
    interrupt: &Interrupt,
    limit: Option<Duration>,
    mut tick: impl FnMut(),
) -> Result<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let late = limit.is_some_and(|limit| started.elapsed() > limit);
        if late || interrupt.requested() {
            end(child, Duration::from_secs(2));
            interrupt.check()?;
            bail!("stopped after {} s", started.elapsed().as_secs());
        }
        tick();
        sleep(POLL);
    }
}

/// Asks the child's whole process group to end, and makes it end after `grace`.
pub(crate) fn end(child: &mut Child, grace: Duration) {
    let group = group(child.id());
    signal(group, Signal::TERM);
    let deadline = Instant::now() + grace;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        sleep(POLL);
    }
    // What the child left behind, or the child itself.
    signal(group, Signal::KILL);
    // It was killed: this cannot last.
    let _ = child.wait();
}

/// The process group that a child started with `process_group(0)` leads.
pub(crate) fn group(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Sends a signal to all of a group; one that is gone already is as good as ended.
pub(crate) fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

/// Whether any process of the group is left.
pub(crate) fn is_alive(group: Option<Pid>) -> bool {
    group.is_some_and(|group| test_kill_process_group(group).is_ok())
}

fn tail(output: &str) -> impl Iterator<Item = &str> {
    let skipped = output.lines().count().saturating_sub(TAIL_LINES);
    output.lines().skip(skipped)
}

/// The line that says what went wrong: the first that is marked as an error, or the last.
fn main_line(output: &str) -> Option<&str> {
    let marked = |line: &&str| ["error: ", "E: "].iter().any(|mark| line.starts_with(mark));
    let mut lines = output.lines().filter(|line| !line.trim().is_empty());
    lines.clone().find(marked).or_else(|| lines.next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_ends_with_its_own_status() {
        let mut child = spawn(&mut shell("exit 7")).unwrap();
        let status = wait(&mut child, &Interrupt::never(), None, || ()).unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_program_that_outlasts_its_limit_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > '{}'; wait", file.display());
        let limit = Some(Duration::from_millis(500));
        let mut child = spawn(&mut shell(&script)).unwrap();
        let error = wait(&mut child, &Interrupt::never(), limit, || ()).unwrap_err();
        assert!(error.to_string().contains("stopped after"), "{error}");
        let grandchild: u32 = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_running(grandchild) {
            assert!(Instant::now() < deadline, "{grandchild} still runs");
            sleep(POLL);
        }
    }

    /// Whether the process exists and is no zombie.
    fn is_running(id: u32) -> bool {
        fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
            !stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .starts_with(" Z")
        })
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = spawn(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot run `no-such-program`");
    }

    #[test]
    fn only_the_last_lines_of_a_log_are_shown() {
        let log: String = (0..40).map(|line| format!("line {line}\n")).collect();
        let shown: Vec<&str> = tail(&log).collect();
        assert_eq!(
            (shown.len(), shown[0], shown[14]),
            (15, "line 25", "line 39")
        );
        assert_eq!(tail("one").collect::<Vec<_>>(), ["one"]);
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
