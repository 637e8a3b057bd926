//! `cargo xtask audit`: whether what we depend on is known to be vulnerable, and may be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo_tool::CargoTool;
use crate::process::Steps;
use crate::progress::say;
use crate::workspace::Workspace;

const CARGO_DENY: CargoTool = CargoTool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Where advisories come from if nothing else is said.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

/// The database is fetched the first time.
const LIMIT: Duration = Duration::from_secs(600);

/// How to audit.
#[derive(Args)]
pub(crate) struct Options {
    /// A clone of RustSec's advisory database, to be used instead of the newest
    #[arg(long, value_name = "FOLDER")]
    db: Option<PathBuf>,
}

/// Checks both lock files against advisories and against what `deny.toml` accepts.
///
/// # Errors
/// Something is not accepted, or the advisories cannot be had.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    let program = CARGO_DENY.ensure(workspace, steps)?;
    let config = workspace.root.join("deny.toml");
    let copy = options.db.as_deref().map(Copy::of).transpose()?;
    let config = match &copy {
        Some(copy) => copy.config(&config, steps.scratch())?,
        None => config,
    };
    let mut refused = Vec::new();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut check = Command::new(&program);
        check
            .args(["--locked", "--manifest-path"])
            .arg(workspace.root.join(manifest))
            .arg("--config")
            .arg(&config)
            .arg("check")
            .current_dir(&workspace.root);
        if let Some(copy) = &copy {
            copy.replace_database(&mut check);
        }
        let label = format!("auditing what {manifest} depends on");
        let (status, output) = steps.captured(&label, &mut check, LIMIT)?;
        if status.success() {
            continue;
        }
        if output.contains("failed to fetch advisory database") {
            bail!(
                "the advisory database cannot be fetched: check the network, or name a clone of it with --db"
            );
        }
        eprint!("{output}");
        refused.push(manifest);
    }
    ensure!(
        refused.is_empty(),
        "not accepted: see above; another version may mend it (`cargo update --package NAME`), or \
         deny.toml says why it is accepted"
    );
    say("nothing is known against any dependency");
    Ok(())
}

/// A clone of the advisory database on this machine.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// The clone in `folder`; says how old it is.
    fn of(folder: &Path) -> Result<Self> {
        let folder = folder
            .canonicalize()
            .with_context(|| format!("there is no folder {}", folder.display()))?;
        let newest = Command::new("git")
            .arg("-C")
            .arg(&folder)
            .args(["show", "-s", "--format=%cs", "main"])
            .output()
            .context("cannot run `git`")?;
        ensure!(
            newest.status.success(),
            "{} is no clone of the advisory database",
            folder.display()
        );
        let date = String::from_utf8_lossy(&newest.stdout);
        say(&format!("the advisories are those of {}", date.trim()));
        Ok(Self { folder })
    }

    /// The configuration with a place of its own for what is read of the clone, so that it does not
    /// take the place of the newest.
    fn config(&self, config: &Path, scratch: &Path) -> Result<PathBuf> {
        let text = fs::read_to_string(config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        let mut table: toml::Table = text.parse().context("deny.toml")?;
        let advisories = table
            .get_mut("advisories")
            .and_then(toml::Value::as_table_mut)
            .context("deny.toml has no [advisories]")?;
        let place = scratch.join("advisories").to_string_lossy().into_owned();
        advisories.insert("db-path".to_owned(), place.into());
        let path = scratch.join("deny.toml");
        fs::write(&path, table.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Lets git, which `command` fetches with, take the clone in place of the database.
    fn replace_database(&self, command: &mut Command) {
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env(
                "GIT_CONFIG_KEY_0",
                format!("url.{}.insteadOf", self.folder.display()),
            )
            .env("GIT_CONFIG_VALUE_0", DATABASE);
    }
}
