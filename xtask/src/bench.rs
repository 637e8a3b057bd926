//! `cargo xtask bench`: the benchmarks, with all that they compare with.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use xshell::{Cmd, cmd};

use crate::task::{Task, say};
use crate::{build, setup};

/// What is taken from Debian where the machine has it not: the package, and its program.
const TOOLS: [(&str, &str); 4] = [
    ("wrk", "wrk"),
    ("nginx-light", "nginx"),
    ("jq", "jq"),
    ("redis-tools", "redis-benchmark"),
];

/// Those that are compared with ours, and do not only measure.
const COMPETE: [&str; 2] = ["nginx", "jq"];

const PARTS: [&str; 3] = ["refresh", "requests", "ask"];

#[derive(Args)]
pub(crate) struct Options {
    /// Only this part: `refresh`, from upstream's bytes to the published snapshot, `requests`, from
    /// `GET /incidents` to the bytes on the socket, or `ask`, pages, the summary and streams; all without
    #[arg(value_parser = PARTS)]
    part: Option<String>,
    /// Passed on to it: `--rounds 1`, `--rows 2100,100000`, `--seconds 1`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Measures, and writes tables into the folder `bench` of the target folder.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let mut path = setup::run(task)?.search_path(task)?;
    for (package, program) in TOOLS {
        path = setup::on_a_path(program, package, path, task)?;
    }
    let python = python(task)?;
    let targets = ["--bin=bench", "--bin=native-server"];
    let programs = build::as_shipped(&[&build::SERVICE[..], &targets].concat(), task)?;
    // Their own tests come first: whether a floor really checks what it is said to check, say.
    let own = task.cargo_for(build::DIST, "test").args(targets);
    task.run("testing the benchmarks", own)?;
    let chosen = options.part.as_deref();
    for part in PARTS
        .into_iter()
        .filter(|part| chosen.is_none_or(|chosen| chosen == *part))
    {
        let manifest = task.root.join("spin.toml");
        let contenders = task.root.join("benches/contenders");
        let out = task.target.join("bench");
        let bench = programs.join("bench");
        let measure = cmd!(
            task.sh,
            "{bench} {part} --programs {programs} --manifest {manifest} --python {python}
             --contenders {contenders} --out {out}"
        );
        let measure = measure.args(&options.arguments).env("PATH", &path);
        task.run(&format!("measuring {part} (this takes a while)"), measure)?;
    }
    Ok(())
}

/// Tells the smoke run of the benchmarks where it finds what they compare with, as far as there is a way to
/// it here and it is not on `path`; the run says what it had to do without.
pub(crate) fn with_contenders<'a>(
    tests: Cmd<'a>,
    mut path: OsString,
    task: &Task,
) -> Result<Cmd<'a>> {
    for (package, program) in TOOLS.into_iter().filter(|(_, name)| COMPETE.contains(name)) {
        match setup::on_a_path(program, package, path.clone(), task) {
            Ok(found) => path = found,
            Err(error) => say(&format!("no {program} here: {error:#}")),
        }
    }
    let tests = tests.env("PATH", path);
    Ok(match python(task) {
        Ok(python) => tests.env("EMPLOYEE_INCIDENTS_PYTHON", python),
        Err(error) => {
            say(&format!(
                "no DuckDB, Polars, pandas and Flask here: {error:#}"
            ));
            tests
        }
    })
}

/// A Python of our own with the packages that are compared with.
fn python(task: &Task) -> Result<PathBuf> {
    setup::python::environment("python", "benches/requirements.txt", &[], task)
}
