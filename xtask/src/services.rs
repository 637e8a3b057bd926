//! The programs that `up` keeps running: started in order, watched, and ended in reverse order.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::process::{self, Steps};

/// What every program says on stdout when it can be used, before its address.
const LISTENING: &str = "listening on http://";

/// The last one started may need a while for an orderly end; all together stay under 5 s.
const GRACE: [Duration; 2] = [Duration::from_secs(3), Duration::from_millis(500)];

/// The running programs.
pub(crate) struct Services<'a> {
    running: Vec<Service>,
    steps: &'a Steps,
}

struct Service {
    name: &'static str,
    child: Child,
    said: Arc<Mutex<Said>>,
}

/// What is kept of a program's output.
#[derive(Default)]
struct Said {
    last: String,
    listening: Option<SocketAddr>,
}

/// A program that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Which.
    pub(crate) name: &'static str,
    /// How.
    pub(crate) status: ExitStatus,
    last: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ended with {}", self.name, self.status)?;
        if !self.last.is_empty() {
            write!(f, "; it said last: {}", self.last)?;
        }
        Ok(())
    }
}

impl<'a> Services<'a> {
    /// None yet.
    pub(crate) fn new(steps: &'a Steps) -> Self {
        Self {
            running: Vec::new(),
            steps,
        }
    }

    /// Starts a program, its output shown behind its name.
    pub(crate) fn start(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.steps.spawn(command)?;
        let said = Arc::new(Mutex::new(Said::default()));
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<_>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<_>),
        ];
        for output in outputs.into_iter().flatten() {
            let said = Arc::clone(&said);
            thread::spawn(move || follow(name, output, &said));
        }
        self.running.push(Service { name, child, said });
        Ok(())
    }

    /// The address that the program said it listens on, when it has.
    pub(crate) fn listening(&self, name: &str) -> Option<SocketAddr> {
        let service = self.running.iter().find(|service| service.name == name)?;
        lock(&service.said).listening
    }

    /// A program that ended, if one did.
    pub(crate) fn ended(&mut self) -> Result<Option<Ended>> {
        for service in &mut self.running {
            if let Some(status) = service.child.try_wait()? {
                // What it said last is still in its pipe, perhaps; its readers end with it.
                thread::sleep(process::POLL);
                let last = lock(&service.said).last.clone();
                return Ok(Some(Ended {
                    name: service.name,
                    status,
                    last,
                }));
            }
        }
        Ok(None)
    }

    /// Ends all that run: those first that use the others.
    pub(crate) fn end(&mut self) {
        let graces = GRACE.into_iter().chain(std::iter::repeat(GRACE[1]));
        for (mut service, grace) in self.running.drain(..).rev().zip(graces) {
            process::end(&mut service.child, grace);
            self.steps.ended(&service.child);
        }
    }
}

impl Drop for Services<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Shows a program's lines behind its name, and keeps what is of use.
fn follow(name: &str, output: impl Read, said: &Mutex<Said>) {
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        eprintln!("{name:>9} | {line}");
        let mut said = lock(said);
        line.clone_into(&mut said.last);
        if let Some((_, address)) = line.split_once(LISTENING) {
            said.listening = said.listening.or_else(|| address.parse().ok());
        }
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    // Lines stay lines, whatever a thread died of.
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
