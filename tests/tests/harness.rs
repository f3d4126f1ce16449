//! The harness itself: what was stored survives an absent API server, nodes come and go with their pods, control planes run
//! side by side and nothing is left of them.
#![allow(clippy::unwrap_used)]
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use vedette_tests::{
    Cluster, ControlPlane, Result,
    cluster::{NAMESPACE, empty_spec, node_config},
};

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test]
async fn an_api_server_that_was_taken_away_comes_back_with_its_data() -> Result<()> {
    let cluster = Cluster::start().await?;
    cluster.add_node("kept", &[]).await?;
    let (configs, how) = (cluster.node_configs(), PatchParams::apply("harness"));
    let config = node_config("kept", json!({ "spec": empty_spec("none") }));
    configs.patch("kept", &how, &Patch::Apply(config)).await.unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let url = cluster.control_plane().url().to_owned();
    cluster.stop_apiserver().await?;
    assert!(nodes.get("kept").await.is_err(), "nobody answers");
    cluster.start_apiserver().await?;
    assert_eq!(cluster.control_plane().url(), url);
    nodes.get("kept").await.unwrap();
    let status = node_config("kept", json!({ "status": { "trackedItems": 1 } }));
    let written = configs.patch_status("kept", &how, &Patch::Apply(status)).await;
    assert!(
        matches!(&written, Err(kube::Error::Api(denied)) if denied.message.contains("ValidatingAdmissionPolicy")),
        "{written:?}"
    );
    Ok(())
}

#[tokio::test]
async fn nodes_come_with_ready_agent_pods_change_labels_and_go_with_their_pods() -> Result<()> {
    let cluster = Cluster::start().await?;
    let names = cluster.add_nodes("n", 3, &[("role", "web")]).await?;
    assert_eq!(names, ["n1", "n2", "n3"]);
    let pods: Api<Pod> = Api::namespaced(cluster.client(), NAMESPACE);
    let agents = ListParams::default().labels("app.kubernetes.io/name=vedette-agent");
    assert!(pods.list(&agents).await.unwrap().iter().all(is_ready));
    assert!(!is_ready(&cluster.set_agent_ready("n1", false).await?));
    let node = cluster.label_node("n2", &[("role", None), ("zone", Some("a"))]).await?;
    assert_eq!(node.labels().get("zone").map(String::as_str), Some("a"));
    assert!(!node.labels().contains_key("role"));
    cluster.remove_node("n3").await?;
    let left: Vec<String> = pods.list(&agents).await.unwrap().iter().map(ResourceExt::name_any).collect();
    assert_eq!(left, ["vedette-agent-n1", "vedette-agent-n2"]);
    Ok(())
}

#[tokio::test]
async fn control_planes_run_side_by_side_and_leave_nothing() -> Result<()> {
    let (one, other) = tokio::try_join!(ControlPlane::start(), ControlPlane::start())?;
    assert_ne!(one.url(), other.url());
    let folder = one.folder("")?;
    drop(one);
    assert!(!folder.exists(), "its data goes with it");
    other.client().apiserver_version().await.unwrap();
    Ok(())
}
