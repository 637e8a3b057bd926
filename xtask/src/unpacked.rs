//! Programs from Debian's packages, unpacked into the target folder: it takes no rights, and no
//! service starts behind anyone's back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::apt::Apt;
use crate::process::Steps;

/// Where programs are, below the unpacked root.
const PROGRAMS: [&str; 2] = ["usr/bin", "usr/sbin"];

/// Where they look for their libraries.
const LIBRARIES: &str = "usr/lib";

/// Unpacks `package` with all that it needs into `folder`, in place of what is there; answers the
/// folder in which each of its programs can be started.
///
/// # Errors
/// This is no Debian, or there is no such package.
pub(crate) fn fetch(folder: &Path, package: &str, steps: &Steps) -> Result<PathBuf> {
    let apt = Apt::new(steps, &steps.scratch().join("apt").join(package))?;
    apt.update()?;
    let unpacked = steps.scratch().join("unpacked").join(package);
    let root = unpacked.join("root");
    apt.unpack_with_dependencies(package, &root)?;
    let starters = unpacked.join("bin");
    fs::create_dir_all(&starters)?;
    let mut found = false;
    for programs in PROGRAMS {
        for program in fs::read_dir(root.join(programs)).into_iter().flatten() {
            let name = program?.file_name().to_string_lossy().into_owned();
            let starter = starters.join(&name);
            fs::write(&starter, launcher(&root, &format!("{programs}/{name}"))?)?;
            fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
            found = true;
        }
    }
    ensure!(found, "Debian's package {package} has no programs");
    // An earlier one does not do, or it would have been taken.
    let _ = fs::remove_dir_all(folder);
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    fs::rename(&unpacked, folder)?;
    Ok(folder.join("bin"))
}

/// A script that starts an unpacked program with its libraries, wherever the folder is moved to.
fn launcher(root: &Path, program: &str) -> Result<String> {
    let mut folders = vec![LIBRARIES.to_owned()];
    for entry in fs::read_dir(root.join(LIBRARIES)).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("-linux-gnu") || name.contains("-linux-gnueabi") {
            folders.push(format!("{LIBRARIES}/{name}"));
        }
    }
    let libraries: Vec<String> = folders
        .iter()
        .map(|folder| format!("$root/{folder}"))
        .collect();
    Ok(format!(
        "#!/bin/sh\nroot=$(dirname \"$(readlink -f \"$0\")\")/../root\n\
         LD_LIBRARY_PATH=\"{}\" exec \"$root/{program}\" \"$@\"\n",
        libraries.join(":")
    ))
}
