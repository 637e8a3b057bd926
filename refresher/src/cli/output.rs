//! Where a command writes what it was asked for: standard output, or a file that is there whole or not at
//! all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Standard output, or a file.
#[derive(Debug)]
pub(super) struct Output(Option<Partial>);

/// A file that is written beside its place first.
#[derive(Debug)]
struct Partial {
    place: PathBuf,
    beside: OsString,
    file: BufWriter<File>,
}

impl Output {
    /// The file at `place`; without, standard output.
    ///
    /// # Errors
    /// There cannot be such a file.
    pub(super) fn open(place: Option<&Path>) -> Result<Self> {
        let Some(place) = place else {
            return Ok(Self(None));
        };
        let mut beside = place.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let file = File::create(&beside).with_context(|| failed(place))?;
        Ok(Self(Some(Partial {
            place: place.to_owned(),
            beside,
            file: BufWriter::new(file),
        })))
    }

    /// Writes some more.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.0 {
            None => Ok(console::print(bytes)?),
            Some(partial) => {
                let written = partial.file.write_all(bytes);
                written.with_context(|| failed(&partial.place))
            }
        }
    }

    /// That is all: a file comes to its place.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn finish(mut self) -> Result<()> {
        let Some(partial) = &mut self.0 else {
            return Ok(());
        };
        let flushed = partial.file.flush();
        let moved = flushed.and_then(|()| fs::rename(&partial.beside, &partial.place));
        moved.with_context(|| failed(&partial.place))?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.0 {
            // Nothing of it is of use; the error to tell is the one that came before.
            let _ = fs::remove_file(&partial.beside);
        }
    }
}

fn failed(place: &Path) -> String {
    format!("cannot write {}", place.display())
}
