//! Stand-ins for the public images that ours are built on, made of this machine's own programs: no
//! registry is asked, and nothing is compiled a second time. The one for building has a `cargo` that
//! hands out what `cargo xtask test` has built.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{TempDir, haproxy, manifest, program};

/// The names under which they are imported.
pub(super) struct StandIns {
    pub(super) build: String,
    pub(super) base: String,
    pub(super) redis: String,
    /// Where HAProxy is on this machine.
    pub(super) haproxy: Option<String>,
    /// Once [`Self::import_prometheus`] has found it.
    pub(super) prometheus: Option<String>,
}

/// What the Dockerfile's own commands and the health checks need.
const TOOLS: [&str; 8] = ["bash", "cp", "mkdir", "rm", "cat", "sleep", "find", "touch"];

/// Programs that the Dockerfile calls and that have nothing to do here.
const IDLE: &str = "#!/bin/bash\nexit 0\n";

/// Puts each package that it is told to build where cargo would.
const CARGO: &str = r#"#!/bin/bash
set -e
test "$1" = build || { echo "cargo $1 is not expected" >&2; exit 1; }
packages=
while test $# -gt 0; do
  case $1 in
    --package) packages="$packages $2"; shift ;;
  esac
  shift
done
test -f Cargo.lock
test -n "$packages"
# Cargo itself would refuse a workspace of which a member is missing.
while read -r line; do
  case $line in
    members\ =*)
      members=${line#*[}
      for member in ${members//[\]\",]/ }; do
        test -f "$member/Cargo.toml" || { echo "the member $member is not in the build context" >&2; exit 1; }
      done ;;
  esac
done < Cargo.toml
mkdir -p target/dist target/wasm32-wasip2/component
for package in $packages; do
  test -f "$package/Cargo.toml" || { echo "$package is not in the build context" >&2; exit 1; }
  case $package in
    api-component) cp /built/api_component.wasm target/wasm32-wasip2/component/ ;;
    *) cp "/built/$package" target/dist/ ;;
  esac
done
"#;

impl StandIns {
    /// Imports them, their names ending in `tag`.
    pub(super) fn import(tag: &str) -> Self {
        let name = |part: &str| format!("employee-incidents-test/{part}:{tag}");
        let names = Self {
            build: name("build"),
            base: name("base"),
            redis: name("redis"),
            haproxy: haproxy("docker-compose.replicas.yml is").map(|program| {
                let name = name("haproxy");
                import_haproxy(&program, &name);
                name
            }),
            prometheus: None,
        };
        let folder = TempDir::new().expect("a temporary folder");
        let base = Root::new(folder.path().join("base"));
        for tool in TOOLS {
            base.add_program(&on_path(tool), tool, None);
        }
        symlink("bash", base.path("bin/sh")).expect("a link");
        for programs in ["refresher", "host", "demo-upstream"] {
            base.add_libraries(&program(programs), None);
        }
        base.add_certificates();
        base.import(&names.base);

        base.add_script("rustup", IDLE);
        base.add_script("cargo", CARGO);
        for programs in ["refresher", "host", "demo-upstream"] {
            base.add_file(&program(programs), &format!("built/{programs}"));
        }
        let component = "target/wasm32-wasip2/component/api_component.wasm";
        let component = manifest().with_file_name("").join(component);
        base.add_file(&component, "built/api_component.wasm");
        base.import(&names.build);

        let redis = Root::new(folder.path().join("redis"));
        let (server, libraries) = unpacked(&on_path("redis-server"));
        for tool in ["redis-server", "redis-cli"] {
            let found = server.with_file_name(tool);
            let found = if found.exists() { found } else { on_path(tool) };
            redis.add_program(&found, tool, libraries.as_deref());
        }
        redis.import(&names.redis);
        names
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        let always = [&self.build, &self.base, &self.redis].into_iter();
        let all = always.chain(&self.haproxy).chain(&self.prometheus);
        all.map(String::as_str)
    }

    /// Imports the machine's Prometheus, and gives its name; none where it has none.
    pub(super) fn import_prometheus(&mut self, tag: &str) -> Option<String> {
        let path = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&path).map(|folder| folder.join("prometheus"));
        let found = files.find(|file| file.is_file())?;
        let name = format!("employee-incidents-test/prometheus:{tag}");
        let folder = TempDir::new().expect("a temporary folder");
        let root = Root::new(folder.path().join("prometheus"));
        let (program, libraries) = unpacked(&found);
        root.add_program(&program, "prometheus", libraries.as_deref());
        // Its volume takes over who may write to it.
        let data = root.path("prometheus");
        fs::create_dir(&data).expect("a folder");
        fs::set_permissions(data, fs::Permissions::from_mode(0o1777)).expect("it is ours");
        root.import(&name);
        self.prometheus = Some(name.clone());
        Some(name)
    }
}

/// A root file system.
struct Root(PathBuf);

impl Root {
    fn new(path: PathBuf) -> Self {
        for folder in ["bin", "lib", "lib64", "tmp", "app", "data"] {
            fs::create_dir_all(path.join(folder)).expect("a folder");
        }
        fs::create_dir_all(path.join("usr/local/bin")).expect("a folder");
        for folder in ["tmp", "data"] {
            let all = fs::Permissions::from_mode(0o1777);
            fs::set_permissions(path.join(folder), all).expect("it is ours");
        }
        Self(path)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    fn add_file(&self, from: &Path, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }

    fn add_script(&self, name: &str, text: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn add_program(&self, program: &Path, name: &str, libraries: Option<&str>) {
        self.add_file(program, &format!("bin/{name}"));
        self.add_libraries(program, libraries);
    }

    /// The libraries that a program needs, as the dynamic loader finds them.
    fn add_libraries(&self, program: &Path, libraries: Option<&str>) {
        let mut ldd = Command::new("ldd");
        ldd.arg(program);
        if let Some(libraries) = libraries {
            ldd.env("LD_LIBRARY_PATH", libraries);
        }
        let output = ldd.output().expect("ldd is there");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = output
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in words.map(Path::new) {
            let name = library.file_name().expect("a file").to_string_lossy();
            // The loader itself is looked for where the programs say, the others by name.
            if name.starts_with("ld-") {
                self.add_file(library, &library.to_string_lossy()[1..]);
            } else {
                self.add_file(library, &format!("lib/{name}"));
            }
        }
    }

    /// Those of the machine, or none, where Debian has them.
    fn add_certificates(&self) {
        let place = "etc/ssl/certs/ca-certificates.crt";
        let bundle = Path::new("/").join(place);
        if bundle.exists() {
            return self.add_file(&bundle, place);
        }
        fs::create_dir_all(self.path("etc/ssl/certs")).expect("a folder");
        fs::write(self.path(place), "").expect("a file");
    }

    fn import(&self, name: &str) {
        let pipe = r#"tar --create --directory "$0" . | docker import - "$1""#;
        let output = Command::new("sh")
            .args(["-c", pipe])
            .arg(&self.0)
            .arg(name)
            .output()
            .expect("a shell");
        assert!(output.status.success(), "cannot import {name}: {output:?}");
    }
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("there is no {program} on this machine"))
}

fn import_haproxy(program: &Path, name: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    let root = Root::new(folder.path().join("haproxy"));
    let (program, libraries) = unpacked(program);
    root.add_program(&program, "haproxy", libraries.as_deref());
    root.add_program(&on_path("bash"), "bash", None);
    root.import(name);
}

/// The program behind `found`, and where its libraries are, if not in the usual places: what
/// `cargo xtask` fetches is started by a script beside an unpacked root.
fn unpacked(found: &Path) -> (PathBuf, Option<String>) {
    let found = fs::canonicalize(found).expect("it is there");
    let start = fs::read(&found).expect("it can be read");
    if !start.starts_with(b"#!") {
        return (found, None);
    }
    let folder = found.parent().and_then(Path::parent).expect("a folder");
    let root = folder.join("root/usr");
    let mut libraries = vec![root.join("lib").display().to_string()];
    for entry in fs::read_dir(root.join("lib"))
        .into_iter()
        .flatten()
        .flatten()
    {
        libraries.push(entry.path().display().to_string());
    }
    let name = found.file_name().expect("a name");
    let programs = ["bin", "sbin"].map(|folder| root.join(folder).join(name));
    let program = programs.into_iter().find(|program| program.is_file());
    (program.expect("it is unpacked"), Some(libraries.join(":")))
}
