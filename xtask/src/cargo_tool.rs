//! Programs from the registry that are no dependency of anything: installed once, in one version, into
//! the target folder.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Steps;
use crate::workspace::{Workspace, cargo};

/// Compiling one takes minutes.
const LIMIT: Duration = Duration::from_secs(1800);

/// A program that cargo can install.
pub(crate) struct CargoTool {
    /// The package, and its program.
    pub(crate) name: &'static str,
    /// The one version whose options we know.
    pub(crate) version: &'static str,
}

impl CargoTool {
    /// The program; installed, where it is not there yet.
    ///
    /// # Errors
    /// It cannot be fetched or compiled.
    pub(crate) fn ensure(&self, workspace: &Workspace, steps: &Steps) -> Result<PathBuf> {
        let Self { name, version } = self;
        let folder = workspace
            .setup()
            .join("cargo")
            .join(format!("{name}-{version}"));
        let program = folder.join("bin").join(name);
        if program.is_file() {
            return Ok(program);
        }
        let mut install = Command::new(cargo());
        install
            .args(["install", "--locked", "--version", version, "--root"])
            .arg(&folder)
            .arg(name)
            .current_dir(steps.scratch())
            // It is run a few times: what makes it faster costs more than it saves.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env_remove("CARGO_TARGET_DIR");
        let label = format!("installing {name} {version} (some minutes, once)");
        steps
            .quietly(&label, &mut install, LIMIT)
            .with_context(|| format!("cannot install {name} from the registry"))?;
        Ok(program)
    }
}
