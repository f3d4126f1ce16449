//! What a large fleet costs.

use super::heap::held;
use super::world::{World, etc};

/// The labels that a node of a cloud has.
fn labels(number: usize) -> Vec<(String, String)> {
    let fixed = [
        ("beta.kubernetes.io/arch", "amd64"),
        ("beta.kubernetes.io/instance-type", "Standard_D4s_v5"),
        ("beta.kubernetes.io/os", "linux"),
        ("failure-domain.beta.kubernetes.io/region", "westeurope"),
        ("kubernetes.io/arch", "amd64"),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.azure.com/agentpool", "nodepool1"),
        ("kubernetes.azure.com/cluster", "MC_production_europe_west"),
        ("kubernetes.azure.com/mode", "system"),
        ("kubernetes.azure.com/node-image-version", "AKSUbuntu-2204gen2containerd-202611.12.0"),
        ("node.kubernetes.io/instance-type", "Standard_D4s_v5"),
        ("topology.kubernetes.io/region", "westeurope"),
        ("topology.kubernetes.io/zone", "westeurope-1"),
    ];
    let mut labels: Vec<_> = fixed.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    labels.push(("kubernetes.io/hostname".into(), format!("aks-nodepool1-12345678-vmss{number:06}")));
    labels
}

#[test]
fn a_node_with_three_rules_takes_less_than_a_kilobyte() {
    const NODES: usize = 5_000;
    let mut world = World::new();
    for rule in ["etc", "bin", "ssh"] {
        world.rule(rule, etc(None));
    }
    let names: Vec<_> = (0..NODES).map(|number| format!("aks-nodepool1-12345678-vmss{number:06}")).collect();
    for (number, name) in names.iter().enumerate() {
        let labels = labels(number);
        let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        world.node_of(name, &format!("0f8fad5b-d9cb-469f-a165-{number:012}"), &labels);
        world.pod(name, true);
    }
    world.pass(0);
    names.iter().for_each(|name| world.confirm(name, 5, 1));
    world.pass(90);
    assert_eq!(world.status("etc").nodes.unwrap().ready, u32::try_from(NODES).unwrap());
    let fleet = world.fleet;
    let with_fleet = held();
    drop(fleet);
    let bytes = (with_fleet - held()) / isize::try_from(NODES).unwrap();
    assert!(bytes < 1_000, "{bytes} bytes a node");
}
