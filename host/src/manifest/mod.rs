//! The application, as `spin.toml` (manifest version 2) and the given variables describe it.
//!
//! Only what this application uses is understood. Everything else is refused with its name: to
//! ignore a part of a manifest would be to run another application than Spin does.

use std::{
    collections::BTreeMap,
    env::VarError,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;

use crate::{
    outbound::{AllowedHostError, AllowedHosts},
    variables::{self, Values, VariableError},
};

/// The one route that is understood: every path.
pub(crate) const ROUTE: &str = "/...";

/// The application, resolved: paths absolute or relative to the working folder, variables
/// replaced by their values.
#[derive(Debug)]
pub struct Application {
    /// The component's WebAssembly file.
    pub component: PathBuf,
    /// The folders that the component may read.
    pub(crate) mounts: Vec<Mount>,
    /// The component's variables. They may be secret: never to be logged.
    pub(crate) variables: Values,
    /// The Redis servers that the component may reach.
    pub(crate) allowed_hosts: AllowedHosts,
}

/// A folder that the component may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The folder on this machine.
    pub(crate) source: PathBuf,
    /// Where the component sees it.
    pub(crate) destination: String,
}

/// Why an application cannot be run: which file, and what about it.
#[derive(Debug, Error)]
#[error("{}: {reason}", path.display())]
pub struct ManifestError {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Error)]
enum Reason {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("line {line}: {message}")]
    Malformed { line: usize, message: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("{place}: {error}")]
    Variable { place: String, error: VariableError },
    #[error("variable {0:?} must have either `default = \"…\"` or `required = true`")]
    NeitherDefaultNorRequired(String),
    #[error(
        "variable {name:?} is required and not set: use --variable {name}=VALUE or the environment's {}",
        env_name(name)
    )]
    NotSet { name: String },
    #[error("the environment's {0} is not valid UTF-8")]
    NotUnicode(String),
    #[error("there is no variable {name:?} to set; [variables] declares: {declared}")]
    NoSuchVariable { name: String, declared: String },
    #[error("allowed_outbound_hosts: {entry:?}: {error}")]
    AllowedHost {
        entry: String,
        error: AllowedHostError,
    },
    #[error("the component's file {} does not exist: build it first", .0.display())]
    NoComponent(PathBuf),
    #[error("files: {} is not a folder", .0.display())]
    NoFolder(PathBuf),
}

/// The environment variable that sets an application variable.
pub(crate) fn env_name(variable: &str) -> String {
    format!("SPIN_VARIABLE_{}", variable.to_ascii_uppercase())
}

impl Application {
    /// Reads the manifest at `path` (a file, or the folder of a `spin.toml`). A variable's value
    /// is what `given` says, else what `environment` has under its [`env_name`], else its default.
    ///
    /// # Errors
    /// If the manifest cannot be read, says something that is not understood here, names a file
    /// or folder that does not exist, or a variable is unknown or lacks a value.
    pub fn load(
        path: &Path,
        given: &Values,
        environment: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<Self, ManifestError> {
        let path = if path.is_dir() {
            path.join("spin.toml")
        } else {
            path.to_owned()
        };
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        fs::read_to_string(&path)
            .map_err(Reason::Unreadable)
            .and_then(|text| parse(&text))
            .and_then(|manifest| manifest.resolve(&folder, given, environment))
            .map_err(|reason| ManifestError { path, reason })
    }
}

fn parse(text: &str) -> Result<Manifest, Reason> {
    toml::from_str(text).map_err(|error| Reason::Malformed {
        line: error.span().map_or(1, |span| {
            text[..span.start]
                .bytes()
                .filter(|&byte| byte == b'\n')
                .count()
                + 1
        }),
        message: error.message().replace('\n', " "),
    })
}

/// The file's own shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    spin_manifest_version: u32,
    #[serde(rename = "application")]
    _application: ApplicationDetails,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: Triggers,
    component: BTreeMap<String, Component>,
}

/// `[application]`: of interest to people only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationDetails {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "authors")]
    _authors: Option<IgnoredAny>,
    #[serde(rename = "tool")]
    _tool: Option<IgnoredAny>,
}

/// An entry of `[variables]`. No value is ever shown, so that `secret` changes nothing here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    default: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(rename = "secret")]
    _secret: Option<bool>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triggers {
    http: Vec<HttpTrigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTrigger {
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    route: String,
    component: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    source: String,
    #[serde(default)]
    files: Vec<Files>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    #[serde(rename = "build")]
    _build: Option<IgnoredAny>,
    #[serde(rename = "tool")]
    _tool: Option<IgnoredAny>,
}

/// An entry of `files`: a folder, or what Spin calls a pattern.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Files {
    Folder {
        source: PathBuf,
        destination: String,
    },
    Pattern(String),
}

impl Manifest {
    fn resolve(
        mut self,
        folder: &Path,
        given: &Values,
        environment: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<Application, Reason> {
        if self.spin_manifest_version != 2 {
            return Err(Reason::Unsupported(format!(
                "spin_manifest_version is {}: only 2 is understood",
                self.spin_manifest_version
            )));
        }
        let component = self.take_component()?;
        let values = application_values(&self.variables, given, environment)?;
        let source = folder.join(&component.source);
        if !source.is_file() {
            return Err(Reason::NoComponent(source));
        }
        Ok(Application {
            mounts: mounts(folder, &component.files)?,
            variables: component_values(&component.variables, &values)?,
            allowed_hosts: allowed_hosts(&component.allowed_outbound_hosts, &values)?,
            component: source,
        })
    }

    /// The component that the one trigger names.
    fn take_component(&mut self) -> Result<Component, Reason> {
        let [trigger] = self.trigger.http.as_slice() else {
            return Err(Reason::Unsupported(format!(
                "there are {} [[trigger.http]]: exactly one is understood",
                self.trigger.http.len()
            )));
        };
        if trigger.route != ROUTE {
            return Err(Reason::Unsupported(format!(
                "the route {:?}: only {ROUTE:?} is understood",
                trigger.route
            )));
        }
        self.component.remove(&trigger.component).ok_or_else(|| {
            Reason::Unsupported(format!(
                "the trigger's component {:?} is not there",
                trigger.component
            ))
        })
    }
}

/// The value of every declared variable.
fn application_values(
    declared: &BTreeMap<String, Variable>,
    given: &Values,
    environment: impl Fn(&str) -> Result<String, VarError>,
) -> Result<Values, Reason> {
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        return Err(Reason::NoSuchVariable {
            name: unknown.clone(),
            declared: declared.keys().cloned().collect::<Vec<_>>().join(", "),
        });
    }
    declared
        .iter()
        .map(|(name, variable)| {
            variables::check_name(name).map_err(|error| Reason::Variable {
                place: "[variables]".into(),
                error,
            })?;
            if variable.required == variable.default.is_some() {
                return Err(Reason::NeitherDefaultNorRequired(name.clone()));
            }
            let value = match given.get(name) {
                Some(value) => Some(value.clone()),
                None => from_environment(&env_name(name), &environment)?,
            };
            value
                .or_else(|| variable.default.clone())
                .map(|value| (name.clone(), value))
                .ok_or_else(|| Reason::NotSet { name: name.clone() })
        })
        .collect()
}

fn from_environment(
    name: &str,
    environment: impl Fn(&str) -> Result<String, VarError>,
) -> Result<Option<String>, Reason> {
    match environment(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(Reason::NotUnicode(name.to_owned())),
    }
}

/// What the component gets for each of its own variables.
fn component_values(
    templates: &BTreeMap<String, String>,
    values: &Values,
) -> Result<Values, Reason> {
    templates
        .iter()
        .map(|(name, template)| {
            variables::check_name(name)?;
            Ok((name.clone(), variables::expand(template, values)?))
        })
        .collect::<Result<_, _>>()
        .map_err(|error| Reason::Variable {
            place: "[component.….variables]".into(),
            error,
        })
}

fn allowed_hosts(templates: &[String], values: &Values) -> Result<AllowedHosts, Reason> {
    let entries = templates
        .iter()
        .map(|template| variables::expand(template, values))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Reason::Variable {
            place: "allowed_outbound_hosts".into(),
            error,
        })?;
    // The error shows the template, since a value in it may carry a password.
    AllowedHosts::parse(entries.iter().map(String::as_str)).map_err(|(index, error)| {
        Reason::AllowedHost {
            entry: templates[index].clone(),
            error,
        }
    })
}

fn mounts(folder: &Path, files: &[Files]) -> Result<Vec<Mount>, Reason> {
    files
        .iter()
        .map(|entry| match entry {
            Files::Pattern(pattern) => Err(Reason::Unsupported(format!(
                "files: {pattern:?}: only folders, {{ source = \"…\", destination = \"/…\" }}, are understood"
            ))),
            Files::Folder { destination, .. } if !destination.starts_with('/') => {
                Err(Reason::Unsupported(format!(
                    "files: the destination {destination:?} must begin with /"
                )))
            }
            Files::Folder {
                source,
                destination,
            } => {
                let source = folder.join(source);
                if source.is_dir() {
                    Ok(Mount {
                        source,
                        destination: destination.clone(),
                    })
                } else {
                    Err(Reason::NoFolder(source))
                }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
