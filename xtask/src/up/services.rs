//! The programs that `up` keeps running: started in order, watched, and ended in reverse order.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::task::{self, Task, say};

/// What every program says on stdout when it can be used, before its address.
const LISTENING: &str = "listening on http://";

/// A program on this machine says within this time that it listens, or something is wrong.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a program said last is shown within this time after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The last one started may need a while for an orderly end; all together stay under 5 s.
const GRACE: [Duration; 2] = [Duration::from_secs(3), Duration::from_millis(500)];

/// The running programs.
pub(super) struct Services<'a> {
    task: &'a Task,
    running: Vec<Service>,
}

struct Service {
    name: &'static str,
    child: Child,
}

impl<'a> Services<'a> {
    /// None yet.
    pub(super) const fn new(task: &'a Task) -> Self {
        let running = Vec::new();
        Self { task, running }
    }

    /// Starts a program, its output shown behind its name, and waits until `is_ready` has an answer; it
    /// is given the address that the program said it listens on.
    pub(super) fn start<T>(
        &mut self,
        name: &'static str,
        mut command: Command,
        is_ready: impl Fn(Option<SocketAddr>) -> Option<T>,
    ) -> Result<T> {
        say(&format!("starting {name}"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.task.spawn(&mut command)?;
        let address = Arc::new(OnceLock::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        self.running.push(Service { name, child });
        let listening = Arc::clone(&address);
        stdout.map(|pipe| thread::spawn(move || follow(name, pipe, Some(&listening))));
        stderr.map(|pipe| thread::spawn(move || follow(name, pipe, None)));
        let started = Instant::now();
        loop {
            if let Some(found) = is_ready(address.get().copied()) {
                return Ok(found);
            }
            if let Some((name, status)) = self.ended()? {
                bail!("{name} ended with {status}: see above");
            }
            let limit = START_LIMIT.as_secs();
            ensure!(
                started.elapsed() < START_LIMIT,
                "{name} does not listen after {limit} s"
            );
            self.pause();
        }
    }

    /// Waits a moment; ends everything if this program was asked to end.
    pub(super) fn pause(&mut self) {
        if self.task.interrupted() {
            self.end();
        }
        self.task.pause();
    }

    /// A program that ended, if one did, and how.
    pub(super) fn ended(&mut self) -> Result<Option<(&'static str, ExitStatus)>> {
        for Service { name, child } in &mut self.running {
            if let Some(status) = child.try_wait()? {
                thread::sleep(LAST_WORDS);
                return Ok(Some((name, status)));
            }
        }
        Ok(None)
    }

    /// Ends all that run: those first that use the others.
    pub(super) fn end(&mut self) {
        let [mut grace, next] = GRACE;
        while let Some(mut service) = self.running.pop() {
            task::end(&mut service.child, grace);
            grace = next;
        }
    }
}

impl Drop for Services<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Shows a program's lines behind its name, and keeps the address that it says it listens on.
fn follow(name: &str, output: impl Read, listening: Option<&OnceLock<SocketAddr>>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        eprintln!("{name:>9} | {line}");
        let address = line
            .split_once(LISTENING)
            .map(|(_, address)| address.parse());
        if let (Some(listening), Some(Ok(address))) = (listening, address) {
            // What it says later is of something else.
            let _ = listening.set(address);
        }
    }
}
