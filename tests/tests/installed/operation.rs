//! What happens to a node and to the product in a year, on real nodes: a network that is away, a drain, a node that is deleted and
//! comes back, upgrades and rollbacks, pods that end, certificates that are renewed. Changes made meanwhile are told, once, under
//! the same journal.
use crate::scene::{NODES, Scene, WITHIN, condition};
use serde_json::{Value, json};
use std::fs;
use vedette_tests::{Authority, Result, cluster::NAMESPACE, eventually, not_yet, release::NAME};

/// The changes of a path that a node's status names, newest first.
fn changes(scene: &Scene, node: &str, path: &str) -> Result<Vec<Value>> {
    let mut changes =
        scene.get(&["nodeconfig", node])?["status"]["recentChanges"].as_array().cloned().unwrap_or_default();
    changes.retain(|change| change["path"] == path);
    Ok(changes)
}

/// Waits until a change of this path stands in the node's status, and gives it.
async fn told(scene: &Scene, node: &str, path: &str) -> Value {
    eventually(&format!("{path} of {node} is told"), WITHIN, async || {
        let changes = changes(scene, node, path)?;
        match changes.as_slice() {
            [] => Err(not_yet(format!("{}\n{}", scene.get(&["nodeconfig", node])?["status"], scene.state()))),
            [change] => Ok(change.clone()),
            more => panic!("told more than once: {more:?}"),
        }
    })
    .await
    .unwrap()
}

async fn says(scene: &Scene, node: &str, kind: &str, status: &str) -> Value {
    eventually(&format!("{kind} of {node} is {status}"), WITHIN, async || {
        let said = condition(&scene.get(&["nodeconfig", node])?, kind);
        // No log: a kubelet that cannot be reached would hold up who asks for one.
        if said["status"] == status { Ok(said) } else { Err(not_yet(said)) }
    })
    .await
    .unwrap()
}

fn journal(scene: &Scene, node: &str) -> Value {
    scene.get(&["nodeconfig", node]).unwrap()["status"]["journal"]["id"].clone()
}

fn leader(scene: &Scene) -> Result<String> {
    let lease = scene.get(&["lease", "vedette-operator", "--namespace", NAMESPACE])?;
    Ok(lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// Who leads is another one than before, and acts.
async fn another_leads(scene: &Scene, before: &str) {
    eventually("another operator leads", WITHIN, async || {
        let now = leader(scene)?;
        if now.is_empty() || now == before { Err(not_yet(format!("{now}\n{}", scene.state()))) } else { Ok(()) }
    })
    .await
    .unwrap();
}

fn writes(scene: &Scene, node: &str, path: &str) {
    scene.cluster.node(node).unwrap().write(path, "changed").unwrap();
}

/// A node without its network is said to have no agent; what changes meanwhile is told when it is back.
async fn cut_off_and_back(scene: &Scene) {
    scene.cluster.node("n1").unwrap().cut_off().unwrap();
    says(scene, "n1", "AgentAvailable", "False").await;
    writes(scene, "n1", "/usr/local/bin/while-cut-off");
    says(scene, "n2", "AgentAvailable", "True").await;
    scene.cluster.node("n1").unwrap().reconnect().unwrap();
    says(scene, "n1", "Ready", "True").await;
    let change = told(scene, "n1", "/usr/local/bin/while-cut-off").await;
    assert_eq!(change["changeType"], "Added", "{change}");
}

/// A drained node is watched on: its agent stays, whoever else goes.
async fn drained(scene: &Scene) {
    scene.kubectl(&["drain", "n1", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s"]).unwrap();
    writes(scene, "n1", "/usr/local/bin/while-drained");
    told(scene, "n1", "/usr/local/bin/while-drained").await;
    scene.kubectl(&["uncordon", "n1"]).unwrap();
}

/// A node that comes back under its name is another one to the cluster: its NodeConfig is made anew, its journal goes on.
async fn deleted_and_made_again(scene: &Scene) {
    let (before, old) = (journal(scene, "n1"), uid(scene));
    let node = scene.cluster.node("n1").unwrap();
    node.stop_kubelet().await.unwrap();
    scene.kubectl(&["delete", "node", "n1", "--wait=true", "--timeout=60s"]).unwrap();
    eventually("its NodeConfig is gone", WITHIN, async || match scene.get(&["nodeconfig", "n1"]) {
        Ok(config) if config["spec"]["nodeUid"] != old => Ok(()),
        Ok(config) => Err(not_yet(config["metadata"].clone())),
        Err(error) if error.to_string().contains("NotFound") => Ok(()),
        Err(error) => Err(error.into()),
    })
    .await
    .unwrap();
    writes(scene, "n1", "/usr/local/bin/while-no-node");
    node.start_kubelet().await.unwrap();
    says(scene, "n1", "Ready", "True").await;
    assert_ne!(uid(scene), old, "another node");
    told(scene, "n1", "/usr/local/bin/while-no-node").await;
    assert_eq!(journal(scene, "n1"), before, "what stands on the node is the same");
}

fn uid(scene: &Scene) -> Value {
    scene.get(&["node", "n1"]).unwrap()["metadata"]["uid"].clone()
}

/// What changes while no agent runs is found when one does.
async fn away_and_back(scene: &Scene) {
    let node = scene.cluster.node("n2").unwrap();
    let agent = scene.agent_process("n2").unwrap();
    // Who would start it again.
    node.stop_kubelet().await.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(agent).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    eventually("the agent is gone", WITHIN, async || {
        let is_there = std::path::Path::new(&format!("/proc/{agent}/exe")).exists();
        if is_there { Err(not_yet(agent)) } else { Ok(()) }
    })
    .await
    .unwrap();
    writes(scene, "n2", "/usr/local/bin/while-no-agent");
    node.start_kubelet().await.unwrap();
    let change = told(scene, "n2", "/usr/local/bin/while-no-agent").await;
    assert_eq!(change["detection"], "Startup", "{change}");
}

/// A kubelet's certificates, the cluster's CA and the API server's certificate are others one after the other: nobody of ours is
/// started again.
async fn certificates_renewed(scene: &Scene) {
    let before = NODES.map(|node| scene.agent_process(node).unwrap());
    let restarts = restarts(scene);
    scene.cluster.renew_kubelet("n2").await.unwrap();
    let plane = scene.cluster.control_plane();
    plane.trust(&[Authority::First, Authority::Next]).unwrap();
    scene.cluster.restart_controllers().await.unwrap();
    for agent in before {
        // As its kubelet has it in the pod: what is told of a second CA comes through the whole cluster.
        let told = format!("/proc/{agent}/root/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
        eventually("the pod is told of another CA", WITHIN, async || {
            let text = fs::read_to_string(&told)?;
            if text.matches("BEGIN CERTIFICATE").count() == 2 { Ok(()) } else { Err(not_yet(text)) }
        })
        .await
        .unwrap();
    }
    plane.renew_certificate(Authority::Next).unwrap();
    plane.stop_apiserver().await.unwrap();
    NODES.iter().for_each(|node| writes(scene, node, "/usr/local/bin/under-another-ca"));
    plane.start_apiserver().await.unwrap();
    for node in NODES {
        told(scene, node, "/usr/local/bin/under-another-ca").await;
        says(scene, node, "Ready", "True").await;
    }
    assert_eq!(NODES.map(|node| scene.agent_process(node).unwrap()), before);
    assert_eq!(self::restarts(scene), restarts);
}

/// The product's pods, and how often the container of each was started again.
fn restarts(scene: &Scene) -> Vec<String> {
    let pods = scene.get(&["pods", "--namespace", NAMESPACE]).unwrap();
    let pods = pods["items"].as_array().unwrap().iter();
    pods.map(|pod| format!("{} {}", pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]))
        .collect()
}

/// Upgrades and rollbacks replace pods one node after the other; journals go on.
async fn upgraded_and_rolled_back(scene: &Scene) {
    let before = NODES.map(|node| journal(scene, node));
    let chart = vedette_tests::helm::chart().display().to_string();
    let release = ["upgrade", NAME, &chart, "--namespace", NAMESPACE, "--reuse-values", "--wait", "--timeout", "180s"];
    let others = ["--set", "agent.logLevel=debug,operator.logLevel=debug,agent.journalMax=128Mi"];
    scene.helm(&[&release[..], &others].concat()).unwrap();
    writes(scene, "n2", "/usr/local/bin/after-an-upgrade");
    told(scene, "n2", "/usr/local/bin/after-an-upgrade").await;
    scene.helm(&["rollback", NAME, "1", "--namespace", NAMESPACE, "--wait", "--timeout", "180s"]).unwrap();
    writes(scene, "n2", "/usr/local/bin/after-a-rollback");
    told(scene, "n2", "/usr/local/bin/after-a-rollback").await;
    assert_eq!(NODES.map(|node| journal(scene, node)), before);
    let rule = scene.get(&["datacollectionrule", "linux-baseline"]).unwrap();
    assert_eq!(condition(&rule, "Accepted")["status"], "True", "{}", rule["status"]);
}

/// A leader that is deleted gives way, one that is killed does within its lease.
async fn leaders_that_end(scene: &Scene) {
    for how in [&["--grace-period=30"][..], &["--grace-period=0", "--force"]] {
        let before = leader(scene).unwrap();
        let pods = scene.get(&["pods", "--namespace", NAMESPACE]).unwrap();
        let names = pods["items"].as_array().unwrap().iter().filter_map(|pod| pod["metadata"]["name"].as_str());
        let pod = names.into_iter().find(|name| before.starts_with(name)).unwrap_or_else(|| panic!("{before}: {pods}"));
        scene.kubectl(&[&["delete", "pod", pod, "--namespace", NAMESPACE, "--wait=false"], how].concat()).unwrap();
        another_leads(scene, &before).await;
    }
    // The new one acts: a rule that comes now is programmed.
    let rule = json!({
        "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": "later"},
        "spec": {"files": {"interval": "10s", "paths": [{"name": "opt", "path": "/opt", "maxDepth": 1}]}}
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rule.json");
    fs::write(&file, rule.to_string()).unwrap();
    scene.kubectl(&["apply", "--filename", file.to_str().unwrap()]).unwrap();
    eventually("the new leader programs a rule", WITHIN, async || {
        let rule = scene.get(&["datacollectionrule", "later"])?;
        let ready = condition(&rule, "Ready");
        if ready["status"] == "True" { Ok(()) } else { Err(not_yet(format!("{}\n{}", rule["status"], scene.state()))) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_node_and_to_the_product_every_change_is_told_once() {
    let Some(scene) = Scene::new().await else { return };
    scene.install().unwrap();
    scene.is_watched().await;
    cut_off_and_back(&scene).await;
    drained(&scene).await;
    deleted_and_made_again(&scene).await;
    leaders_that_end(&scene).await;
    away_and_back(&scene).await;
    certificates_renewed(&scene).await;
    upgraded_and_rolled_back(&scene).await;
    // All of it, now that there was time for a second one.
    for (node, path) in [
        ("n1", "/usr/local/bin/while-cut-off"),
        ("n1", "/usr/local/bin/while-drained"),
        ("n1", "/usr/local/bin/while-no-node"),
        ("n2", "/usr/local/bin/while-no-agent"),
        ("n1", "/usr/local/bin/under-another-ca"),
        ("n2", "/usr/local/bin/under-another-ca"),
        ("n2", "/usr/local/bin/after-an-upgrade"),
        ("n2", "/usr/local/bin/after-a-rollback"),
    ] {
        assert_eq!(changes(&scene, node, path).unwrap().len(), 1, "{path}");
    }
}
