//! `bench`: measures the two hot paths side by side with what a user would pick instead.
//! `cargo xtask bench` provides what it needs and starts it.

mod contender;
mod load;
mod measure;
mod refresh;
mod requests;
mod servers;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures a refresh and a request, each side by side with other ways to do the same, all in one
/// run and in turn, and writes tables of medians.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// From upstream's bytes to the published snapshot
    Refresh {
        #[command(flatten)]
        tools: Tools,
        /// Rows of all types together; several may be given
        #[arg(long, value_delimiter = ',', default_values_t = [2_100, 100_000, 1_000_000, 10_000_000])]
        rows: Vec<u64>,
        /// How often each one has its turn
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// From `GET /incidents` to the bytes on the socket
    Requests {
        #[command(flatten)]
        tools: Tools,
        /// How often each one has its turn
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Seconds of load at a time
        #[arg(long, default_value_t = 3)]
        seconds: u32,
    },
    /// One way to make the report, in a process of its own; its times and its memory as JSON
    #[command(hide = true)]
    Contender(contender::Options),
}

/// What `cargo xtask bench` provides.
#[derive(clap::Args, Clone)]
struct Tools {
    /// The folder of our programs
    #[arg(long)]
    programs: PathBuf,
    /// The application's manifest
    #[arg(long)]
    manifest: PathBuf,
    /// A Python with the packages of benches/requirements.txt
    #[arg(long)]
    python: PathBuf,
    /// The folder `contenders` of this package
    #[arg(long)]
    contenders: PathBuf,
    /// Where generated data and results go
    #[arg(long)]
    out: PathBuf,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Refresh {
            tools,
            rows,
            rounds,
        } => refresh::run(&tools, &rows, rounds),
        Task::Requests {
            tools,
            rounds,
            seconds,
        } => requests::run(&tools, rounds, seconds),
        Task::Contender(options) => contender::run(&options),
    }
}
