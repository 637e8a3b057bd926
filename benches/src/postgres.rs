//! PostgreSQL with the incidents in a table, asked by pgbench: with prepared statements, and without the HTTP
//! server that would have to stand before it.

use std::env;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::measure::median;
use crate::servers::{Server, free_port};

/// PostgreSQL does not run as root: then it is this user and this group, which is nobody on every Unix.
const NOBODY: u32 = 65_534;

/// The database, and the user that owns it.
const NAME: &str = "postgres";

/// A row, as it is copied into the table.
pub(crate) struct Row<'a> {
    pub(crate) time: &'a str,
    pub(crate) employee: u64,
    pub(crate) kind: &'a str,
    pub(crate) priority: &'a str,
    /// What a client gets.
    pub(crate) item: &'a str,
}

/// A server with the table `incidents`.
pub(crate) struct Postgres {
    server: Server,
    programs: PathBuf,
    folder: PathBuf,
}

/// What came of some load.
pub(crate) struct Load {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Seconds that half of the answers took at most.
    pub(crate) p50: f64,
    /// Seconds that 99 % of the answers took at most.
    pub(crate) p99: f64,
}

impl Postgres {
    /// The folder with its programs, which Debian does not have on `PATH`.
    pub(crate) fn programs() -> Option<PathBuf> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let debian = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders = debian.chain(env::split_paths(&path));
        folders.find(|folder| {
            ["initdb", "postgres", "pgbench", "psql"]
                .iter()
                .all(|program| folder.join(program).is_file())
        })
    }

    /// Starts a server of its own, whose log goes to `out`.
    pub(crate) fn start(programs: PathBuf, out: &Path) -> Result<Self> {
        // Another user has to get there.
        let name = format!("employee-incidents-bench-{}", std::process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder)?;
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(&folder, Some(NOBODY), Some(NOBODY))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(&folder).env("LC_ALL", "C.UTF-8");
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let data = folder.join("data");
        let made = command("initdb")
            .args(["--username", NAME, "--auth", "trust", "--encoding", "UTF8"])
            .arg("--no-sync")
            .arg(&data)
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "initdb failed");
        let port = free_port()?;
        let mut postgres = command("postgres");
        postgres.arg("-D").arg(&data).arg("-k").arg(&folder);
        // All of it fits into memory, and nothing is written while it is measured.
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
            "shared_buffers=1GB",
            "work_mem=64MB",
            "fsync=off",
            "max_wal_size=8GB",
        ] {
            postgres.args(["-c", setting]);
        }
        let server = Server::start("postgres", postgres, port, out)?;
        Ok(Self {
            server,
            programs,
            folder,
        })
    }

    /// Makes the table, with the indexes that the questions are for.
    pub(crate) fn fill<'a>(&self, rows: impl Iterator<Item = Row<'a>>) -> Result<()> {
        self.run(
            "CREATE TABLE incidents (time double precision, employee bigint, kind text,
             priority text, item text)",
        )?;
        let copy = "COPY incidents FROM STDIN (FORMAT csv)";
        let mut psql = self.psql(copy).stdin(Stdio::piped()).spawn()?;
        let mut input = BufWriter::new(psql.stdin.take().context("it is piped")?);
        for row in rows {
            let (time, item) = (row.time, row.item.replace('"', "\"\""));
            let Row {
                employee,
                kind,
                priority,
                ..
            } = row;
            writeln!(input, "{time},{employee},{kind},{priority},\"{item}\"")?;
        }
        drop(input.into_inner()?);
        ensure!(psql.wait()?.success(), "the rows could not be copied");
        self.run("CREATE INDEX ON incidents (priority, kind, time)")?;
        self.run("CREATE INDEX ON incidents (employee, time)")?;
        self.run("VACUUM ANALYZE incidents")
    }

    /// What a statement answers, a line each.
    pub(crate) fn ask(&self, statement: &str) -> Result<Vec<String>> {
        let output = self.psql(statement).output()?;
        ensure!(output.status.success(), "psql failed: {statement}");
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Has pgbench ask the statements at random.
    pub(crate) fn load(&self, statements: &[String], clients: u32, seconds: u32) -> Result<Load> {
        let folder = self.folder.join("load");
        fs::create_dir_all(&folder)?;
        let mut pgbench = Command::new(self.programs.join("pgbench"));
        pgbench
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &self.server.port.to_string(),
            ])
            .args(["--username", NAME, "--no-vacuum", "--protocol", "prepared"])
            .args([
                "--client",
                &clients.to_string(),
                "--time",
                &seconds.to_string(),
            ])
            .args(["--log", "--log-prefix"])
            .arg(folder.join("log"));
        for (place, statement) in statements.iter().enumerate() {
            let file = folder.join(format!("{place}.sql"));
            fs::write(&file, statement)?;
            pgbench.arg("--file").arg(file);
        }
        let output = pgbench.arg(NAME).output().context("cannot run pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "pgbench failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rate| rate.split(' ').next()?.parse().ok());
        let mut times = Vec::new();
        for log in fs::read_dir(&folder)? {
            let log = log?.path();
            if log
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"log"))
            {
                let text = fs::read_to_string(&log)?;
                // Client, transaction, and then how many microseconds it took.
                let took = text
                    .lines()
                    .filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
                times.extend(took.map(|micros| micros / 1e6));
            }
        }
        fs::remove_dir_all(&folder)?;
        times.sort_by(f64::total_cmp);
        let p99 = times.get((times.len() * 99).div_ceil(100).saturating_sub(1));
        Ok(Load {
            rate: rate.with_context(|| format!("pgbench says {said}"))?,
            p50: median(&times).context("it answers nothing")?,
            p99: *p99.context("it answers nothing")?,
        })
    }

    /// Seconds that a client takes to get all that `statement` answers.
    pub(crate) fn time(&self, statement: &str) -> Result<f64> {
        let start = Instant::now();
        let status = self
            .psql(&format!("COPY ({statement}) TO STDOUT"))
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "psql failed: {statement}");
        Ok(start.elapsed().as_secs_f64())
    }

    fn run(&self, statement: &str) -> Result<()> {
        self.ask(statement).map(drop)
    }

    fn psql(&self, statement: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args([
            "--host",
            "127.0.0.1",
            "--port",
            &self.server.port.to_string(),
        ])
        .args([
            "--username",
            NAME,
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
        ])
        .args(["--no-align", "--command", statement, NAME]);
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
