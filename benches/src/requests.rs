//! A request: `GET /incidents` from the socket and back, by our host and by others.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use domain::contract::document::{Document, Encoding};
use domain::contract::keys::Keys;
use domain::contract::record::Current;
use serde_json::json;

use crate::http;
use crate::json::same_values;
use crate::load::{self, Load};
use crate::measure::Rounds;
use crate::servers::{Server, free_port};
use crate::service::{ID, LIMITS, PASSWORD, authorization, fill, host};
use crate::table::{self, Table, ratio, time};
use crate::tools::SMOKE_ROWS;
use crate::tools::{Need, Tools};

/// How the client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    NotModified,
    Coded(Encoding),
}

impl Mode {
    const ALL: [Self; 4] = [
        Self::NotModified,
        Self::Coded(Encoding::Gzip),
        Self::Coded(Encoding::Zstd),
        Self::Coded(Encoding::Identity),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NotModified => "304",
            Self::Coded(Encoding::Identity) => "plain",
            Self::Coded(coding) => coding.name(),
        }
    }
}

/// Who answers.
const OURS: &str = "ours";
const NATIVE: &str = "native axum";
const NGINX: &str = "nginx, a file";
const FLASK: &str = "Flask";
const REDIS: &str = "Redis GET";

/// What those need that are not ours.
const NEEDS: [(&str, &[Need]); 2] = [
    (NGINX, &[Need::Program("nginx", "-v")]),
    (FLASK, &[Need::Module("flask"), Need::Module("redis")]),
];

/// Connections at which all are compared; ours and the native one also with others.
const ALL_AT: u32 = 8;
const CONNECTIONS: [u32; 3] = [1, 8, 64];

/// Measures and writes the tables.
pub(crate) fn run(tools: &Tools, rounds: u32, seconds: u32) -> Result<()> {
    fs::create_dir_all(&tools.out)?;
    let mut tables = Vec::new();
    for rows in [2_100, 100_000] {
        let stage = Stage::set(tools, rows, &[])?;
        stage.compare(rounds, seconds, &mut tables)?;
        stage.first_requests(rounds, seconds, &mut tables)?;
    }
    table::publish(&tools.out, "requests", &table::about(rounds), &tables)
}

/// Asks everyone once in each way and compares the answer with the report; who was skipped, and why.
pub(crate) fn smoke(tools: &Tools) -> Result<Vec<(&'static str, String)>> {
    let missing = NEEDS.iter().filter_map(|(who, needs)| {
        let why = tools.missing(needs)?;
        Some((*who, why))
    });
    let skipped: Vec<_> = missing.collect();
    let without: Vec<&str> = skipped.iter().map(|(who, _)| *who).collect();
    let stage = Stage::set(tools, SMOKE_ROWS, &without)?;
    let report = fs::read(tools.out.join("files/plain"))?;
    for who in [OURS, NATIVE, NGINX, FLASK] {
        if without.contains(&who) {
            continue;
        }
        for mode in Mode::ALL {
            let what = || format!("{who}, {}", mode.name());
            let found = stage.ask(who, mode, &report).with_context(what)?;
            eprintln!("requests: {}: {found}", what());
        }
    }
    Ok(skipped)
}

/// All servers with the same snapshot.
struct Stage<'a> {
    tools: &'a Tools,
    rows: u64,
    record: Current,
    ours: Server,
    native: Server,
    nginx: Option<Server>,
    flask: Option<Server>,
    redis: Server,
    authorization: String,
}

impl<'a> Stage<'a> {
    /// Fills a Redis with so many rows and starts everyone but `without`.
    fn set(tools: &'a Tools, rows: u64, without: &[&str]) -> Result<Self> {
        let redis = Server::redis(&tools.out)?;
        let url = format!("redis://127.0.0.1:{}", redis.port);
        fill(tools, &url, rows)?;
        let mut connection = redis::Client::open(url.as_str())?.get_connection()?;
        let keys = Keys::new("incidents");
        let raw: Vec<u8> = redis::cmd("GET")
            .arg(keys.current())
            .query(&mut connection)?;
        let record = Current::parse(&raw)?;
        let folder = tools.out.join("files");
        fs::create_dir_all(&folder)?;
        for mode in Mode::ALL {
            if let Mode::Coded(encoding) = mode {
                let body = body(&mut connection, &keys, &record, encoding)?;
                fs::write(folder.join(mode.name()), body)?;
            }
        }
        let environment = [
            ("REDIS_URL", url.as_str()),
            ("SERVICE_ID", ID),
            ("SERVICE_PASSWORD", PASSWORD),
            ("INCIDENTS_API_RATE_LIMITS", LIMITS),
        ];
        let native = free_port()?;
        let mut command = Command::new(tools.programs.join("native-server"));
        command
            .envs(environment)
            .env("LISTEN", format!("127.0.0.1:{native}"));
        let native = Server::start("native", command, native, &tools.out)?;
        Ok(Self {
            flask: match without.contains(&FLASK) {
                true => None,
                false => Some(flask(tools, &environment, &folder)?),
            },
            ours: host(tools, &url, &[])?,
            nginx: match without.contains(&NGINX) {
                true => None,
                false => Some(nginx(&tools.out)?),
            },
            tools,
            rows,
            record,
            native,
            redis,
            authorization: authorization(),
        })
    }

    /// Lets `who` have its turn.
    fn turn(&self, who: &str, mode: Mode, connections: u32, seconds: u32) -> Result<Load> {
        let (port, path) = self.place(who, mode)?;
        let url = format!("http://127.0.0.1:{port}{path}");
        self.load(&url, who, mode, connections, seconds)
    }

    /// The server that is `who`.
    fn server(&self, who: &str) -> Result<&Server> {
        let server = match who {
            OURS => Some(&self.ours),
            NATIVE => Some(&self.native),
            FLASK => self.flask.as_ref(),
            _ => self.nginx.as_ref(),
        };
        server.with_context(|| format!("{who} does not run"))
    }

    /// Seconds of a processor that `who` has had, and Redis.
    fn processor_times(&self, who: &str) -> Result<[f64; 2]> {
        let who = self.server(who)?;
        Ok([who.processor_time(), self.redis.processor_time()])
    }

    /// Where `who` answers.
    fn place(&self, who: &str, mode: Mode) -> Result<(u16, String)> {
        let server = self.server(who)?;
        let path = match (who, mode) {
            (NGINX, Mode::Coded(coding)) if coding != Encoding::Identity => coding.name(),
            (NGINX, _) => "plain",
            _ => "incidents",
        };
        Ok((server.port, format!("/{path}")))
    }

    /// What a request to `who` says.
    fn fields(&self, who: &str, mode: Mode) -> Vec<(&'static str, String)> {
        let mut fields = vec![("Authorization", self.authorization.clone())];
        match mode {
            // The time that nginx gives a file is not in the future.
            Mode::NotModified if who == NGINX => fields.push((
                "If-Modified-Since",
                "Fri, 31 Dec 2100 23:59:59 GMT".to_owned(),
            )),
            Mode::NotModified => {
                fields.push(("If-None-Match", format!("\"{}\"", self.record.etag)));
            }
            Mode::Coded(Encoding::Identity) => {}
            Mode::Coded(coding) => fields.push(("Accept-Encoding", coding.name().to_owned())),
        }
        fields
    }

    /// Asks `who` once: what was right about the answer.
    fn ask(&self, who: &str, mode: Mode, report: &[u8]) -> Result<&'static str> {
        let (port, path) = self.place(who, mode)?;
        let fields = self.fields(who, mode);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = http::get(port, &path, &fields)?;
        // The service that ours replaces knows no conditions.
        if mode == Mode::NotModified && who != FLASK {
            ensure!(answer.status == 304, "it answers {}", answer.status);
            return Ok("not modified");
        }
        ensure!(answer.status == 200, "it answers {}", answer.status);
        let found = answer.decoded()?;
        if found == report {
            return Ok("same bytes");
        }
        ensure!(same_values(&found, report)?, "it is another report");
        Ok("same values")
    }

    fn load(
        &self,
        url: &str,
        who: &str,
        mode: Mode,
        connections: u32,
        seconds: u32,
    ) -> Result<Load> {
        let fields = self.fields(who, mode);
        load::http(
            &self.tools.contenders,
            url,
            &fields,
            None,
            connections,
            seconds,
        )
        .with_context(|| format!("{who}, {}", mode.name()))
    }

    /// How often Redis alone gives the bytes of a body.
    fn redis_rate(&self, mode: Mode, connections: u32) -> Result<f64> {
        let keys = Keys::new("incidents");
        let Mode::Coded(encoding) = mode else {
            return load::redis(self.redis.port, &keys.current(), connections, 100_000);
        };
        let body = self.record.report.get(encoding).context("it was made")?;
        let key = keys.block(self.record.generation, Document::Report, encoding, 0);
        let requests = if body.bytes > 200_000 { 5_000 } else { 50_000 };
        let rate = load::redis(self.redis.port, &key, connections, requests)?;
        Ok(rate / f64::from(body.blocks()))
    }

    fn compare(&self, rounds: u32, seconds: u32, tables: &mut Vec<Table>) -> Result<()> {
        let mut rates = Rounds::default();
        let mut memory = 0;
        // Programs that have just been started compile and connect at first.
        for who in [OURS, NATIVE, NGINX, FLASK] {
            self.turn(who, Mode::Coded(Encoding::Identity), ALL_AT, 1)?;
        }
        for round in 1..=rounds {
            for mode in Mode::ALL {
                for connections in CONNECTIONS {
                    for who in [OURS, NATIVE, NGINX, FLASK, REDIS] {
                        let is_ours = who == OURS || who == NATIVE;
                        if !is_ours && connections != ALL_AT {
                            continue;
                        }
                        eprintln!(
                            "{} rows, round {round}: {who}, {}, {connections} connections",
                            self.rows,
                            mode.name()
                        );
                        let name =
                            |what: &str| format!("{who} {} {connections} {what}", mode.name());
                        if who == REDIS {
                            rates.note(&name("rate"), self.redis_rate(mode, connections)?);
                            continue;
                        }
                        let before = self.processor_times(who)?;
                        let load = self.turn(who, mode, connections, seconds)?;
                        let after = self.processor_times(who)?;
                        for (what, (before, after)) in ["cpu", "redis"]
                            .into_iter()
                            .zip(before.into_iter().zip(after))
                        {
                            rates.note(&name(what), (after - before) / load.requests);
                        }
                        rates.note(&name("rate"), load.rate());
                        rates.note(&name("p50"), load.p50);
                        rates.note(&name("p99"), load.p99);
                        rates.note(&name("p999"), load.p999);
                        memory = memory.max(self.ours.memory());
                    }
                }
            }
        }
        let mut table = Table::new(
            &format!(
                "Snapshot of {} rows: answers a second, {ALL_AT} connections",
                self.rows
            ),
            &[
                "",
                OURS,
                NATIVE,
                NGINX,
                REDIS,
                FLASK,
                "ours / native",
                "ours / Flask",
            ],
        );
        for mode in Mode::ALL {
            let rate = |who: &str| {
                rates
                    .median(&format!("{who} {} {ALL_AT} rate", mode.name()))
                    .context("it was measured")
            };
            let all = [OURS, NATIVE, NGINX, REDIS, FLASK]
                .into_iter()
                .map(rate)
                .collect::<Result<Vec<f64>>>()?;
            let mut cells = vec![mode.name().to_owned()];
            cells.extend(all.iter().map(|rate| table::rate(*rate)));
            cells.push(format!("{:.0} %", 100.0 * all[0] / all[1]));
            cells.push(ratio(all[0], all[4]));
            table.row(
                &cells,
                json!({
                    "mode": mode.name(), "ours": all[0], "native": all[1], "nginx": all[2],
                    "redis": all[3], "flask": all[4],
                }),
            );
        }
        tables.push(table);
        let mut table = Table::new(
            &format!("Snapshot of {} rows: times", self.rows),
            &[
                "",
                "connections",
                "ours: answers/s",
                "p50",
                "p99",
                "p99.9",
                "processor time an answer",
                "and of Redis",
                "native: answers/s",
                "p50",
                "p99",
                "p99.9",
                "processor time an answer",
                "and of Redis",
            ],
        );
        for mode in Mode::ALL {
            for connections in CONNECTIONS {
                let mut cells = vec![mode.name().to_owned(), connections.to_string()];
                let mut values = json!({"mode": mode.name(), "connections": connections});
                for who in [OURS, NATIVE] {
                    for what in ["rate", "p50", "p99", "p999", "cpu", "redis"] {
                        let name = format!("{who} {} {connections} {what}", mode.name());
                        let median = rates.median(&name).context("it was measured")?;
                        cells.push(match what {
                            "rate" => table::rate(median),
                            _ => time(median),
                        });
                        values[format!("{who} {what}")] = json!(median);
                    }
                }
                table.row(&cells, values);
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
        tables.push(table);
        Ok(())
    }

    /// What the first request to an instance costs: all of them are first ones where no instance
    /// answers a second.
    fn first_requests(&self, rounds: u32, seconds: u32, tables: &mut Vec<Table>) -> Result<()> {
        let url = format!("redis://127.0.0.1:{}", self.redis.port);
        let single = host(self.tools, &url, &["--max-instance-reuse-count", "1"])?;
        let mut times = Rounds::default();
        let warm_up = format!("http://127.0.0.1:{}/incidents", single.port);
        self.load(&warm_up, OURS, Mode::NotModified, 1, 1)?;
        for round in 1..=rounds {
            for mode in Mode::ALL {
                eprintln!(
                    "{} rows, round {round}: first requests, {}",
                    self.rows,
                    mode.name()
                );
                for (name, server) in [("first", &single), ("next", &self.ours)] {
                    let url = format!("http://127.0.0.1:{}/incidents", server.port);
                    let load = self.load(&url, OURS, mode, 1, seconds)?;
                    times.note(&format!("{name} {}", mode.name()), load.p50);
                }
            }
        }
        let mut table = Table::new(
            &format!(
                "Snapshot of {} rows: the first request to an instance, p50",
                self.rows
            ),
            &["", "first", "next ones", "more"],
        );
        for mode in Mode::ALL {
            let of = |name: &str| {
                let name = format!("{name} {}", mode.name());
                times.median(&name).context("it was measured")
            };
            let (first, next) = (of("first")?, of("next")?);
            table.row(
                &[
                    mode.name().to_owned(),
                    time(first),
                    time(next),
                    time((first - next).max(0.0)),
                ],
                json!({"mode": mode.name(), "first": first, "next": next}),
            );
        }
        tables.push(table);
        Ok(())
    }
}

fn body(
    connection: &mut redis::Connection,
    keys: &Keys,
    record: &Current,
    encoding: Encoding,
) -> Result<Vec<u8>> {
    let body = record.report.get(encoding).context("it was made")?;
    let mut whole = Vec::new();
    for number in 0..body.blocks() {
        let key = keys.block(record.generation, Document::Report, encoding, number);
        let block: Vec<u8> = redis::cmd("GET").arg(key).query(connection)?;
        whole.extend(block);
    }
    Ok(whole)
}

/// The service that ours replaces, with the report in `files`.
fn flask(tools: &Tools, environment: &[(&str, &str)], files: &Path) -> Result<Server> {
    let port = free_port()?;
    let mut command = Command::new(&tools.python);
    command
        .arg(tools.contenders.join("flask_app.py"))
        .envs(environment.iter().copied())
        .env("REPORT", files.join("plain"))
        .env("PORT", port.to_string());
    Server::start("flask", command, port, &tools.out)
}

fn nginx(folder: &Path) -> Result<Server> {
    let port = free_port()?;
    let home = folder.join("nginx");
    fs::create_dir_all(home.join("temporary"))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let settings = format!(
        "daemon off; user root; worker_processes {processors}; pid {home}/pid; error_log stderr;
         events {{ worker_connections 1024; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
           default_type application/json;
           client_body_temp_path {home}/temporary; proxy_temp_path {home}/temporary;
           fastcgi_temp_path {home}/temporary; uwsgi_temp_path {home}/temporary;
           scgi_temp_path {home}/temporary;
           server {{
             listen 127.0.0.1:{port}; root {files};
             if_modified_since before;
             location /gzip {{ add_header Content-Encoding gzip; }}
             location /zstd {{ add_header Content-Encoding zstd; }}
           }}
         }}",
        home = home.display(),
        files = folder.join("files").display(),
    );
    let file = home.join("nginx.conf");
    fs::write(&file, settings)?;
    let mut command = Command::new("nginx");
    command
        .args(["-e", "stderr", "-p"])
        .arg(&home)
        .arg("-c")
        .arg(&file);
    let server = Server::start("nginx", command, port, folder)?;
    // Its workers read the files as another user where it is started by root.
    let started = Instant::now();
    while !http::get(port, "/plain", &[]).is_ok_and(|answer| answer.status == 200) {
        if started.elapsed() > Duration::from_secs(10) {
            bail!("nginx cannot read {}", folder.join("files").display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}
