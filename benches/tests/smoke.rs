//! Every contender answers, and what ours does. What it needs and the machine lacks is named on standard
//! error.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What `cargo xtask test` says; see the harness in `tests/`.
fn place(variable: &str) -> PathBuf {
    env::var_os(variable).map_or_else(
        || panic!("{variable} is not set: run the tests with `cargo xtask test`"),
        PathBuf::from,
    )
}

#[test]
fn every_contender_answers_what_ours_does() {
    let python = env::var_os("EMPLOYEE_INCIDENTS_PYTHON").unwrap_or_else(|| "python3".into());
    // Its output is not captured: whoever was skipped is to be seen.
    let status = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg("smoke")
        .arg("--programs")
        .arg(place("EMPLOYEE_INCIDENTS_BIN_DIR"))
        .arg("--manifest")
        .arg(place("EMPLOYEE_INCIDENTS_SPIN_MANIFEST"))
        .arg("--python")
        .arg(python)
        .arg("--contenders")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/contenders"))
        .arg("--out")
        .arg(concat!(env!("CARGO_TARGET_TMPDIR"), "/smoke"))
        .status()
        .expect("it is built");
    assert!(status.success(), "see above");
}
