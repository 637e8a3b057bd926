//! Debian's packages without installing them: apt with lists and caches of its own, so that it takes no
//! rights and changes nothing of the system. Signatures and checksums are apt's business.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::task::{Task, on_path};

/// Where the keys may be that Debian's archive is signed with.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// A package whose programs look for files below a folder of `/usr/share`, wherever they are themselves.
const LOOKS_THERE: (&str, &str) = ("prometheus-alertmanager", "prometheus");

/// apt with a folder of its own.
pub(super) struct Apt<'a> {
    task: &'a Task,
    folder: PathBuf,
}

impl<'a> Apt<'a> {
    /// Fetches the lists of packages: those of the machine's own sources or, where a suite is named, of
    /// that suite, from the mirror that the machine's sources name.
    pub(super) fn new(suite: Option<&str>, folder: PathBuf, task: &'a Task) -> Result<Self> {
        let programs = ["apt-get", "dpkg"].map(on_path);
        ensure!(programs.iter().all(Option::is_some), "this is no Debian");
        let apt = Self { task, folder };
        let folder = &apt.folder;
        task.sh.create_dir(folder.join("state/lists/partial"))?;
        task.sh.create_dir(folder.join("cache/archives/partial"))?;
        let mut options = options(folder);
        if let Some(suite) = suite {
            let list = folder.join("sources.list");
            task.sh.write_file(&list, source(suite, task)?)?;
            let sources =
                format!("Dir::Etc {{ SourceList {list:?}; SourceParts \"/dev/null\"; }};\n");
            options += &sources;
        }
        task.sh.write_file(folder.join("apt.conf"), options)?;
        let updated = task.run("fetching Debian's package lists", apt.get("update"));
        // A source that cannot be reached is passed over, as apt does: it matters only if a package is
        // not found then.
        let lists = task.sh.read_dir(folder.join("state/lists"))?;
        let mut lists = lists.iter().map(|list| list.to_string_lossy());
        if !lists.any(|list| list.contains("_Packages")) {
            updated?;
        }
        Ok(apt)
    }

    /// Fetches one package, `name` or `name=version`, and unpacks it into `root`.
    pub(super) fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let archives = self.task.sh.create_dir(self.folder.join(package))?;
        let _inside = self.task.sh.push_dir(&archives);
        self.fetch(package, self.get("download"))?;
        self.unpack_all(&archives, root)
    }

    /// Fetches a package with all that it needs and the system has not, and unpacks it into `root`.
    fn unpack_with_dependencies(&self, package: &str, root: &Path) -> Result<()> {
        let install = self.get("install --download-only --no-install-recommends");
        self.fetch(package, install)?;
        self.unpack_all(&self.folder.join("cache/archives"), root)
    }

    fn fetch(&self, package: &str, command: Cmd) -> Result<()> {
        let what = format!("fetching {package} from Debian");
        self.task.run(&what, command.arg(package))
    }

    fn unpack_all(&self, archives: &Path, root: &Path) -> Result<()> {
        self.task.sh.create_dir(root)?;
        let each = r#"for archive in "$0"/*.deb; do dpkg -x "$archive" "$1"; done"#;
        let unpack = cmd!(self.task.sh, "sh -ec {each} {archives} {root}");
        self.task.run("unpacking it", unpack)
    }

    fn get(&self, words: &str) -> Cmd<'_> {
        let config = self.folder.join("apt.conf");
        let words = words.split(' ');
        let get = cmd!(
            self.task.sh,
            "apt-get -qq --config-file {config} {words...}"
        );
        get.env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C")
    }
}

/// apt's configuration, read after the system's own.
fn options(folder: &Path) -> String {
    // As root apt would fetch as the user _apt, who may not enter this folder. Nothing is installed: the
    // lock of dpkg, which only root can take, is not needed.
    format!(
        r#"
        Dir {{ State "{0}/state"; State::status "/var/lib/dpkg/status"; Cache "{0}/cache"; }};
        APT {{ Sandbox::User "root"; Get::AllowUnauthenticated "false"; }};
        Debug::NoLocking "true";
        Acquire {{ AllowInsecureRepositories "false"; Retries "2"; }};
        Acquire {{ http::Timeout "20"; https::Timeout "20"; }};
        "#,
        folder.display()
    )
}

/// The suite of Debian as a line of apt's sources.
fn source(suite: &str, task: &Task) -> Result<String> {
    let options = ["--print-uris", "--option=Debug::NoLocking=true"];
    let uris = cmd!(task.sh, "apt-get update {options...}")
        .quiet()
        .ignore_stderr()
        .read()?;
    let mirror = debian_mirror(&uris).context("apt's configuration names no Debian mirror")?;
    let keyring = KEYRINGS.iter().find(|file| Path::new(file).is_file());
    let signed_by = keyring.map_or_else(String::new, |file| format!(" signed-by={file}"));
    Ok(format!(
        "deb [target=Packages{signed_by}] {mirror} {suite} main\n"
    ))
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
    let unpacked = task.scratch.join(package);
    let root = unpacked.join("root");
    let apt = Apt::new(None, task.scratch.join("apt").join(package), task)?;
    apt.unpack_with_dependencies(package, &root)?;
    let libraries: String = library_folders(&root.join("usr/lib"), sh)
        .iter()
        .filter_map(|folder| folder.strip_prefix(&root).ok())
        .map(|folder| format!(":$root/{}", folder.display()))
        .collect();
    let mut programs = sh.read_dir(root.join("usr/bin")).unwrap_or_default();
    programs.extend(sh.read_dir(root.join("usr/sbin")).unwrap_or_default());
    ensure!(
        !programs.is_empty(),
        "Debian's package {package} has no programs"
    );
    for program in programs {
        lead_to_the_system(&program, &root)?;
        let starter = unpacked
            .join("bin")
            .join(program.file_name().unwrap_or_default());
        let program = program.strip_prefix(&root)?.display();
        // It finds the program and its libraries wherever the folder is moved to.
        let before = match LOOKS_THERE {
            (name, shared) if name == package => with_files_shown(shared),
            _ => String::new(),
        };
        let script = format!(
            "#!/bin/sh\nroot=$(dirname \"$(readlink -f \"$0\")\")/../root\n\
             LD_LIBRARY_PATH=\"$root/usr/lib{libraries}\" exec {before}\"$root/{program}\" \"$@\"\n"
        );
        sh.write_file(&starter, script)?;
        fs::set_permissions(&starter, Permissions::from_mode(0o755))?;
        if !before.is_empty() {
            let version = cmd!(sh, "{starter} --version").quiet().ignore_stdout();
            version
                .run()
                .context("its files cannot be shown to it here")?;
        }
    }
    sh.remove_path(folder)?;
    sh.create_dir(folder.with_file_name(""))?;
    fs::rename(&unpacked, folder).with_context(|| format!("cannot write {}", folder.display()))
}

/// What a script runs a program with, so that it finds its package's folder `shared` in `/usr/share`: in a
/// namespace of mounts that is its own, so that nothing is written there (unshare(1)). The script knows `root`.
fn with_files_shown(shared: &str) -> String {
    format!(
        "unshare --user --map-root-user --mount sh -ec '\
         mount -t tmpfs tmpfs /usr/share; mkdir /usr/share/{shared}; \
         mount --bind \"$0/usr/share/{shared}\" /usr/share/{shared}; exec \"$@\"' \"$root\" "
    )
}

/// Mends a program that is a link into another package: one that the system has is not fetched, so what is meant
/// is the system's. (`redis-server` is a link to a program of the package redis-tools.)
fn lead_to_the_system(program: &Path, root: &Path) -> Result<()> {
    let Ok(target) = fs::read_link(program) else {
        return Ok(());
    };
    let place = Path::new("/").join(program.strip_prefix(root)?);
    let meant = place.with_file_name("").join(target);
    if !program.exists() && meant.exists() {
        fs::remove_file(program)?;
        symlink(meant, program)?;
    }
    Ok(())
}

/// The folders below `folder` that have libraries: those of this machine's architecture, and in them those of
/// one package each, which its libraries look for where the system would have them.
fn library_folders(folder: &Path, sh: &Shell) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().and_then(OsStr::to_str).map(str::to_owned);
    let entries = |folder: &Path| sh.read_dir(folder).unwrap_or_default();
    let is_library = |file: &PathBuf| {
        name(file).is_some_and(|name| name.starts_with("lib") && name.contains(".so"))
    };
    let of_architecture = entries(folder)
        .into_iter()
        .filter(|folder| name(folder).is_some_and(|name| name.contains("-linux-gnu")));
    let with_packages = of_architecture.flat_map(|folder| {
        let packages = entries(&folder);
        let packages = packages
            .into_iter()
            .filter(|package| package.is_dir() && entries(package).iter().any(is_library));
        [folder].into_iter().chain(packages).collect::<Vec<_>>()
    });
    with_packages.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use xshell::Shell;

    use super::{debian_mirror, lead_to_the_system};

    #[test]
    fn a_link_into_a_package_that_the_system_has_leads_there() {
        let sh = Shell::new().unwrap();
        let root = sh.create_temp_dir().unwrap();
        let programs = sh.create_dir(root.path().join("bin")).unwrap();
        let link = |name: &str, target: &str| {
            symlink(target, programs.join(name)).unwrap();
            lead_to_the_system(&programs.join(name), root.path()).unwrap();
            fs::read_link(programs.join(name)).unwrap()
        };
        assert_eq!(link("server", "sh").to_str(), Some("/bin/sh"));
        sh.write_file(programs.join("own"), "").unwrap();
        assert_eq!(link("alias", "own").to_str(), Some("own"));
        assert_eq!(
            link("lost", "there-is-none").to_str(),
            Some("there-is-none")
        );
    }

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
