//! What `cargo xtask bench` provides, and what a contender needs of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Rows of the run in which each contender answers once: enough that every employee, type and priority is
/// there.
pub(crate) const SMOKE_ROWS: u64 = 2_100;

/// What `cargo xtask bench` provides.
#[derive(clap::Args, Clone)]
pub(crate) struct Tools {
    /// The folder of our programs
    #[arg(long)]
    pub(crate) programs: PathBuf,
    /// The application's manifest
    #[arg(long)]
    pub(crate) manifest: PathBuf,
    /// A Python with the packages of benches/requirements.txt
    #[arg(long)]
    pub(crate) python: PathBuf,
    /// The folder `contenders` of this package
    #[arg(long)]
    pub(crate) contenders: PathBuf,
    /// Where generated data and results go
    #[arg(long)]
    pub(crate) out: PathBuf,
}

/// What a contender does not bring along.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// A module for Python.
    Module(&'static str),
    /// A program on `PATH`, and an option with which it only shows that it is there.
    Program(&'static str, &'static str),
}

impl Tools {
    /// What is missing of `needs`, if anything is.
    pub(crate) fn missing(&self, needs: &[Need]) -> Option<String> {
        let runs = |command: &mut Command| {
            let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
            silent.status().is_ok_and(|status| status.success())
        };
        needs.iter().find_map(|need| match need {
            Need::Module(name) => {
                let import = format!("import {name}");
                let there = runs(Command::new(&self.python).args(["-c", &import]));
                (!there).then(|| format!("no module {name} for Python"))
            }
            Need::Program(name, option) => {
                let there = runs(Command::new(name).arg(option));
                (!there).then(|| format!("no program {name}"))
            }
        })
    }
}
