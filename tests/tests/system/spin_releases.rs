//! The component for each release of Spin: it imports nothing that this release does not offer, and its
//! manifest says the same as the other's.
//!
//! What a release offers is the world `platform` in `wit/world.wit` of its source (the tags v4.0.2 and, for
//! 4.1, main): <https://github.com/spinframework/spin>. An interface of WASI 0.2 is also found under a later
//! version of 0.2, as versions that semver calls compatible are.

use std::fs;
use std::path::{Path, PathBuf};

use end_to_end::manifest;
use wasmparser::{Parser, Payload};

/// A release, and where the application for it is.
struct Release {
    manifest: &'static str,
    wasi: &'static str,
}

const RELEASES: [Release; 2] = [
    Release {
        manifest: "spin-4.0.toml",
        wasi: "0.3.0-rc-2026-03-15",
    },
    Release {
        manifest: "spin.toml",
        wasi: "0.3.0",
    },
];

/// The packages of WASI that every release has, of each version.
const WASI: [&str; 6] = ["cli", "clocks", "filesystem", "http", "random", "sockets"];

impl Release {
    fn offers(&self, interface: &str) -> bool {
        let Some((name, version)) = interface.split_once('@') else {
            return false;
        };
        let of_wasi = name
            .strip_prefix("wasi:")
            .and_then(|name| name.split_once('/'))
            .map(|(package, _)| package);
        match of_wasi {
            Some("io") => version.starts_with("0.2."),
            Some(package) => {
                WASI.contains(&package) && (version == self.wasi || version.starts_with("0.2."))
            }
            None => {
                ["spin:redis/redis@3.0.0", "spin:variables/variables@3.0.0"].contains(&interface)
            }
        }
    }

    fn path(&self) -> PathBuf {
        manifest().with_file_name(self.manifest)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("the manifest can be read")
    }

    /// The component's file.
    fn component(&self) -> PathBuf {
        let text = self.text();
        let line = text.lines().find(|line| line.starts_with("source = "));
        let source = line.and_then(|line| line.split('"').nth(1));
        self.path().with_file_name(source.expect("a source"))
    }
}

/// The names of a component's imports and exports.
fn interfaces(file: &Path) -> (Vec<String>, Vec<String>) {
    let bytes = fs::read(file)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", file.display()));
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0);
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload.expect("a component") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 0 => {
                let names = section
                    .into_iter()
                    .map(|import| import.expect("an import").name.name);
                imports.extend(names.map(str::to_owned));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                let names = section
                    .into_iter()
                    .map(|export| export.expect("an export").name.name);
                exports.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
    (imports, exports)
}

#[test]
fn each_component_imports_only_what_its_spin_offers() {
    for release in RELEASES {
        let file = release.component();
        let (imports, exports) = interfaces(&file);
        let missing: Vec<_> = imports
            .iter()
            .filter(|name| !release.offers(name))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?}", file.display());
        // It uses them in fact: a test that reads none would pass, too.
        let http = format!("wasi:http/types@{}", release.wasi);
        assert!(imports.contains(&http), "{imports:?}");
        assert!(
            imports.iter().any(|name| name == "spin:redis/redis@3.0.0"),
            "{imports:?}"
        );
        let handler = format!("wasi:http/handler@{}", release.wasi);
        assert!(exports.contains(&handler), "{exports:?}");
    }
}

#[test]
fn the_manifests_say_the_same_but_for_the_component() {
    let said = |release: &Release| -> Vec<String> {
        let text = release.text();
        let lines = text.lines().map(str::trim);
        lines
            .filter(|line| !(line.is_empty() || line.starts_with('#')))
            .filter(|line| !(line.starts_with("source = \"") || line.starts_with("command = ")))
            .map(str::to_owned)
            .collect()
    };
    let [first, second] = RELEASES;
    assert_eq!(said(&first), said(&second));
    assert!(said(&first).len() > 20);
}
