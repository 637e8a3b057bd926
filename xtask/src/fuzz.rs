//! `cargo xtask fuzz`: fuzzes everything that reads what comes from outside.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
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
    let known = targets(&task.sh.read_file("fuzz/Cargo.toml")?)?;
    let chosen = match &options.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("there is no target `{target}`: {}", known.join(", ")),
    };
    let toolchain = Toolchain::find(&task.sh)?;
    build(&toolchain, task)?;
    let mut failed = Vec::new();
    for target in chosen {
        if let Err(error) = fuzz(&target, options.seconds, &toolchain, task) {
            say(&format!("{error:#}"));
            failed.push(target);
        }
    }
    ensure!(failed.is_empty(), "fails: {}; see above", failed.join(", "));
    say("nothing found");
    Ok(())
}

/// The names of the programs in a manifest.
fn targets(manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = manifest.parse()?;
    let programs = manifest.get("bin").and_then(toml::Value::as_array);
    let names = programs.into_iter().flatten().map(|program| {
        let name = program.get("name").and_then(toml::Value::as_str);
        name.map(str::to_owned).context("a [[bin]] has no name")
    });
    names.collect()
}

/// Builds all targets, with AddressSanitizer where its run-time library came with the toolchain.
fn build(toolchain: &Toolchain, task: &Task) -> Result<()> {
    let program = setup::cargo_tool("cargo-fuzz", "0.13.2", task)?;
    let host = &toolchain.host;
    let folder = toolchain.rustlib().join(host).join("lib");
    let libraries = task.sh.read_dir(folder)?;
    let mut libraries = libraries.iter().map(|file| file.to_string_lossy());
    let sanitizer = match libraries.any(|file| file.ends_with("_rt.asan.a")) {
        true => "address",
        false => "none",
    };
    let work = task.target.join("fuzz");
    let _inside = task.sh.push_dir("fuzz");
    let mut build = cmd!(
        task.sh,
        "{program} fuzz build --features libfuzzer --fuzz-dir . --sanitizer {sanitizer}
         --target {host} --target-dir {work}"
    );
    if !toolchain.release.contains("nightly") {
        // The compiler's flags that tell libFuzzer where it has been are unstable.
        build = build.env("RUSTC_BOOTSTRAP", "1");
    }
    let what = format!("building the fuzzers, sanitizer: {sanitizer}");
    task.run(&what, build)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_has_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = targets(&manifest).unwrap();
        assert!(targets.len() > 5);
        for target in targets {
            assert!(folder.join("seeds").join(&target).is_dir(), "{target}");
        }
    }
}
