//! The network policies: who reaches whom, worked out as Kubernetes does, is who has to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::manifests::{ALL, Copy, items, pods, string};

/// The port on which the Spin operator has a SpinApp listen.
const SPIN_PORT: u64 = 80;

/// The label that names a pod.
const NAME: &str = "app.kubernetes.io/name";

/// A pod as policies see it.
struct Pod<'a> {
    name: &'a str,
    labels: &'a Value,
    ports: Vec<u64>,
}

fn seen_pods(documents: &[Value]) -> Vec<Pod<'_>> {
    let mut found = Vec::new();
    for (name, template) in pods(documents) {
        let containers = items(&template["spec"]["containers"]);
        let ports = containers.flat_map(|container| items(&container["ports"]));
        found.push(Pod {
            name,
            labels: &template["metadata"]["labels"],
            ports: ports
                .filter_map(|port| port["containerPort"].as_u64())
                .collect(),
        });
    }
    for app in documents
        .iter()
        .filter(|document| document["kind"] == "SpinApp")
    {
        found.push(Pod {
            name: string(&app["metadata"]["name"]),
            labels: &app["spec"]["podLabels"],
            ports: vec![SPIN_PORT],
        });
    }
    found
}

/// Whether a label selector selects what has these labels. All that it says must hold.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut equal = equal.map(|(key, value)| labels[key] == *value);
    let mut expressions = items(&selector["matchExpressions"]).map(|expression| {
        assert_eq!(expression["operator"], "In", "{expression}");
        let value = &labels[string(&expression["key"])];
        items(&expression["values"]).any(|allowed| allowed == value)
    });
    equal.all(|holds| holds) && expressions.all(|holds| holds)
}

/// The rules in one direction, `ingress` or `egress`, for a pod; `None` where no policy says anything, so
/// that everything is allowed.
fn rules<'a>(documents: &'a [Value], pod: &Pod<'_>, direction: &str) -> Option<Vec<&'a Value>> {
    let policies = documents.iter().filter(|document| {
        let spec = &document["spec"];
        let kind = items(&spec["policyTypes"]).any(|kind| string(kind).to_lowercase() == direction);
        document["kind"] == "NetworkPolicy" && kind && selects(&spec["podSelector"], pod.labels)
    });
    let policies: Vec<&Value> = policies.collect();
    let rules = policies
        .iter()
        .flat_map(|policy| items(&policy["spec"][direction]));
    (!policies.is_empty()).then(|| rules.collect())
}

/// The ports of a rule.
fn ports(rule: &Value) -> Vec<u64> {
    let ports = items(&rule["ports"]).map(|port| port["port"].as_u64().expect("a number"));
    let ports: Vec<u64> = ports.collect();
    assert!(!ports.is_empty(), "a rule allows all ports: {rule}");
    ports
}

/// Whether the rules of a direction allow a port to or from a pod of the same namespace.
fn allows(rules: Option<&Vec<&Value>>, side: &str, other: &Pod<'_>, port: u64) -> bool {
    let Some(rules) = rules else { return true };
    rules.iter().any(|rule| {
        let mut peers = items(&rule[side]).filter(|peer| peer["namespaceSelector"].is_null());
        let is_peer =
            rule[side].is_null() || peers.any(|peer| selects(&peer["podSelector"], other.labels));
        is_peer && ports(rule).contains(&port)
    })
}

/// Every way that is open between two pods: `api > redis:6379`.
fn ways(documents: &[Value]) -> BTreeSet<String> {
    let pods = seen_pods(documents);
    let all_ports: BTreeSet<u64> = pods.iter().flat_map(|pod| pod.ports.clone()).collect();
    let mut found = BTreeSet::new();
    for from in &pods {
        let out = rules(documents, from, "egress");
        for to in pods.iter().filter(|to| to.name != from.name) {
            let into = rules(documents, to, "ingress");
            for port in &all_ports {
                if allows(out.as_ref(), "to", to, *port)
                    && allows(into.as_ref(), "from", from, *port)
                {
                    found.insert(format!("{} > {}:{port}", from.name, to.name));
                }
            }
        }
    }
    found
}

/// The label of the namespace in which Prometheus and Alertmanager are.
const MONITORING: &str = "employee-incidents/monitoring";

/// Every way that leads in or out: `clients > api:9000`, `refresher > anywhere:443`, `api > kube-system:53`. Of the
/// namespace that monitors, with the pods there: `prometheus > api:9001`.
fn ways_outside(documents: &[Value]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pod in seen_pods(documents) {
        let name = pod.name;
        for rule in rules(documents, &pod, "egress").expect("a default") {
            if rule["to"].is_null() {
                found.extend(
                    ports(rule)
                        .iter()
                        .map(|port| format!("{name} > anywhere:{port}")),
                );
            }
            for peer in items(&rule["to"]) {
                let labels = &peer["namespaceSelector"]["matchLabels"];
                if let Some(namespace) = labels["kubernetes.io/metadata.name"].as_str() {
                    let ports = ports(rule);
                    found.extend(
                        ports
                            .iter()
                            .map(|port| format!("{name} > {namespace}:{port}")),
                    );
                }
                if labels[MONITORING] == "true" {
                    let pod = string(&peer["podSelector"]["matchLabels"][NAME]);
                    let ports = ports(rule);
                    found.extend(ports.iter().map(|port| format!("{name} > {pod}:{port}")));
                }
            }
        }
        for rule in rules(documents, &pod, "ingress").expect("a default") {
            assert!(!rule["from"].is_null(), "everybody may reach {name}");
            for peer in items(&rule["from"]) {
                let labels = &peer["namespaceSelector"]["matchLabels"];
                if labels["employee-incidents/clients"] == "true" {
                    found.extend(
                        ports(rule)
                            .iter()
                            .map(|port| format!("clients > {name}:{port}")),
                    );
                }
                if labels[MONITORING] == "true" {
                    let pod = string(&peer["podSelector"]["matchLabels"][NAME]);
                    let ports = ports(rule);
                    found.extend(ports.iter().map(|port| format!("{pod} > {name}:{port}")));
                }
            }
        }
    }
    found
}

/// What has to be open in an overlay, between pods and to the outside.
fn needed(overlay: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let (api, refresher) = ("api > redis:6379", "refresher > redis:6379");
    let within = match overlay {
        "overlays/demo" => vec![api, refresher, "refresher > upstream:9100"],
        "overlays/external-redis" => Vec::new(),
        _ => vec![api, refresher],
    };
    let mut outside = vec!["api > kube-system:53", "refresher > kube-system:53"];
    outside.extend(match overlay {
        "overlays/demo" => vec!["clients > api:9000"],
        "overlays/external-redis" => vec![
            "api > anywhere:6379",
            "clients > api:9000",
            "refresher > anywhere:26379",
            "refresher > anywhere:443",
            "refresher > anywhere:6379",
        ],
        "overlays/monitoring" => vec![
            "clients > api:9000",
            "prometheus > api:9000",
            "prometheus > api:9001",
            "refresher > alertmanager:9093",
            "refresher > anywhere:443",
        ],
        "overlays/spin" => vec!["clients > api:80", "refresher > anywhere:443"],
        _ => vec!["clients > api:9000", "refresher > anywhere:443"],
    });
    (within, outside)
}

#[test]
fn nothing_is_open_that_is_not_needed() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        let documents = copy.render(overlay);
        let set = |ways: Vec<&str>| ways.into_iter().map(str::to_owned).collect();
        let (within, outside): (BTreeSet<String>, BTreeSet<String>) = {
            let (within, outside) = needed(overlay);
            (set(within), set(outside))
        };
        assert_eq!(ways(&documents), within, "{overlay}");
        assert_eq!(ways_outside(&documents), outside, "{overlay}");
    }
}

#[test]
fn without_the_policies_everything_would_be_open() {
    let Some(copy) = Copy::new() else { return };
    let mut documents = copy.render("base");
    documents.retain(|document| document["kind"] != "NetworkPolicy");
    let open = ways(&documents);
    for way in ["api > refresher:9000", "redis > api:9000"] {
        assert!(open.contains(way), "{open:?}");
    }
}

#[test]
fn services_lead_to_ports_of_their_pods() {
    let Some(copy) = Copy::new() else { return };
    for overlay in ALL {
        let documents = copy.render(overlay);
        let templates = pods(&documents);
        let services = documents
            .iter()
            .filter(|document| document["kind"] == "Service");
        for service in services {
            let selector = serde_json::json!({ "matchLabels": service["spec"]["selector"] });
            let mut selected = templates
                .iter()
                .filter(|(_, template)| selects(&selector, &template["metadata"]["labels"]));
            let (name, template) = selected.next().expect("a Service selects a pod");
            assert!(selected.next().is_none(), "{overlay}: {service}");
            assert_eq!(service["metadata"]["name"], *name);
            for port in items(&service["spec"]["ports"]) {
                let mut containers = items(&template["spec"]["containers"]);
                let has = |container: &Value| {
                    let mut ports = items(&container["ports"]);
                    ports.any(|own| {
                        own["name"] == port["targetPort"] && own["containerPort"] == port["port"]
                    })
                };
                assert!(containers.any(has), "{overlay}: {service}");
            }
        }
    }
}
