//! Builds the programs and the component. The tasks share the release profile, so that nothing is built twice;
//! only what is measured is built as it is shipped.

use std::fs;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::task::Task;

/// The programs that the service consists of, as cargo's arguments.
pub(crate) const SERVICE: [&str; 3] = ["--bin=refresher", "--bin=host", "--bin=demo-upstream"];

/// The profile of what is shipped.
pub(crate) const DIST: &str = "dist";

/// The manifest of the component that our own host runs, and that of Spin 4.1.
const MANIFEST: &str = "spin.toml";

/// That of Spin 4.0.
const OLDER_MANIFEST: &str = "spin-4.0.toml";

/// Builds the component, and what `targets` says as cargo understands it. No package is to be named: what
/// cargo selects decides the features of shared crates, and other features have them compiled anew.
pub(crate) fn run(targets: &[&str], task: &Task) -> Result<()> {
    let programs = task.cargo("build").args(targets);
    task.run(
        "building the programs (some minutes the first time)",
        programs,
    )?;
    component(MANIFEST, task)
}

/// As [`run`], but the programs as they are shipped; the folder that has them.
pub(crate) fn as_shipped(targets: &[&str], task: &Task) -> Result<PathBuf> {
    let programs = task.cargo_for(DIST, "build").args(targets);
    task.run(
        "building the programs as they are shipped (many minutes the first time)",
        programs,
    )?;
    component(MANIFEST, task)?;
    Ok(task.target.join(DIST))
}

/// Builds the component for the older Spin, too.
pub(crate) fn older_component(task: &Task) -> Result<()> {
    component(OLDER_MANIFEST, task)
}

/// Builds a component as its manifest says.
fn component(manifest: &str, task: &Task) -> Result<()> {
    let text = task.sh.read_file(task.root.join(manifest))?;
    let (command, source) = how_to_build(&text).with_context(|| manifest.to_owned())?;
    task.run(
        &format!("building the component of {manifest}"),
        cmd!(task.sh, "sh -c {command}"),
    )?;
    // The manifest names a file in the target folder of the repository; where cargo builds into another
    // one, the component is copied.
    let expected = task.root.join(&source);
    let built = source
        .strip_prefix("target/")
        .map(|below| task.target.join(below));
    if let Some(built) = built.filter(|built| *built != expected) {
        // Another task may be reading it: the new one takes its place at once.
        let partial = expected.with_extension(format!("wasm.{}", process::id()));
        task.sh.copy_file(built, &partial)?;
        fs::rename(&partial, &expected).with_context(|| format!("cannot write {source}"))?;
    }
    Ok(())
}

/// How the manifest says that `spin build` builds the component, and the file that this makes.
fn how_to_build(manifest: &str) -> Result<(String, String)> {
    let manifest: toml::Table = manifest.parse()?;
    let components = manifest.get("component").and_then(toml::Value::as_table);
    let component = components.and_then(|components| components.values().next());
    let text = |path: &[&str]| {
        let value = path
            .iter()
            .try_fold(component?, |value, key| value.get(key));
        value?.as_str().map(str::to_owned)
    };
    let command = text(&["build", "command"]).context("it has no build.command")?;
    let source = text(&["source"]).context("it has no component with a source")?;
    Ok((command, source))
}

#[cfg(test)]
mod tests {
    use super::how_to_build;

    #[test]
    fn the_manifest_says_how_the_component_is_built() {
        for manifest in [
            include_str!("../../spin.toml"),
            include_str!("../../spin-4.0.toml"),
        ] {
            let (command, source) = how_to_build(manifest).unwrap();
            assert!(command.starts_with("cargo build "), "{command}");
            assert!(source.starts_with("target/") && source.ends_with(".wasm"));
        }
        let error = how_to_build("[component.api]\nsource = 'a.wasm'").unwrap_err();
        assert_eq!(error.to_string(), "it has no build.command");
    }
}
