//! From rules to NodeConfigs.
use std::time::{Duration, Instant};

use crate::scene::{SOON, form, says, test, watch};

#[test]
fn fifty_nodes_have_their_configuration_within_five_seconds() {
    test(async |scene| {
        let nodes = scene.nodes("fifty", 50).await;
        let start = Instant::now();
        let rule = scene.apply_rule("fifty", watch("fifty", &["/etc"])).await;
        let configs = scene.configs_where("fifty configurations", &nodes, SOON, |_| true).await;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        for (name, config) in &configs {
            let form = form(config);
            assert_eq!((form.uid.as_str(), form.generation), (rule.metadata.uid.as_deref().unwrap(), 1));
            assert_eq!(form.files.as_ref().unwrap().paths[0].path, "/etc");
            let node = k8s_node(&scene, name).await;
            assert_eq!(Some(&config.spec.node_uid), node.metadata.uid.as_ref());
            let [owner] = &config.metadata.owner_references.as_ref().unwrap()[..] else { panic!("one owner") };
            assert_eq!(
                (owner.kind.as_str(), &owner.name, Some(&owner.uid)),
                ("Node", name, node.metadata.uid.as_ref())
            );
            assert_eq!((owner.block_owner_deletion, owner.controller), (None, None));
        }
        let status = scene
            .rule_where("the rule is programmed", "fifty", |status| {
                says(&status.conditions, "Programmed") == "True Programmed"
            })
            .await;
        assert_eq!(says(&status.conditions, "Accepted"), "True Accepted");
        assert_eq!(status.nodes.unwrap().programmed, 50);
    });
}

async fn k8s_node(scene: &crate::scene::Scene<'_>, name: &str) -> k8s_openapi::api::core::v1::Node {
    kube::Api::all(scene.cluster.client()).get(name).await.unwrap()
}
