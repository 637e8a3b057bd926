//! The program itself: its line, its errors, its exit codes, its signals.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::SystemTime,
};

use http::header::CONTENT_TYPE;

use crate::{
    client::{Connection, get},
    program::probe_file,
    server::{Redis, application, until},
};

pub(crate) fn command(from: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command
        .arg("--from")
        .arg(from)
        .env_remove("RUST_LOG")
        .env_remove("HOST_METRICS")
        .env_remove("HOST_COMPILATION_CACHE");
    command
}

/// The program, running; it is killed when it is dropped.
pub(crate) struct Running {
    process: Child,
    pub(crate) address: SocketAddr,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").unwrap();
        Self {
            address: address.trim_end().parse().unwrap(),
            process,
            stdout,
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Waits for its end, and returns its exit code and what it printed after its first line.
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn it_serves_and_ends_with_its_signals() {
    let redis = Redis::start().await;
    for name in ["TERM", "INT"] {
        redis.run::<()>("FLUSHALL").await;
        let folder = application(&redis.url);
        let mut host = Running::start(
            command(folder.path())
                .args(["--variable", "secret=s3cret"])
                .args(["--max-instance-reuse-count", "2"])
                .args(["--idle-instance-timeout", "60s"]),
        );
        let text = async |path: &str| get(host.address, path).await.text();
        assert_eq!(text("/variable?name=greeting").await, "value hello s3cret");
        assert!(text("/instance").await.ends_with(" 2"));
        assert!(text("/instance").await.ends_with(" 1"));

        // A request in flight is finished.
        let path = format!("/wait?url={}&entered=entered&gate=gate", redis.url);
        let address = host.address;
        let waiting = tokio::spawn(async move { get(address, &path).await });
        until("it waits", async || redis.run("EXISTS entered").await).await;
        host.signal(name);
        until("nobody is accepted any more", async || {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
        redis.run::<()>("SET gate open").await;
        assert_eq!(waiting.await.unwrap().status, 200);
        assert_eq!(host.end(), (Some(0), String::new()), "{name}");
    }
}

#[tokio::test]
async fn what_it_has_answered_is_told_to_prometheus() {
    let folder = application("redis://127.0.0.1:1");
    let mut host = Running::start(
        command(folder.path())
            .args(["--metrics", "127.0.0.1:0"])
            .args(["--idle-instance-timeout", "60s"]),
    );
    let line = host.line();
    let metrics = line.trim_end().strip_prefix("metrics on http://").unwrap();
    let metrics = metrics.strip_suffix("/metrics").unwrap().parse().unwrap();
    let mut kept = Connection::open(host.address).await;
    for _ in 0..3 {
        assert_eq!(kept.get("/instance").await.status, 200);
    }
    assert_eq!(get(host.address, "/fail").await.status, 500);
    let answer = get(metrics, "/metrics").await;
    let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text;"), "{kind}");
    let text = answer.text();
    for line in [
        "host_requests_total{route=\"/instance\",status=\"200\"} 3",
        "host_requests_total{route=\"other\",status=\"500\"} 1",
        "host_request_duration_seconds_count 4",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let number = |name: &str| -> i64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}: {text}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(number("host_connections ") >= 1);
    assert!(number("host_instances ") >= 1);
    assert!(number("host_instance_memory_bytes ") > 1 << 16);
    assert_eq!(get(metrics, "/").await.status, 404);
    host.signal("TERM");
    assert_eq!(host.end(), (Some(0), String::new()));
}

#[tokio::test]
async fn a_variable_may_come_from_a_file_or_the_environment() {
    let folder = application("redis://127.0.0.1:1");
    fs::write(folder.path().join("secret"), "from a file").unwrap();
    let file = format!("secret=@{}", folder.path().join("secret").display());
    let host = Running::start(command(folder.path()).args(["--variable", &file]));
    let greeting = get(host.address, "/variable?name=greeting").await;
    assert_eq!(greeting.text(), "value hello from a file");

    let host = Running::start(command(folder.path()).env("SPIN_VARIABLE_SECRET", "from outside"));
    let greeting = get(host.address, "/variable?name=greeting").await;
    assert_eq!(greeting.text(), "value hello from outside");
}

#[tokio::test]
async fn what_was_compiled_once_is_found_again() {
    let folder = application("redis://127.0.0.1:1");
    let cache = folder.path().join("compiled");
    let start = || {
        Running::start(
            command(folder.path())
                .arg("--compilation-cache")
                .arg(&cache),
        )
    };
    let compiled = || {
        let mut files = files_below(&cache);
        // What the engine notes about its use of them is beside them.
        files.retain(|(file, _)| file.extension().is_none());
        files
    };
    assert_eq!(get(start().address, "/instance").await.status, 200);
    let first = compiled();
    assert_eq!(first.len(), 1, "{first:?}");
    assert_eq!(get(start().address, "/instance").await.status, 200);
    assert_eq!(compiled(), first);

    fs::write(folder.path().join("file"), "").unwrap();
    let output = command(folder.path())
        .arg("--compilation-cache")
        .arg(folder.path().join("file"))
        .args(["--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("file"), "{error}");
}

/// The files in a folder and those below it, and when they were written.
fn files_below(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut found = Vec::new();
    for entry in entries.map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        match metadata.is_dir() {
            true => found.extend(files_below(&entry.path())),
            false => found.push((entry.path(), metadata.modified().unwrap())),
        }
    }
    found
}

/// Whoever started it may close what it writes to.
#[tokio::test]
async fn a_closed_output_ends_nothing() {
    let folder = application("redis://127.0.0.1:1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let closed = |pipe: (std::io::PipeReader, std::io::PipeWriter)| Stdio::from(pipe.1);
    let mut process = command(folder.path())
        .args(["--listen", &address.to_string()])
        .stdout(closed(std::io::pipe().unwrap()))
        .stderr(closed(std::io::pipe().unwrap()))
        .spawn()
        .unwrap();
    until("it listens", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
    assert_eq!(get(address, "/panic").await.status, 500);
    assert_eq!(get(address, "/none").await.status, 200);
    process.kill().unwrap();
    process.wait().unwrap();

    let missing = command(Path::new("nowhere"))
        .stdout(Stdio::null())
        .stderr(closed(std::io::pipe().unwrap()))
        .status();
    assert_eq!(missing.unwrap().code(), Some(2));
}

#[test]
fn the_same_error_again_and_again_is_a_line_a_second() {
    let folder = application("redis://127.0.0.1:1");
    let mut host = Running::start(command(folder.path()).stderr(Stdio::piped()));
    let log = BufReader::new(host.process.stderr.take().unwrap());
    let address = host.address;
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for _ in 0..50 {
            assert_eq!(get(address, "/panic").await.status, 500);
        }
    });
    let times = |line: &str| -> u64 {
        let Some((_, times)) = line.split_once("times=") else {
            return 1;
        };
        let times: String = times.chars().take_while(char::is_ascii_digit).collect();
        times.parse().unwrap()
    };
    // The rest is told while the host runs on, not because it ends.
    let (mut told, mut lines) = (0, Vec::new());
    for line in log.lines().map(Result::unwrap) {
        if line.contains("an instance of the component failed") {
            told += times(&line);
            lines.push(line);
        }
        if told >= 50 {
            break;
        }
    }
    assert_eq!(told, 50, "{lines:?}");
    assert!(!lines[0].contains("times="), "{lines:?}");
    assert!(lines.len() < 50, "{lines:?}");
    host.signal("TERM");
    host.end();
}

#[test]
fn a_trap_is_one_line_in_the_log() {
    let folder = application("redis://127.0.0.1:1");
    let mut host = Running::start(command(folder.path()).stderr(Stdio::piped()));
    let mut log = host.process.stderr.take().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        assert_eq!(get(host.address, "/allocate?mib=300").await.status, 500);
    });
    host.signal("TERM");
    host.end();
    let mut lines = String::new();
    log.read_to_string(&mut lines).unwrap();
    let ours: Vec<&str> = lines
        .lines()
        .filter(|line| line.contains("ERROR"))
        .collect();
    assert_eq!(ours.len(), 1, "{lines}");
    assert!(ours[0].contains("wasm trap"), "{lines}");
}

/// Runs it to its end, which must be an error of one line with `words` in it.
#[track_caller]
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8(stdout).unwrap(), "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?}: {stderr}");
    }
}

#[test]
fn what_cannot_be_run_is_told_in_one_line() {
    let folder = application("redis://127.0.0.1:1");
    let manifest = folder.path().join("spin.toml");
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace(from, to)).unwrap();
    };

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["cannot listen on", &address, "in use"];
    fails(
        command(folder.path()).args(["--listen", &address]),
        1,
        &words,
    );

    let unknown = ["--variable", "secrte=s3cret"];
    fails(
        command(folder.path()).args(unknown),
        2,
        &["\"secrte\"", "secret"],
    );

    let probe = probe_file().display().to_string();
    let nothing = folder.path().join("nothing.wasm").display().to_string();
    change(&probe, &nothing);
    fails(
        &mut command(folder.path()),
        2,
        &["nothing.wasm", "does not exist"],
    );
    let free = ["--listen", "127.0.0.1:0"];
    for content in ["", "not WebAssembly", "\0asm\x01\0\0\0"] {
        fs::write(&nothing, content).unwrap();
        fails(
            command(folder.path()).args(free),
            1,
            &["the component", "nothing.wasm"],
        );
    }

    change("route =", "routes =");
    fails(
        &mut command(folder.path()),
        2,
        &["spin.toml: line", "routes"],
    );
    fails(
        &mut command(&folder.path().join("none.toml")),
        2,
        &["none.toml", "cannot be read"],
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        ["--variable", "novalue"],
        ["--listen", "nowhere"],
        ["--max-instance-reuse-count", "0"],
        ["--idle-instance-timeout", "1 hour"],
        ["--nonsense", "1"],
    ] {
        let output = command(Path::new(".")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
