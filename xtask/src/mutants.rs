//! `cargo xtask mutants`: changes the code in small ways, one at a time, and counts which of the changes
//! the tests notice.

use anyhow::{Result, bail, ensure};
use clap::Args;
use xshell::cmd;

use crate::task::{Task, say};
use crate::{setup, test};

/// Percent of the changes that the tests have to notice.
const ENOUGH: usize = 90;

#[derive(Args)]
pub(crate) struct Options {
    /// The packages
    #[arg(default_values = ["domain", "grouping"], value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Passed on to cargo-mutants, after `--`: `--file domain/src/item.rs`, `--shard 0/8`, `--jobs 2`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs cargo-mutants, shows what no test noticed, and the share of what one did.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let program = setup::cargo_tool("cargo-mutants", "27.1.0", &[], task)?;
    let redis = setup::run(task)?;
    let folder = task.target.join("mutants");
    task.sh.remove_path(&folder)?;
    task.sh.create_dir(&folder)?;
    let packages = options.packages.iter().flat_map(|name| ["--package", name]);
    let mutants = cmd!(task.sh, "{program} mutants --no-shuffle --output {folder}");
    let mutants = mutants.args(packages).args(&options.arguments);
    let mutants = test::with_places(mutants, &redis, task)?;
    // It fails, too, where a change goes unnoticed: what it wrote tells.
    let ended = task.run("changing the code and testing (this takes long)", mutants);
    let results = folder.join("mutants.out");
    let count = |outcome: &str| {
        let file = results.join(format!("{outcome}.txt"));
        task.sh.read_file(file).unwrap_or_default().lines().count()
    };
    let (caught, missed) = (count("caught") + count("timeout"), count("missed"));
    let Some(percent) = (caught * 100).checked_div(caught + missed) else {
        ended?;
        bail!("there was nothing to change");
    };
    let (all, results) = (caught + missed, results.display());
    say(&format!(
        "{caught} of {all} changes noticed, {percent} %; {results} lists them"
    ));
    ensure!(percent >= ENOUGH, "fewer than {ENOUGH} % are noticed");
    Ok(())
}
