//! `cargo xtask test`: every test, with what the end-to-end tests need.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;
use xshell::Cmd;

use crate::setup::RedisServer;
use crate::setup::browser::Browser;
use crate::task::{Task, say};
use crate::{bench, build, setup};

/// Most end-to-end tests wait for something most of the time, so that more of them than there are
/// processors may run at once.
const THREADS: (&str, &str) = ("RUST_TEST_THREADS", "6");

#[derive(Args)]
pub(crate) struct Options {
    /// Passed on to `cargo test`: `--package refresher`, a test's name; all tests without
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
        ))
}

/// Tells the tests where a browser is and axe, where they can be had: what needs them says aloud that it is
/// skipped without. Gives the `PATH`, too.
fn with_browser<'a>(tests: Cmd<'a>, path: OsString, task: &Task) -> (Cmd<'a>, OsString) {
    let browser = match Browser::ensure(path.clone(), task) {
        Ok(browser) => browser,
        Err(error) => {
            say(&format!("no browser: {error:#}"));
            return (tests, path);
        }
    };
    let tests = browser.with(tests);
    match setup::browser::axe(task) {
        Ok(axe) => (tests.env("EMPLOYEE_INCIDENTS_AXE", axe), browser.path),
        Err(error) => {
            say(&format!("no axe: {error:#}"));
            (tests, browser.path)
        }
    }
}

/// Runs the tests.
pub(crate) fn run(options: &Options, task: &Task) -> Result<()> {
    let redis = setup::run(task)?;
    build::run(&["--lib", "--bins", "--tests"], task)?;
    let tests = task
        .cargo("test")
        .arg("--no-fail-fast")
        .args(&options.arguments);
    let tests = with_places(tests, &redis, task)?.env(THREADS.0, THREADS.1);
    let (mut tests, path) = with_browser(tests, redis.search_path(task)?, task);
    if options.arguments.is_empty() {
        tests = bench::with_contenders(tests, path, task)?;
    }
    task.run("running the tests", tests)?;
    say("all tests pass");
    Ok(())
}
