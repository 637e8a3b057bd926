//! What the person at the terminal sees: a line for each step, with a clock on the long ones.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes longer than this shows that it goes on.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// How often a step says that it goes on, where lines cannot be redrawn.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Says one line, on stderr: stdout is for what `up` hands over.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// A step under way.
pub(crate) struct Step {
    label: String,
    started: Instant,
    terminal: bool,
    next: Duration,
}

impl Step {
    /// Says what begins now; where lines cannot be redrawn, only once it has taken a second.
    pub(crate) fn start(label: &str) -> Self {
        let step = Self {
            label: label.to_owned(),
            started: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
            next: NOTICEABLE,
        };
        if step.terminal {
            step.redraw("…");
        }
        step
    }

    /// To be called often: shows the seconds.
    pub(crate) fn tick(&mut self) {
        let elapsed = self.started.elapsed();
        if elapsed < self.next {
            return;
        }
        let clock = format!("… {} s", elapsed.as_secs());
        if self.terminal {
            self.redraw(&clock);
            self.next += NOTICEABLE;
        } else {
            say(&format!("{} {clock}", self.label));
            self.next += PLAIN_EVERY;
        }
    }

    /// Says how it ended.
    pub(crate) fn end(self, outcome: &str) {
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            self.redraw(&format!("… {outcome}, {seconds} s\n"));
        } else {
            say(&format!("{} … {outcome}, {seconds} s", self.label));
        }
    }

    fn redraw(&self, rest: &str) {
        let mut terminal = std::io::stderr().lock();
        // Progress that cannot be shown must not stop the work.
        let _ = write!(terminal, "\r\x1b[Kxtask: {} {rest}", self.label)
            .and_then(|()| terminal.flush());
    }
}
