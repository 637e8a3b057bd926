//! The target that the component is built for: installed with rustup, or built from Debian's packages,
//! when the toolchain lacks it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::standard_library;
use crate::task::{Task, on_path, say};
use crate::toolchain::{TARGET, Toolchain};

/// Where its servers cannot be reached, rustup may wait for minutes: not where there is another way.
/// What it has fetched by then it keeps for the next time.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Where there is no other way, a slow line gets its time.
const RUSTUP_ALONE_LIMIT: Duration = Duration::from_secs(900);

/// Installs the target unless it works already; answers how that is to be told.
pub(super) fn ensure(task: &Task) -> Result<&'static str> {
    let toolchain = Toolchain::find(&task.sh)?;
    let is_there = || toolchain.probe(&task.sh, task.scratch()).is_ok();
    if is_there() {
        return Ok("there");
    }
    let rustlib = toolchain.rustlib();
    say(&format!(
        "the target {TARGET} is missing in {}",
        rustlib.display()
    ));
    // One set-up at a time for a toolchain, also over checkouts.
    let _lock = task.lock(&rustlib)?;
    if is_there() {
        return Ok("there");
    }
    clear_left_overs(&rustlib)?;
    let Err(rustup) = with_rustup(&toolchain, task) else {
        return Ok("installed with rustup");
    };
    say(&format!(
        "rustup cannot give it ({rustup:#}); building it from Debian's packages"
    ));
    from_debian(&toolchain, task).with_context(|| {
        format!(
            "the target {TARGET} cannot be installed: run `rustup target add {TARGET}` where its \
             servers can be reached. Tried: {rustup:#}; from Debian's packages"
        )
    })?;
    Ok("built from Debian's packages")
}

/// Removes what a killed set-up left, and finds out on the way whether the folder can be written.
fn clear_left_overs(rustlib: &Path) -> Result<()> {
    let prefix = partial_prefix();
    let trial = tempfile::Builder::new().prefix(&prefix).tempdir_in(rustlib);
    if let Err(error) = trial {
        bail!(
            "the target {TARGET} is missing, and {} cannot be written to ({}): run `cargo xtask \
             setup` once as the toolchain's owner, or use one of your own from https://rustup.rs",
            rustlib.display(),
            error.kind()
        );
    }
    for entry in fs::read_dir(rustlib)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn partial_prefix() -> String {
    format!("{TARGET}.partial-")
}

fn with_rustup(toolchain: &Toolchain, task: &Task) -> Result<()> {
    let rustup = on_path("rustup").context("it is not installed")?;
    let name = toolchain
        .rustup_name()
        .context("the toolchain is not rustup's")?;
    let limit = match on_path("apt-get") {
        Some(_) => RUSTUP_LIMIT,
        None => RUSTUP_ALONE_LIMIT,
    };
    let add = cmd!(task.sh, "{rustup} target add --toolchain {name} {TARGET}");
    let label = format!("rustup target add {TARGET}");
    task.run_within(limit, &label, add)?;
    toolchain.probe(&task.sh, task.scratch())
}

/// Builds it, copies it beside its place, and puts it there at once.
fn from_debian(toolchain: &Toolchain, task: &Task) -> Result<()> {
    let built = task.scratch().join("built");
    standard_library::build(toolchain, &built.join("lib"), task)?;
    let rustlib = toolchain.rustlib();
    let partial = tempfile::Builder::new()
        .prefix(&partial_prefix())
        .tempdir_in(&rustlib)?;
    let copy = partial.path().join("copy");
    cmd!(task.sh, "cp -R {built} {copy}").quiet().run()?;
    let place = rustlib.join(TARGET);
    if place.exists() {
        // It does not work: the probe said so.
        fs::rename(&place, partial.path().join("replaced"))?;
    }
    fs::rename(&copy, &place)?;
    toolchain.probe(&task.sh, task.scratch()).inspect_err(|_| {
        // The probe's error is the one to tell.
        let _ = fs::remove_dir_all(&place);
    })
}
