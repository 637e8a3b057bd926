//! `cargo xtask fuzz`: fuzzes everything that reads what comes from outside.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use xshell::cmd;

use crate::setup;
use crate::task::{Task, say};
use crate::toolchain::Toolchain;

/// How long a fuzzer may take beyond its time: to read what it found before, and to end.
const GRACE: Duration = Duration::from_secs(300);

#[derive(Args)]
pub(crate) struct Options {
    /// Only this target, such as `incidents`; all without
    target: Option<String>,
    /// How long each
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    seconds: u32,
}

/// Fuzzes one target after the other. What was found interesting is kept in the target folder, and is
/// where the next run begins.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let cargo_fuzz = setup::cargo_tool("cargo-fuzz", "0.13.2", &[], task)?;
    let known = cmd!(task.sh, "{cargo_fuzz} fuzz list --fuzz-dir fuzz")
        .quiet()
        .read()?;
    let chosen = |target: &&str| {
        options
            .target
            .as_deref()
            .is_none_or(|wanted| wanted == *target)
    };
    let targets: Vec<&str> = known.lines().filter(chosen).collect();
    ensure!(
        !targets.is_empty(),
        "there is no such target, but {}",
        known.replace('\n', ", ")
    );
    let toolchain = Toolchain::find(&task.sh)?;
    build(&cargo_fuzz, &toolchain, task)?;
    let fuzz = |target: &&str| fuzz(target, options.seconds, &toolchain, task);
    let problems: Vec<anyhow::Error> = targets.iter().map(fuzz).filter_map(Result::err).collect();
    problems
        .iter()
        .for_each(|problem| say(&format!("{problem:#}")));
    ensure!(problems.is_empty(), "checks fail: see above for the inputs");
    say("nothing found");
    Ok(())
}

/// Builds all targets, with AddressSanitizer where its run-time library came with the toolchain.
fn build(cargo_fuzz: &Path, toolchain: &Toolchain, task: &Task) -> Result<()> {
    let host = &toolchain.host;
    let libraries = task
        .sh
        .read_dir(toolchain.rustlib().join(host).join("lib"))?;
    let mut libraries = libraries.iter().map(|file| file.to_string_lossy());
    let has_sanitizer = libraries.any(|file| file.ends_with("_rt.asan.a"));
    let sanitizer = if has_sanitizer { "address" } else { "none" };
    let work = task.target.join("fuzz");
    let _inside = task.sh.push_dir("fuzz");
    let mut build = cmd!(
        task.sh,
        "{cargo_fuzz} fuzz build --features libfuzzer --fuzz-dir . --sanitizer {sanitizer}
         --target {host} --target-dir {work}"
    );
    if !toolchain.release.contains("nightly") {
        // The compiler's flags that tell libFuzzer where it has been are unstable.
        build = build.env("RUSTC_BOOTSTRAP", "1");
    }
    task.run(
        &format!("building the fuzzers, sanitizer: {sanitizer}"),
        build,
    )
}

/// Fuzzes `target`. An input on which a check fails is written into the folder of artifacts.
fn fuzz(target: &str, seconds: u32, toolchain: &Toolchain, task: &Task) -> Result<()> {
    let work = task.target.join("fuzz");
    let corpus = task.sh.create_dir(work.join("corpus").join(target))?;
    let artifacts = task.sh.create_dir(work.join("artifacts").join(target))?;
    let program = work.join(&toolchain.host).join("release").join(target);
    let time = seconds.to_string();
    // What a thread keeps for itself is freed a little after whoever started it has gone on, and would
    // be taken for a leak: leaks are not looked for.
    let fuzz = cmd!(
        task.sh,
        "{program} -max_total_time={time} -artifact_prefix={artifacts}/ -timeout=10 -max_len=4096
         -detect_leaks=0 -verbosity=0 -print_final_stats=1 {corpus} fuzz/seeds/{target}"
    );
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    task.run_within(limit, &format!("fuzzing {target}"), fuzz)
}
