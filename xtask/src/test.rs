//! `cargo xtask test`: every test, with what the end-to-end tests need.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::build;
use crate::process::Steps;
use crate::progress::say;
use crate::setup;
use crate::workspace::{Workspace, cargo};

/// Where the end-to-end tests find the programs.
const PROGRAMS: &str = "EMPLOYEE_INCIDENTS_BIN_DIR";

/// Where they find the application's manifest, and by it the component.
const SPIN_MANIFEST: &str = "EMPLOYEE_INCIDENTS_SPIN_MANIFEST";

/// Most end-to-end tests wait for something most of the time, so that more of them than there are
/// processors may run at once.
const THREADS: (&str, &str) = ("RUST_TEST_THREADS", "6");

/// No default member of the workspace, since it is for another target; but its units run natively.
const APART: [&str; 2] = ["--package", "api-component"];

/// What to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Passed on to `cargo test`: `--package refresher`, a test's name; all tests without
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Gives `command` what the end-to-end tests' harness looks for, and the search path.
pub(crate) fn give(command: &mut Command, workspace: &Workspace, path: &OsStr) {
    command
        .env("PATH", path)
        .env(PROGRAMS, workspace.programs())
        .env(SPIN_MANIFEST, workspace.spin_manifest());
}

/// Builds what only tests use: the clock that they preload into programs, and the S3 server.
fn build_helpers(workspace: &Workspace, steps: &Steps) -> Result<()> {
    let status = steps.visibly(
        Command::new(cargo())
            .args(["build", "--release", "--locked"])
            .args(["--package", "test-clock", "--package", "test-s3"])
            .current_dir(&workspace.root),
    )?;
    ensure!(
        status.success(),
        "what the tests use does not build: see above"
    );
    Ok(())
}

/// Runs the tests.
///
/// # Errors
/// Something is missing, does not build, or a test fails.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    let redis = setup::run(workspace, steps)?;
    build::run(workspace, steps)?;
    build_helpers(workspace, steps)?;
    say("running the tests");
    let path = redis.search_path(steps)?;
    let run = |arguments: &[&str]| -> Result<()> {
        let mut tests = Command::new(cargo());
        tests
            .args(["test", "--release", "--locked", "--no-fail-fast"])
            .args(arguments)
            .args(&options.arguments)
            .current_dir(&workspace.root)
            .env(THREADS.0, THREADS.1);
        give(&mut tests, workspace, &path);
        let status = steps.visibly(&mut tests)?;
        ensure!(status.success(), "tests fail: see above");
        Ok(())
    };
    run(&[])?;
    if options.arguments.is_empty() {
        // Apart from the others, which would be compiled anew with what these need of the same crates.
        run(&APART)?;
    }
    say("all tests pass");
    Ok(())
}
