//! One set-up at a time: a folder is locked by itself, so that no file is left and a process that
//! dies lets go.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread::sleep;

use anyhow::{Context, Result};

use crate::interrupt::Interrupt;
use crate::process::POLL;
use crate::progress::say;

/// Locks the folder until the answer is dropped; waits while another process has it.
///
/// # Errors
/// It cannot be opened or locked, or a signal came.
pub(crate) fn folder(path: &Path, interrupt: &Interrupt) -> Result<File> {
    let problem = || format!("cannot lock {}", path.display());
    let folder = File::open(path).with_context(problem)?;
    let mut told = false;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(problem),
        }
        if !told {
            say(&format!(
                "waiting for another set-up to end ({})",
                path.display()
            ));
            told = true;
        }
        interrupt.check()?;
        sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_second_waits_for_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = folder(directory.path(), &Interrupt::never()).unwrap();
        let path = directory.path().to_owned();
        let second = thread::spawn(move || folder(&path, &Interrupt::never()).map(drop));
        assert!(matches!(
            File::open(directory.path()).unwrap().try_lock(),
            Err(TryLockError::WouldBlock)
        ));
        drop(first);
        second.join().unwrap().unwrap();
    }
}
