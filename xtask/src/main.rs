//! `cargo xtask`: sets up what is missing, builds, starts the whole system and runs the tests.
//!
//! `task` starts programs so that none outlasts it, and `setup` gets what the machine lacks; each other
//! module is a task of that name.

mod audit;
mod bench;
mod build;
mod fuzz;
mod garage;
mod guard;
mod mutants;
mod screenshot;
mod setup;
mod soak;
mod task;
mod test;
mod toolchain;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::task::{Task, say};

/// The tasks of this repository, each in one command.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Get what is missing on this machine: the target wasm32-wasip2 and a Redis server
    ///
    /// Does nothing where both are there. The other tasks do it by themselves. The target comes from
    /// rustup or, where its servers cannot be reached, is built from Debian's packages; Redis is
    /// unpacked from Debian's packages into the target folder.
    Setup,
    /// Set up, build, and start Redis, the demo upstream, the refresher and the service
    ///
    /// Prints a curl to paste when the service answers. Ctrl-C, SIGTERM or GET /shutdown ends
    /// everything that it started.
    Up(up::Options),
    /// Set up, build, and run every test of the repository
    Test(test::Options),
    /// Set up, build, and measure a refresh, requests and questions side by side with other ways to do
    /// them
    Bench(bench::Options),
    /// Set up, build, and put the whole service under a steady load: nothing may grow
    Soak(soak::Options),
    /// Take the picture of the dashboard that stands in the README
    Screenshot,
    /// Record the history on three nodes of Garage, and kill and lose them: nothing may be lost
    ///
    /// Installs Garage into the target folder the first time, which takes some minutes.
    Garage,
    /// Fuzz all code that reads what comes from outside
    ///
    /// Installs cargo-fuzz into the target folder the first time. An input on which a check fails is
    /// kept there, and named.
    Fuzz(fuzz::Options),
    /// Change the code in small ways, and count which changes the tests notice
    ///
    /// Installs cargo-mutants into the target folder the first time. Fails when fewer than 90 % are
    /// noticed; the others are listed.
    Mutants(mutants::Options),
    /// Check all dependencies against RustSec's advisories and against deny.toml
    ///
    /// Installs cargo-deny into the target folder the first time. Needs the network and git.
    Audit(audit::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Commands) -> anyhow::Result<()> {
    let task = Task::begin()?;
    match command {
        Commands::Setup => setup::run(&task).map(drop),
        Commands::Up(options) => up::run(&options, &task),
        Commands::Test(options) => test::run(&options, &task),
        Commands::Bench(options) => bench::run(&options, &task),
        Commands::Soak(options) => soak::run(&options, &task),
        Commands::Screenshot => screenshot::run(&task),
        Commands::Garage => garage::run(&task),
        Commands::Fuzz(options) => fuzz::run(&options, &task),
        Commands::Mutants(options) => mutants::run(&options, &task),
        Commands::Audit(options) => audit::run(&options, &task),
    }
}
