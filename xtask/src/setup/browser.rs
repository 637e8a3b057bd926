//! What the tests in a browser need: Chromium with its driver, from Debian, and axe, which knows the rules of
//! accessibility and comes in a Python package.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use crate::task::{Task, on_path};

/// Debian's package, which needs that of the browser.
const PACKAGE: &str = "chromium-driver";

/// Where that has the browser itself: its starter on the path only knows the system's own folders.
const PROGRAM: &str = "root/usr/lib/chromium/chromium";

/// The newest axe that a Python package carries.
const AXE: &str = "axe-playwright-python==0.1.8";

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

/// axe's script, fetched once into the target folder.
pub(crate) fn axe(task: &Task) -> Result<PathBuf> {
    let folder = task.setup.join("axe").join(AXE);
    let script = folder.join("axe_playwright_python/axe.min.js");
    if script.is_file() {
        return Ok(script);
    }
    let system = on_path("python3").context("there is no python3 here: install it")?;
    let environment = task.scratch.join("axe");
    let make = cmd!(task.sh, "{system} -m venv --clear {environment}");
    task.run("making a Python environment", make)
        .context("python3 cannot make an environment: install python3-venv")?;
    let python = environment.join("bin/python");
    // Only the script is wanted, not what drives browsers from Python.
    let options = ["--quiet", "--disable-pip-version-check", "--no-deps"];
    let install = cmd!(
        task.sh,
        "{python} -m pip install {options...} --target {folder} {AXE}"
    );
    task.run("fetching axe", install)?;
    Ok(script)
}
