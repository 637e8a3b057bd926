//! The systemd units: systemd takes them, and says how little they may do.

use std::fs;
use std::process::Command;

use end_to_end::TempDir;

use crate::{on_path, root, skipped, text};

const UNITS: [&str; 2] = [
    "employee-incidents-api.service",
    "employee-incidents-refresher.service",
];

/// The worst exposure that is taken, in tenths: 0 is none, 100 all that there is. docs/deployment.md has what
/// each unit has.
const EXPOSURE: &str = "12";

/// The units, with programs that are on every machine; none, which is told, where there is no systemd.
fn units() -> Option<TempDir> {
    if on_path("systemd-analyze").is_none() {
        skipped("no systemd-analyze here: deploy/systemd is NOT tested");
        return None;
    }
    let folder = TempDir::new().expect("a temporary folder");
    for unit in UNITS {
        let text = text(&format!("deploy/systemd/{unit}"));
        let edited = text.replace("/usr/local/bin/refresher", "/bin/true");
        assert_ne!(edited, text, "{unit}");
        fs::write(folder.path().join(unit), edited).expect("it can be written");
    }
    Some(folder)
}

/// What systemd-analyze says of a unit, and whether it is content.
fn analyze(arguments: &[&str], unit: &str, folder: &TempDir) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(folder.path().join(unit))
        .output()
        .expect("systemd-analyze can be run");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn systemd_takes_the_units_and_they_may_do_little() {
    let Some(folder) = units() else { return };
    for unit in UNITS {
        let (content, said) = analyze(&["verify", "--man=no"], unit, &folder);
        assert!(content && said.trim().is_empty(), "{unit}: {said}");
        let threshold = format!("--threshold={EXPOSURE}");
        let options = ["security", "--offline=true", "--no-pager", &threshold];
        let (content, said) = analyze(&options, unit, &folder);
        assert!(content, "{unit}: {said}");
        let overall = said.lines().find(|line| line.contains("Overall exposure"));
        let overall = overall.expect("a summary");
        let figure = overall
            .split_whitespace()
            .find(|word| word.parse::<f32>().is_ok());
        let row = format!("| `{unit}` | {} |", figure.expect("a figure"));
        assert!(
            text("docs/deployment.md").contains(&row),
            "the documentation lacks {row}"
        );
    }
}

#[test]
fn a_unit_without_bounds_would_be_found() {
    let Some(folder) = units() else { return };
    let unit = UNITS[0];
    let file = folder.path().join(unit);
    let whole = fs::read_to_string(&file).expect("a unit");
    let (head, _) = whole.split_once("# What it may do").expect("a place");
    fs::write(&file, head).expect("it can be written");
    let threshold = format!("--threshold={EXPOSURE}");
    let options = ["security", "--offline=true", "--no-pager", &threshold];
    assert!(!analyze(&options, unit, &folder).0);
    fs::write(&file, whole.replace("\nType=exec", "\nTyp=exec")).expect("it can be written");
    let (_, said) = analyze(&["verify", "--man=no"], unit, &folder);
    assert!(said.contains("Typ"), "{said}");
}

#[test]
fn the_units_start_what_the_images_start() {
    let unit = text("deploy/systemd/employee-incidents-api.service");
    let server = "host --from spin.toml --listen 127.0.0.1:9000 --idle-instance-timeout 60s";
    assert!(unit.contains(server));
    let image = text("Dockerfile");
    assert!(image.contains(&server.replace("127.0.0.1", "0.0.0.0")));
    assert!(root().join("spin.toml").is_file());
}
