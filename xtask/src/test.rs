//! `cargo xtask test`: every test, with what the end-to-end tests need.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use xshell::Cmd;

use crate::setup::browser::Browser;
use crate::setup::{RedisServer, python};
use crate::task::{Task, say};
use crate::{bench, build, setup};

/// Most end-to-end tests wait for something most of the time, so that more of them than there are
/// processors may run at once.
const THREADS: (&str, &str) = ("RUST_TEST_THREADS", "6");

#[derive(Args)]
pub(crate) struct Options {
    /// Passed on to `cargo test`: a test's name, `--test system nodes::`; all tests without
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Tells a program where the end-to-end tests' harness finds what it starts.
pub(crate) fn with_places<'a>(cmd: Cmd<'a>, redis: &RedisServer, task: &Task) -> Result<Cmd<'a>> {
    Ok(cmd
        .env("PATH", redis.search_path(task)?)
        .env("EMPLOYEE_INCIDENTS_BIN_DIR", &task.programs)
        .env(
            "EMPLOYEE_INCIDENTS_SPIN_MANIFEST",
            task.root.join("spin.toml"),
        )
        // So that of the hundreds of hosts only the first compiles the component.
        .env("HOST_COMPILATION_CACHE", task.setup.join("compiled")))
}

/// Programs with which some tests look at the service, and their packages in Debian.
const PROGRAMS: [(&str, &str); 3] = [
    ("haproxy", "haproxy"),
    ("promtool", "prometheus"),
    ("prometheus-alertmanager", "prometheus-alertmanager"),
];

/// A `PATH` on which these are found, where they can be had: the tests that need one say aloud that they are
/// skipped without.
fn with_programs(path: OsString, task: &Task) -> OsString {
    PROGRAMS.iter().fold(path, |path, (program, package)| {
        setup::on_a_path(program, package, path.clone(), task).unwrap_or_else(|error| {
            say(&format!("no {program}: {error:#}"));
            path
        })
    })
}

/// Tells the tests where a browser is, where it can be had: they say aloud that they are skipped without.
/// Gives the `PATH` for them, too.
fn with_browser<'a>(tests: Cmd<'a>, path: OsString, task: &Task) -> (Cmd<'a>, OsString) {
    match Browser::ensure(path.clone(), task) {
        Ok(browser) => (browser.with(tests), browser.path),
        Err(error) => {
            say(&format!("no browser: {error:#}"));
            (tests.env("PATH", &path), path)
        }
    }
}

/// Runs the tests.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let redis = setup::run(task)?;
    build::run(&["--lib", "--bins", "--tests"], task)?;
    build::older_component(task)?;
    let tests = task
        .cargo("test")
        .arg("--no-fail-fast")
        .args(&options.arguments);
    let tests = with_places(tests, &redis, task)?.env(THREADS.0, THREADS.1);
    let path = with_programs(redis.search_path(task)?, task);
    let (mut tests, path) = with_browser(tests, path, task);
    // Where there is no way to it, what needs it says that it is skipped.
    match python::environment(
        "python-tests",
        "tests/requirements.txt",
        &["--no-deps"],
        task,
    ) {
        Ok(python) => tests = tests.env("EMPLOYEE_INCIDENTS_TESTS_PYTHON", python),
        Err(error) => say(&format!("no Python packages for the tests here: {error:#}")),
    }
    if options.arguments.is_empty() {
        tests = bench::with_contenders(tests, path, task)?;
    }
    task.run("running the tests", tests)?;
    say("all tests pass");
    Ok(())
}
