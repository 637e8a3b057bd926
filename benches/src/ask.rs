//! A question: pages of the timeline, the summary, and everything as a stream, by our host and by databases.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::http;
use crate::load;
use crate::measure::Rounds;
use crate::postgres::{Postgres, Row};
use crate::servers::Server;
use crate::service::{authorization, fill, host};
use crate::table::{self, Table, time};
use crate::tools::{Need, SMOKE_ROWS, Tools};

/// Clients at a time.
const CLIENTS: u32 = 8;

/// Incidents of a page.
const PAGE: usize = 100;

/// In how many ways a question is asked whose answer is to be made anew each time.
const WAYS: usize = 100;

/// What is filtered by.
const PRIORITY: &str = "critical";
const KIND: &str = "denial";

const TIMELINE: &str = "/incidents/timeline";
const EVERYTHING: &str = "everything";
const NOT_MODIFIED: &str = "the report, 304";

/// What is asked, in the words of each.
struct Question {
    name: &'static str,
    /// The paths at which ours is asked, in turn.
    paths: Vec<String>,
    /// The statements that mean the same, in the same order.
    statements: Vec<String>,
    /// Whether the first answers are compared item by item.
    has_items: bool,
}

/// A line of the stream.
#[derive(Deserialize)]
struct Line<'a> {
    employee: u64,
    #[serde(borrow)]
    incident: Incident<'a>,
}

#[derive(Deserialize)]
struct Incident<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    priority: &'a str,
    #[serde(borrow)]
    timestamp: &'a RawValue,
}

/// A page, as far as it is compared.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// What DuckDB's program says.
#[derive(Deserialize)]
struct Duck {
    loaded: f64,
    answers: HashMap<String, DuckAnswer>,
}

#[derive(Deserialize)]
struct DuckAnswer {
    seconds: f64,
    first: Vec<serde_json::Value>,
}

/// Measures and writes the tables.
pub(crate) fn run(tools: &Tools, rows: &[u64], rounds: u32, seconds: u32) -> Result<()> {
    fs::create_dir_all(&tools.out)?;
    let mut tables = Vec::new();
    for &rows in rows {
        Stage::set(tools, rows)?.compare(rounds, seconds, &mut tables)?;
    }
    table::publish(&tools.out, "ask", &table::about(rounds), &tables)
}

/// Asks everyone each question once and compares the items; who was skipped, and why.
pub(crate) fn smoke(tools: &Tools) -> Result<Vec<(&'static str, String)>> {
    let stage = Stage::set(tools, SMOKE_ROWS)?;
    stage.check()?;
    Ok(stage.skipped)
}

/// All who are asked, with the same incidents.
struct Stage<'a> {
    tools: &'a Tools,
    rows: u64,
    ours: Server,
    _redis: Server,
    postgres: Option<Postgres>,
    /// The report as a file for DuckDB.
    lines: Option<PathBuf>,
    skipped: Vec<(&'static str, String)>,
    questions: Vec<Question>,
    authorization: String,
}

impl<'a> Stage<'a> {
    fn set(tools: &'a Tools, rows: u64) -> Result<Self> {
        let redis = Server::redis(&tools.out)?;
        let url = format!("redis://127.0.0.1:{}", redis.port);
        fill(tools, &url, rows)?;
        let ours = host(tools, &url, &[])?;
        let authorization = authorization();
        let all = everything(&ours, &authorization)?;
        let file = tools.out.join("incidents.ndjson");
        fs::write(&file, &all)?;
        let lines: Vec<&str> = std::str::from_utf8(&all)?.lines().collect();
        let parsed: Vec<Line<'_>> = lines
            .iter()
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()?;
        let mut skipped = Vec::new();
        let postgres = match Postgres::programs() {
            None => {
                skipped.push((
                    "PostgreSQL",
                    "no initdb, postgres, pgbench, psql".to_owned(),
                ));
                None
            }
            Some(programs) => {
                let postgres = Postgres::start(programs, &tools.out)?;
                postgres.fill(lines.iter().zip(&parsed).map(|(item, line)| Row {
                    time: line.incident.timestamp.get(),
                    employee: line.employee,
                    kind: line.incident.kind,
                    priority: line.incident.priority,
                    item,
                }))?;
                Some(postgres)
            }
        };
        let lacks = tools.missing(&[Need::Module("duckdb")]);
        let has_duckdb = lacks.is_none();
        skipped.extend(lacks.map(|why| ("DuckDB", why)));
        Ok(Self {
            questions: questions(&parsed)?,
            tools,
            rows,
            ours,
            _redis: redis,
            postgres,
            lines: has_duckdb.then_some(file),
            skipped,
            authorization,
        })
    }

    /// Compares what everyone answers first.
    fn check(&self) -> Result<()> {
        let ducks = self.duckdb(0)?;
        for question in &self.questions {
            let answer = self.get(&question.paths[0])?;
            ensure!(answer.status == 200, "{}: {}", question.name, answer.status);
            let content = answer.decoded()?;
            if !question.has_items {
                continue;
            }
            let page: Page<'_> = serde_json::from_slice(&content)?;
            let ours: Vec<&str> = page.items.iter().map(|item| item.get()).collect();
            ensure!(!ours.is_empty(), "{}: no items", question.name);
            let statement = &question.statements[0];
            if let Some(postgres) = &self.postgres {
                let found = postgres.ask(statement)?;
                ensure!(
                    found == ours,
                    "{}: PostgreSQL answers otherwise",
                    question.name
                );
                eprintln!("ask: PostgreSQL, {}: same items", question.name);
            }
            if let Some(ducks) = &ducks {
                let found = &ducks
                    .answers
                    .get(question.name)
                    .context("it was asked")?
                    .first;
                ensure!(
                    found == &ours,
                    "{}: DuckDB answers otherwise",
                    question.name
                );
                eprintln!("ask: DuckDB, {}: same items", question.name);
            }
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(
            self.ours.port,
            path,
            &[("Authorization", &self.authorization)],
        )
    }

    /// Lets clients ask ours.
    fn load(
        &self,
        paths: &[String],
        fields: &[(&str, String)],
        seconds: u32,
    ) -> Result<load::Load> {
        let file = self.tools.out.join("paths");
        fs::write(&file, paths.join("\n") + "\n")?;
        let url = format!("http://127.0.0.1:{}", self.ours.port);
        let mut all = vec![("Authorization", self.authorization.clone())];
        all.extend_from_slice(fields);
        load::http(
            &self.tools.contenders,
            &url,
            &all,
            Some(&file),
            CLIENTS,
            seconds,
        )
    }

    /// Asks DuckDB each question for so long.
    fn duckdb(&self, seconds: u32) -> Result<Option<Duck>> {
        let Some(lines) = &self.lines else {
            return Ok(None);
        };
        let asked: Vec<_> = self
            .questions
            .iter()
            .map(|question| (question.name, &question.statements))
            .collect();
        let file = self.tools.out.join("questions.json");
        fs::write(&file, serde_json::to_vec(&asked)?)?;
        let output = Command::new(&self.tools.python)
            .arg(self.tools.contenders.join("duckdb_questions.py"))
            .args([lines, Path::new(&file)])
            .arg(seconds.to_string())
            .output()
            .context("cannot run DuckDB's program")?;
        ensure!(
            output.status.success(),
            "DuckDB failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Some(serde_json::from_slice(&output.stdout)?))
    }

    fn compare(&self, rounds: u32, seconds: u32, tables: &mut Vec<Table>) -> Result<()> {
        self.check()?;
        let mut found = Rounds::default();
        let tag = self.get("/incidents")?.etag;
        let unchanged = [("If-None-Match", tag)];
        let mut memory = 0;
        for round in 1..=rounds {
            eprintln!("{} rows, round {round}: {NOT_MODIFIED}", self.rows);
            let load = self.load(&["/incidents".to_owned()], &unchanged, seconds)?;
            note(
                &mut found,
                "ours",
                NOT_MODIFIED,
                load.rate(),
                load.p50,
                load.p99,
            );
            for question in &self.questions {
                eprintln!("{} rows, round {round}: {}", self.rows, question.name);
                let load = self.load(&question.paths, &[], seconds)?;
                note(
                    &mut found,
                    "ours",
                    question.name,
                    load.rate(),
                    load.p50,
                    load.p99,
                );
                memory = memory.max(self.ours.memory());
                if let Some(postgres) = &self.postgres {
                    let load = postgres.load(&question.statements, CLIENTS, seconds)?;
                    note(
                        &mut found,
                        "postgres",
                        question.name,
                        load.rate,
                        load.p50,
                        load.p99,
                    );
                }
            }
            if let Some(duck) = self.duckdb(seconds)? {
                found.note("duckdb loaded", duck.loaded);
                for (name, answer) in duck.answers {
                    found.note(&format!("duckdb {name} seconds"), answer.seconds);
                }
            }
            eprintln!("{} rows, round {round}: {EVERYTHING}", self.rows);
            let start = Instant::now();
            let bytes = everything(&self.ours, &self.authorization)?.len();
            found.note("ours everything", start.elapsed().as_secs_f64());
            found.note("bytes", bytes as f64);
            memory = memory.max(self.ours.memory());
            if let Some(postgres) = &self.postgres {
                let taken = postgres.time("SELECT item FROM incidents ORDER BY time DESC")?;
                found.note("postgres everything", taken);
            }
        }
        tables.push(self.questions_table(&found)?);
        tables.push(self.everything_table(&found, memory)?);
        Ok(())
    }

    fn questions_table(&self, found: &Rounds) -> Result<Table> {
        let title = format!(
            "{} rows: answers a second, {CLIENTS} clients (DuckDB: one, and all cores)",
            self.rows
        );
        let mut table = Table::new(
            &title,
            &[
                "",
                "ours",
                "ours / 304",
                "p50",
                "p99",
                "PostgreSQL",
                "p50",
                "p99",
                "DuckDB",
            ],
        );
        let base = found
            .median(&format!("ours {NOT_MODIFIED} rate"))
            .context("it was measured")?;
        let names = std::iter::once(NOT_MODIFIED).chain(self.questions.iter().map(|of| of.name));
        for name in names {
            let of = |who: &str, what: &str| found.median(&format!("{who} {name} {what}"));
            let cell = |value: Option<f64>, write: fn(f64) -> String| {
                value.map_or_else(|| "-".to_owned(), write)
            };
            let rate = of("ours", "rate").context("it was measured")?;
            let duckdb = of("duckdb", "seconds").map(|seconds| 1.0 / seconds);
            table.row(
                &[
                    name.to_owned(),
                    table::rate(rate),
                    format!("{:.0} %", 100.0 * rate / base),
                    cell(of("ours", "p50"), time),
                    cell(of("ours", "p99"), time),
                    cell(of("postgres", "rate"), table::rate),
                    cell(of("postgres", "p50"), time),
                    cell(of("postgres", "p99"), time),
                    cell(duckdb, table::rate),
                ],
                json!({
                    "question": name, "ours": rate, "p99": of("ours", "p99"),
                    "postgres": of("postgres", "rate"), "postgres_p99": of("postgres", "p99"),
                    "duckdb": duckdb,
                }),
            );
        }
        Ok(table)
    }

    fn everything_table(&self, found: &Rounds, memory: u64) -> Result<Table> {
        let bytes = found.median("bytes").context("it was measured")?;
        let mut table = Table::new(
            &format!("{} rows: everything, {:.1} MB", self.rows, bytes / 1e6),
            &["", "time", "MB/s"],
        );
        for (name, key) in [
            ("ours, NDJSON over HTTP", "ours everything"),
            ("PostgreSQL, COPY to psql", "postgres everything"),
            ("DuckDB, reading the same as NDJSON", "duckdb loaded"),
        ] {
            if let Some(seconds) = found.median(key) {
                let speed = bytes / seconds / 1e6;
                table.row(
                    &[name.to_owned(), time(seconds), format!("{speed:.0}")],
                    json!({"who": name, "seconds": seconds, "mb_per_s": speed}),
                );
            }
        }
        table.row(
            &[
                "most memory of the host's process".to_owned(),
                String::new(),
                table::bytes(memory),
            ],
            json!({"host_memory_bytes": memory}),
        );
        Ok(table)
    }
}

fn note(found: &mut Rounds, who: &str, name: &str, rate: f64, p50: f64, p99: f64) {
    for (what, value) in [("rate", rate), ("p50", p50), ("p99", p99)] {
        found.note(&format!("{who} {name} {what}"), value);
    }
}

/// All incidents, the newest first, a line each.
fn everything(ours: &Server, authorization: &str) -> Result<Vec<u8>> {
    let path = format!("{TIMELINE}?format=ndjson");
    let answer = http::get(ours.port, &path, &[("Authorization", authorization)])?;
    ensure!(
        answer.status == 200,
        "the stream is answered by {}",
        answer.status
    );
    answer.decoded()
}

/// The questions about these incidents, the newest of which is first.
fn questions(lines: &[Line<'_>]) -> Result<Vec<Question>> {
    let filter = format!("priority={PRIORITY}&type={KIND}");
    let select = |condition: &str, order: &str| {
        format!("SELECT item FROM incidents WHERE {condition} ORDER BY time {order} LIMIT {PAGE};")
    };
    let of_both = format!("priority = '{PRIORITY}' AND kind = '{KIND}'");
    let times: Vec<&str> = lines
        .iter()
        .filter(|line| line.incident.priority == PRIORITY && line.incident.kind == KIND)
        .map(|line| line.incident.timestamp.get())
        .collect();
    ensure!(times.len() > 20, "there are too few incidents");
    let single = |name, path: String, statement: String| Question {
        name,
        paths: vec![path],
        statements: vec![statement],
        has_items: true,
    };
    // As many ways as there are, evenly over all that there is to choose from.
    let chosen = |all: &[&str]| -> Vec<String> {
        let ways = WAYS.min(all.len());
        (0..ways)
            .map(|way| all[way * all.len() / ways].to_owned())
            .collect()
    };
    // One question of each of these values, which complete the query and the condition.
    let many = |name, query: &str, condition: &str, values: Vec<String>| Question {
        name,
        paths: values
            .iter()
            .map(|value| format!("{TIMELINE}?{query}{value}"))
            .collect(),
        statements: values
            .iter()
            .map(|value| select(&format!("{condition}{value}"), "DESC"))
            .collect(),
        has_items: true,
    };
    let mut employees: Vec<String> = lines.iter().map(|line| line.employee.to_string()).collect();
    employees.sort_unstable();
    employees.dedup();
    let employees = chosen(&employees.iter().map(String::as_str).collect::<Vec<_>>());
    let narrow = times.len() / 2;
    let (until, since) = (times[narrow], times[narrow + 10]);
    Ok(vec![
        single(
            "page, the newest",
            format!("{TIMELINE}?{filter}"),
            select(&of_both, "DESC"),
        ),
        many(
            "page, anywhere",
            &format!("{filter}&until="),
            &format!("{of_both} AND time < "),
            chosen(&times[..times.len() - 10]),
        ),
        single(
            "page, the oldest",
            format!("{TIMELINE}?{filter}&order=asc"),
            select(&of_both, "ASC"),
        ),
        single(
            "10 incidents",
            format!("{TIMELINE}?{filter}&since={since}&until={until}"),
            select(
                &format!("{of_both} AND time >= {since} AND time < {until}"),
                "DESC",
            ),
        ),
        many("an employee", "employee=", "employee = ", employees),
        Question {
            name: "the summary",
            paths: vec!["/incidents/summary".to_owned()],
            statements: vec![
                "SELECT kind, priority, count(*) FROM incidents GROUP BY kind, priority;"
                    .to_owned(),
            ],
            has_items: false,
        },
    ])
}
