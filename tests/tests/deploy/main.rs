//! What `deploy/` has for Kubernetes and systemd, held against what runs there: rendered, checked by rules and
//! schemas, and started as far as that goes without a cluster.

mod images;
mod manifests;
mod monitoring;
mod network;
mod pod_security;
mod pods;
mod redis_users;
mod schemas;
mod settings;
mod systemd;
mod versions;
mod watched;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The repository.
fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a folder in the repository").into()
}

/// The text of a file of the repository.
fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The first program of this name on `PATH`.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).map(|folder| folder.join(program));
    files.find(|file| file.is_file())
}

/// Says aloud, once, that something is not tested: not by `eprintln`, which the tests' harness would keep.
fn skipped(what: &'static str) {
    static TOLD: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    let is_new = TOLD.lock().is_ok_and(|mut told| told.insert(what));
    if is_new {
        let line = format!("\n*** SKIPPED: {what} ***\n\n");
        let _ = io::stderr().write_all(line.as_bytes());
    }
}
