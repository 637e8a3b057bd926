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
    r#"trap '' HUP INT QUIT TERM; read _; kill -TERM 0; sleep 2; rm -rf "$0"; kill -KILL 0"#;

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
    use std::io::read_to_string;
    use std::time::{Duration, Instant};

    use super::*;

    /// A program and its child. The pipe ends when both have ended.
    fn family(guard: &Guard) -> Child {
        let mut command = Command::new("sh");
        command
            .args(["-c", "sleep 60 & wait"])
            .stdout(Stdio::piped());
        guard.enclose(&mut command);
        command.spawn().unwrap()
    }

    #[test]
    fn nothing_outlasts_a_task() {
        let started = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let mut killed = Guard::begin(folder.path()).unwrap();
        let mut orphan = family(&killed);
        // What the system does when the task is killed.
        drop(killed.0.stdin.take());
        read_to_string(orphan.stdout.take().unwrap()).unwrap();
        assert!(!orphan.wait().unwrap().success());
        killed.0.wait().unwrap();
        assert!(!folder.path().exists());
        let ended = Guard::begin(folder.path()).unwrap();
        let mut child = family(&ended);
        drop(ended);
        read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
