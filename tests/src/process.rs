//! A process under test: started, watched, and gone when the test is.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio, exit};
use std::sync::Once;
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

pub use tempfile::TempDir;

/// How long a program may take to be ready, on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where Debian has programs for administrators, whose folder may not be on `PATH`.
const ADMINISTRATORS: &str = "/usr/sbin";

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The path of a program that `cargo xtask test` has built. Ends the whole run of tests, in one line, when
/// they were not started by that.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    place("EMPLOYEE_INCIDENTS_BIN_DIR").join(name)
}

/// The path of the application's `spin.toml`; ends the whole run of tests as [`program`] does.
#[must_use]
pub fn manifest() -> PathBuf {
    place("EMPLOYEE_INCIDENTS_SPIN_MANIFEST")
}

fn place(variable: &str) -> PathBuf {
    // Many tests ask at once; one answers for all.
    static TOLD: Once = Once::new();
    if let Some(place) = env::var_os(variable) {
        return place.into();
    }
    TOLD.call_once(|| {
        // Not by `eprintln`, which the tests' harness would keep.
        let line =
            b"error: these tests need programs, a component and a Redis: run `cargo xtask test`\n";
        let _ = io::stderr().write_all(line);
        exit(1);
    });
    unreachable!("the process has ended")
}

/// A program that is not part of the service, where it is on this machine. Where it is not, says aloud that
/// what `untested` says is not tested.
#[must_use]
pub fn optional(name: &str, untested: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([ADMINISTRATORS.into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        // Not through `eprintln`, which the test harness would keep to itself.
        let told =
            format!("\n*** SKIPPED: no {name} on this machine: {untested} NOT tested ***\n\n");
        let _ = io::stderr().write_all(told.as_bytes());
    }
    found
}

/// `command` as a program that can be limited by [`Process::limit_files`]: what it writes beyond is an
/// error to it, not its end.
#[must_use]
pub fn on_a_small_disk(command: &Command) -> Command {
    with_ignored("XFSZ", command)
}

/// `command` as a program that is started with a signal ignored, as `nohup` does with `HUP`.
#[must_use]
pub fn with_ignored(signal: &str, command: &Command) -> Command {
    let command = command.as_std();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("trap '' {signal}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

/// Asks `probe` again and again until it answers.
///
/// # Panics
/// When it has not answered `within` that time.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
    }
}

/// A running program. Dropped, it is killed; if the test failed, its log is shown.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Option<ChildStdout>,
    folder: TempDir,
}

impl Process {
    /// Starts `command`, which inherits nothing of the environment but `PATH` and `command`'s own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        // Before anything is started that would outlast the end of the tests.
        let _ = manifest();
        let program = Path::new(command.as_std().get_program()).to_owned();
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folder = TempDir::new().expect("a temporary folder");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self {
            name,
            stdout: child.stdout.take(),
            child,
            folder,
        }
    }

    /// Waits for the line `listening on http://ADDRESS` and gives what follows `listening on `.
    ///
    /// # Panics
    /// When the program ends without it, or takes too long.
    pub async fn ready(&mut self) -> String {
        let stdout = self.stdout.take().expect("ready is only waited for once");
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(READY_WITHIN, lines.next_line())
            .await
            .unwrap_or_else(|_| panic!("{} is not ready: {}", self.name, self.log()))
            .expect("its output is text")
            .unwrap_or_else(|| panic!("{} ended: {}", self.name, self.log()));
        // Whatever else it prints must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        line.strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("{} printed `{line}`", self.name))
            .to_owned()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder.path().join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// How often its log says `text`.
    #[must_use]
    pub fn logged(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }

    /// Its process id; none once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.log()));
        kill_process(pid, signal).expect("the process is ours");
    }

    /// What Linux says of its memory under this name (`VmRSS` now, `VmHWM` at most so far; see proc(5)), in
    /// bytes; none once it has ended.
    #[must_use]
    pub fn memory(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line?.trim_matches([':', '\t', ' ']).strip_suffix(" kB")?;
        Some(kib.trim().parse::<u64>().ok()? << 10)
    }

    /// From now on, no file that it writes may grow beyond `bytes`, as on a full disk; without, any may
    /// again. It must have been started with [`on_a_small_disk`].
    ///
    /// # Panics
    /// When it has ended already.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = self.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limit).expect("the process is ours");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it still runs after `within`.
    pub async fn exit(&mut self, within: Duration) -> ExitStatus {
        timeout(within, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} still runs after {within:?}: {}", self.name, self.log()))
            .expect("a child can be waited for")
    }

    /// Ends it at once, as a power failure would, and waits until it is gone.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a child can be killed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            let tail = String::from_utf8_lossy(&log.as_bytes()[from..]).into_owned();
            eprintln!("--- the end of the log of {} ---\n{tail}", self.name);
        }
    }
}
