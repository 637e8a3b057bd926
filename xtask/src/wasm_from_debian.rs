//! The standard library of wasm32-wasip2 from Debian's packages, for machines that reach package
//! registries but not rustup's servers: the compiler's sources of exactly its version, and the C
//! library that the target links. Built as the Rust project builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::apt::{Apt, Version};
use crate::process::Steps;
use crate::wasm_target::{TARGET, Toolchain};
use crate::workspace::cargo;

/// The suites that may carry a version, in the order in which they are asked.
const SUITES: [&str; 3] = ["trixie-backports", "testing", "sid"];

/// What a target's folder holds beside the Rust libraries.
const SELF_CONTAINED: [&str; 3] = ["crt1-command.o", "crt1-reactor.o", "libc.a"];

/// Some 20 seconds on two cores; the crates it needs are fetched first.
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// The files to install.
pub(crate) struct Built {
    /// The Rust libraries.
    pub(crate) libraries: Vec<PathBuf>,
    /// What comes from the C library.
    pub(crate) self_contained: Vec<PathBuf>,
}

/// Builds in `folder`.
///
/// # Errors
/// This is no Debian, its suites do not have the version, or the build fails.
pub(crate) fn build(toolchain: &Toolchain, folder: &Path, steps: &Steps) -> Result<Built> {
    let apt = Apt::new(steps, &folder.join("apt"))?.with_suites(&SUITES)?;
    apt.update()?;
    let sources = apt
        .versions("rust-src")?
        .into_iter()
        .find(|found| is_release(&found.version, &toolchain.release))
        .with_context(|| format!("no suite has rust-src {}", toolchain.release))?;
    apt.unpack("rust-src", &sources, &folder.join("rust-src"))?;
    let libc = unpack_libc(&apt, &sources.suite, folder)?;
    let libraries = compile(toolchain, &libc, folder, steps)?;
    Ok(Built {
        libraries,
        self_contained: SELF_CONTAINED.iter().map(|file| libc.join(file)).collect(),
    })
}

/// Whether a Debian version is of the compiler's release: `1.95.0+dfsg1-2` is of `1.95.0`.
fn is_release(version: &str, release: &str) -> bool {
    version
        .strip_prefix(release)
        .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
}

/// Unpacks the first wasi-libc that knows the target; the one of the sources' suite goes with them.
fn unpack_libc(apt: &Apt, suite: &str, folder: &Path) -> Result<PathBuf> {
    let mut versions: Vec<Version> = apt.versions("wasi-libc")?;
    versions.sort_by_key(|found| found.suite != suite);
    for (index, version) in versions.iter().enumerate() {
        let unpacked = folder.join(format!("wasi-libc-{index}"));
        apt.unpack("wasi-libc", version, &unpacked)?;
        let library = unpacked.join("usr/lib").join(TARGET);
        if SELF_CONTAINED
            .iter()
            .all(|file| library.join(file).is_file())
        {
            return Ok(library);
        }
    }
    anyhow::bail!("no suite has a wasi-libc for {TARGET}")
}

fn compile(
    toolchain: &Toolchain,
    libc: &Path,
    folder: &Path,
    steps: &Steps,
) -> Result<Vec<PathBuf>> {
    let library = folder.join(format!(
        "rust-src/usr/src/rustc-{}/library",
        toolchain.release
    ));
    let target = folder.join("target");
    // As RUSTFLAGS, but a path may hold a space.
    let flags = format!(
        "-Zforce-unstable-if-unmarked\x1f-Cembed-bitcode=yes\x1f-L\x1fnative={}",
        libc.display()
    );
    steps.quietly(
        &format!("building the standard library of {TARGET}"),
        Command::new(cargo())
            .args(["build", "--locked", "--release", "--target", TARGET])
            .args(["--manifest-path", "sysroot/Cargo.toml"])
            .current_dir(&library)
            .env("RUSTC", &toolchain.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd")
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", &target),
        BUILD_LIMIT,
    )?;
    let mut libraries = Vec::new();
    for entry in fs::read_dir(target.join(TARGET).join("release/deps"))? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "rlib")
        {
            libraries.push(file);
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exactly_the_compilers_release_will_do() {
        assert!(is_release("1.95.0+dfsg1-2~bpo13+1", "1.95.0"));
        assert!(is_release("1.95.0-1", "1.95.0"));
        assert!(!is_release("1.95.01-1", "1.95.0"));
        assert!(!is_release("1.95.1+dfsg1-1", "1.95.0"));
        assert!(!is_release("1.95.0", "1.95.0-nightly"));
    }
}
