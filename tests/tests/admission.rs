//! Who may write what in a NodeConfig, asked of a real API server under the identities that write in production.
//! Every test works on a node of its own, so that all can share one cluster.
#![allow(clippy::unwrap_used)]
use std::time::Duration;

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Secret},
    events::v1::Event,
    rbac::v1::ClusterRoleBinding,
};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use vedette_tests::{
    Cluster, SharedCluster,
    cluster::{AGENT, NAMESPACE, OPERATOR, empty_spec, node_config, node_configs_as},
    eventually, not_yet,
};

static CLUSTER: SharedCluster = SharedCluster::new();

/// A node with an agent's pod and a NodeConfig, and the two who write it.
struct Scene {
    node: String,
    agent: Writer,
    operator: Writer,
}

impl Scene {
    async fn new(cluster: &Cluster, node: &str) -> Self {
        let uid = cluster.add_node(node, &[]).await.unwrap().uid().unwrap();
        cluster.add_agent_pod(node).await.unwrap();
        let agent = cluster.agent_identity(node).await.unwrap().client().await.unwrap();
        let operator = cluster.operator_identity().await.unwrap().client().await.unwrap();
        let scene =
            Self { node: node.into(), agent: Writer::new(agent, AGENT), operator: Writer::new(operator, OPERATOR) };
        scene.operator.apply(node, json!({ "spec": empty_spec(&uid) })).await.unwrap();
        scene
    }

    async fn report(&self, status: Value) -> kube::Result<DynamicObject> {
        self.agent.apply_status(&self.node, status).await
    }

    async fn judge(&self, status: Value) -> kube::Result<DynamicObject> {
        self.operator.apply_status(&self.node, status).await
    }
}

/// One identity with its field manager. It always forces, as agent and operator do: admission decides, not the conflict.
struct Writer {
    client: Client,
    configs: Api<DynamicObject>,
    how: PatchParams,
}

impl Writer {
    fn new(client: Client, manager: &str) -> Self {
        Self { configs: node_configs_as(client.clone()), client, how: PatchParams::apply(manager).force() }
    }

    async fn apply(&self, name: &str, content: Value) -> kube::Result<DynamicObject> {
        self.configs.patch(name, &self.how, &Patch::Apply(node_config(name, content))).await
    }

    async fn apply_status(&self, name: &str, status: Value) -> kube::Result<DynamicObject> {
        let object = node_config(name, json!({ "status": status }));
        self.configs.patch_status(name, &self.how, &Patch::Apply(object)).await
    }

    async fn merge_status(&self, name: &str, status: Value) -> kube::Result<DynamicObject> {
        let change = json!({ "status": status });
        self.configs.patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await
    }
}

fn condition(kind: &str, status: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": "2026-11-24T04:00:00Z" })
}

fn journal(id: &str, sequence: u64, head: &str) -> Value {
    json!({ "journal": { "id": id, "sequence": sequence, "head": head } })
}

fn condition_types(config: &DynamicObject) -> Vec<&str> {
    let conditions = config.data["status"]["conditions"].as_array().unwrap();
    let mut types: Vec<_> = conditions.iter().map(|condition| condition["type"].as_str().unwrap()).collect();
    types.sort_unstable();
    types
}

/// The server's sentence for a write that it has refused as forbidden.
#[track_caller]
fn forbidden<T: std::fmt::Debug>(result: kube::Result<T>) -> String {
    match result.unwrap_err() {
        kube::Error::Api(refusal) if refusal.code == 403 => refusal.message.clone(),
        other => panic!("refused for another reason: {other}"),
    }
}

#[track_caller]
fn assert_denied<T: std::fmt::Debug>(result: kube::Result<T>, by_policy: &str) {
    let sentence = forbidden(result);
    assert!(sentence.contains("ValidatingAdmissionPolicy 'nodeconfig-status.vedette.dev'"), "{sentence}");
    assert!(sentence.ends_with(by_policy), "{sentence}");
}

#[track_caller]
fn assert_no_right<T: std::fmt::Debug>(result: kube::Result<T>, to: &str) {
    let sentence = forbidden(result);
    assert!(sentence.contains(&format!("cannot {to}")), "{sentence}");
}

const OPERATORS_CONDITIONS: &str =
    "the conditions Ready and AgentAvailable are the operator's: an agent leaves them out of what it applies";
const AGENTS_FIELDS: &str =
    "the operator writes the conditions Ready and AgentAvailable only: all else in the status is the agent's";

#[test]
fn an_agent_writes_the_first_status_of_its_own_node() {
    CLUSTER.test(async |cluster| {
        let without_journal = Scene::new(cluster, "first-1").await;
        without_journal.report(json!({ "trackedItems": 3 })).await.unwrap();
        let with_journal = Scene::new(cluster, "first-2").await;
        let written = with_journal.report(journal("a", 7, "h7")).await.unwrap();
        assert_eq!(written.data["status"]["journal"]["sequence"], 7);
    });
}

#[test]
fn an_agent_moves_its_journal_forward_and_may_repeat_itself() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "forward").await;
        scene.report(journal("a", 7, "h7")).await.unwrap();
        let next = scene.report(journal("a", 8, "h8")).await.unwrap();
        let same = scene.report(journal("a", 8, "h8")).await.unwrap();
        assert_eq!(same.resource_version(), next.resource_version(), "an equal status is no write");
    });
}

#[test]
fn a_lost_journal_is_reported_under_a_new_id() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "new-id").await;
        scene.report(journal("a", 7, "h7")).await.unwrap();
        let anew = scene.report(journal("b", 0, "h0")).await.unwrap();
        assert_eq!(anew.data["status"]["journal"], json!({ "id": "b", "sequence": 0, "head": "h0" }));
    });
}

#[test]
fn agent_and_operator_write_one_status_and_keep_each_others_conditions() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "both").await;
        let agents = |status: &str| {
            let conditions = [condition("ConfigApplied", status), condition("BaselineReady", status)];
            json!({ "conditions": conditions, "trackedItems": 3 })
        };
        let operators =
            |status: &str| json!({ "conditions": [condition("Ready", status), condition("AgentAvailable", status)] });
        scene.report(agents("False")).await.unwrap();
        scene.judge(operators("False")).await.unwrap();
        scene.report(agents("True")).await.unwrap();
        let config = scene.judge(operators("True")).await.unwrap();
        assert_eq!(condition_types(&config), ["AgentAvailable", "BaselineReady", "ConfigApplied", "Ready"]);
        let conditions = config.data["status"]["conditions"].as_array().unwrap();
        assert!(conditions.iter().all(|condition| condition["status"] == "True"), "{conditions:?}");
        let fewer = scene.report(json!({ "conditions": [condition("ConfigApplied", "True")] })).await.unwrap();
        assert_eq!(condition_types(&fewer), ["AgentAvailable", "ConfigApplied", "Ready"]);
    });
}

#[test]
fn an_agent_cannot_write_the_status_of_another_node() {
    CLUSTER.test(async |cluster| {
        let mine = Scene::new(cluster, "mine").await;
        let theirs = Scene::new(cluster, "theirs").await;
        let sentence = "an agent writes the status of its own node only: this token is for node mine";
        assert_denied(mine.agent.apply_status(&theirs.node, json!({ "trackedItems": 0 })).await, sentence);
        assert_denied(mine.agent.merge_status(&theirs.node, json!({ "trackedItems": 0 })).await, sentence);
    });
}

#[test]
fn a_token_without_a_node_writes_no_status() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "claimed").await;
        let stolen = cluster.service_account(AGENT, None).await.unwrap().client().await.unwrap();
        let written = Writer::new(stolen, AGENT).apply_status(&scene.node, json!({ "trackedItems": 0 })).await;
        assert_denied(
            written,
            "an agent writes the status of its own node only: this token is for no node, it is not bound to a pod on one",
        );
    });
}

#[test]
fn an_agent_cannot_touch_the_operators_conditions() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "verdict").await;
        let ready = json!({ "conditions": [condition("Ready", "True")] });
        assert_denied(scene.report(ready.clone()).await, OPERATORS_CONDITIONS);
        scene.judge(json!({ "conditions": [condition("Ready", "False")] })).await.unwrap();
        assert_denied(scene.report(ready).await, OPERATORS_CONDITIONS);
        let available = json!({ "conditions": [condition("AgentAvailable", "True")] });
        assert_denied(scene.report(available).await, OPERATORS_CONDITIONS);
        let without = scene.agent.merge_status(&scene.node, json!({ "conditions": [] })).await;
        assert_denied(without, OPERATORS_CONDITIONS);
    });
}

#[test]
fn an_agent_cannot_take_the_room_for_the_operators_conditions() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "crowded").await;
        let own = |count: usize| {
            let conditions: Vec<_> = (0..count).map(|number| condition(&format!("Own{number}"), "True")).collect();
            json!({ "conditions": conditions })
        };
        let sentence =
            "an agent has at most 12 conditions of its own: the others of the 16 are kept for the operator's";
        assert_denied(scene.report(own(13)).await, sentence);
        assert_denied(scene.report(own(16)).await, sentence);
        scene.report(own(12)).await.unwrap();
        let judged = json!({ "conditions": [condition("Ready", "True"), condition("AgentAvailable", "True")] });
        let config = scene.judge(judged).await.unwrap();
        assert_eq!(condition_types(&config).len(), 14);
        scene.report(own(12)).await.unwrap();
    });
}

#[test]
fn an_agent_cannot_drop_its_journal() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "dropped").await;
        scene.report(journal("a", 7, "h7")).await.unwrap();
        let sentence = "status.journal cannot be dropped: a journal that was lost is reported under a new id";
        assert_denied(scene.report(json!({ "trackedItems": 3 })).await, sentence);
        assert_denied(scene.agent.merge_status(&scene.node, Value::Null).await, sentence);
    });
}

#[test]
fn an_agent_cannot_take_its_journal_back() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "back").await;
        scene.report(journal("a", 11, "h11")).await.unwrap();
        assert_denied(
            scene.report(journal("a", 10, "h10")).await,
            "status.journal.sequence cannot go back from 11 to 10 under the same id",
        );
    });
}

#[test]
fn an_agent_cannot_rewrite_what_its_journal_has_anchored() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "rewritten").await;
        scene.report(journal("a", 7, "h7")).await.unwrap();
        assert_denied(
            scene.report(journal("a", 7, "other")).await,
            "status.journal.head cannot change while id and sequence stay: the records up to it are already anchored",
        );
    });
}

#[test]
fn an_agent_has_no_right_to_the_configuration_itself() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "spec").await;
        let (node, configs) = (&scene.node, &scene.agent.configs);
        let spec = json!({ "spec": empty_spec("mine") });
        assert_no_right(scene.agent.apply(node, spec.clone()).await, "patch resource \"nodeconfigs\"");
        assert_no_right(scene.agent.apply("not-there", spec.clone()).await, "patch resource \"nodeconfigs\"");
        let object: DynamicObject = serde_json::from_value(node_config("not-there", spec)).unwrap();
        let created = configs.create(&PostParams::default(), &object).await;
        assert_no_right(created, "create resource \"nodeconfigs\"");
        assert_no_right(configs.get(node).await, "get resource \"nodeconfigs\"");
        let deleted = configs.delete(node, &DeleteParams::default()).await;
        assert_no_right(deleted.map(|either| either.left()), "delete resource \"nodeconfigs\"");
        let replaced = configs
            .replace_status(node, &PostParams::default(), &cluster.node_configs().get(node).await.unwrap())
            .await;
        assert_no_right(replaced, "update resource \"nodeconfigs/status\"");
    });
}

#[test]
fn a_status_write_changes_nothing_but_the_status() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "smuggled").await;
        let mut object =
            node_config(&scene.node, json!({ "spec": empty_spec("mine"), "status": { "trackedItems": 3 } }));
        object["metadata"]["labels"] = json!({ "smuggled": "yes" });
        object["metadata"]["finalizers"] = json!(["vedette.dev/smuggled"]);
        let (configs, how) = (&scene.agent.configs, &scene.agent.how);
        let before = cluster.node_configs().get(&scene.node).await.unwrap();
        let after = configs.patch_status(&scene.node, how, &Patch::Apply(object)).await.unwrap();
        assert_eq!(after.data["spec"], before.data["spec"]);
        assert!(after.labels().is_empty() && after.finalizers().is_empty());
        assert_eq!(after.data["status"]["trackedItems"], 3);
    });
}

#[test]
fn a_status_is_not_written_into_nothing() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "vanished").await;
        scene.operator.configs.delete(&scene.node, &DeleteParams::default()).await.unwrap();
        let written = scene.report(json!({ "trackedItems": 3 })).await;
        assert!(matches!(&written, Err(kube::Error::Api(refusal)) if refusal.code == 404), "{written:?}");
    });
}

#[test]
fn the_operator_cannot_change_what_the_agent_reports() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "reported").await;
        assert_denied(scene.judge(json!({ "trackedItems": 3 })).await, AGENTS_FIELDS);
        assert_denied(scene.judge(json!({ "conditions": [condition("BaselineReady", "True")] })).await, AGENTS_FIELDS);
        let mut report = journal("a", 7, "h7");
        report["conditions"] = json!([condition("BaselineReady", "False")]);
        report["trackedItems"] = json!(3);
        scene.report(report).await.unwrap();
        assert_denied(scene.judge(json!({ "trackedItems": 4 })).await, AGENTS_FIELDS);
        assert_denied(scene.judge(journal("a", 8, "h8")).await, AGENTS_FIELDS);
        assert_denied(scene.judge(json!({ "conditions": [condition("BaselineReady", "True")] })).await, AGENTS_FIELDS);
        assert_denied(scene.operator.merge_status(&scene.node, json!({ "journal": null })).await, AGENTS_FIELDS);
        assert_denied(scene.operator.merge_status(&scene.node, json!({ "conditions": [] })).await, AGENTS_FIELDS);
    });
}

#[test]
fn nobody_else_writes_a_status_whatever_their_rights() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "third").await;
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": { "name": "carla" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": OPERATOR },
            "subjects": [{ "kind": "User", "name": "carla", "apiGroup": "rbac.authorization.k8s.io" }],
        }))
        .unwrap();
        Api::all(cluster.client()).create(&PostParams::default(), &binding).await.unwrap();
        let carla = cluster.control_plane().person("carla", None).unwrap().client().await.unwrap();
        for (name, client) in [("carla", carla), ("admin", cluster.client())] {
            let writer = Writer::new(client, OPERATOR);
            // A binding acts a moment after it is stored.
            let written = eventually("the right to write", Duration::from_secs(30), async || {
                match writer.apply_status(&scene.node, json!({ "trackedItems": 3 })).await {
                    Err(kube::Error::Api(refusal)) if refusal.message.contains("cannot patch") => {
                        Err(not_yet(&refusal.message))
                    }
                    answer => Ok(answer),
                }
            });
            let written = written.await.unwrap();
            let sentence = format!("only the Vedette agent and operator write the status of a NodeConfig, not {name}");
            assert_denied(written, &sentence);
        }
    });
}

#[test]
fn the_operator_makes_changes_and_deletes_configurations() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "configured").await;
        let node: Node = Api::all(cluster.client()).get(&scene.node).await.unwrap();
        let mut object = node_config(&scene.node, json!({ "spec": empty_spec(&node.uid().unwrap()) }));
        object["metadata"]["ownerReferences"] = json!([node.owner_ref(&()).unwrap()]);
        let (configs, how) = (&scene.operator.configs, &scene.operator.how);
        let owned = configs.patch(&scene.node, how, &Patch::Apply(object)).await.unwrap();
        assert_eq!(owned.owner_references()[0].uid, node.uid().unwrap());
        configs.delete(&scene.node, &DeleteParams::default()).await.unwrap();
        assert_eq!(cluster.node_configs().get_opt(&scene.node).await.unwrap(), None);
    });
}

/// What an operator that was replaced relies on: its writes name what they were decided on.
#[test]
fn a_write_that_was_decided_on_what_has_changed_is_refused() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "fenced").await;
        let (configs, how) = (&scene.operator.configs, &scene.operator.how);
        let apply = async |name: &str, version: &str| {
            let mut object = node_config(name, json!({ "spec": empty_spec("fenced") }));
            object["metadata"]["resourceVersion"] = json!(version);
            configs.patch(name, how, &Patch::Apply(object)).await
        };
        let conflict = |result: kube::Result<DynamicObject>| match result.unwrap_err() {
            kube::Error::Api(refusal) => assert_eq!(refusal.code, 409, "{refusal:?}"),
            other => panic!("{other}"),
        };
        // No object has this version: it makes one, and never changes one.
        let made = apply("fenced-anew", "1").await.unwrap();
        conflict(apply("fenced-anew", "1").await);
        conflict(apply(&scene.node, "1").await);
        let before = scene.report(json!({ "trackedItems": 1 })).await.unwrap().resource_version().unwrap();
        scene.report(json!({ "trackedItems": 2 })).await.unwrap();
        conflict(apply(&scene.node, &before).await);
        let this_one = Preconditions { uid: None, resource_version: Some(before) };
        let stale = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
        conflict(configs.delete(&scene.node, &stale).await.map(|answer| answer.left().unwrap()));
        let this_one = Preconditions { uid: made.uid(), resource_version: made.resource_version() };
        let known = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
        configs.delete("fenced-anew", &known).await.unwrap();
    });
}

#[test]
fn the_operator_reads_what_it_works_with_and_says_what_it_found() {
    CLUSTER.test(async |cluster| {
        let operator = cluster.operator_identity().await.unwrap().client().await.unwrap();
        let all = ListParams::default();
        Api::<Node>::all(operator.clone()).list_metadata(&all).await.unwrap();
        Api::<Pod>::namespaced(operator.clone(), NAMESPACE).list(&all).await.unwrap();
        Api::<Namespace>::all(operator.clone()).get("kube-system").await.unwrap();
        let rule = ApiResource::from_gvk(&GroupVersionKind::gvk("vedette.dev", "v1alpha1", "DataCollectionRule"));
        let applied = |content: Value| {
            let mut object = json!({ "apiVersion": rule.api_version, "kind": rule.kind, "metadata": { "name": "said" } });
            object.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
            Patch::Apply(object)
        };
        let spec = json!({ "spec": { "files": { "paths": [{ "name": "etc", "path": "/etc" }] } } });
        let admins = Api::<DynamicObject>::all_with(cluster.client(), &rule);
        admins.patch("said", &PatchParams::apply("kubectl"), &applied(spec)).await.unwrap();
        let rules = Api::<DynamicObject>::all_with(operator.clone(), &rule);
        assert_eq!(rules.list(&all).await.unwrap().items.len(), 1);
        let status = applied(json!({ "status": { "trackedItems": 3 } }));
        rules.patch_status("said", &PatchParams::apply(OPERATOR).force(), &status).await.unwrap();
        // As large as the operator makes one: the API server counts bytes.
        let named = format!("{}.{}", "a".repeat(229), "0".repeat(16));
        let note = |bytes: usize| "é".repeat(bytes / 2);
        let mut event: Event = serde_json::from_value(json!({
            "metadata": { "name": named }, "note": note(1024), "eventTime": "2026-11-24T04:00:00.000000Z", "type": "Warning", "reason": "Test",
            "action": "Test", "reportingController": OPERATOR, "reportingInstance": "test",
            "regarding": { "apiVersion": rule.api_version, "kind": rule.kind, "name": "said" },
        }))
        .unwrap();
        let events = Api::namespaced(operator, "default");
        events.create(&PostParams::default(), &event).await.unwrap();
        event.note = Some(note(1026));
        let refused = events.create(&PostParams::default(), &event).await.unwrap_err().to_string();
        assert!(refused.contains("1024"), "{refused}");
    });
}

#[test]
fn operator_and_agent_have_no_right_beyond_their_work() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new(cluster, "beyond").await;
        let (all, pods) = (ListParams::default(), format!("{NAMESPACE}-not"));
        for client in [&scene.agent.client, &scene.operator.client] {
            assert_no_right(Api::<Secret>::all(client.clone()).list(&all).await, "list resource \"secrets\"");
            assert_no_right(Api::<Pod>::namespaced(client.clone(), &pods).list(&all).await, "list resource \"pods\"");
            assert_no_right(Api::<Namespace>::all(client.clone()).get("default").await, "get resource \"namespaces\"");
            let label = Patch::Merge(json!({ "metadata": { "labels": { "role": "web" } } }));
            let nodes = Api::<Node>::all(client.clone());
            let labeled = nodes.patch(&scene.node, &PatchParams::default(), &label).await;
            assert_no_right(labeled, "patch resource \"nodes\"");
        }
        assert_no_right(Api::<Node>::all(scene.agent.client.clone()).list(&all).await, "list resource \"nodes\"");
    });
}
