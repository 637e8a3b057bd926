//! The browser for tests: Chromium with its driver, the machine's own or from Debian's packages.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use xshell::Cmd;

use crate::task::{Task, on_path};

/// Debian's package, which needs that of the browser.
const PACKAGE: &str = "chromium-driver";

/// Where that has the browser itself: its starter on the path only knows the system's own folders.
const PROGRAM: &str = "root/usr/lib/chromium/chromium";

/// A `PATH` on which the driver is found, and the browser where it is not on that.
pub(crate) struct Browser {
    pub(crate) path: OsString,
    program: Option<PathBuf>,
}

impl Browser {
    /// Finds it on `path`, or gets it.
    pub(crate) fn ensure(path: OsString, task: &Task) -> Result<Self> {
        let path = super::on_a_path("chromedriver", PACKAGE, path, task)?;
        let unpacked = task.setup.join("tools").join(PACKAGE).join(PROGRAM);
        let is_own = on_path("chromedriver").is_some();
        Ok(Self {
            path,
            program: (!is_own && unpacked.is_file()).then_some(unpacked),
        })
    }

    /// Tells a program where it is.
    pub(crate) fn with<'a>(&self, program: Cmd<'a>) -> Cmd<'a> {
        let program = program.env("PATH", &self.path);
        match &self.program {
            Some(browser) => program.env("EMPLOYEE_INCIDENTS_CHROMIUM", browser),
            None => program,
        }
    }
}
