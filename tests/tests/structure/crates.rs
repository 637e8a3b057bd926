//! Which crates know which.

use std::collections::BTreeSet;
use std::process::Command;

use crate::root;

/// What does I/O, or is only there for those who do.
const DO_IO: [&str; 9] = [
    "async-std",
    "hyper",
    "mio",
    "object_store",
    "redis",
    "reqwest",
    "socket2",
    "spin-sdk",
    "tokio",
];

/// All that `package` is built of, with what `edges` of `cargo tree` lead to.
fn dependencies(package: &str, edges: &str, target: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package, "--edges", edges])
        .args(target)
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("text");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let found: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(found.contains(package), "{text}");
    found
}

#[test]
fn the_component_and_the_refresher_do_not_know_each_other() {
    let wasm = ["--target", "wasm32-wasip2"];
    let component = dependencies("api-component", "normal,build,dev", &wasm);
    assert!(component.contains("spin-sdk"));
    assert!(!component.contains("refresher"));
    let refresher = dependencies("refresher", "normal,build,dev", &[]);
    assert!(!refresher.contains("api-component"));
}

#[test]
fn the_host_knows_no_incident() {
    let host = dependencies("host", "normal,build,dev", &[]);
    for ours in ["domain", "grouping", "refresher", "api-component"] {
        assert!(!host.contains(ours), "it depends on {ours}");
    }
}

#[test]
fn the_pure_crates_are_built_of_nothing_that_does_io() {
    for pure in ["domain", "grouping"] {
        let all = dependencies(pure, "normal", &[]);
        let doing: Vec<&String> = all
            .iter()
            .filter(|name| DO_IO.contains(&name.as_str()))
            .collect();
        assert!(doing.is_empty(), "{pure} is built of {doing:?}");
    }
    // Otherwise this test could not fail.
    assert!(dependencies("refresher", "normal", &[]).contains("tokio"));
}

#[test]
fn the_images_are_built_of_every_member() {
    let read = |file| std::fs::read_to_string(root().join(file)).expect("a text");
    let (manifest, context) = (read("Cargo.toml"), read(".dockerignore"));
    let (_, members) = manifest.split_once("\nmembers = [").expect("members");
    let (members, _) = members.split_once(']').expect("a list");
    // Cargo refuses a workspace of which a member is missing.
    for member in members.split('"').skip(1).step_by(2) {
        let folder = member.split('/').next().unwrap_or(member);
        let line = format!("!{folder}");
        assert!(context.lines().any(|found| found == line), "{member}");
    }
}
