//! The standard library of wasm32-wasip2 from Debian's packages, for machines that reach package
//! registries but not rustup's servers: the compiler's sources of exactly its version, and the C
//! library that the target links. Built as the Rust project builds it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use xshell::cmd;

use super::debian::Apt;
use crate::task::Task;
use crate::toolchain::{TARGET, Toolchain};

/// The suites that may carry a version, in the order in which they are asked.
const SUITES: [&str; 3] = ["trixie-backports", "testing", "sid"];

/// What a target's folder holds beside the Rust libraries.
const SELF_CONTAINED: [&str; 3] = ["crt1-command.o", "crt1-reactor.o", "libc.a"];

/// Builds the library, and lays it out in the folder `lib` as a toolchain holds it.
pub(super) fn build(toolchain: &Toolchain, lib: &Path, task: &Task) -> Result<()> {
    let (sources, libc) = fetch(&toolchain.release, task)?;
    let built = compile(toolchain, &sources, &libc, task)?;
    let self_contained = task.sh.create_dir(lib.join("self-contained"))?;
    cmd!(task.sh, "sh -c")
        .arg(r#"cp "$0"/*.rlib "$1""#)
        .args([built.as_path(), lib])
        .quiet()
        .run()?;
    for file in SELF_CONTAINED {
        task.sh.copy_file(libc.join(file), &self_contained)?;
    }
    Ok(())
}

/// Fetches the library's sources, and the C library of the same suite; answers where they are.
fn fetch(release: &str, task: &Task) -> Result<(PathBuf, PathBuf)> {
    let mut problems = Vec::new();
    for suite in SUITES {
        let folder = task.scratch.join(suite);
        let sources = folder.join(format!("usr/src/rustc-{release}/library"));
        let libc = folder.join("usr/lib").join(TARGET);
        let fetched = Apt::new(Some(suite), folder.join("apt"), task).and_then(|apt| {
            apt.unpack(&format!("rust-src={release}*"), &folder)?;
            ensure!(sources.is_dir(), "rust-src is not of {release}");
            apt.unpack("wasi-libc", &folder)?;
            let missing = SELF_CONTAINED
                .iter()
                .find(|file| !libc.join(file).is_file());
            ensure!(missing.is_none(), "wasi-libc is not for {TARGET}");
            Ok(())
        });
        match fetched {
            Ok(()) => return Ok((sources, libc)),
            Err(error) => problems.push(format!("{suite}: {error:#}")),
        }
    }
    bail!(
        "no suite has rust-src {release} and wasi-libc ({})",
        problems.join("; ")
    )
}

/// Compiles the library; answers where the results are.
fn compile(toolchain: &Toolchain, sources: &Path, libc: &Path, task: &Task) -> Result<PathBuf> {
    let cargo = &task.cargo;
    let target = task.scratch.join(TARGET);
    // As RUSTFLAGS, but a path may hold a space.
    let flags = format!(
        "-Zforce-unstable-if-unmarked\x1f-Cembed-bitcode=yes\x1f-L\x1fnative={}",
        libc.display()
    );
    let _inside = task.sh.push_dir(sources.join("sysroot"));
    let build = cmd!(
        task.sh,
        "{cargo} build --locked --release --target {TARGET}"
    )
    .env("RUSTC", &toolchain.rustc)
    .env("RUSTC_BOOTSTRAP", "1")
    .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd")
    .env("CARGO_ENCODED_RUSTFLAGS", flags)
    .env("CARGO_TARGET_DIR", &target)
    // What lints our own crates is not for these.
    .env_remove("RUSTC_WORKSPACE_WRAPPER");
    task.run(&format!("building the standard library of {TARGET}"), build)?;
    Ok(target.join(TARGET).join("release/deps"))
}
