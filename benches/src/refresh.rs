//! A refresh: the same bytes in, the same report out, by ours and by others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::contender::{Answers, Measured};
use crate::json::same_values;
use crate::measure::{Rounds, median};
use crate::servers::Server;
use crate::table::{self, Table, ratio, time};
use crate::tools::SMOKE_ROWS;
use crate::tools::{Need, Tools};

/// Who competes.
#[derive(Clone, Copy)]
struct Contender {
    name: &'static str,
    /// What is run: a way of our program's, or a file in the folder of contenders.
    run: Run,
    /// The most rows for which it is asked to.
    most: u64,
}

#[derive(Clone, Copy)]
enum Run {
    Ours(usize),
    Rust(&'static str, usize),
    Python(&'static str, &'static [Need]),
}

impl Run {
    const fn needs(self) -> &'static [Need] {
        match self {
            Self::Ours(_) | Self::Rust(..) => &[],
            Self::Python(_, needs) => needs,
        }
    }
}

/// Beyond it, the others need more memory than most machines have.
const MILLION: u64 = 1_000_000;

fn contenders(threads: usize) -> Vec<Contender> {
    let new = |name, run, most| Contender { name, run, most };
    let mut all = vec![new("ours, 1 thread", Run::Ours(1), u64::MAX)];
    if threads > 1 {
        all.push(new("ours, all cores", Run::Ours(threads), u64::MAX));
    }
    all.extend([
        new(
            "serde_json + BTreeMap, 1 thread",
            Run::Rust("plain", 1),
            MILLION,
        ),
        new(
            "DuckDB, all cores",
            Run::Python("duckdb_sql.py", &[Need::Module("duckdb")]),
            u64::MAX,
        ),
        new(
            "Polars, all cores",
            Run::Python("polars_frames.py", &[Need::Module("polars")]),
            MILLION,
        ),
        new(
            "pandas",
            Run::Python("pandas_frames.py", &[Need::Module("pandas")]),
            MILLION,
        ),
        new(
            "Python dictionaries",
            Run::Python("python_dictionary.py", &[Need::Module("json")]),
            MILLION,
        ),
        new(
            "jq",
            Run::Python(
                "jq_program.py",
                &[Need::Module("json"), Need::Program("jq", "--version")],
            ),
            100_000,
        ),
        new(VALIDATE, Run::Rust("validate", 1), u64::MAX),
    ]);
    if threads > 1 {
        all.push(new(VALIDATE_ALL, Run::Rust("validate", threads), u64::MAX));
    }
    all.push(new(COPY, Run::Rust("copy", 1), u64::MAX));
    all
}

const VALIDATE: &str = "floor: only validate (sonic-rs), 1 thread";
const VALIDATE_ALL: &str = "floor: only validate (sonic-rs), all cores";
const COPY: &str = "floor: only copy the report";

/// How often a process does it, so that short times are not those of a cold start.
fn times(rows: u64) -> u32 {
    match rows {
        0..=10_000 => 20,
        10_001..=200_000 => 5,
        200_001..=2_000_000 => 2,
        _ => 1,
    }
}

/// Measures for each number of rows, and writes the tables.
pub(crate) fn run(tools: &Tools, sizes: &[u64], rounds: u32) -> Result<()> {
    fs::create_dir_all(&tools.out)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tables = Vec::new();
    let mut curve = Table::new(
        "How it grows",
        &[
            "rows",
            "input",
            "1 thread",
            "all cores",
            "ns per row, 1 thread",
            "against n log n",
        ],
    );
    let mut first: Option<(f64, f64)> = None;
    for &rows in sizes {
        let data = generated(tools, rows)?;
        let size = Size {
            tools,
            rows,
            threads,
            // The largest are slow to run and hardly vary.
            rounds: if rows > 2_000_000 {
                1.max(rounds / 3)
            } else {
                rounds
            },
            input: Answers::load(&data)?.bytes(),
            data,
            times: times(rows),
        };
        let measured = size.compare(&mut tables)?;
        size.stages(&mut tables)?;
        let one = measured
            .median("ours, 1 thread")
            .context("it was measured")?;
        let all = measured.median("ours, all cores").unwrap_or(one);
        let n = rows as f64;
        let by = one / (n * n.log2());
        let (_, base) = *first.get_or_insert((n, by));
        curve.row(
            &[
                rows.to_string(),
                table::bytes(size.input),
                time(one),
                time(all),
                format!("{:.0}", one / n * 1e9),
                ratio(by, base),
            ],
            json!({"rows": rows, "input_bytes": size.input, "seconds_1_thread": one, "seconds_all_cores": all}),
        );
    }
    tables.push(curve);
    table::publish(&tools.out, "refresh", &table::about(rounds), &tables)
}

/// Lets everyone make the report once and compares it with ours, then publishes it; who was skipped,
/// and why.
pub(crate) fn smoke(tools: &Tools) -> Result<Vec<(&'static str, String)>> {
    let data = generated(tools, SMOKE_ROWS)?;
    let size = Size {
        tools,
        rows: SMOKE_ROWS,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        rounds: 1,
        input: Answers::load(&data)?.bytes(),
        data,
        times: 1,
    };
    let mut skipped = Vec::new();
    let all = contenders(size.threads);
    for contender in &all {
        if let Some(why) = tools.missing(contender.run.needs()) {
            skipped.push((contender.name, why));
            continue;
        }
        size.turn(contender)?;
        let found = match contender.name {
            floor if floor.starts_with("floor") => "nothing to compare",
            report => size.equal(report)?,
        };
        eprintln!("refresh: {}: {found}", contender.name);
    }
    for contender in &all {
        let _ = fs::remove_file(size.report(contender.name));
    }
    size.stages(&mut Vec::new())?;
    eprintln!("refresh: ours, stage by stage: done");
    Ok(skipped)
}

/// The folder with upstream's answers, made if it is not there.
fn generated(tools: &Tools, rows: u64) -> Result<PathBuf> {
    let folder = tools.out.join("data").join(rows.to_string());
    if folder.join("whole").exists() {
        return Ok(folder);
    }
    eprintln!("making {rows} rows");
    let employees = (rows / 50).clamp(1000, MILLION);
    let status = Command::new(tools.programs.join("demo-upstream"))
        .args(["generate", "--per-type", &(rows / 7).to_string()])
        .args(["--employees", &employees.to_string()])
        .arg("--out")
        .arg(&folder)
        .status()
        .context("cannot run demo-upstream")?;
    ensure!(status.success(), "demo-upstream failed");
    fs::write(folder.join("whole"), "")?;
    Ok(folder)
}

/// One number of rows.
struct Size<'a> {
    tools: &'a Tools,
    rows: u64,
    threads: usize,
    rounds: u32,
    input: u64,
    data: PathBuf,
    /// How often a process does it.
    times: u32,
}

impl Size<'_> {
    fn report(&self, name: &str) -> PathBuf {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        self.tools.out.join(format!("report-{name}.json"))
    }

    /// Lets one make the report.
    fn turn(&self, contender: &Contender) -> Result<Measured> {
        // What has been written before is not to be written to the disk meanwhile.
        let _ = Command::new("sync").status();
        let times = self.times.to_string();
        let report = self.report(contender.name);
        let mut command = match contender.run {
            Run::Python(file, _) => {
                let mut command = Command::new(&self.tools.python);
                command
                    .arg(self.tools.contenders.join(file))
                    .arg(&self.data)
                    .arg(&times)
                    .arg(&report);
                command
            }
            Run::Ours(threads) => self.own("ours", threads, &times, &report)?,
            // What is copied is our report.
            Run::Rust("copy", threads) => {
                self.own("copy", threads, &times, &self.report("ours, 1 thread"))?
            }
            Run::Rust(way, threads) => self.own(way, threads, &times, &report)?,
        };
        measured(&mut command).with_context(|| contender.name)
    }

    fn own(&self, way: &str, threads: usize, times: &str, report: &Path) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([
                "contender",
                way,
                "--threads",
                &threads.to_string(),
                "--times",
                times,
            ])
            .arg("--data")
            .arg(&self.data)
            .arg("--report")
            .arg(report);
        Ok(command)
    }

    fn compare(&self, tables: &mut Vec<Table>) -> Result<Rounds> {
        let all: Vec<Contender> = contenders(self.threads)
            .into_iter()
            .filter(|contender| self.rows <= contender.most)
            .collect();
        let (mut seconds, mut peaks) = (Rounds::default(), BTreeMap::new());
        let mut failures: BTreeMap<&str, String> = BTreeMap::new();
        let mut same: BTreeMap<&str, &str> = BTreeMap::new();
        for round in 1..=self.rounds {
            for contender in &all {
                if failures.contains_key(contender.name) {
                    continue;
                }
                eprintln!("{} rows, round {round}: {}", self.rows, contender.name);
                match self.turn(contender) {
                    Ok(measured) => {
                        let middle = median(&measured.seconds).context("no times")?;
                        seconds.note(contender.name, middle);
                        peaks.insert(contender.name, measured.peak_bytes);
                    }
                    // Ours must not fail; of the others it is a result.
                    Err(error) if matches!(contender.run, Run::Python(..)) => {
                        eprintln!("{error:#}");
                        failures.insert(contender.name, "fails".to_owned());
                    }
                    Err(error) => return Err(error),
                }
                if round == 1 && !contender.name.starts_with("floor") {
                    same.insert(contender.name, self.equal(contender.name)?);
                }
            }
        }
        for contender in &all {
            let _ = fs::remove_file(self.report(contender.name));
        }
        let fastest = if self.threads > 1 {
            "ours, all cores"
        } else {
            "ours, 1 thread"
        };
        let base = seconds.median(fastest).context("ours was measured")?;
        let mut table = Table::new(
            &format!(
                "{} rows ({}): from the bytes to the report",
                self.rows,
                table::bytes(self.input)
            ),
            &[
                "",
                "time",
                "against ours",
                "peak memory",
                "of the input",
                "report",
            ],
        );
        for contender in &all {
            let Some(median) = seconds.median(contender.name) else {
                let why = failures.get(contender.name).cloned().unwrap_or_default();
                table.row(
                    &[
                        contender.name.to_owned(),
                        why,
                        String::new(),
                        String::new(),
                        String::new(),
                        String::new(),
                    ],
                    json!({"name": contender.name, "fails": true}),
                );
                continue;
            };
            let peak = peaks[contender.name];
            let report = same.get(contender.name).copied().unwrap_or("");
            table.row(
                &[
                    contender.name.to_owned(),
                    time(median),
                    ratio(median, base),
                    table::bytes(peak),
                    ratio(peak as f64, self.input as f64),
                    report.to_owned(),
                ],
                json!({
                    "name": contender.name, "seconds": median, "ratio_to_ours": median / base,
                    "peak_bytes": peak, "report": report,
                }),
            );
        }
        tables.push(table);
        Ok(seconds)
    }

    /// How a report compares with ours; what is different must not be timed.
    fn equal(&self, name: &str) -> Result<&'static str> {
        let path = self.report(name);
        let Ok(found) = fs::read(&path) else {
            return Ok("");
        };
        let ours = fs::read(self.report("ours, 1 thread"))?;
        if found == ours {
            return Ok("same bytes");
        }
        if self.rows > MILLION {
            return Ok("not compared");
        }
        if same_values(&found, &ours)? {
            return Ok("same values");
        }
        bail!("{name} makes another report: see {}", path.display());
    }

    fn stages(&self, tables: &mut Vec<Table>) -> Result<()> {
        let redis = Server::redis(&self.tools.out)?;
        let url = format!("redis://127.0.0.1:{}", redis.port);
        let mut stages: Vec<String> = Vec::new();
        let (mut seconds, mut peaks) = (Rounds::default(), BTreeMap::new());
        let counts = if self.threads > 1 {
            vec![1, self.threads]
        } else {
            vec![1]
        };
        for round in 1..=self.rounds {
            for &threads in &counts {
                eprintln!(
                    "{} rows, round {round}: stages, {threads} threads",
                    self.rows
                );
                for way in ["whole", "unchanged"] {
                    let times = self.times.to_string();
                    let _ = Command::new("sync").status();
                    let mut command = Command::new(std::env::current_exe()?);
                    command
                        .args(["contender", way, "--threads", &threads.to_string()])
                        .args(["--times", &times, "--redis", &url, "--data"])
                        .arg(&self.data);
                    let measured = measured(&mut command)?;
                    let middle = median(&measured.seconds).context("no times")?;
                    seconds.note(&format!("{way} {threads}"), middle);
                    if way == "whole" {
                        peaks.insert(threads, measured.peak_bytes);
                    }
                    for (stage, took) in measured.stages.into_iter().flatten() {
                        seconds.note(&format!("{stage} {threads}"), took);
                        if !stages.contains(&stage) {
                            stages.push(stage);
                        }
                    }
                }
            }
        }
        let mut columns = vec!["stage".to_owned()];
        columns.extend(counts.iter().map(|count| match count {
            1 => "1 thread".to_owned(),
            more => format!("{more} threads"),
        }));
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut table = Table::new(
            &format!("{} rows: ours, stage by stage", self.rows),
            &columns,
        );
        stages.extend(["whole".to_owned(), "unchanged".to_owned()]);
        for stage in &stages {
            let told = match stage.as_str() {
                "whole" => "**the whole refresh**",
                "unchanged" => "a refresh with nothing new",
                other => other,
            };
            let medians: Vec<f64> = counts
                .iter()
                .filter_map(|threads| seconds.median(&format!("{stage} {threads}")))
                .collect();
            let mut cells = vec![told.to_owned()];
            cells.extend(medians.iter().map(|median| time(*median)));
            table.row(
                &cells,
                json!({"stage": stage, "threads": counts, "seconds": medians}),
            );
        }
        let mut cells = vec!["peak memory, of the input".to_owned()];
        cells.extend(
            counts
                .iter()
                .map(|count| ratio(peaks[count] as f64, self.input as f64)),
        );
        let peaks: Vec<u64> = counts.iter().map(|count| peaks[count]).collect();
        table.row(
            &cells,
            json!({"stage": "peak memory", "threads": counts, "bytes": peaks}),
        );
        tables.push(table);
        Ok(())
    }
}

fn measured(command: &mut Command) -> Result<Measured> {
    let output = command.output().context("it cannot be started")?;
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("it printed no measurement")
}
