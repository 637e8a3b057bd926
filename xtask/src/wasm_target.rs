//! The standard library of wasm32-wasip2, for which the component is built: probed, and installed
//! with rustup or from Debian's packages when it is missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lock;
use crate::process::Steps;
use crate::progress::say;
use crate::wasm_from_debian;
use crate::workspace::on_path;

/// The target's name.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Where its servers cannot be reached, rustup may wait for minutes: not where there is another way.
/// What it has fetched by then it keeps for the next time.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Where there is no other way, a slow line gets its time.
const RUSTUP_ALONE_LIMIT: Duration = Duration::from_secs(900);

/// The toolchain that builds everything here.
pub(crate) struct Toolchain {
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// Where its libraries are.
    pub(crate) sysroot: PathBuf,
    /// Its version, as `1.95.0`.
    pub(crate) release: String,
}

/// Installs the target unless it works already; answers how that is to be told.
///
/// # Errors
/// Neither way works, or the toolchain is not to be written to.
pub(crate) fn ensure(steps: &Steps) -> Result<&'static str> {
    let toolchain = Toolchain::find()?;
    if toolchain.probe().is_ok() {
        return Ok("there");
    }
    say(&format!(
        "the target {TARGET} is missing in {}",
        toolchain.sysroot.display()
    ));
    // One set-up at a time for a toolchain, also over checkouts.
    let _lock = lock::folder(&toolchain.rustlib(), &steps.interrupt)?;
    if toolchain.probe().is_ok() {
        return Ok("there");
    }
    clear_left_overs(&toolchain.rustlib())?;
    let rustup = with_rustup(&toolchain, steps);
    steps.interrupt.check()?;
    let Err(rustup) = rustup else {
        return Ok("installed with rustup");
    };
    say(&format!(
        "rustup cannot give it ({rustup:#}); building it from Debian's packages"
    ));
    let debian = wasm_from_debian::build(&toolchain, &steps.scratch().join(TARGET), steps)
        .and_then(|built| install(&built, &toolchain));
    steps.interrupt.check()?;
    debian.with_context(|| {
        format!(
            "the target {TARGET} cannot be installed: run `rustup target add {TARGET}` where its \
             servers can be reached. Tried: {rustup:#}; from Debian's packages"
        )
    })?;
    Ok("built from Debian's packages")
}

impl Toolchain {
    fn find() -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |arguments: &[&str]| -> Result<String> {
            let output = Command::new(&rustc)
                .args(arguments)
                .output()
                .context("cannot run `rustc`")?;
            ensure!(
                output.status.success(),
                "`rustc {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(String::from_utf8(output.stdout)?)
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim_end());
        let version = ask(&["--version", "--verbose"])?;
        let release = version
            .lines()
            .find_map(|line| line.strip_prefix("release: "))
            .context("`rustc --version --verbose` tells no release")?
            .to_owned();
        let own = sysroot.join("bin/rustc");
        Ok(Self {
            // The one of the sysroot itself: a proxy on the path might pick another in another folder.
            rustc: if own.is_file() { own } else { rustc.into() },
            sysroot,
            release,
        })
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib")
    }

    /// Compiles and links a small library, which needs everything that a component needs.
    fn probe(&self) -> Result<()> {
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let source = folder.path().join("probe.rs");
        fs::write(
            &source,
            "#[unsafe(no_mangle)] pub extern \"C\" fn probe(n: usize) -> usize { vec![b'a'; n].len() }",
        )?;
        let output = Command::new(&self.rustc)
            .args([
                "--edition",
                "2024",
                "--crate-type",
                "cdylib",
                "--target",
                TARGET,
                "-o",
            ])
            .arg(folder.path().join("probe.wasm"))
            .arg(&source)
            .stdin(Stdio::null())
            .output()
            .context("cannot run `rustc`")?;
        ensure!(
            output.status.success(),
            "rustc cannot build for {TARGET}: {}",
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .unwrap_or_default()
        );
        Ok(())
    }

    /// The name under which rustup knows it, if it is rustup's.
    fn rustup_name(&self) -> Option<&str> {
        let rustups = self.sysroot.parent()?.file_name()? == "toolchains";
        rustups
            .then(|| self.sysroot.file_name()?.to_str())
            .flatten()
    }
}

/// Removes what a killed set-up left, and finds out on the way whether the folder can be written.
fn clear_left_overs(rustlib: &Path) -> Result<()> {
    let trial = tempfile::Builder::new()
        .prefix(&partial_prefix())
        .tempdir_in(rustlib);
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
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(&partial_prefix())
        {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn partial_prefix() -> String {
    format!("{TARGET}.partial-")
}

fn with_rustup(toolchain: &Toolchain, steps: &Steps) -> Result<()> {
    let rustup = on_path("rustup").context("it is not installed")?;
    let name = toolchain
        .rustup_name()
        .context("the toolchain is not rustup's")?;
    let limit = if on_path("apt-get").is_some() {
        RUSTUP_LIMIT
    } else {
        RUSTUP_ALONE_LIMIT
    };
    steps.quietly(
        &format!("rustup target add {TARGET}"),
        Command::new(rustup)
            .args(["target", "add", "--toolchain", name, TARGET])
            .env("RUST_BACKTRACE", "0"),
        limit,
    )?;
    toolchain.probe()
}

/// Puts the built files in their place: copied beside it first, then there at once.
fn install(built: &wasm_from_debian::Built, toolchain: &Toolchain) -> Result<()> {
    let rustlib = toolchain.rustlib();
    let partial = tempfile::Builder::new()
        .prefix(&partial_prefix())
        .tempdir_in(&rustlib)?;
    let library = partial.path().join(TARGET).join("lib");
    copy_all(&built.libraries, &library)?;
    copy_all(&built.self_contained, &library.join("self-contained"))?;
    let place = rustlib.join(TARGET);
    if place.exists() {
        // It does not work: the probe said so.
        fs::rename(&place, partial.path().join("replaced"))?;
    }
    fs::rename(partial.path().join(TARGET), &place)?;
    toolchain.probe().inspect_err(|_| {
        // The probe's error is the one to tell.
        let _ = fs::remove_dir_all(&place);
    })
}

fn copy_all(files: &[PathBuf], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for file in files {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(file, folder.join(name))
            .with_context(|| format!("cannot copy {} to {}", file.display(), folder.display()))?;
    }
    Ok(())
}
