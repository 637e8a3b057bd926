//! The program: what it says, what it refuses, and how it ends.

use std::io::{BufRead as _, BufReader, PipeWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use demo_upstream::generate::{Dataset, Options};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-upstream"));
    command
        .env("UPSTREAM_ID", "collector")
        .env("UPSTREAM_PASSWORD", "canary")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A program that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signalled(signal: &str) {
    let arguments = ["--listen", "127.0.0.1:0", "--fault", "all=hang"];
    let mut child = Running(program().args(arguments).spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    // An open connection does not hold it up.
    let _connection = TcpStream::connect(address).unwrap();
    let id = child.0.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn sigterm_ends_it_cleanly() {
    signalled("-TERM");
}

#[test]
fn sigint_ends_it_cleanly() {
    signalled("-INT");
}

fn refused(command: &mut Command, code: i32, named: &str) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(named), "{stderr}");
    assert!(!stderr.contains("canary"), "{stderr}");
}

#[test]
fn does_not_start_without_credentials() {
    refused(
        program().env_remove("UPSTREAM_ID"),
        2,
        "UPSTREAM_ID is not set",
    );
    let mut empty = program();
    refused(
        empty.env("UPSTREAM_PASSWORD", ""),
        2,
        "UPSTREAM_PASSWORD is not set",
    );
}

#[test]
fn says_what_is_wrong_with_an_argument() {
    for (argument, value, named) in [
        ("--fault", "denail=reset", "denial"),
        ("--latency", "2s..1s", "longer"),
        ("--latency", "soon", "1.5s"),
        ("--employees", "0", "1..=1000000"),
        ("--listen", "localhost", "invalid"),
    ] {
        refused(program().args([argument, value]), 2, named);
    }
}

#[test]
fn says_that_its_address_is_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut taken = program();
    taken.args(["--listen", &address]);
    refused(&mut taken, 1, &address);
    let told = String::from_utf8(taken.output().unwrap().stderr).unwrap();
    assert_eq!(told.matches("in use").count(), 1, "{told}");
}

/// A pipe that nobody reads.
fn unread() -> PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

#[test]
fn serves_on_although_nobody_reads_its_log() {
    let mut child = program();
    child
        .args(["--listen", "127.0.0.1:0"])
        .env("RUST_LOG", "debug");
    let mut child = Running(child.spawn().unwrap());
    drop(child.0.stderr.take());
    let mut line = String::new();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let request = b"GET /identities HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(child.0.try_wait().unwrap(), None);
}

#[test]
fn says_why_it_ends_whatever_the_level_of_the_log() {
    for level in ["", "1", "warning", "demo_upstream=,"] {
        let mut wrong = program();
        wrong.env("RUST_LOG", level).env_remove("UPSTREAM_ID");
        refused(&mut wrong, 2, "UPSTREAM_ID is not set");
    }
}

#[test]
fn ends_with_a_code_where_nobody_reads_what_it_says() {
    let mut unheard = program();
    unheard.args(["--listen", "127.0.0.1:0"]);
    let status = unheard.stdout(unread()).stderr(unread()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut refused = program();
    refused.env_remove("UPSTREAM_ID").stderr(unread());
    assert_eq!(refused.status().unwrap().code(), Some(2));
}

#[test]
fn generates_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let status = program()
        .arg("generate")
        .arg("--out")
        .arg(&out)
        .args(["--seed", "9", "--per-type", "20"])
        .env_remove("UPSTREAM_PASSWORD")
        .status()
        .unwrap();
    assert!(status.success());
    let options = Options {
        seed: 9,
        employees: 1000,
        per_type: 20,
    };
    let dataset = Dataset::new(&options).unwrap();
    for endpoint in Dataset::endpoints() {
        let written = std::fs::read(out.join(format!("{endpoint}.json"))).unwrap();
        assert_eq!(written, dataset.payload(&endpoint).unwrap().to_vec());
    }
}
