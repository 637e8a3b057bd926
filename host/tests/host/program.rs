//! The probe, built and compiled once for all tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use host::Program;

/// The probe's file.
pub(crate) fn probe_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        // Cargo's folder for the temporary files of tests is in its target folder.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "host-probe"])
            .args(["--target", "wasm32-wasip2", "--target-dir"])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(
            built.success(),
            "the probe is not built: `cargo xtask setup` installs the target wasm32-wasip2"
        );
        target.join("wasm32-wasip2/release/host_probe.wasm")
    })
}

/// The probe, compiled.
pub(crate) fn probe() -> Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let compile = || Program::compile(probe_file()).unwrap();
    PROGRAM.get_or_init(compile).clone()
}
