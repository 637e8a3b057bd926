//! Python with packages, in environments of our own in the target folder: exactly what a file of requirements
//! pins, installed once.

use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::task::{Task, on_path};

/// The interpreter of the environment `name`, which has the packages of the file `requirements`, and what these
/// need in turn unless pip's `options` say `--no-deps`.
pub(crate) fn environment(
    name: &str,
    requirements: &str,
    options: &[&str],
    task: &Task,
) -> Result<PathBuf> {
    let requirements = task.root.join(requirements);
    let folder = task.setup.join(name);
    let python = folder.join("bin/python");
    // Written last: what was interrupted is begun anew.
    let installed = folder.join("requirements.txt");
    let wanted = task.sh.read_file(&requirements)?;
    let is_there = || {
        let found = task.sh.read_file(&installed).ok();
        found.as_ref() == Some(&wanted) && python.exists()
    };
    if is_there() {
        return Ok(python);
    }
    let _lock = task.lock(&task.setup)?;
    if is_there() {
        return Ok(python);
    }
    let system = on_path("python3").context("there is no python3 here: install it")?;
    let make = cmd!(task.sh, "{system} -m venv --clear {folder}");
    task.run("making a Python environment", make)
        .context("python3 cannot make an environment: install python3-venv")?;
    let install = cmd!(
        task.sh,
        "{python} -m pip install --quiet --disable-pip-version-check {options...} --requirement {requirements}"
    );
    task.run(&format!("fetching {}", requirements.display()), install)?;
    task.sh.write_file(&installed, wanted)?;
    Ok(python)
}
