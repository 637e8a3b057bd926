//! `cargo xtask bench`: the benchmarks, with all that they compare with.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::build;
use crate::process::Steps;
use crate::progress::say;
use crate::setup;
use crate::unpacked;
use crate::workspace::{Workspace, cargo, on_path};

/// What is taken from Debian where the machine has it not: the package, and its program.
const TOOLS: [(&str, &str); 4] = [
    ("wrk", "wrk"),
    ("nginx-light", "nginx"),
    ("jq", "jq"),
    ("redis-tools", "redis-benchmark"),
];

/// The packages for Python are large.
const PIP_LIMIT: Duration = Duration::from_secs(900);

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this part; both without
    part: Option<Part>,
    /// Passed on to it: `--rounds 1`, `--rows 2100,100000`, `--seconds 1`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From upstream's bytes to the published snapshot
    Refresh,
    /// From `GET /incidents` to the bytes on the socket
    Requests,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Requests => "requests",
        }
    }
}

/// Measures, and writes tables into the folder `bench` of the target folder.
///
/// # Errors
/// Something is missing, does not build, or a measurement fails.
pub(crate) fn run(options: &Options, workspace: &Workspace, steps: &Steps) -> Result<()> {
    let redis = setup::run(workspace, steps)?;
    let mut path = redis.search_path(steps)?;
    for (package, program) in TOOLS {
        path = with_tool(package, program, path, workspace, steps)?;
    }
    let contenders = workspace.root.join("benches/contenders");
    let requirements = workspace.root.join("benches/requirements.txt");
    let python = python(&requirements, workspace, steps)?;
    build::run(workspace, steps)?;
    say("building the benchmarks");
    // Their own tests come first: whether a floor really checks what it is said to check, say.
    for task in ["build", "test"] {
        let status = steps.visibly(
            Command::new(cargo())
                .args([task, "--release", "--locked", "--package", "benches"])
                .current_dir(&workspace.root),
        )?;
        ensure!(status.success(), "the benchmarks do not {task}: see above");
    }
    let parts = match options.part {
        Some(part) => vec![part],
        None => vec![Part::Refresh, Part::Requests],
    };
    for part in parts {
        say(&format!("measuring: {} (this takes a while)", part.name()));
        let mut bench = Command::new(workspace.programs().join("bench"));
        bench
            .arg(part.name())
            .arg("--programs")
            .arg(workspace.programs())
            .arg("--manifest")
            .arg(workspace.spin_manifest())
            .arg("--python")
            .arg(&python)
            .arg("--contenders")
            .arg(&contenders)
            .arg("--out")
            .arg(workspace.target.join("bench"))
            .args(&options.arguments)
            .env("PATH", &path);
        let status = steps.visibly(&mut bench)?;
        ensure!(status.success(), "the measurement failed: see above");
    }
    Ok(())
}

/// A `PATH` on which the program is found.
fn with_tool(
    package: &str,
    program: &str,
    path: OsString,
    workspace: &Workspace,
    steps: &Steps,
) -> Result<OsString> {
    let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found {
        return Ok(path);
    }
    let folder = workspace.setup().join("tools").join(package);
    let mut programs = folder.join("bin");
    if !programs.join(program).is_file() {
        programs = unpacked::fetch(&folder, package, steps)
            .with_context(|| format!("the benchmarks need {program}: install it"))?;
    }
    Ok(env::join_paths(env::split_paths(&path).chain([programs]))?)
}

/// A Python of our own with the packages that are compared with.
fn python(requirements: &Path, workspace: &Workspace, steps: &Steps) -> Result<PathBuf> {
    let folder = workspace.setup().join("python");
    let python = folder.join("bin/python");
    let installed = folder.join("requirements.txt");
    let wanted = fs::read(requirements)?;
    if python.exists() && fs::read(&installed).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let system = on_path("python3").context("the benchmarks need python3: install it")?;
    steps
        .quietly(
            "making a Python for the benchmarks",
            Command::new(system)
                .args(["-m", "venv", "--clear"])
                .arg(&folder),
            PIP_LIMIT,
        )
        .context("python3 cannot make an environment: install python3-venv")?;
    steps.quietly(
        "fetching DuckDB, Polars, pandas and Flask",
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(requirements),
        PIP_LIMIT,
    )?;
    fs::write(&installed, wanted)?;
    Ok(python)
}
