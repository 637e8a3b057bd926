//! The manifests as kustomize renders them, with an operator's secrets.

use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::TempDir;
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

use crate::{on_path, root, skipped, text};

/// All that can be applied, as folders of `deploy/kubernetes`.
pub(crate) const ALL: [&str; 5] = [
    "base",
    "overlays/demo",
    "overlays/external-redis",
    "overlays/monitoring",
    "overlays/spin",
];

/// The secrets as the example has them.
pub(crate) const EXAMPLE: &str = "deploy/kubernetes/base/secrets.env.example";

/// An operator's copy of what is rendered.
pub(crate) struct Copy {
    folder: TempDir,
    kustomize: Command,
}

impl Copy {
    /// One without secrets; none, which is told, where there is no kustomize.
    pub(crate) fn without_secrets() -> Option<Self> {
        let kustomize = kustomize()?;
        let folder = TempDir::new().expect("a temporary folder");
        let copy = r#"cp -R config deploy "$0""#;
        let copied = Command::new("sh")
            .args(["-c", copy])
            .arg(folder.path())
            .current_dir(root())
            .status();
        assert!(copied.expect("a shell").success());
        let copy = Self { folder, kustomize };
        // Somebody may have tried it here.
        let _ = fs::remove_file(copy.path("deploy/kubernetes/base/secrets.env"));
        let scrape = text("deploy/kubernetes/monitoring/scrape.env.example");
        copy.write("deploy/kubernetes/monitoring/scrape.env", &scrape);
        copy.write("deploy/kubernetes/overlays/external-redis/ca.crt", "-\n");
        Some(copy)
    }

    /// One whose secrets are the example's, changed.
    pub(crate) fn with_secrets(edit: impl FnOnce(String) -> String) -> Option<Self> {
        let copy = Self::without_secrets()?;
        let secrets = edit(text(EXAMPLE));
        copy.write("deploy/kubernetes/base/secrets.env", &secrets);
        Some(copy)
    }

    /// One as it should be.
    pub(crate) fn new() -> Option<Self> {
        Self::with_secrets(|example| example.replace("changeit", "letters-and-digits-1"))
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// Writes a file.
    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("it can be written");
    }

    /// The documents of what is in a folder of `deploy/kubernetes`, or what kustomize says.
    pub(crate) fn try_render(&self, overlay: &str) -> Result<Vec<Value>, String> {
        let mut command = Command::new(self.kustomize.get_program());
        let output = command
            .args(self.kustomize.get_args())
            .arg(Path::new("deploy/kubernetes").join(overlay))
            .current_dir(self.folder.path())
            .output()
            .expect("kustomize can be run");
        match output.status.success() {
            true => Ok(documents(&String::from_utf8_lossy(&output.stdout))),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The documents of what is in a folder of `deploy/kubernetes`.
    pub(crate) fn render(&self, overlay: &str) -> Vec<Value> {
        let rendered = self.try_render(overlay);
        let documents = rendered.unwrap_or_else(|error| panic!("{overlay}: {error}"));
        assert!(documents.len() > 10, "{overlay}: {documents:?}");
        documents
    }
}

/// What renders: kustomize, or the one within kubectl.
fn kustomize() -> Option<Command> {
    for (program, subcommand) in [("kustomize", "build"), ("kubectl", "kustomize")] {
        if let Some(program) = on_path(program) {
            let mut command = Command::new(program);
            command.arg(subcommand);
            return Some(command);
        }
    }
    skipped("no kustomize and no kubectl here: deploy/kubernetes is NOT tested");
    None
}

/// YAML as JSON.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    let documents = Yaml::load_from_str(yaml).unwrap_or_else(|error| panic!("{error}: {yaml}"));
    documents.iter().map(json).collect()
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::from(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(members) => {
            let members = members.iter().map(|(key, value)| {
                let key = key.as_str().expect("a key is a text");
                (key.to_owned(), json(value))
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => panic!("kustomize writes no {other:?}"),
    }
}

/// The document of this kind and name.
pub(crate) fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = documents
        .iter()
        .filter(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    let document = found.next();
    document.unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

/// Every pod that runs, as its template; by the name of what keeps it running.
pub(crate) fn pods(documents: &[Value]) -> Vec<(&str, &Value)> {
    let templates = documents.iter().filter_map(|document| {
        let template = document.pointer("/spec/template")?;
        Some((document["metadata"]["name"].as_str()?, template))
    });
    templates.collect()
}

/// The pod of this name.
pub(crate) fn pod<'a>(documents: &'a [Value], name: &str) -> &'a Value {
    let found = pods(documents)
        .into_iter()
        .find(|(found, _)| *found == name);
    found.unwrap_or_else(|| panic!("there is no pod {name}")).1
}

/// The members of a list, of which there are none where it is absent.
pub(crate) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The text of a value.
pub(crate) fn string(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

#[test]
fn without_secrets_nothing_is_rendered() {
    let Some(copy) = Copy::without_secrets() else {
        return;
    };
    for overlay in ALL {
        let error = copy.try_render(overlay).expect_err(overlay);
        assert!(error.contains("secrets.env"), "{error}");
    }
}

#[test]
fn a_changed_secret_or_setting_replaces_the_pods_that_use_it() {
    let (Some(one), Some(other)) = (Copy::new(), Copy::new()) else {
        return;
    };
    let template = |copy: &Copy, name: &str| pod(&copy.render("base"), name).clone();
    let before = ["api", "refresher", "redis"].map(|name| template(&one, name));
    let secrets = text(EXAMPLE).replace("changeit", "letters-and-digits-2");
    other.write("deploy/kubernetes/base/secrets.env", &secrets);
    let with_secret = ["api", "refresher", "redis"].map(|name| template(&other, name));
    other.write("config/config.yaml", "SERVICE_ID: a\n");
    let with_both = ["api", "refresher", "redis"].map(|name| template(&other, name));
    for index in 0..3 {
        assert_ne!(before[index], with_secret[index]);
    }
    assert_ne!(with_secret[0], with_both[0]);
    assert_ne!(with_secret[1], with_both[1]);
    assert_eq!(with_secret[2], with_both[2], "Redis has no setting there");
}
