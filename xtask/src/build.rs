//! Builds the programs and the component, in the release profile: `up` and `test` share it, so that
//! nothing is built twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Steps;
use crate::progress::say;
use crate::workspace::{Workspace, cargo};

/// The packages with a program that `up` and the tests start.
const PROGRAMS: [&str; 3] = ["refresher", "host", "demo-upstream"];

/// Builds everything that runs.
///
/// # Errors
/// It does not build; cargo has shown why.
pub(crate) fn run(workspace: &Workspace, steps: &Steps) -> Result<()> {
    let component = Component::read(&workspace.spin_manifest())?;
    say("building the programs (some minutes the first time)");
    let status = steps.visibly(
        Command::new(cargo())
            .args(["build", "--release", "--locked"])
            .args(PROGRAMS.iter().flat_map(|package| ["--package", package]))
            .current_dir(&workspace.root),
    )?;
    ensure!(status.success(), "the programs do not build: see above");
    say("building the component");
    let status = steps.visibly(
        Command::new("sh")
            .args(["-c", &component.command])
            .current_dir(&workspace.root),
    )?;
    ensure!(status.success(), "the component does not build: see above");
    place(&component, workspace)
}

/// What the manifest says of the component: it is built here as `spin build` builds it.
struct Component {
    command: String,
    source: PathBuf,
}

impl Component {
    fn read(manifest: &Path) -> Result<Self> {
        let text = fs::read_to_string(manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", manifest.display()))
    }

    fn parse(manifest: &str) -> Result<Self> {
        let manifest: toml::Table = manifest.parse()?;
        let component = manifest
            .get("component")
            .and_then(|components| components.as_table()?.values().next())
            .context("there is no component")?;
        let text = |value: Option<&toml::Value>, name: &str| {
            value
                .and_then(toml::Value::as_str)
                .map(str::to_owned)
                .with_context(|| format!("the component has no {name}"))
        };
        Ok(Self {
            command: text(
                component
                    .get("build")
                    .and_then(|build| build.get("command")),
                "build.command",
            )?,
            source: text(component.get("source"), "source")?.into(),
        })
    }
}

/// The manifest names a file in the target folder of the repository; where cargo builds into another
/// one, the component is put there.
fn place(component: &Component, workspace: &Workspace) -> Result<()> {
    let expected = workspace.root.join(&component.source);
    let Ok(below) = component.source.strip_prefix("target") else {
        return Ok(());
    };
    let built = workspace.target.join(below);
    if built == expected {
        return Ok(());
    }
    let folder = expected.parent().context("the component has no folder")?;
    let partial = expected.with_extension(format!("wasm.{}", std::process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(&built, &partial))
        .and_then(|_| fs::rename(&partial, &expected))
        .with_context(|| format!("cannot copy {} to {}", built.display(), expected.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_says_how_the_component_is_built() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml");
        let component = Component::read(&manifest).unwrap();
        assert!(
            component.command.starts_with("cargo build "),
            "{}",
            component.command
        );
        assert!(component.source.ends_with("api_component.wasm"));
    }

    #[test]
    fn a_manifest_without_a_build_is_told() {
        let error = Component::parse("[component.api]\nsource = 'a.wasm'")
            .err()
            .unwrap();
        assert_eq!(error.to_string(), "the component has no build.command");
    }
}
