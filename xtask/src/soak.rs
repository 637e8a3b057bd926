//! `cargo xtask soak`: the whole service under a steady load for some minutes; nothing may grow.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Args;

use crate::build;
use crate::process::Steps;
use crate::progress::say;
use crate::setup;
use crate::test;
use crate::workspace::{Workspace, cargo};

/// How long.
#[derive(Args)]
pub(crate) struct Options {
    /// Minutes; the first three are for warming up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(6..))]
    minutes: u64,
}

/// Runs the soak and shows its table.
///
/// # Errors
/// Something is missing, does not build, gives a wrong answer or grows.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    let redis = setup::run(workspace, steps)?;
    build::run(workspace, steps)?;
    let status = steps.visibly(
        Command::new(cargo())
            .args(["build", "--release", "--locked"])
            .args(["--package", "end-to-end", "--bin", "soak"])
            .current_dir(&workspace.root),
    )?;
    ensure!(status.success(), "the soak does not build: see above");
    say(&format!("a steady load for {} minutes", options.minutes));
    let mut soak = Command::new(workspace.programs().join("soak"));
    soak.arg(options.minutes.to_string());
    test::give(&mut soak, workspace, &redis.search_path(steps)?);
    let status = steps.visibly(&mut soak)?;
    ensure!(
        status.success(),
        "wrong answers, or something grows: see above"
    );
    Ok(())
}
