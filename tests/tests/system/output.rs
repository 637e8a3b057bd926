//! The refresher among other programs: its output may be closed or full, its log is read by people and
//! by collectors, and its last line says why it ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use end_to_end::{Redis, TempDir, Upstream, program, refresher};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);

/// Ends with 1 at once and says why: nobody is at that address.
const NO_UPSTREAM: (&str, &str) = ("BASE_ENDPOINT", "http://127.0.0.1:9/");

struct Ended {
    code: Option<i32>,
    stderr: String,
}

/// Runs `command` to its end, with its standard output going there.
async fn end_of(mut command: Command, stdout: impl Into<Stdio>) -> Ended {
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the refresher is built");
    // Its ends of pipes are the child's alone.
    drop(command);
    let output = timeout(BOUND, child.wait_with_output()).await;
    let output = output.expect("it ends").expect("it can be waited for");
    Ended {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A pipe that nobody reads.
fn closed_pipe() -> io::PipeWriter {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    writer
}

/// A disk that is full.
fn full_disk() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("the system has one")
}

#[tokio::test]
async fn output_that_nobody_reads_is_no_failure_and_a_full_disk_is_one() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path().to_str().expect("a text");
    let settings = [("HISTORY_STORE", folder)];
    let once = refresher(&["once"], &redis, &upstream, &settings);
    let ended = end_of(once, Stdio::null()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let tasks: [&[&str]; 6] = [
        &["--help"],
        &["check-config"],
        &["history"],
        &["history", "--format", "json", "--verify"],
        &["replay", "--at", "4000000000"],
        &["explain", "--where", "priority=low"],
    ];
    for task in tasks {
        let command = || match task {
            ["--help"] => {
                let mut command = Command::new(program("refresher"));
                command.arg("--help");
                command
            }
            task => refresher(task, &redis, &upstream, &settings),
        };
        let closed = end_of(command(), closed_pipe()).await;
        assert_eq!(closed.code, Some(0), "{task:?}: {}", closed.stderr);
        let full = end_of(command(), full_disk()).await;
        assert_eq!(full.code, Some(1), "{task:?}: {}", full.stderr);
        let last = full.stderr.lines().last().unwrap_or_default();
        let told = "refresher: cannot write to standard output: ";
        assert!(last.starts_with(told), "{task:?}: {last}");
        // The cause stands there once.
        assert_eq!(last.matches("os error").count(), 1, "{last}");
    }
}

#[tokio::test]
async fn a_log_that_nobody_can_read_changes_no_code() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for (settings, code) in [(&[][..], 0), (&[NO_UPSTREAM][..], 1)] {
        for format in ["text", "json"] {
            for stderr in [Stdio::from(closed_pipe()), Stdio::from(full_disk())] {
                let task = ["once", "--log-format", format];
                let mut command = refresher(&task, &redis, &upstream, settings);
                command.stdout(Stdio::null()).stderr(stderr);
                let ended = timeout(BOUND, command.status()).await.expect("it ends");
                assert_eq!(ended.expect("it runs").code(), Some(code), "{format}");
            }
        }
    }
}

#[tokio::test]
async fn no_value_of_rust_log_silences_errors_by_mistake() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    for (value, is_told) in [
        ("", false),
        ("warning", true),
        ("1", true),
        ("refresher", true),
        ("info,", true),
        ("debug", false),
    ] {
        let settings = [NO_UPSTREAM, ("RUST_LOG", value)];
        let once = refresher(&["once"], &redis, &upstream, &settings);
        let Ended { code, stderr } = end_of(once, Stdio::null()).await;
        assert_eq!(code, Some(1), "{value}: {stderr}");
        assert!(stderr.contains("no usable answer"), "{value}: {stderr}");
        let told = stderr.contains("RUST_LOG is not understood");
        assert_eq!(told, is_told, "{value}: {stderr}");
        assert!(!stderr.contains('\u{1b}'), "no colours in a pipe: {stderr}");
    }
}

#[tokio::test]
async fn collectors_get_json_to_the_last_line() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let wrong = [("API_TIMEOUT", "never")];
    for (settings, code, told) in [
        (&[NO_UPSTREAM][..], 1, "cannot be reached"),
        (&wrong[..], 2, "`API_TIMEOUT`"),
    ] {
        let task = ["once", "--log-format", "json"];
        let command = refresher(&task, &redis, &upstream, settings);
        let ended = end_of(command, Stdio::null()).await;
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        let lines: Vec<Value> = ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        let last = lines.last().expect("a line");
        assert_eq!(last["level"], "ERROR", "{last}");
        let message = last["message"].as_str().unwrap_or_default();
        assert!(message.contains(told), "{message}");
    }
}

#[tokio::test]
async fn messages_say_their_cause_once() {
    let (redis, upstream) = (Redis::start().await, Upstream::start().await);
    let mut no_file = Command::new(program("refresher"));
    no_file.args(["check-config", "--config", "/nowhere/at/all"]);
    let no_words = refresher(&["serve", "--server", "'"], &redis, &upstream, &[]);
    for (command, cause) in [
        (no_file, "No such file"),
        (no_words, "missing closing quote"),
    ] {
        let ended = end_of(command, Stdio::null()).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert_eq!(last.matches(cause).count(), 1, "{last}");
    }
}
