//! The version stands in the workspace's manifest; wherever else it has to be, it is the same.

use serde_json::Value;

use crate::manifests::documents;
use crate::text;

/// The workspace's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn everything_has_the_version_of_the_workspace() {
    let in_spin = format!("\nversion = \"{VERSION}\"\n");
    assert_eq!(text("spin.toml").matches(&in_spin).count(), 1);
    let images = documents(&text("deploy/kubernetes/images/kustomization.yaml"));
    let images = images[0]["images"].as_array().expect("a list");
    let (ours, others): (Vec<&Value>, Vec<&Value>) = images.iter().partition(|image| {
        let name = image["name"].as_str().expect("a name");
        name.starts_with("employee-incidents/")
    });
    assert_eq!((ours.len(), others.len()), (4, 1), "{images:?}");
    for image in ours {
        assert_eq!(image["newTag"], VERSION, "{image}");
    }
}

#[test]
fn a_release_publishes_every_image_and_the_spin_application() {
    let workflow = text(".github/workflows/release.yml");
    let published = workflow
        .lines()
        .find_map(|line| line.strip_prefix("  IMAGES: "))
        .expect("the images that are published");
    let published: Vec<&str> = published.split(' ').collect();
    let images = documents(&text("deploy/kubernetes/images/kustomization.yaml"));
    for image in images[0]["images"].as_array().expect("a list") {
        let name = image["name"].as_str().expect("a name");
        match name.strip_prefix("employee-incidents/") {
            Some("spin") => assert!(workflow.contains("spin registry push")),
            Some(name) => assert!(published.contains(&name), "{name}"),
            None => {}
        }
    }
}
