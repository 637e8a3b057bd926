//! The process group of everything that a task starts. A shell leads it and reads a pipe that only the
//! task holds: however the task ends, the pipe closes, and the shell ends the group.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// Outlives the task only if that is killed; gives the programs two seconds to end by themselves, then
/// kills them and itself, and removes the folder.
const SCRIPT: &str =
    r#"trap '' HUP INT TERM; read _; kill -TERM 0; sleep 2; rm -rf "$0"; kill -KILL 0"#;

/// The group; dropped, all in it are killed.
pub(crate) struct Guard(Child);

impl Guard {
    /// Begins a group of which no process outlasts this one, nor the folder.
    pub(crate) fn begin(scratch: &Path) -> io::Result<Self> {
        Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// Has `command` start in the group.
    pub(crate) fn enclose(&self, command: &mut Command) {
        command.process_group(Pid::from_child(&self.0).as_raw_nonzero().get());
    }

    /// Sends a signal to all in the group. The shell itself heeds none but KILL.
    pub(crate) fn signal(&self, signal: Signal) {
        // It fails only when nobody is left.
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // It was killed: this cannot last.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    /// A program of the group with a child of its own, and that child's id.
    fn family(guard: &Guard, folder: &Path) -> (Child, u32) {
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"sleep 600 & echo $! > "$0/new"; mv "$0/new" "$0/id"; wait"#,
            ])
            .arg(folder);
        guard.enclose(&mut command);
        let parent = command.spawn().unwrap();
        let file = folder.join("id");
        until(|| file.exists());
        let id = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        (parent, id)
    }

    fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "not in time");
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process is gone, or a zombie that nobody has waited for.
    fn is_over(id: u32) -> bool {
        fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| {
            stat.rsplit(')').next().unwrap().starts_with(" Z")
        })
    }

    #[test]
    fn nothing_outlasts_a_task_that_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = Guard::begin(folder.path()).unwrap();
        let (mut parent, child) = family(&guard, folder.path());
        // What the system does when the task is killed.
        drop(guard.0.stdin.take());
        until(|| is_over(child));
        until(|| !folder.path().exists());
        assert!(!parent.wait().unwrap().success());
    }

    #[test]
    fn nothing_outlasts_a_task_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let guard = Guard::begin(folder.path()).unwrap();
        let (mut parent, child) = family(&guard, folder.path());
        drop(guard);
        until(|| is_over(child));
        assert!(!parent.wait().unwrap().success());
    }
}
