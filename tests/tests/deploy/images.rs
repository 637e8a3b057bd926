//! The images: what the manifests say of them is what the Dockerfile makes.

use serde_json::Value;

use crate::manifests::{ALL, Copy, items, pods, string};
use crate::text;

/// A stage of the Dockerfile, with what it has from the stages that it is built on.
#[derive(Default, Clone)]
pub(crate) struct Stage {
    name: String,
    user: String,
    pub(crate) folder: String,
    port: Option<u64>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
}

/// The stages of the Dockerfile.
pub(crate) fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in text("Dockerfile").lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "FROM" {
            let (from, name) = rest.split_once(" AS ").expect("a stage has a name");
            let below = stages.iter().find(|stage| stage.name == from);
            let mut stage = below.cloned().unwrap_or_default();
            name.clone_into(&mut stage.name);
            stages.push(stage);
        }
        let Some(stage) = stages.last_mut() else {
            continue;
        };
        let words = || serde_json::from_str(rest).expect("a list of words");
        match word {
            "USER" => rest.clone_into(&mut stage.user),
            "WORKDIR" => rest.clone_into(&mut stage.folder),
            "EXPOSE" => stage.port = Some(rest.parse().expect("a port")),
            "ENTRYPOINT" => stage.entrypoint = words(),
            "CMD" => stage.command = words(),
            _ => {}
        }
    }
    stages
}

/// The stage that a container's image is made of; none for an image of somebody else.
pub(crate) fn stage_of(container: &Value) -> Option<Stage> {
    let image = string(&container["image"]);
    let (name, _) = image.strip_prefix("employee-incidents/")?.split_once(':')?;
    let stage = stages().into_iter().find(|stage| stage.name == name);
    Some(stage.unwrap_or_else(|| panic!("the Dockerfile makes no {image}")))
}

/// The words of a command: a server's stand in one argument.
fn words(arguments: &[String]) -> Vec<&str> {
    arguments
        .iter()
        .flat_map(|argument| argument.split_whitespace())
        .collect()
}

#[test]
fn containers_are_run_as_the_images_are_made() {
    let Some(copy) = Copy::new() else { return };
    let mut seen = 0;
    for overlay in ALL {
        for (name, template) in pods(&copy.render(overlay)) {
            let pod = &template["spec"];
            for container in items(&pod["containers"]) {
                let Some(stage) = stage_of(container) else {
                    continue;
                };
                seen += 1;
                let context = &pod["securityContext"];
                let user = format!("{}:{}", context["runAsUser"], context["runAsGroup"]);
                assert_eq!(user, stage.user, "{overlay}: {name}");
                let mut ports = items(&container["ports"]);
                let port = ports.next().and_then(|port| port["containerPort"].as_u64());
                assert_eq!(port, stage.port, "{overlay}: {name}");
                let own = items(&container["args"]).map(|word| string(word).to_owned());
                let own: Vec<String> = own.collect();
                assert!(container["command"].is_null(), "{overlay}: {name}");
                // It does what the image does by itself, with more options.
                let (own, of_image) = (words(&own), words(&stage.command));
                assert_eq!(own[..of_image.len()], of_image[..], "{overlay}: {name}");
            }
        }
    }
    assert_eq!(seen, 2 + 3 + 2 + 2 + 1);
}

#[test]
fn redis_is_the_same_as_in_compose() {
    let Some(copy) = Copy::new() else { return };
    let documents = copy.render("base");
    let container = &crate::manifests::pod(&documents, "redis")["spec"]["containers"][0];
    let image = string(&container["image"]);
    let in_compose = format!("image: ${{REDIS_IMAGE:-{image}}}");
    assert!(text("docker-compose.yml").contains(&in_compose), "{image}");
}
