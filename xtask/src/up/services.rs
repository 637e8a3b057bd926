//! The programs that `up` keeps running: started in order, watched, and ended in reverse order.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::task::{self, Task, say};

/// A program on this machine answers within this time, or something is wrong.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The last one started may need a while for an orderly end; all together stay under 5 s.
const GRACE: [Duration; 2] = [Duration::from_secs(3), Duration::from_millis(500)];

/// The running programs.
pub(super) struct Services<'a> {
    pub(super) task: &'a Task,
    pub(super) running: Vec<(&'static str, Child)>,
}

impl Services<'_> {
    /// Starts a program, its log shown. Its address is known already, so what it prints is not.
    pub(super) fn start(&mut self, name: &'static str, command: impl Into<Command>) -> Result<()> {
        say(&format!("starting {name}"));
        let child = self.task.spawn(command.into().stdout(Stdio::null()))?;
        self.running.push((name, child));
        Ok(())
    }

    /// Waits until the program that was started last is ready.
    pub(super) fn until(&mut self, is_ready: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_ready() {
            if let Some((name, status)) = self.ended()? {
                bail!("{name} ended with {status}: see above");
            }
            if started.elapsed() > START_LIMIT {
                bail!("no answer after {} s", START_LIMIT.as_secs());
            }
            if self.task.interrupted() {
                self.end();
            }
            self.task.pause();
        }
        Ok(())
    }

    /// A program that ended, if one did, and how.
    pub(super) fn ended(&mut self) -> Result<Option<(&'static str, ExitStatus)>> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                return Ok(Some((name, status)));
            }
        }
        Ok(None)
    }

    /// Ends all that run: those first that use the others.
    pub(super) fn end(&mut self) {
        let [mut grace, next] = GRACE;
        while let Some((_, mut child)) = self.running.pop() {
            task::end(&mut child, grace);
            grace = next;
        }
    }
}

impl Drop for Services<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
