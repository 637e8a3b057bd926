//! Debian's packages without installing them: apt with lists and caches of its own, so that it takes no
//! rights and changes nothing of the system. Signatures and checksums are apt's business.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, cmd};

use crate::task::{Task, on_path};

/// The keys that Debian's archive is signed with.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// apt with a folder of its own.
pub(super) struct Apt<'a> {
    task: &'a Task,
    folder: PathBuf,
    config: PathBuf,
}

impl<'a> Apt<'a> {
    /// Fetches the lists of packages: those of the machine's own sources or, where a suite is named, of
    /// that suite, from the mirror that the machine's sources name.
    pub(super) fn new(suite: Option<&str>, folder: &Path, task: &'a Task) -> Result<Self> {
        for program in ["apt-get", "dpkg"] {
            ensure!(on_path(program).is_some(), "there is no `{program}`");
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            task.sh.create_dir(folder.join(part))?;
        }
        let config = folder.join("apt.conf");
        task.sh.write_file(&config, options(folder))?;
        let folder = folder.to_owned();
        let mut apt = Self {
            task,
            folder,
            config,
        };
        if let Some(suite) = suite {
            apt.use_suite(suite)?;
        }
        let updated = task.run("fetching Debian's package lists", apt.get("update"));
        // A source that cannot be reached is passed over, as apt does: it matters only if a package is
        // not found then.
        let lists = task.sh.read_dir(apt.folder.join("state/lists"))?;
        if !lists
            .iter()
            .any(|list| list.to_string_lossy().contains("_Packages"))
        {
            updated?;
        }
        Ok(apt)
    }

    fn use_suite(&mut self, suite: &str) -> Result<()> {
        let uris = self.get("update").arg("--print-uris");
        let uris = uris.quiet().ignore_stderr().read()?;
        let mirror = debian_mirror(&uris).context("apt's configuration names no Debian mirror")?;
        let keyring = KEYRINGS.iter().find(|file| Path::new(file).is_file());
        let signed_by = keyring.map_or_else(String::new, |file| format!(" signed-by={file}"));
        let list = self.folder.join("sources.list");
        let line = format!("deb [target=Packages{signed_by}] {mirror} {suite} main\n");
        self.task.sh.write_file(&list, line)?;
        let sources = format!(
            "Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"/dev/null\";\n",
            list.display()
        );
        let options = options(&self.folder) + &sources;
        Ok(self.task.sh.write_file(&self.config, options)?)
    }

    /// Fetches one package, `name` or `name=version`, and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let archives = self.task.sh.create_dir(self.folder.join(package))?;
        let _inside = self.task.sh.push_dir(&archives);
        let label = format!("fetching {package} from Debian");
        self.task.run(&label, self.get("download").arg(package))?;
        self.unpack_all(&archives, root)
    }

    /// Fetches a package with all that it needs and the system has not, and unpacks it into `root`.
    fn unpack_with_dependencies(&self, package: &str, root: &Path) -> Result<()> {
        let arguments = [
            "--download-only",
            "--no-install-recommends",
            "--yes",
            package,
        ];
        // Nothing is installed: the lock of dpkg, which only root can take, is not needed.
        let install = self
            .get("install")
            .args(["--option", "Debug::NoLocking=true"]);
        let label = format!("fetching {package} from Debian");
        self.task.run(&label, install.args(arguments))?;
        self.unpack_all(&self.folder.join("cache/archives"), root)
    }

    fn unpack_all(&self, archives: &Path, root: &Path) -> Result<()> {
        self.task.sh.create_dir(root)?;
        let each = r#"for archive in "$1"/*.deb; do dpkg -x "$archive" "$2"; done"#;
        let unpack = cmd!(self.task.sh, "sh -ec {each} sh {archives} {root}");
        self.task.run("unpacking it", unpack)
    }

    fn get(&self, subcommand: &str) -> Cmd<'_> {
        let config = &self.config;
        cmd!(
            self.task.sh,
            "apt-get -qq --config-file {config} {subcommand}"
        )
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
    }
}

/// apt's configuration, read after the system's own.
fn options(folder: &Path) -> String {
    let folder = folder.display();
    // As root apt would fetch as the user _apt, who may not enter this folder.
    format!(
        r#"Dir::State "{folder}/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"#
    )
}

/// The Debian archive among what `apt-get update --print-uris` would fetch.
fn debian_mirror(uris: &str) -> Option<&str> {
    let archives = uris
        .lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"));
    let mut archives = archives.map(|(archive, _)| archive.trim_end_matches('/'));
    archives.find(|archive| archive.ends_with("/debian"))
}

/// Unpacks a package's programs, with all that they need, so that each can be started from the folder
/// `bin` in `folder`; what was in `folder` is replaced.
pub(super) fn unpack_programs(package: &str, folder: &Path, task: &Task) -> Result<()> {
    let sh = &task.sh;
    let unpacked = task.scratch().join("unpacked").join(package);
    let root = unpacked.join("root");
    Apt::new(None, &task.scratch().join("apt").join(package), task)?
        .unpack_with_dependencies(package, &root)?;
    let libraries = library_path(&root);
    let mut found = false;
    for programs in ["usr/bin", "usr/sbin"] {
        for program in sh.read_dir(root.join(programs)).unwrap_or_default() {
            let name = program.file_name().unwrap_or_default().display();
            let starter = unpacked.join("bin").join(name.to_string());
            // It finds the program and its libraries wherever the folder is moved to.
            let script = format!(
                "#!/bin/sh\nroot=$(dirname \"$(readlink -f \"$0\")\")/../root\n\
                 LD_LIBRARY_PATH=\"{libraries}\" exec \"$root/{programs}/{name}\" \"$@\"\n"
            );
            sh.write_file(&starter, script)?;
            fs::set_permissions(&starter, Permissions::from_mode(0o755))?;
            found = true;
        }
    }
    ensure!(found, "Debian's package {package} has no programs");
    sh.remove_path(folder)?;
    sh.create_dir(folder.with_file_name(""))?;
    fs::rename(&unpacked, folder).with_context(|| format!("cannot write {}", folder.display()))
}

/// Where unpacked programs look for libraries.
fn library_path(root: &Path) -> String {
    let folders = fs::read_dir(root.join("usr/lib"))
        .into_iter()
        .flatten()
        .flatten();
    let names = folders.map(|folder| folder.file_name().to_string_lossy().into_owned());
    let names = names.filter(|name| name.contains("-linux-gnu"));
    names.fold("$root/usr/lib".to_owned(), |path, name| {
        path + ":$root/usr/lib/" + &name
    })
}

#[cfg(test)]
mod tests {
    use super::debian_mirror;

    #[test]
    fn the_mirror_is_the_main_archive_of_debian() {
        let uris = "\
'https://deb.example.net/node_20.x/dists/nodistro/InRelease' deb.example.net_x 0 \n\
'http://mirror.example.org/debian-security/dists/bookworm-security/InRelease' m 0 \n\
'http://mirror.example.org/pub/debian/dists/bookworm/InRelease' m 0 \n";
        assert_eq!(
            debian_mirror(uris),
            Some("http://mirror.example.org/pub/debian")
        );
        let ubuntu = "'http://example.org/ubuntu/dists/noble/InRelease' u 0 ";
        assert_eq!(debian_mirror(ubuntu), None);
    }
}
