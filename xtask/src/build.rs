//! Builds the programs and the component, in the release profile: the tasks share it, so that nothing is
//! built twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Cmd, cmd};

use crate::task::{Task, say};

/// The packages with a program that the service consists of.
const PROGRAMS: [&str; 3] = ["refresher", "host", "demo-upstream"];

/// Builds everything that runs, and whatever else of the workspace's native packages is named.
pub(crate) fn run(more: &[&str], task: &Task) -> Result<()> {
    let component = Component::read(&task.spin_manifest())?;
    say("building the programs (some minutes the first time)");
    let programs = packages(task.cargo("build"), &[&PROGRAMS, more].concat());
    task.show(programs, "the programs do not build")?;
    say("building the component");
    let command = &component.command;
    task.show(
        cmd!(task.sh, "sh -c {command}"),
        "the component does not build",
    )?;
    place(&component, task)
}

/// Has cargo do what it does for these packages only.
pub(crate) fn packages<'a>(cargo: Cmd<'a>, names: &[&str]) -> Cmd<'a> {
    cargo.args(names.iter().flat_map(|name| ["--package", name]))
}

/// What the manifest says of the component: it is built here as `spin build` builds it.
struct Component {
    command: String,
    source: PathBuf,
}

impl Component {
    fn read(manifest: &Path) -> Result<Self> {
        let problem = || format!("in {}", manifest.display());
        let text = fs::read_to_string(manifest).with_context(problem)?;
        Self::parse(&text).with_context(problem)
    }

    fn parse(manifest: &str) -> Result<Self> {
        let manifest: toml::Table = manifest.parse()?;
        let components = manifest.get("component").and_then(toml::Value::as_table);
        let component = components
            .and_then(|components| components.values().next())
            .context("there is no component")?;
        let text = |value: Option<&toml::Value>, name: &str| {
            let text = value.and_then(toml::Value::as_str).map(str::to_owned);
            text.with_context(|| format!("the component has no {name}"))
        };
        let command = component
            .get("build")
            .and_then(|build| build.get("command"));
        Ok(Self {
            command: text(command, "build.command")?,
            source: text(component.get("source"), "source")?.into(),
        })
    }
}

/// The manifest names a file in the target folder of the repository; where cargo builds into another
/// one, the component is put there.
fn place(component: &Component, task: &Task) -> Result<()> {
    let expected = task.root.join(&component.source);
    let Ok(below) = component.source.strip_prefix("target") else {
        return Ok(());
    };
    let built = task.target.join(below);
    if built == expected {
        return Ok(());
    }
    // Another task may be reading it: the new one takes its place at once.
    let partial = expected.with_extension(format!("wasm.{}", std::process::id()));
    task.sh.copy_file(&built, &partial)?;
    fs::rename(&partial, &expected).with_context(|| format!("cannot write {}", expected.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_says_how_the_component_is_built() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        let Component { command, source } = Component::read(&manifest).unwrap();
        assert!(command.starts_with("cargo build "), "{command}");
        assert!(source.ends_with("api_component.wasm"));
    }

    #[test]
    fn a_manifest_without_a_build_is_told() {
        let parsed = Component::parse("[component.api]\nsource = 'a.wasm'");
        let error = parsed.err().unwrap().to_string();
        assert_eq!(error, "the component has no build.command");
    }
}
