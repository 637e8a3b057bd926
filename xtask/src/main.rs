//! `cargo xtask`: sets up what is missing, builds, starts the whole system and runs the tests.

mod apt;
mod audit;
mod bench;
mod build;
mod cargo_tool;
mod fuzz;
mod guard;
mod interrupt;
mod lock;
mod probe;
mod process;
mod progress;
mod redis;
mod services;
mod setup;
mod soak;
mod test;
mod unpacked;
mod up;
mod wasm_from_debian;
mod wasm_target;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::interrupt::{Interrupt, Interrupted};
use crate::process::{Failed, Steps};
use crate::workspace::Workspace;

/// The tasks of this repository, each in one command.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Get what is missing on this machine: the target wasm32-wasip2 and a Redis server
    ///
    /// Does nothing where both are there. `up` and `test` do it by themselves.
    Setup,
    /// Set up, build, and start Redis, the demo upstream, the refresher and the service
    ///
    /// Prints a curl to paste when the service answers. Ctrl-C, SIGTERM or GET /shutdown ends
    /// everything that it started.
    Up(up::Options),
    /// Set up, build, and run every test of the repository
    Test(test::Options),
    /// Set up, build, and measure a refresh and a request side by side with other ways to do them
    Bench(bench::Options),
    /// Set up, build, and put the whole service under a steady load: nothing may grow
    Soak(soak::Options),
    /// Throw made-up input at all code that reads what comes from outside
    ///
    /// Installs cargo-fuzz into the target folder the first time. An input on which a check fails is
    /// kept there, and named.
    Fuzz(fuzz::Options),
    /// Check all dependencies against RustSec's advisories and against deny.toml
    ///
    /// Installs cargo-deny into the target folder the first time. Needs the network and git.
    Audit(audit::Options),
    /// End what another task started, should that be killed; not for people
    #[command(hide = true)]
    Guard,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            progress::say("interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            if let Some(failed) = error.downcast_ref::<Failed>() {
                failed.tail().for_each(|line| eprintln!("  | {line}"));
            }
            progress::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    if matches!(task, Task::Guard) {
        return guard::run(std::io::stdin().lock());
    }
    let interrupt = Interrupt::catch()?;
    let workspace = Workspace::find()?;
    let steps = Steps::new(&workspace, interrupt)?;
    match task {
        Task::Setup => setup::run(&workspace, &steps).map(|_| ()),
        Task::Up(options) => up::run(&options, &workspace, &steps),
        Task::Test(options) => test::run(&options, &workspace, &steps),
        Task::Bench(options) => bench::run(&options, &workspace, &steps),
        Task::Soak(options) => soak::run(&options, &workspace, &steps),
        Task::Fuzz(options) => fuzz::run(&options, &workspace, &steps),
        Task::Audit(options) => audit::run(&options, &workspace, &steps),
        Task::Guard => unreachable!("handled above"),
    }
}
