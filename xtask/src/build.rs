//! Builds the programs and the component, in the release profile: the tasks share it, so that nothing is
//! built twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::task::Task;

/// The programs that the service consists of.
pub(crate) const SERVICE: [&str; 6] = [
    "--bin",
    "refresher",
    "--bin",
    "host",
    "--bin",
    "demo-upstream",
];

/// Builds the component, and what `targets` says as cargo understands it. No package is to be named: what
/// cargo selects decides the features of shared crates, and other features have them compiled anew.
pub(crate) fn run(targets: &[&str], task: &Task) -> Result<()> {
    let component = Component::read(&task.spin_manifest())?;
    let programs = task.cargo("build").args(targets);
    task.run(
        "building the programs (some minutes the first time)",
        programs,
    )?;
    let command = &component.command;
    task.run("building the component", cmd!(task.sh, "sh -c {command}"))?;
    place(&component, task)
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
