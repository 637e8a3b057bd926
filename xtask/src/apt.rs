//! Debian's packages without installing them: apt with lists and caches of its own, so that it needs
//! no rights and changes nothing of the system. Signatures and checksums are apt's business.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Steps;
use crate::workspace::on_path;

/// Longer than lists and packages take on a slow line.
const LIMIT: Duration = Duration::from_secs(300);

/// The keys that Debian's archive is signed with.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// apt with a folder of its own.
pub(crate) struct Apt<'a> {
    steps: &'a Steps,
    folder: PathBuf,
    sources: Option<PathBuf>,
}

/// A version of a package that can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// As Debian writes it: `1.95.0+dfsg1-2`.
    pub(crate) version: String,
    /// The suite that has it: `sid`.
    pub(crate) suite: String,
}

impl<'a> Apt<'a> {
    /// With the machine's own sources.
    ///
    /// # Errors
    /// This is no Debian, or the folder cannot be written.
    pub(crate) fn new(steps: &'a Steps, folder: &Path) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg"] {
            ensure!(on_path(program).is_some(), "there is no `{program}`");
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))
                .with_context(|| format!("cannot create {}", folder.join(part).display()))?;
        }
        Ok(Self {
            steps,
            folder: folder.to_owned(),
            sources: None,
        })
    }

    /// Uses these suites of Debian instead, from the mirror that the machine's own sources name.
    pub(crate) fn with_suites(mut self, suites: &[&str]) -> Result<Self> {
        let output = self
            .command("apt-get")
            .args(["update", "--print-uris"])
            .output()
            .context("cannot run `apt-get`")?;
        let mirror = debian_mirror(&String::from_utf8_lossy(&output.stdout))
            .context("apt's configuration names no Debian mirror")?;
        let signed_by = KEYRINGS
            .iter()
            .find(|file| Path::new(file).is_file())
            .map_or_else(String::new, |file| format!(" signed-by={file}"));
        let lines: String = suites
            .iter()
            .map(|suite| format!("deb [target=Packages{signed_by}] {mirror} {suite} main\n"))
            .collect();
        let file = self.folder.join("sources.list");
        fs::write(&file, lines).with_context(|| format!("cannot write {}", file.display()))?;
        self.sources = Some(file);
        Ok(self)
    }

    /// Fetches the lists of packages. A source that cannot be reached is passed over, as apt does:
    /// what counts is whether a package is found then.
    pub(crate) fn update(&self) -> Result<()> {
        let updated = self.steps.quietly(
            "fetching Debian's package lists",
            self.command("apt-get").arg("update"),
            LIMIT,
        );
        self.steps.interrupt.check()?;
        let lists = fs::read_dir(self.folder.join("state/lists"))?;
        let found = lists
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("_Packages"));
        if found {
            Ok(())
        } else {
            updated.and(Err(anyhow::anyhow!("apt-get update brought no lists")))
        }
    }

    /// The versions of a package, in the order of preference that apt gives them.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<Version>> {
        let output = self
            .command("apt-cache")
            .args(["madison", package])
            .output()
            .context("cannot run `apt-cache`")?;
        Ok(versions(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Fetches one package and unpacks it into `folder`.
    pub(crate) fn unpack(&self, package: &str, version: &Version, folder: &Path) -> Result<()> {
        let archives = self.folder.join("downloads").join(package);
        fs::create_dir_all(&archives)?;
        self.steps.quietly(
            &format!(
                "fetching {package} {} from Debian {}",
                version.version, version.suite
            ),
            self.command("apt-get")
                .args(["download", &format!("{package}={}", version.version)])
                .current_dir(&archives),
            LIMIT,
        )?;
        self.unpack_all(&archives, folder)
    }

    /// Fetches a package with all that it needs and the system has not, and unpacks it into `folder`.
    pub(crate) fn unpack_with_dependencies(&self, package: &str, folder: &Path) -> Result<()> {
        self.steps.quietly(
            &format!("fetching {package} from Debian"),
            self.command("apt-get").args([
                "install",
                "--download-only",
                "--no-install-recommends",
                "--yes",
                // Nothing is installed: the lock of dpkg, which only root can take, is not needed.
                "--option",
                "Debug::NoLocking=true",
                package,
            ]),
            LIMIT,
        )?;
        self.unpack_all(&self.folder.join("cache/archives"), folder)
    }

    fn unpack_all(&self, archives: &Path, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(archives)? {
            let archive = entry?.path();
            if archive
                .extension()
                .is_some_and(|extension| extension == "deb")
            {
                self.steps.quietly(
                    &format!(
                        "unpacking {}",
                        archive.file_name().unwrap_or_default().to_string_lossy()
                    ),
                    Command::new("dpkg").arg("-x").arg(&archive).arg(folder),
                    LIMIT,
                )?;
            }
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &Path| {
            let mut text = OsString::from(name);
            text.push("=");
            text.push(value);
            command.arg("--option").arg(text);
        };
        option("Dir::State", &self.folder.join("state"));
        option("Dir::Cache", &self.folder.join("cache"));
        option("Dir::State::status", Path::new("/var/lib/dpkg/status"));
        if let Some(sources) = &self.sources {
            option("Dir::Etc::SourceList", sources);
            option("Dir::Etc::SourceParts", Path::new("/dev/null"));
        }
        // As root apt would fetch as the user _apt, who may not enter this folder.
        option("APT::Sandbox::User", Path::new("root"));
        option("APT::Get::AllowUnauthenticated", Path::new("false"));
        option("Acquire::AllowInsecureRepositories", Path::new("false"));
        option("Acquire::Retries", Path::new("2"));
        option("Acquire::http::Timeout", Path::new("20"));
        option("Acquire::https::Timeout", Path::new("20"));
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        command
    }
}

/// The Debian archive among what `apt-get update --print-uris` would fetch.
fn debian_mirror(uris: &str) -> Option<String> {
    uris.lines()
        .filter_map(|line| line.strip_prefix('\'')?.split_once("/dists/"))
        .map(|(archive, _)| archive.trim_end_matches('/'))
        .find(|archive| archive.ends_with("/debian"))
        .map(str::to_owned)
}

/// Reads `package | version | mirror suite/component architecture Packages`.
fn versions(madison: &str) -> Vec<Version> {
    madison
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim).skip(1);
            let version = columns.next()?.to_owned();
            let (suite, _) = columns.next()?.split(' ').nth(1)?.split_once('/')?;
            Some(Version {
                version,
                suite: suite.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_main_archive_of_debian() {
        let uris = "\
'https://deb.example.net/node_20.x/dists/nodistro/InRelease' deb.example.net_x 0 \n\
'http://mirror.example.org/debian-security/dists/bookworm-security/InRelease' m 0 \n\
'http://mirror.example.org/pub/debian/dists/bookworm/InRelease' m 0 \n";
        assert_eq!(
            debian_mirror(uris).as_deref(),
            Some("http://mirror.example.org/pub/debian")
        );
        assert_eq!(
            debian_mirror("'http://example.org/ubuntu/dists/noble/InRelease' u 0 "),
            None
        );
    }

    #[test]
    fn versions_come_with_their_suite() {
        let madison = "\
  rust-src | 1.96.0+dfsg1-1 | http://mirror.example.org/debian sid/main amd64 Packages\n\
  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example.org/debian trixie-backports/main amd64 Packages\n";
        let found = versions(madison);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].version, "1.95.0+dfsg1-2~bpo13+1");
        assert_eq!(found[1].suite, "trixie-backports");
        assert_eq!(versions("N: Unable to locate package rust-src\n"), []);
    }
}
