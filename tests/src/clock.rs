//! The time of day as a test sets it for the programs that it starts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use tokio::process::Command;

use crate::process::{TempDir, program};

/// No shift at all.
const RIGHT: [u8; 8] = [0; 8];

/// A clock that can be set. The monotonic clock goes on as if nothing were.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
}

impl Clock {
    /// One that is right.
    ///
    /// # Panics
    /// When it cannot be written to.
    #[must_use]
    pub fn right() -> Self {
        let clock = Self {
            folder: TempDir::new().expect("a temporary folder"),
        };
        fs::write(clock.file(), RIGHT).expect("the folder is ours");
        clock
    }

    /// Shifts it, for all programs that look at it, to `seconds` from what is right.
    ///
    /// # Panics
    /// When it cannot be written to.
    pub fn set(&self, seconds: i64) {
        // In place: the programs have mapped the file, which must not be shorter for a moment.
        File::options()
            .write(true)
            .open(self.file())
            .and_then(|mut file| file.write_all(&seconds.to_ne_bytes()))
            .expect("the clock can be set");
    }

    /// Has `command` look at this clock.
    pub fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", program("libtest_clock.so"))
            .env("TEST_CLOCK", self.file());
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}
