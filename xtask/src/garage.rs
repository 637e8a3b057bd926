//! `cargo xtask garage`: the history on a distributed store, whose nodes are killed and lost.

use anyhow::Result;
use xshell::cmd;

use crate::task::Task;
use crate::{build, setup, test};

/// The program, and the version whose commands we know.
const GARAGE: (&str, &str) = ("garage", "2.5.0");

/// Of its features, only what a node needs: its own libraries, and one engine for its tables.
const FEATURES: [&str; 2] = ["--no-default-features", "--features=bundled-libs,lmdb"];

/// Runs the check and shows its table.
pub(crate) fn run(task: &Task) -> Result<()> {
    let redis = setup::run(task)?;
    let path = setup::on_a_path("haproxy", "haproxy", redis.search_path(task)?, task)?;
    let (name, version) = GARAGE;
    let garage = setup::cargo_tool(name, version, &FEATURES, task)?;
    build::run(
        &[&build::SERVICE[..], &["--bin=garage-check"]].concat(),
        task,
    )?;
    let program = task.programs.join("garage-check");
    let check = test::with_places(cmd!(task.sh, "{program} {garage}"), &redis, task)?;
    task.run(
        "recording on Garage while its nodes are killed and lost",
        check.env("PATH", path),
    )
}
