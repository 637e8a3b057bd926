//! `cargo xtask soak`: the whole service under a steady load for some minutes; nothing may grow.

use anyhow::Result;
use clap::Args;
use xshell::cmd;

use crate::task::Task;
use crate::{build, setup, test};

#[derive(Args)]
pub(crate) struct Options {
    /// Minutes; the first three are for warming up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(6..))]
    minutes: u64,
}

/// Runs the soak and shows its table.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let redis = setup::run(task)?;
    build::run(&[&build::SERVICE[..], &["--bin=soak"]].concat(), task)?;
    let minutes = options.minutes.to_string();
    let program = task.programs.join("soak");
    let soak = test::with_places(cmd!(task.sh, "{program} {minutes}"), &redis, task)?;
    task.run(&format!("a steady load for {minutes} minutes"), soak)
}
