//! The target that the component is built for: installed with rustup, or built from Debian's packages,
//! when the toolchain lacks it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use xshell::cmd;

use super::standard_library;
use crate::task::{Task, on_path, say};
use crate::toolchain::{TARGET, Toolchain};

/// Where its servers cannot be reached, rustup may wait for minutes: not where there is another way.
/// What it has fetched by then it keeps for the next time.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Installs the target unless it works already; answers how that is to be told.
pub(super) fn ensure(task: &Task) -> Result<&'static str> {
    let toolchain = Toolchain::find(&task.sh)?;
    let is_there = || toolchain.probe(&task.sh, &task.scratch).is_ok();
    if is_there() {
        return Ok("there");
    }
    let rustlib = toolchain.rustlib();
    let place = rustlib.display();
    say(&format!("the target {TARGET} is missing in {place}"));
    // One set-up at a time for a toolchain, also over checkouts.
    let _lock = task.lock(&rustlib)?;
    if is_there() {
        return Ok("there");
    }
    // What a killed set-up left goes, and it shows whether the folder can be written.
    let partial = rustlib.join(format!("{TARGET}.partial"));
    let is_writable = task
        .sh
        .create_dir(&partial)
        .and_then(|_| task.sh.remove_path(&partial));
    is_writable.with_context(|| {
        format!(
            "the target {TARGET} is missing, and {place} cannot be written to: run `cargo xtask setup` \
             once as the toolchain's owner, or use one of your own from https://rustup.rs"
        )
    })?;
    let Err(rustup) = with_rustup(&toolchain, task) else {
        return Ok("installed with rustup");
    };
    say(&format!("{rustup:#}; building it from Debian's packages"));
    let built = from_debian(&toolchain, &partial, task);
    built.with_context(|| {
        format!(
            "the target {TARGET} cannot be installed: run `rustup target add {TARGET}` where its \
             servers can be reached. Tried: {rustup:#}; from Debian's packages"
        )
    })?;
    Ok("built from Debian's packages")
}

fn with_rustup(toolchain: &Toolchain, task: &Task) -> Result<()> {
    let rustup = on_path("rustup").context("there is no rustup")?;
    let name = toolchain
        .rustup_name()
        .context("the toolchain is not rustup's")?;
    let limit = on_path("apt-get").map_or(Duration::MAX, |_| RUSTUP_LIMIT);
    let add = cmd!(task.sh, "{rustup} target add --toolchain {name} {TARGET}");
    task.run_within(limit, &format!("rustup target add {TARGET}"), add)?;
    toolchain.probe(&task.sh, &task.scratch)
}

/// Builds it, copies it beside its place, and puts it there at once.
fn from_debian(toolchain: &Toolchain, partial: &Path, task: &Task) -> Result<()> {
    let built = task.scratch.join("built");
    standard_library::build(toolchain, &built.join("lib"), task)?;
    cmd!(task.sh, "cp -R {built} {partial}").quiet().run()?;
    // What is there does not work: the probe said so.
    let place = toolchain.rustlib().join(TARGET);
    task.sh.remove_path(&place)?;
    fs::rename(partial, &place)?;
    toolchain.probe(&task.sh, &task.scratch).inspect_err(|_| {
        // The probe's error is the one to tell.
        let _ = fs::remove_dir_all(&place);
    })
}
