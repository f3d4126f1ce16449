//! An API server whose definitions are older than the operator, and one that lets through what this version cannot read.
use std::time::Instant;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use vedette_crds::{condition::Condition, definition, node_config::NodeConfig};
use vedette_tests::{
    Cluster, Operator,
    cluster::{empty_spec, node_config},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, carried, form, has_said, leads, says, watch};

/// Stores a definition in place of the one that is there.
pub(crate) async fn define(client: Client, definition: &Value) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let name = definition["metadata"]["name"].as_str().unwrap();
    let how = PatchParams::apply("kubectl").force();
    definitions.patch(name, &how, &Patch::Apply(definition)).await.unwrap();
}

/// The member of a definition's schema at this path, as in `spec/rules/[]/tags`.
pub(crate) fn schema<'v>(definition: &'v mut Value, path: &str) -> &'v mut Value {
    let mut schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for step in path.split('/') {
        schema = match step {
            "[]" => &mut schema["items"],
            member => &mut schema["properties"][member],
        };
    }
    schema
}

/// A definition without a member of its schema.
fn without(mut definition: Value, parent: &str, member: &str) -> Value {
    let removed = schema(&mut definition, parent)["properties"].as_object_mut().unwrap().remove(member);
    assert!(removed.is_some(), "{member}");
    definition
}

/// How many writes of this kind were refused for the definition's age.
async fn refused(operator: &Operator, kind: &str) -> f64 {
    let labels = [("kind", kind), ("reason", "SchemaOutdated")];
    operator.metrics().await.unwrap().get("vedette_operator_reconcile_errors_total", &labels).unwrap()
}

/// Waits for some more refusals of one object, and sees to it that each pause was at least half as long as the backoff
/// says: a second, doubled each time.
async fn backs_off(operator: &Operator, kind: &str, since: Instant, objects: f64) {
    eventually("it has tried again", SOON, async || {
        let refused = refused(operator, kind).await;
        if refused >= 4.0 * objects { Ok(()) } else { Err(not_yet(refused)) }
    })
    .await
    .unwrap();
    let tried = refused(operator, kind).await / objects;
    let most = 2.0 + (2.0 * since.elapsed().as_secs_f64() + 1.0).log2();
    assert!(tried <= most, "{tried} times within {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_configs_definition_that_is_older_is_named_tried_less_and_less_and_taken_when_it_is_upgraded() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("older", 2).await;
    let (current, older) = (definition::node_configs(), without(definition::node_configs(), "spec/rules/[]", "tags"));
    define(cluster.client(), &older).await;
    // A definition takes effect a moment after it is stored.
    let mut spec = empty_spec("none");
    spec["rules"] = json!([{ "name": "r", "uid": "u", "generation": 1, "hash": "h", "tags": ["pci"] }]);
    let probe = node_config("probe", json!({ "spec": spec }));
    let dry_run = PatchParams { dry_run: true, ..PatchParams::apply("probe") };
    eventually("the older definition acts", SOON, async || {
        match cluster.node_configs().patch("probe", &dry_run, &Patch::Apply(&probe)).await {
            Err(kube::Error::Api(status)) if status.message.contains("field not declared in schema") => Ok(()),
            other => Err(not_yet(format!("{other:?}"))),
        }
    })
    .await
    .unwrap();
    let operator = cluster.start_operator().await.unwrap();
    leads(&operator).await;

    let mut tagged = watch("older", &["/etc"]);
    tagged["tags"] = json!(["pci"]);
    let begun = Instant::now();
    scene.apply_rule("tagged", tagged).await;
    let status = scene.rule_says("tagged", "Programmed", "False SchemaOutdated").await;
    let message = &status.conditions.iter().find(|condition| condition.type_ == "Programmed").unwrap().message;
    for part in ["nodeconfigs.vedette.dev", env!("CARGO_PKG_VERSION"), "kubectl apply --server-side -f crds/generated/"]
    {
        assert!(message.contains(part), "{message}");
    }
    backs_off(&operator, "NodeConfig", begun, 2.0).await;
    has_said(&operator, &["CustomResourceDefinition nodeconfigs.vedette.dev of this cluster is older"]).await;
    assert!(scene.existing(&nodes).await.unwrap().is_empty());

    define(cluster.client(), &current).await;
    scene.rule_says("tagged", "Programmed", "True Programmed").await;
    scene.configs_where("the tags", &nodes, SOON, |config| form(config).tags == ["pci"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rules_definition_that_is_older_is_named_in_the_log_and_nodes_are_configured_all_the_same() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("unsaid", 1).await;
    define(cluster.client(), &without(definition::data_collection_rules(), "status", "trackedItems")).await;
    let probe = |name: &str| {
        json!({ "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": { "name": name },
            "status": { "trackedItems": 1 } })
    };
    scene.apply_rule("probe", watch("nowhere", &["/etc"])).await;
    let dry_run = PatchParams { dry_run: true, ..PatchParams::apply("probe") };
    eventually("the older definition acts", SOON, async || {
        match scene.rules.patch_status("probe", &dry_run, &Patch::Apply(probe("probe"))).await {
            Err(kube::Error::Api(status)) if status.message.contains("field not declared in schema") => Ok(()),
            other => Err(not_yet(format!("{other:?}"))),
        }
    })
    .await
    .unwrap();
    scene.delete_rule("probe").await;
    let operator = cluster.start_operator().await.unwrap();
    leads(&operator).await;

    let begun = Instant::now();
    scene.apply_rule("unsaid", watch("unsaid", &["/etc"])).await;
    scene.configs_where("the configuration", &nodes, SOON, |config| carried(config) == ["unsaid"]).await;
    has_said(
        &operator,
        &[
            "cannot write the status of DataCollectionRule unsaid",
            "CustomResourceDefinition datacollectionrules.vedette.dev of this cluster is older",
        ],
    )
    .await;
    backs_off(&operator, "DataCollectionRuleStatus", begun, 1.0).await;
    define(cluster.client(), &definition::data_collection_rules()).await;
    scene.rule_says("unsaid", "Programmed", "True Programmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_this_version_cannot_read_keeps_its_form_on_the_nodes_over_restarts_too() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let nodes = scene.nodes("kept", 2).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("kept", watch("kept", &["/etc"])).await;
    scene.apply_rule("plain", watch("kept", &["/bin"])).await;
    let both = |config: &NodeConfig| carried(config) == ["kept", "plain"];
    let before = scene.configs_where("both forms", &nodes, SOON, both).await;

    let mut relaxed = definition::data_collection_rules();
    *schema(&mut relaxed, "spec") = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    define(cluster.client(), &relaxed).await;
    let newer = json!({ "apiVersion": "vedette.dev/v1alpha1", "kind": "DataCollectionRule", "metadata": { "name": "kept" },
        "spec": { "files": 5 } });
    let kind = GroupVersionKind::gvk("vedette.dev", "v1alpha1", "DataCollectionRule");
    let rules = Api::<DynamicObject>::all_with(cluster.client(), &ApiResource::from_gvk(&kind));
    let how = PatchParams::apply("kubectl").force();
    eventually("the relaxed definition acts", SOON, async || {
        Ok(rules.patch("kept", &how, &Patch::Apply(&newer)).await?)
    })
    .await
    .unwrap();
    let accepted = async || {
        eventually("Accepted is False", SOON, async || {
            let rule = rules.get("kept").await?;
            let conditions: Vec<Condition> = serde_json::from_value(rule.data["status"]["conditions"].clone())?;
            let (said, generation) = (says(&conditions, "Accepted"), &rule.data["status"]["observedGeneration"]);
            if said == "False Refused" && *generation == json!(rule.metadata.generation) {
                return Ok(());
            }
            Err(not_yet(rule.data.to_string()))
        })
        .await
        .unwrap();
    };
    accepted().await;
    operator.terminate().await.unwrap();
    operator.start().await.unwrap();
    leads(&operator).await;
    // The other rule goes, so that every configuration is written once more.
    scene.delete_rule("plain").await;
    let after = scene.configs_where("the kept form alone", &nodes, SOON, |config| carried(config) == ["kept"]).await;
    for node in &nodes {
        assert_eq!(form(&after[node]), &before[node].spec.rules[0]);
    }
    accepted().await;
    define(cluster.client(), &definition::data_collection_rules()).await;
}
