//! What a cluster says of it: the conditions that the page names, of a real agent under a real operator.
use std::time::Duration;

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use vedette_crds::{condition::Condition, node_config::NodeConfig, rule::DataCollectionRule};
use vedette_tests::{SharedCluster, eventually, not_yet};

use crate::scene::{Scene, Service, SmallDisk};

/// A status is written every 10 s at most, and the machine is shared.
const SOON: Duration = Duration::from_secs(120);

/// Waits until a condition of the node's NodeConfig is so, and says this.
async fn says(configs: &Api<NodeConfig>, node: &str, type_: &str, reason: &str, holds: impl Fn(&Condition) -> bool) {
    eventually(&format!("{type_} is {reason}"), SOON, async || {
        let config = configs.get(node).await?;
        let conditions = config.status.map(|status| status.conditions).unwrap_or_default();
        let found = conditions.iter().find(|condition| condition.type_ == type_);
        match found.filter(|found| found.reason == reason && holds(found)) {
            Some(_) => Ok(()),
            None => Err(not_yet(format!("{conditions:?}"))),
        }
    })
    .await
    .unwrap();
}

#[test]
fn conditions_say_of_a_full_disk_and_of_entries_that_select_nothing_and_no_change_is_lost() {
    static CLUSTER: SharedCluster = SharedCluster::new();
    CLUSTER.test(async |cluster| {
        let scene = Scene::new().await;
        let operator = cluster.start_operator().await.unwrap();
        let node = "full";
        cluster.add_node(node, &[]).await.unwrap();
        cluster.add_agent_pod(node).await.unwrap();
        cluster.set_agent_ready(node, true).await.unwrap();
        let spec = json!({"files": {"interval": "10s", "paths": [
            {"name": "etc", "path": "/etc"},
            {"name": "nginx", "path": "/etc/ngnix"},
        ]}});
        let rule = json!({
            "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": "web"}, "spec": spec,
        });
        let rules: Api<DataCollectionRule> = Api::all(cluster.client());
        rules.patch("web", &PatchParams::apply("kubectl"), &Patch::Apply(rule)).await.unwrap();
        let configs: Api<NodeConfig> = Api::all(cluster.client());

        let disk = SmallDisk::mounted(&scene, "state", "size=4m").await;
        let kubeconfig = scene.text("kubeconfig");
        cluster.agent_identity(node).await.unwrap().write_kubeconfig(kubeconfig.as_ref()).unwrap();
        let run = scene.agent("run", &[("--node", node), ("--kubeconfig", &kubeconfig)]);
        let mut agent = Service::start(&scene, disk.inside(&run));
        let idle = "1 entry selects nothing on this node: web/nginx (/etc/ngnix)";
        says(&configs, node, "Complete", "Complete", |complete| complete.status == "True" && complete.message == idle).await;
        says(&configs, node, "Ready", "Ready", |ready| ready.status == "True").await;

        disk.fill();
        let changes = (0..1000).map(|number| scene.write(&format!("host/etc/{number:0>200}"), "new")).count();
        says(&configs, node, "StorageHealthy", "DiskFull", |full| {
            full.status == "False" && full.message.contains("No space left on device")
        })
        .await;
        disk.make_room();
        says(&configs, node, "StorageHealthy", "Healthy", |healthy| healthy.status == "True").await;
        eventually("the rule's status has each change once", SOON, async || {
            let rule = rules.get("web").await?;
            let added = rule.status.as_ref().and_then(|status| status.changes.as_ref()).map_or(0, |changes| changes.added);
            if added == changes as u64 { Ok(()) } else { Err(not_yet(format!("{:?}", rule.status))) }
        })
        .await
        .unwrap();
        agent.end().await;
        drop(operator);
    });
}
