//! The server that runs beside the refresher: started with it, ended with it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, stdout};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::{Host, Url};

/// How long what the server printed last may take to be passed on.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Bytes at the beginning of the server's output among which its address is looked for.
const BEGINNING: usize = 64 << 10;

/// How often it is looked whether a group that was told to end has ended.
const GUARD_LOOKS_EVERY: Duration = Duration::from_millis(50);

/// Why there is no server.
#[derive(Debug, Error)]
pub(crate) enum ServerError {
    /// The command cannot be read.
    #[error("--server '{command}' cannot be split into words: {source}")]
    Words {
        /// The command.
        command: String,
        /// Why.
        source: shell_words::ParseError,
    },
    /// There is none.
    #[error("--server is empty; give it a command such as 'spin up --listen 127.0.0.1:9000'")]
    Empty,
    /// It cannot be started.
    #[error("cannot start the server `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
}

/// A running server, in a process group of its own. Dropped, it is killed with all its children.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    group: Option<Pid>,
    /// How long it may take to end after SIGTERM.
    grace: Duration,
    health: watch::Receiver<Option<Url>>,
    passing_on: JoinHandle<()>,
    /// Ends what is left of the group when this process ends without having done so. Dropped, it is killed.
    _guard: Option<Child>,
}

/// Splits a command as a shell would; no shell runs it.
///
/// # Errors
/// When its quotes do not match, or it is empty.
pub(crate) fn words(command: &str) -> Result<Vec<String>, ServerError> {
    let words = shell_words::split(command).map_err(|source| ServerError::Words {
        command: command.to_owned(),
        source,
    })?;
    match words.is_empty() {
        true => Err(ServerError::Empty),
        false => Ok(words),
    }
}

/// The command that starts `words` so that it ends when this process does, however that ends. Linux
/// sends it the signal when the thread that started it has ended: that has to be the main thread.
#[cfg(target_os = "linux")]
fn mortal(words: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["exec", &std::process::id().to_string(), "--"]);
    command.args(words);
    command
}

#[cfg(not(target_os = "linux"))]
fn mortal(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Becomes `words`, a program and its arguments, which is sent SIGTERM when the process `parent`
/// ends. That must be our parent still. Returns only why it could not.
#[cfg(target_os = "linux")]
pub(crate) fn exec(parent: u32, words: &[String]) -> ServerError {
    use rustix::process::{getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt as _;

    let Some((program, arguments)) = words.split_first() else {
        return ServerError::Empty;
    };
    let prepared = set_parent_process_death_signal(Some(Signal::TERM));
    let is_orphan = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()) != Some(parent);
    let source = match prepared {
        Err(error) => error.into(),
        Ok(()) if is_orphan => io::Error::other("the refresher that started it has ended"),
        Ok(()) => std::process::Command::new(program).args(arguments).exec(),
    };
    ServerError::Start {
        program: program.clone(),
        source,
    }
}

/// Starts [`guard`] for a group: it lives for as long as this process, or until it is dropped.
#[cfg(target_os = "linux")]
fn guarded(group: Pid, grace: Duration) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(["guard", &group.as_raw_nonzero().to_string()])
        .arg(grace.as_millis().to_string())
        // It reads from there what never comes, until this process has ended.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits until whoever holds the other end of standard input has ended, and then ends the process group
/// `group` in order, or in `grace_ms` milliseconds by force. A signal to the server alone, which it gets anyway
/// when its supervisor ends, reaches neither one that ignores it nor what runs behind a shell.
#[cfg(target_os = "linux")]
pub(crate) fn guard(group: i32, grace_ms: u64) {
    let Some(group) = Pid::from_raw(group) else {
        return;
    };
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    let (started, grace) = (Instant::now(), Duration::from_millis(grace_ms));
    let mut is_there = kill_process_group(group, Signal::TERM).is_ok();
    while is_there && started.elapsed() < grace {
        std::thread::sleep(GUARD_LOOKS_EVERY);
        is_there = test_kill_process_group(group).is_ok();
    }
    // When nothing is left of the group, there is nothing to signal.
    let _ = kill_process_group(group, Signal::KILL);
}

impl Server {
    /// Starts `words`: a program and its arguments, with `environment` beside ours. What it writes goes
    /// where ours goes. Without `health`, its first `http://` address in there tells where it answers `/healthz`. It
    /// has `grace` to end.
    ///
    /// # Errors
    /// When there is no such program, or it may not be run.
    pub(crate) fn start(
        words: &[String],
        environment: &[(&str, String)],
        health: Option<Url>,
        grace: Duration,
    ) -> Result<Self, ServerError> {
        let program = words.first().ok_or(ServerError::Empty)?;
        let mut child = mortal(words)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ServerError::Start {
                program: program.clone(),
                source,
            })?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        #[cfg(target_os = "linux")]
        let guard = group.map(|group| guarded(group, grace)).transpose();
        #[cfg(not(target_os = "linux"))]
        let guard = Ok(None);
        let guard = guard.unwrap_or_else(|error: io::Error| {
            tracing::warn!(%error, "the server may outlast this process: its guard does not start");
            None
        });
        tracing::info!(program, id = child.id(), "started the server");
        let (told, health) = watch::channel(health);
        let passing_on = tokio::spawn(pass_on(child.stdout.take(), told));
        Ok(Self {
            child,
            group,
            grace,
            health,
            passing_on,
            _guard: guard,
        })
    }

    /// Its process id; `None` once it has ended.
    #[must_use]
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The address of its `/healthz`, as soon as that is known.
    #[must_use]
    pub(crate) fn health(&self) -> watch::Receiver<Option<Url>> {
        self.health.clone()
    }

    /// Waits until the server ends by itself.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends the server in bounded time: it may end in good order, then it is killed.
    pub(crate) async fn end(mut self) {
        self.signal(Signal::TERM);
        match timeout(self.grace, self.child.wait()).await {
            Ok(Ok(status)) => tracing::info!(%status, "the server has ended"),
            Ok(Err(error)) => tracing::error!(%error, "cannot wait for the server"),
            Err(_) => tracing::warn!("the server did not end in time: it is killed"),
        }
        let _ = timeout(LAST_WORDS, &mut self.passing_on).await;
        // Drop kills whatever is left of the group.
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // When nothing is left of the group, there is nothing to signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.passing_on.abort();
    }
}

/// Passes on what the server prints, and finds in it where the server answers, unless that is known.
async fn pass_on(from: Option<ChildStdout>, health: watch::Sender<Option<Url>>) {
    let Some(mut from) = from else { return };
    let (mut to, mut beginning) = (stdout(), Vec::new());
    let mut piece = vec![0; 8 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let piece = &piece[..read];
        // Where nobody reads it any more, the server is not to be held up by that.
        let _ = to.write_all(piece).await;
        let _ = to.flush().await;
        if health.borrow().is_none() && beginning.len() < BEGINNING {
            beginning.extend_from_slice(piece);
            if let Some(url) = health_in(&beginning) {
                health.send_replace(Some(url));
            }
        }
    }
}

/// The `/healthz` of the first address that a whole line of `output` has: host prints `listening on
/// http://…`, Spin `Serving http://…`.
fn health_in(output: &[u8]) -> Option<Url> {
    let end = output.iter().rposition(|&byte| byte == b'\n')?;
    let lines = String::from_utf8_lossy(&output[..end]);
    let address = lines
        .split_whitespace()
        .find(|word| word.starts_with("http://"))?;
    let mut url = Url::parse(address).ok()?;
    url.set_path("/healthz");
    url.set_query(None);
    let reachable: Option<IpAddr> = match url.host()? {
        Host::Ipv4(all) if all.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        Host::Ipv6(all) if all.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        _ => None,
    };
    if let Some(reachable) = reachable {
        url.set_ip_host(reachable).ok()?;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_would() {
        assert_eq!(
            words("host --from 'a b/spin.toml' --listen 127.0.0.1:0").unwrap(),
            ["host", "--from", "a b/spin.toml", "--listen", "127.0.0.1:0"]
        );
        assert!(matches!(words("a 'b"), Err(ServerError::Words { .. })));
        assert!(matches!(words("  "), Err(ServerError::Empty)));
    }

    #[test]
    fn a_server_s_address_is_found_in_what_it_prints() {
        let found = |output: &str| health_in(output.as_bytes()).map(String::from);
        let expected = |address: &str| Some(format!("http://{address}/healthz"));
        assert_eq!(
            found("listening on http://127.0.0.1:43521\n"),
            expected("127.0.0.1:43521")
        );
        let spin = "Logging component stdio to \".spin/logs/\"\n\nServing http://0.0.0.0:3000\n\
                    Available Routes:\n  api: http://0.0.0.0:3000 (wildcard)\n";
        assert_eq!(found(spin), expected("127.0.0.1:3000"));
        assert_eq!(found("on http://[::]:80/x?y\n"), expected("[::1]"));
        for unknown in [
            "",
            "http://127.0.0.1:90",
            "ready\n",
            "https://a:1\n",
            "http://\n",
        ] {
            assert_eq!(found(unknown), None, "{unknown}");
        }
    }
}
