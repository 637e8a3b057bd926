//! Builds the programs and the component, in the release profile: the tasks share it, so that nothing is
//! built twice.

use std::fs;
use std::process;

use anyhow::{Context, Result};
use xshell::cmd;

use crate::task::Task;

/// The programs that the service consists of, as cargo's arguments.
pub(crate) const SERVICE: [&str; 3] = ["--bin=refresher", "--bin=host", "--bin=demo-upstream"];

/// Builds the component, and what `targets` says as cargo understands it. No package is to be named: what
/// cargo selects decides the features of shared crates, and other features have them compiled anew.
pub(crate) fn run(targets: &[&str], task: &Task) -> Result<()> {
    let (command, source) = component(&task.sh.read_file(task.root.join("spin.toml"))?)?;
    let programs = task.cargo("build").args(targets);
    task.run(
        "building the programs (some minutes the first time)",
        programs,
    )?;
    task.run("building the component", cmd!(task.sh, "sh -c {command}"))?;
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
fn component(manifest: &str) -> Result<(String, String)> {
    let manifest: toml::Table = manifest.parse().context("spin.toml")?;
    let components = manifest.get("component").and_then(toml::Value::as_table);
    let component = components.and_then(|components| components.values().next());
    let text = |path: &[&str]| {
        let value = path
            .iter()
            .try_fold(component?, |value, key| value.get(key));
        value?.as_str().map(str::to_owned)
    };
    let command = text(&["build", "command"]).context("spin.toml has no build.command")?;
    let source = text(&["source"]).context("spin.toml has no component with a source")?;
    Ok((command, source))
}

#[cfg(test)]
mod tests {
    use super::component;

    #[test]
    fn the_manifest_says_how_the_component_is_built() {
        let (command, source) = component(include_str!("../../spin.toml")).unwrap();
        assert!(command.starts_with("cargo build "), "{command}");
        assert!(source.ends_with("/api_component.wasm"), "{source}");
        let error = component("[component.api]\nsource = 'a.wasm'").unwrap_err();
        assert_eq!(error.to_string(), "spin.toml has no build.command");
    }
}
