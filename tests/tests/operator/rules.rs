//! From rules to NodeConfigs.
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use vedette_crds::presets::presets;

use crate::scene::{SOON, carried, form, says, test, watch};

#[test]
fn fifty_nodes_have_their_configuration_within_five_seconds() {
    test(async |scene| {
        let names = scene.nodes("fifty", 50).await;
        let start = Instant::now();
        let rule = scene.apply_rule("fifty", watch("fifty", &["/etc"])).await;
        let configs = scene.configs_where("fifty configurations", &names, SOON, |_| true).await;
        let mut fastest = start.elapsed();
        let nodes: Api<Node> = Api::all(scene.cluster.client());
        for (name, config) in &configs {
            let form = form(config);
            assert_eq!((Some(&form.uid), form.generation), (rule.metadata.uid.as_ref(), 1));
            assert_eq!(form.files.as_ref().unwrap().paths[0].path, "/etc");
            let uid = nodes.get(name).await.unwrap().metadata.uid.unwrap();
            assert_eq!(config.spec.node_uid, uid);
            let [owner] = &config.metadata.owner_references.as_ref().unwrap()[..] else { panic!("one owner") };
            assert_eq!((owner.kind.as_str(), &owner.name, &owner.uid), ("Node", name, &uid));
            assert_eq!((owner.block_owner_deletion, owner.controller), (None, None));
        }
        let cluster = configs["fifty1"].spec.cluster.as_ref().unwrap();
        assert_eq!(cluster.name, "loopback");
        assert!(!cluster.uid.is_empty());
        let status = scene.rule_says("fifty", "Programmed", "True Programmed").await;
        assert_eq!(says(&status.conditions, "Accepted"), "True Accepted");
        assert_eq!(status.nodes.unwrap().programmed, 50);

        // The machine is shared: one slow moment of it is not the operator's, so an edit gets the same time again.
        for generation in 2..5 {
            if fastest < Duration::from_secs(5) {
                break;
            }
            let start = Instant::now();
            scene.apply_rule("fifty", watch("fifty", &["/etc", &format!("/opt/{generation}")])).await;
            scene.configs_where("fifty edits", &names, SOON, |config| form(config).generation == generation).await;
            fastest = fastest.min(start.elapsed());
        }
        eprintln!("50 nodes had their configuration after {fastest:?}");
        assert!(fastest < Duration::from_secs(5), "{fastest:?}");
    });
}

#[test]
fn an_edit_a_suspension_a_disabled_entry_and_a_deletion_reach_the_node() {
    test(async |scene| {
        scene.nodes("edited", 1).await;
        scene.apply_rule("edited", watch("edited", &["/etc", "/bin"])).await;
        let first = scene.config_where("both entries", "edited1", |config| paths(config) == ["/etc", "/bin"]).await;

        scene.apply_rule("edited", watch("edited", &["/etc", "/sbin"])).await;
        let edited = scene.config_where("the edit", "edited1", |config| paths(config) == ["/etc", "/sbin"]).await;
        assert_eq!(form(&edited).generation, 2);
        assert_ne!(form(&edited).hash, form(&first).hash);

        let mut spec = watch("edited", &["/etc", "/sbin"]);
        spec["suspend"] = json!(true);
        scene.apply_rule("edited", spec.clone()).await;
        scene.config_where("the suspension", "edited1", |config| form(config).suspend).await;
        scene.rule_says("edited", "Programmed", "True Suspended").await;
        scene.rule_says("edited", "Ready", "False Suspended").await;

        spec["suspend"] = json!(false);
        spec["files"]["paths"][0]["enabled"] = json!(false);
        scene.apply_rule("edited", spec).await;
        scene.config_where("no /etc", "edited1", |config| !form(config).suspend && paths(config) == ["/sbin"]).await;

        scene.delete_rule("edited").await;
        scene.config_where("no rule", "edited1", |config| carried(config).is_empty()).await;
    });
}

#[test]
fn rules_that_overlap_stand_side_by_side_and_go_one_by_one() {
    test(async |scene| {
        let nodes = scene.nodes("overlapped", 2).await;
        scene.cluster.label_node("overlapped2", &[("tier", Some("back"))]).await.unwrap();
        scene.apply_rule("overlapped-all", watch("overlapped", &["/etc"])).await;
        let mut back = watch("overlapped", &["/etc/ssh"]);
        back["nodeSelector"]["matchExpressions"] = json!([{ "key": "tier", "operator": "Exists" }]);
        scene.apply_rule("overlapped-back", back).await;
        let of_both = |config: &_| carried(config) == ["overlapped-all", "overlapped-back"];
        scene.config_where("both rules", "overlapped2", of_both).await;
        scene.config_where("one rule", "overlapped1", |config| carried(config) == ["overlapped-all"]).await;
        scene.delete_rule("overlapped-all").await;
        scene.config_where("the other rule", "overlapped2", |config| carried(config) == ["overlapped-back"]).await;
        scene.config_where("none", &nodes[0], |config| carried(config).is_empty()).await;
    });
}

#[test]
fn a_rule_that_only_compilation_refuses_names_its_entries_and_nodes_keep_its_last_good_form() {
    test(async |scene| {
        scene.nodes("refused", 1).await;
        scene.apply_rule("refused", watch("refused", &["/etc"])).await;
        scene.config_where("the good form", "refused1", |config| paths(config) == ["/etc"]).await;
        let mut odd = watch("refused", &["/etc"]);
        odd["files"]["paths"] = json!([
            { "name": "first", "path": "/etc/{a[}]b" }, { "name": "good", "path": "/bin" },
            { "name": "second", "path": "/opt", "exclude": ["{a[}]b"] },
        ]);
        scene.apply_rule("refused", odd).await;
        let status = scene.rule_says("refused", "Accepted", "False Refused").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap().message;
        assert!(message.contains("\"first\"") && message.contains("\"second\""), "{message}");
        assert!(!message.contains("\"good\""), "{message}");
        assert_eq!(status.observed_generation, Some(2));
        assert_eq!(says(&status.conditions, "Programmed"), "False Pending");
        let kept = scene.config_where("the same form", "refused1", |_| true).await;
        assert_eq!((form(&kept).generation, paths(&kept)), (1, vec!["/etc"]));
        scene.apply_rule("refused", watch("refused", &["/bin"])).await;
        scene.config_where("the next good form", "refused1", |config| paths(config) == ["/bin"]).await;
        scene.rule_says("refused", "Accepted", "True Accepted").await;
    });
}

#[test]
fn a_spec_that_somebody_edits_is_put_right() {
    test(async |scene| {
        scene.nodes("tampered", 1).await;
        scene.apply_rule("tampered", watch("tampered", &["/etc"])).await;
        let before = scene.config_where("the configuration", "tampered1", |_| true).await;
        let rules = json!(before.spec.rules);
        let mut suspended = rules.clone();
        suspended[0]["suspend"] = json!(true);
        let mut doubled = rules.clone();
        let foreign = json!({ "name": "foreign", "uid": "foreign", "generation": 1, "hash": "none" });
        doubled.as_array_mut().unwrap().push(foreign);
        for (number, tampered) in [json!([]), suspended, doubled].into_iter().enumerate() {
            let edit = json!({ "spec": { "rules": tampered } });
            let how = PatchParams { field_manager: Some(format!("editor{number}")), ..PatchParams::default() };
            let edited = scene.configs.patch("tampered1", &how, &Patch::Merge(edit)).await.unwrap();
            assert_ne!(edited.spec, before.spec);
            scene.config_where("the rule as it was", "tampered1", |config| config.spec == before.spec).await;
        }
        scene.delete_rule("tampered").await;
        scene.config_where("nothing stays behind", "tampered1", |config| carried(config).is_empty()).await;
    });
}

#[test]
fn a_configuration_of_all_presets_stays_under_ten_kilobytes_with_its_status() {
    test(async |scene| {
        scene.nodes("sized", 1).await;
        for preset in presets() {
            let document: Value = serde_saphyr::from_str(preset.yaml).unwrap();
            let mut spec = document["spec"].clone();
            spec["nodeSelector"] = json!({ "matchLabels": { "group": "sized" } });
            scene.apply_rule(preset.name, spec).await;
        }
        scene.config_where("all presets", "sized1", |config| carried(config).len() == presets().len()).await;
        let agent = scene.agent("sized1").await;
        agent.say_as_much_as_possible().await;
        let config = scene
            .config_where("the operator's conditions", "sized1", |config| {
                let status = config.status.as_ref();
                status.is_some_and(|status| says(&status.conditions, "Ready") == "True Ready")
            })
            .await;
        let object = serde_json::to_string(&config).unwrap();
        eprintln!("{} bytes of a NodeConfig with all presets", object.len());
        assert!(object.len() < 10_000, "{} bytes: {object}", object.len());
        let status = serde_json::to_string(&config.status).unwrap();
        assert!(status.len() < 5_000, "{} bytes: {status}", status.len());
    });
}

fn paths(config: &vedette_crds::node_config::NodeConfig) -> Vec<&str> {
    let files = form(config).files.as_ref().unwrap();
    files.paths.iter().map(|entry| entry.path.as_str()).collect()
}
