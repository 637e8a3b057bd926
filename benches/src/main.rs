//! `bench`: measures the hot paths side by side with what a user would pick instead.
//! `cargo xtask bench` provides what it needs and starts it.

mod ask;
mod contender;
mod http;
mod json;
mod load;
mod measure;
mod postgres;
mod refresh;
mod requests;
mod servers;
mod service;
mod smoke;
mod table;
mod tools;

use anyhow::Result;
use clap::{Parser, Subcommand};

use tools::Tools;

/// Measures a refresh, a request and a question, each side by side with other ways to do the same, all in one
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
    /// From a question to the page, the summary or the stream that answers it
    Ask {
        #[command(flatten)]
        tools: Tools,
        /// Rows of all types together; several may be given
        #[arg(long, value_delimiter = ',', default_values_t = [2_100, 1_000_000])]
        rows: Vec<u64>,
        /// How often each one has its turn
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Seconds of load at a time
        #[arg(long, default_value_t = 3)]
        seconds: u32,
    },
    /// One answer of everyone, compared with ours; nothing is measured
    Smoke {
        #[command(flatten)]
        tools: Tools,
    },
    /// One way to make the report, in a process of its own; its times and its memory as JSON
    #[command(hide = true)]
    Contender(contender::Options),
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
        Task::Ask {
            tools,
            rows,
            rounds,
            seconds,
        } => ask::run(&tools, &rows, rounds, seconds),
        Task::Smoke { tools } => smoke::run(&tools),
        Task::Contender(options) => contender::run(&options),
    }
}
