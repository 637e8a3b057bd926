//! `cargo xtask fuzz`: throws made-up input at everything that reads what comes from outside.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo_tool::CargoTool;
use crate::process::{Failed, Steps};
use crate::progress::say;
use crate::workspace::Workspace;

const CARGO_FUZZ: CargoTool = CargoTool {
    name: "cargo-fuzz",
    version: "0.13.2",
};

/// How long a fuzzer may take beyond its time: to read what it found before, and to end.
const GRACE: Duration = Duration::from_secs(300);

/// What to fuzz.
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
///
/// # Errors
/// Something is missing, does not build, or an input was found on which a check fails.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    let fuzzer = Fuzzer {
        sources: workspace.root.join("fuzz"),
        work: workspace.target.join("fuzz"),
        toolchain: Toolchain::find()?,
        seconds: options.seconds,
    };
    let known = targets(&fs::read_to_string(fuzzer.sources.join("Cargo.toml"))?)?;
    let chosen = match &options.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => bail!("there is no target `{target}`: {}", known.join(", ")),
    };
    fuzzer.build(&CARGO_FUZZ.ensure(workspace, steps)?, steps)?;
    let mut failed = Vec::new();
    for target in &chosen {
        match fuzzer.fuzz(target, steps) {
            Ok(told) => say(&format!("{target}: {told}")),
            Err(error) => match error.downcast_ref::<Failed>() {
                Some(found) => {
                    found.tail().for_each(|line| eprintln!("  | {line}"));
                    say(&format!("{target}: {found}"));
                    failed.push(target.as_str());
                }
                None => return Err(error),
            },
        }
    }
    ensure!(failed.is_empty(), "fails: {}; see above", failed.join(", "));
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

/// What the compiler can do.
struct Toolchain {
    /// What it compiles for by itself.
    host: String,
    is_nightly: bool,
    /// Whether AddressSanitizer's run-time library came with it.
    has_address_sanitizer: bool,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let version = rustc(&["-vV"])?;
        let line = |name: &str| {
            let mut lines = version.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
        };
        let host = line("host: ").context("`rustc -vV` names no host")?;
        let release = line("release: ").context("`rustc -vV` names no release")?;
        let libraries = rustc(&["--print", "target-libdir"])?;
        let libraries = fs::read_dir(libraries.trim()).into_iter().flatten();
        let mut names = libraries
            .flatten()
            .map(|file| file.file_name().to_string_lossy().into_owned());
        Ok(Self {
            host,
            is_nightly: release.contains("nightly"),
            has_address_sanitizer: names.any(|name| name.ends_with("_rt.asan.a")),
        })
    }
}

/// What the compiler says.
fn rustc(arguments: &[&str]) -> Result<String> {
    let program = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program)
        .args(arguments)
        .output()
        .context("cannot run `rustc`")?;
    ensure!(
        output.status.success(),
        "`rustc {}` failed",
        arguments.join(" ")
    );
    Ok(String::from_utf8(output.stdout)?)
}

struct Fuzzer {
    /// The manifest, the checks and the seeds.
    sources: PathBuf,
    /// What is built and found.
    work: PathBuf,
    toolchain: Toolchain,
    seconds: u32,
}

impl Fuzzer {
    fn build(&self, cargo_fuzz: &Path, steps: &Steps) -> Result<()> {
        let sanitizer = if self.toolchain.has_address_sanitizer {
            "address"
        } else {
            "none"
        };
        say(&format!(
            "building the fuzzers (some minutes the first time; sanitizer: {sanitizer})"
        ));
        let mut build = Command::new(cargo_fuzz);
        build
            .args(["fuzz", "build", "--features", "libfuzzer", "--fuzz-dir"])
            .arg(&self.sources)
            .args(["--sanitizer", sanitizer, "--target", &self.toolchain.host])
            .arg("--target-dir")
            .arg(&self.work)
            .current_dir(&self.sources);
        if !self.toolchain.is_nightly {
            // The compiler's flags that tell libFuzzer where it has been are unstable.
            build.env("RUSTC_BOOTSTRAP", "1");
        }
        let status = steps.visibly(&mut build)?;
        ensure!(status.success(), "the fuzzers do not build: see above");
        Ok(())
    }

    /// Fuzzes `target`, and says how that went.
    fn fuzz(&self, target: &str, steps: &Steps) -> Result<String> {
        let folder = |name: &str| -> Result<PathBuf> {
            let folder = self.work.join(name).join(target);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot write to {}", folder.display()))?;
            Ok(folder)
        };
        let (corpus, artifacts) = (folder("corpus")?, folder("artifacts")?);
        let programs = self.work.join(&self.toolchain.host).join("release");
        let mut command = Command::new(programs.join(target));
        command
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-timeout=10", "-max_len=4096"])
            // What a thread keeps for itself is freed a little after whoever started it has gone on, and
            // would be taken for a leak.
            .arg("-detect_leaks=0")
            .arg(&corpus)
            .arg(self.sources.join("seeds").join(target));
        let limit = Duration::from_secs(self.seconds.into()) + GRACE;
        let (status, output) = steps.captured(&format!("fuzzing {target}"), &mut command, limit)?;
        if status.success() {
            return Ok(Told::read(&output).to_string());
        }
        let line = match input_of(&output) {
            Some(input) => format!("a check fails on the input {input}: {}", problem(&output)),
            None => format!("it ended with {status}: {}", problem(&output)),
        };
        Err(Failed::with_line(line, output).into())
    }
}

/// The file of the input on which a fuzzer ended.
fn input_of(output: &str) -> Option<&str> {
    const WRITTEN: &str = "Test unit written to ";
    output
        .lines()
        .find_map(|line| line.split_once(WRITTEN))
        .map(|(_, path)| path.trim())
}

/// What went wrong: where it panicked and what was said, or libFuzzer's own word.
fn problem(output: &str) -> String {
    let mut lines = output.lines();
    let found = lines.find(|line| line.contains("panicked at") || line.contains("ERROR: "));
    let next = lines.next().unwrap_or_default();
    format!("{} {next}", found.unwrap_or("see above"))
}

/// What a fuzzer told of its run.
struct Told {
    runs: u64,
    per_second: u64,
    /// Places of the code that were reached.
    covered: u64,
}

impl Told {
    fn read(output: &str) -> Self {
        let number = |text: &str| {
            let mut words = text.split_whitespace();
            words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let last = |mark: &str| {
            let lines = output.lines().rev();
            let found = lines
                .filter_map(|line| line.split_once(mark))
                .map(|(_, rest)| number(rest));
            found.into_iter().next().unwrap_or(0)
        };
        Self {
            runs: last("stat::number_of_executed_units:"),
            per_second: last("stat::average_exec_per_sec:"),
            covered: last(" cov: "),
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            runs,
            per_second,
            covered,
        } = self;
        write!(
            f,
            "{runs} runs, {per_second} a second, {covered} places of the code reached, nothing found"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#2\tINITED cov: 100 ft: 10\n#99\tNEW    cov: 321 ft: 20 corp: 3/9b\n\
         Done 99 runs in 2 second(s)\nstat::number_of_executed_units: 99\nstat::average_exec_per_sec:     49\n";
    const BAD: &str = "#99\tNEW    cov: 321 ft: 20\n\
         thread '<unnamed>' panicked at fuzz/src/limits.rs:14:17:\nassertion failed: false\n\
         artifact_prefix='/x/'; Test unit written to /x/crash-12ab\nBase64: AA==\n";

    #[test]
    fn what_a_fuzzer_says_is_understood() {
        assert_eq!(
            Told::read(GOOD).to_string(),
            "99 runs, 49 a second, 321 places of the code reached, nothing found"
        );
        assert_eq!(input_of(GOOD), None);
        assert_eq!(input_of(BAD), Some("/x/crash-12ab"));
        assert!(problem(BAD).ends_with("limits.rs:14:17: assertion failed: false"));
    }

    #[test]
    fn every_target_has_seeds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let targets = targets(&manifest).unwrap();
        assert!(targets.len() > 5);
        for target in targets {
            assert!(folder.join("seeds").join(&target).is_dir(), "{target}");
        }
    }
}
