//! The Rust toolchain that builds everything here.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// What the component is built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// A library that needs everything that a component needs.
const PROBE: &str = "#[unsafe(no_mangle)] \
     pub extern \"C\" fn probe(n: usize) -> usize { vec![b'a'; n].len() }";

/// The toolchain.
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) rustc: OsString,
    /// Where its libraries are.
    pub(crate) sysroot: PathBuf,
    /// Its version, as `1.95.0`.
    pub(crate) release: String,
    /// What it compiles for by itself.
    pub(crate) host: String,
}

impl Toolchain {
    /// Asks the compiler.
    pub(crate) fn find(sh: &Shell) -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let sysroot = PathBuf::from(cmd!(sh, "{rustc} --print sysroot").quiet().read()?);
        let version = cmd!(sh, "{rustc} -vV").quiet().read()?;
        let value = |name: &str| {
            let found = version.lines().find_map(|line| line.strip_prefix(name));
            let found = found.with_context(|| format!("`rustc -vV` does not say `{name}`"))?;
            anyhow::Ok(found.to_owned())
        };
        let own = sysroot.join("bin/rustc");
        Ok(Self {
            release: value("release: ")?,
            host: value("host: ")?,
            // The one of the sysroot itself: a proxy on the path might pick another in another folder.
            rustc: if own.is_file() { own.into() } else { rustc },
            sysroot,
        })
    }

    /// Where the libraries of its targets are, a folder each.
    pub(crate) fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }

    /// The name under which rustup knows it, if it is rustup's.
    pub(crate) fn rustup_name(&self) -> Option<&str> {
        let is_rustups = self.sysroot.parent()?.ends_with("toolchains");
        self.sysroot.file_name()?.to_str().filter(|_| is_rustups)
    }

    /// Compiles and links a small library for [`TARGET`] in the folder `scratch`.
    pub(crate) fn probe(&self, sh: &Shell, scratch: &Path) -> Result<()> {
        let source = scratch.join("probe.rs");
        let built = scratch.join("probe.wasm");
        sh.write_file(&source, PROBE)?;
        let rustc = &self.rustc;
        let kind = ["--edition=2024", "--crate-type=cdylib"];
        let compile = cmd!(
            sh,
            "{rustc} {kind...} --target {TARGET} -o {built} {source}"
        );
        Ok(compile.quiet().ignore_stderr().run()?)
    }
}
