//! The probe, built and compiled once for all tests.

use std::{
    env,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, exit},
    sync::{Once, OnceLock},
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
            // As the component is built, so that what both depend on is compiled once.
            .args(["build", "--quiet", "--locked", "--package", "host-probe"])
            .args(["--profile", "component", "--target", "wasm32-wasip2"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        if !built.success() {
            not_set_up();
        }
        target.join("wasm32-wasip2/component/host_probe.wasm")
    })
}

/// Ends the whole run of tests, in one line.
pub(crate) fn not_set_up() -> ! {
    // Many tests may find out at once; one tells.
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        // Not by `eprintln`, which the tests' harness would keep.
        let line = b"error: these tests need the target wasm32-wasip2 and a Redis: run `cargo xtask test`\n";
        let _ = io::stderr().write_all(line);
        exit(1);
    });
    unreachable!("the process has ended")
}

/// The probe, compiled.
pub(crate) fn probe() -> Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let compile = || Program::compile(probe_file(), None).unwrap();
    PROGRAM.get_or_init(compile).clone()
}
