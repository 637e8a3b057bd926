//! The ways to make the report that are written in Rust. Each runs in a process of its own, so that
//! its memory is its own.

mod floor;
mod ours;
mod plain;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use domain::incident::IncidentType;
use serde::{Deserialize, Serialize};

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    way: Way,
    /// The folder with upstream's answers
    #[arg(long)]
    data: PathBuf,
    /// Threads to use
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// How often to do it
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Where to write the report
    #[arg(long)]
    report: Option<PathBuf>,
    /// For `whole` and `unchanged`: the Redis to publish to
    #[arg(long)]
    redis: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Ours, from the bytes to the report
    Ours,
    /// Ours, from the bytes to the published snapshot, stage by stage
    Whole,
    /// Ours, when upstream has nothing new
    Unchanged,
    /// `serde_json` and a `BTreeMap`
    Plain,
    /// Only a check that the bytes are JSON
    Validate,
    /// Only a copy of the report
    Copy,
}

/// What a contender prints.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Of each time.
    pub(crate) seconds: Vec<f64>,
    /// The most memory that the process ever had.
    pub(crate) peak_bytes: u64,
    /// Of each time: what each stage took, in order.
    #[serde(default)]
    pub(crate) stages: Vec<Vec<(String, f64)>>,
}

/// Upstream's answers, in memory.
pub(crate) struct Answers {
    pub(crate) types: Vec<IncidentType>,
    pub(crate) identities: Bytes,
    /// In the order of `types`.
    pub(crate) rows: Vec<Bytes>,
}

impl Answers {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = folder.join(format!("{name}.json"));
            fs::read(&file)
                .map(Bytes::from)
                .with_context(|| format!("cannot read {}", file.display()))
        };
        let types = IncidentType::defaults();
        Ok(Self {
            identities: read("identities")?,
            rows: types
                .iter()
                .map(|kind| read(&kind.name))
                .collect::<Result<_>>()?,
            types,
        })
    }

    /// All of them, the large ones first.
    fn bodies(&self) -> impl Iterator<Item = &Bytes> {
        self.rows.iter().chain([&self.identities])
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bodies().map(|body| body.len() as u64).sum()
    }
}

/// Runs one, on its number of threads, and prints what was measured.
pub(crate) fn run(options: &Options) -> Result<()> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(options.threads);
    threads.build_global().context("cannot start the threads")?;
    let measured = measure(options)?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

fn measure(options: &Options) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut last = Bytes::new();
    match options.way {
        Way::Whole => {
            let redis = options.redis.as_deref().context("--redis is needed")?;
            measured.stages = ours::whole(&options.data, options.times, redis)?;
            measured.seconds = measured
                .stages
                .iter()
                .map(|stages| stages.iter().map(|(_, seconds)| seconds).sum())
                .collect();
        }
        Way::Unchanged => {
            let answers = Answers::load(&options.data)?;
            let redis = options.redis.as_deref().context("--redis is needed")?;
            measured.seconds = ours::unchanged(&answers, options.times, redis)?;
        }
        Way::Copy => {
            let report = options.report.as_deref().context("--report is needed")?;
            let report = fs::read(report)?;
            for _ in 0..options.times {
                let start = Instant::now();
                let copy = std::hint::black_box(report.clone());
                measured.seconds.push(start.elapsed().as_secs_f64());
                drop(copy);
            }
        }
        way => {
            let answers = Answers::load(&options.data)?;
            for _ in 0..options.times {
                drop(std::mem::take(&mut last));
                let start = Instant::now();
                last = match way {
                    Way::Ours => ours::report(&answers)?,
                    Way::Plain => plain::report(&answers)?.into(),
                    _ => floor::validate(&answers)?.into(),
                };
                measured.seconds.push(start.elapsed().as_secs_f64());
            }
            if let Some(file) = &options.report {
                fs::write(file, &last)?;
            }
        }
    }
    measured.peak_bytes = peak_bytes()?;
    Ok(measured)
}

/// The most memory that this process ever had (Linux's `VmHWM`).
fn peak_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(1024 * kib.context("no VmHWM in /proc/self/status")?)
}
