//! Certificates and keys that are renewed under a running operator and running agents, as each cluster does at least once a year.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use vedette_crds::rule::DataCollectionRule;
use vedette_tests::{Authority, Operator, eventually, not_yet};

use crate::scene::{SOON, Scene, Watched, holds};

/// An operator, two agents, and a rule that selects their nodes.
struct Fleet {
    scene: Scene,
    operator: Operator,
    nodes: Vec<Watched>,
    changes: usize,
}

impl Fleet {
    async fn new(name: &str) -> Self {
        let scene = Scene::new().await;
        let operator = scene.cluster.start_operator().await.unwrap();
        let mut nodes = Vec::new();
        for number in 1..=2 {
            let mut watched = scene.node(&format!("{name}-{number}")).await;
            watched.start().await;
            scene.cluster.set_agent_ready(&watched.node, true).await.unwrap();
            nodes.push(watched);
        }
        let fleet = Self { scene, operator, nodes, changes: 0 };
        fleet.rule("first", "/etc").await;
        for watched in &fleet.nodes {
            fleet.scene.status(watched, "is ready", |status| holds(status, "Ready")).await;
        }
        fleet
    }

    /// Applies a rule as a user would.
    async fn rule(&self, name: &str, path: &str) {
        let client = self.scene.cluster.client();
        let rules: Api<DynamicObject> = Api::all_with(client, &ApiResource::erase::<DataCollectionRule>(&()));
        let rule = json!({
            "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": {"name": name},
            "spec": {"files": {"interval": "10s", "paths": [{"name": "all", "path": path}]}},
        });
        rules.patch(name, &PatchParams::apply("kubectl"), &Patch::Apply(&rule)).await.unwrap();
    }

    /// Ends the API server and starts it with what was renewed.
    async fn restart_apiserver(&self) {
        self.scene.cluster.stop_apiserver().await.unwrap();
        self.scene.cluster.start_apiserver().await.unwrap();
    }

    /// A file is changed on each node: it is counted by its agent.
    async fn change(&mut self) {
        self.changes += 1;
        for watched in &self.nodes {
            watched.host.write("/etc/a.conf", &"x".repeat(10 + self.changes)).unwrap();
        }
        for watched in &self.nodes {
            watched.counts(self.changes).await;
        }
    }

    /// All that was changed stands in the statuses, once; a new rule comes to each node; and nobody has been restarted.
    async fn goes_on(&mut self, rule: &str) {
        self.change().await;
        for watched in &self.nodes {
            self.scene.agree(watched).await;
        }
        self.rule(rule, "/srv").await;
        for watched in &self.nodes {
            self.scene
                .status(watched, &format!("has {rule}"), |status| {
                    let mut rules = status["rules"].as_array().into_iter().flatten();
                    rules.any(|found| found["name"] == rule) && holds(status, "Ready")
                })
                .await;
            let starts = watched.agent.notices().unwrap().into_iter().filter(|notice| notice["kind"] == "Started");
            assert_eq!(starts.count(), 1, "{} was started again", watched.node);
        }
        assert_eq!(self.operator.ended().unwrap(), None);
    }

    /// Waits until operator and agents have said this since they had said so much.
    async fn all_say(&self, sentence: &str) {
        for watched in &self.nodes {
            watched.says(sentence).await;
        }
        eventually(&format!("the operator says {sentence}"), SOON, async || {
            let log = self.operator.log()?;
            if log.contains(sentence) { Ok(()) } else { Err(not_yet(log)) }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_and_another_key_for_tokens_cost_operator_and_agents_no_restart() {
    let mut fleet = Fleet::new("renewed").await;
    let plane = fleet.scene.cluster.control_plane();
    plane.renew_certificate(Authority::First).unwrap();
    fleet.restart_apiserver().await;
    fleet.goes_on("after-a-certificate").await;

    let plane = fleet.scene.cluster.control_plane();
    plane.renew_token_key().unwrap();
    fleet.restart_apiserver().await;
    fleet.all_say("it does not know us (401 Unauthorized)").await;
    fleet.change().await;
    // As a kubelet would.
    fleet.scene.cluster.operator_identity().await.unwrap();
    for watched in &fleet.nodes {
        fleet.scene.cluster.agent_identity(&watched.node).await.unwrap();
    }
    fleet.goes_on("after-a-key").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ca_is_taken_up_from_its_file_and_until_then_the_server_is_not_believed() {
    let mut fleet = Fleet::new("another").await;
    fleet.scene.cluster.control_plane().renew_certificate(Authority::Next).unwrap();
    fleet.restart_apiserver().await;
    fleet.all_say("no CA that we trust has signed its certificate").await;
    fleet.change().await;
    fleet.scene.cluster.control_plane().trust(&[Authority::First, Authority::Next]).unwrap();
    fleet.goes_on("after-a-ca").await;
}
