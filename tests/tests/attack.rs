//! What a compromised node or kubelet may write without being refused, and that it harms nobody but that node.
#![allow(clippy::unwrap_used)]

#[path = "operator/scene.rs"]
#[allow(dead_code)]
mod scene;

use kube::Client;
use scene::{SOON, Scene, carried, watch};
use serde_json::{Value, json};
use vedette_tests::{
    SharedCluster,
    cluster::{AGENT, NAMESPACE},
};

static CLUSTER: SharedCluster = SharedCluster::new();

/// A time that the API server stores and that no `Timestamp` holds: its largest lies a day earlier.
const TOO_LATE: &str = "9999-12-31T23:59:59Z";

#[test]
fn a_time_that_cannot_be_read_does_not_blind_the_operator_to_the_other_objects() {
    CLUSTER.test(async |cluster| {
        let mut operator = cluster.start_operator().await.unwrap();
        let scene = Scene::new(cluster);
        let nodes = scene.nodes("late", 3).await;
        scene.apply_rule("late", watch("late", &["/etc"])).await;
        scene.configs_where("the rule is out", &nodes, SOON, |config| carried(config) == ["late"]).await;

        // A kubelet, by its rights on its own Node and the pods on it.
        let admin = cluster.client();
        let claims = json!({ "metadata": { "managedFields": [{ "manager": "hostile", "operation": "Update",
            "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": {} }, "time": TOO_LATE }] } });
        let node = merge(&admin, &format!("/api/v1/nodes/{}", nodes[1]), claims).await;
        assert_eq!(node["metadata"]["managedFields"][0]["time"], TOO_LATE, "this attack is refused by now");
        let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": TOO_LATE });
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{AGENT}-{}/status", nodes[2]);
        let pod = merge(&admin, &path, json!({ "status": { "conditions": [ready] } })).await;
        assert_eq!(pod["status"]["conditions"][0]["lastTransitionTime"], TOO_LATE, "this attack is refused by now");

        scene.apply_rule("late", watch("late", &["/etc", "/srv"])).await;
        scene
            .configs_where("a running operator goes on", &nodes, SOON, |config| {
                config.spec.rules[0].files.as_ref().unwrap().paths.len() == 2
            })
            .await;
        operator.kill().unwrap();
        operator.start().await.unwrap();
        operator.ready_within(SOON).await.unwrap();
        scene.apply_rule("late", watch("late", &["/etc", "/srv", "/opt"])).await;
        scene
            .configs_where("one that starts anew, too", &nodes, SOON, |config| {
                config.spec.rules[0].files.as_ref().unwrap().paths.len() == 3
            })
            .await;
    });
}

/// Merges a change into an object and returns what is stored, as it is.
async fn merge(client: &Client, path: &str, change: Value) -> Value {
    let request = http::Request::patch(path).header("Content-Type", "application/merge-patch+json");
    client.request(request.body(serde_json::to_vec(&change).unwrap()).unwrap()).await.unwrap()
}
