//! Builds the programs and the component, in the release profile: `up` and `test` share it, so that
//! nothing is built twice.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Steps;
use crate::progress::say;
use crate::wasm_target::TARGET;
use crate::workspace::{Workspace, cargo};

/// The packages with a program that `up` and the tests start.
const PROGRAMS: [&str; 3] = ["refresher", "host", "demo-upstream"];

/// Builds everything that runs.
///
/// # Errors
/// It does not build; cargo has shown why.
pub(crate) fn run(workspace: &Workspace, steps: &Steps) -> Result<()> {
    let mut programs = cargo_build(workspace);
    programs.args(PROGRAMS.iter().flat_map(|package| ["--package", package]));
    say("building the programs (some minutes the first time)");
    let status = steps.visibly(&mut programs)?;
    ensure!(status.success(), "the programs do not build: see above");
    say("building the component");
    let mut component = cargo_build(workspace);
    component.args(["--package", "api-component", "--target", TARGET]);
    let status = steps.visibly(&mut component)?;
    ensure!(status.success(), "the component does not build: see above");
    place_component(workspace)
}

fn cargo_build(workspace: &Workspace) -> Command {
    let mut command = Command::new(cargo());
    command
        .args(["build", "--release", "--locked"])
        .current_dir(&workspace.root);
    command
}

/// The manifest names the component in the target folder of the repository; where cargo builds into
/// another one, it is put there.
fn place_component(workspace: &Workspace) -> Result<()> {
    let place = workspace.root.join("target").join(TARGET).join("release");
    let built = workspace.target.join(TARGET).join("release");
    if place == built {
        return Ok(());
    }
    let name = "api_component.wasm";
    fs::create_dir_all(&place)?;
    let partial = place.join(format!("{name}.{}", std::process::id()));
    fs::copy(built.join(name), &partial)
        .and_then(|_| fs::rename(&partial, place.join(name)))
        .with_context(|| format!("cannot copy the component to {}", place.display()))
}
