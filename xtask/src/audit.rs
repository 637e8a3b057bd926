//! `cargo xtask audit`: whether what we depend on is known to be vulnerable, and may be used.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use xshell::cmd;

use crate::setup;
use crate::task::{Task, say};

/// Where advisories come from if nothing else is said.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

#[derive(Args)]
pub(crate) struct Options {
    /// A clone of RustSec's advisory database, to be used instead of the newest
    #[arg(long, value_name = "FOLDER")]
    db: Option<PathBuf>,
}

/// Checks both lock files against advisories and against what `deny.toml` accepts.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let program = setup::cargo_tool("cargo-deny", "0.20.2", &[], task)?;
    let mut config = task.root.join("deny.toml");
    let mut replace = None;
    if let Some(db) = &options.db {
        replace = Some(replacement(db, task)?);
        config = with_own_copy(&config, task)?;
    }
    let mut refused = false;
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let check = cmd!(
            task.sh,
            "{program} --locked --manifest-path {manifest} --config {config} check"
        );
        let check = check.envs(replace.iter().flatten().map(|(key, value)| (key, value)));
        if let Err(error) = task.run(&format!("auditing what {manifest} depends on"), check) {
            say(&format!("{error:#}"));
            refused = true;
        }
    }
    ensure!(
        !refused,
        "not accepted, or the advisories cannot be fetched: see above. Another version may mend it (`cargo \
         update --package NAME`), deny.toml may say why it is accepted, and --db names a clone of the advisories"
    );
    say("nothing is known against any dependency");
    Ok(())
}

/// Lets git, which cargo-deny fetches with, take the clone in place of the database; says how old it is.
fn replacement(clone: &Path, task: &Task) -> Result<[(&'static str, String); 3]> {
    let missing = || format!("{} is no clone of the advisory database", clone.display());
    let clone = clone.canonicalize().with_context(missing)?;
    let newest = cmd!(task.sh, "git -C {clone} show -s --format=%cs main").quiet();
    say(&format!(
        "the advisories are of {}",
        newest.read().with_context(missing)?
    ));
    let key = format!("url.{}.insteadOf", clone.display());
    Ok([
        ("GIT_CONFIG_COUNT", "1".to_owned()),
        ("GIT_CONFIG_KEY_0", key),
        ("GIT_CONFIG_VALUE_0", DATABASE.to_owned()),
    ])
}

/// The configuration with a place of its own for what is read of a clone, so that it does not take the
/// place of the newest.
fn with_own_copy(config: &Path, task: &Task) -> Result<PathBuf> {
    let mut config: toml::Table = task.sh.read_file(config)?.parse().context("deny.toml")?;
    let advisories = config
        .get_mut("advisories")
        .and_then(toml::Value::as_table_mut);
    let advisories = advisories.context("deny.toml has no [advisories]")?;
    let place = task.scratch.join("advisories").display().to_string();
    advisories.insert("db-path".to_owned(), place.into());
    let path = task.scratch.join("deny.toml");
    task.sh.write_file(&path, config.to_string())?;
    Ok(path)
}
