//! From a rule to a record, on a real API server with the real operator and real agents: each test has a node and a host
//! of its own and shares the cluster and the operator.
#![allow(clippy::unwrap_used)]

#[path = "end_to_end/labels.rs"]
mod labels;
#[path = "end_to_end/limits.rs"]
mod limits;
#[path = "end_to_end/scene.rs"]
mod scene;
// The same check that the engine's tests hold every line to.
#[path = "../../node-agent/engine/tests/support/schemas.rs"]
mod schemas;

use std::{fs::File, time::SystemTime};

use scene::{Scene, entry, on_cluster, rule};
use serde_json::{Value, json};

#[test]
fn what_changes_on_a_host_is_in_records_metrics_and_status_with_before_and_after() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "changes").await;
        scene.host.write("/etc/a.conf", "abc").unwrap();
        scene.host.write("/etc/gone.conf", "1").unwrap();
        scene.host.link("/etc/link", "one").unwrap();
        scene.start().await;
        scene.apply(rule("changes", json!([entry("etc", "/etc")]))).await;
        scene.baseline("changes", 1).await;

        scene.host.write("/etc/a.conf", "abcd").unwrap();
        scene.host.write("/etc/new.conf", "2").unwrap();
        scene.host.remove("/etc/gone.conf").unwrap();
        let mut told = scene.told(3).await;
        // What is new or gone waits for the end of the compare: it may have moved.
        told.sort();
        assert_eq!(told, ["Added /etc/new.conf ", "Modified /etc/a.conf Content,Size", "Removed /etc/gone.conf "]);
        scene.host.chmod("/etc/a.conf", 0o600).unwrap();
        scene.host.link("/etc/link", "two").unwrap();
        let told = scene.told(5).await;
        assert_eq!(told[3..], ["Modified /etc/a.conf Mode", "Modified /etc/link LinkTarget"]);

        let changes = scene.changes().unwrap();
        let of = |path: &str, kind: &str| {
            changes.iter().find(|change| change["path"] == path && change["changeType"] == kind).unwrap()
        };
        let content = of("/etc/a.conf", "Modified");
        assert_eq!(content["before"]["md5"], "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(content["after"]["md5"], "e2fc714c4727ee9395f324cd2e7f331f");
        assert_eq!(content["cluster"], "loopback");
        assert_eq!(content["node"], scene.node.as_str());
        assert_eq!(content["nodeUid"], scene.node_uid.as_str());
        let link = of("/etc/link", "Modified");
        assert_eq!((&link["before"]["linkTarget"], &link["after"]["linkTarget"]), (&json!("one"), &json!("two")));
        assert_eq!(of("/etc/gone.conf", "Removed")["before"]["size"], 1);

        let status = scene
            .status("counts all five", |status| status["changes"] == json!({"added": 1, "modified": 3, "removed": 1}))
            .await;
        let recent: Vec<&Value> = status["recentChanges"].as_array().unwrap().iter().collect();
        assert_eq!(recent[0]["sequence"], changes.last().unwrap()["sequence"], "newest first");
        assert!(recent.iter().any(|recent| recent["path"] == "/etc/link" && recent["fields"] == json!(["LinkTarget"])));
        scene.agree().await;
        scene.rule_counts("changes", json!({"added": 1, "modified": 3, "removed": 1})).await;
    });
}

#[test]
fn a_rule_that_is_edited_suspended_disabled_or_deleted_never_makes_a_false_record() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "edits").await;
        scene.host.write("/etc/a.conf", "1").unwrap();
        scene.host.write("/srv/data", "1").unwrap();
        scene.start().await;
        scene.apply(rule("edits", json!([entry("conf", "/etc/*.conf")]))).await;
        scene.baseline("edits", 1).await;

        scene.apply(rule("edits", json!([entry("conf", "/etc/*.conf"), entry("srv", "/srv")]))).await;
        scene.baseline("edits", 2).await;
        scene.host.write("/srv/data", "22").unwrap();
        assert_eq!(
            scene.told(1).await,
            ["Modified /srv/data Content,Size"],
            "what came under watch was only baselined"
        );

        let mut suspended = rule("edits", json!([entry("conf", "/etc/*.conf"), entry("srv", "/srv")]));
        suspended["spec"]["suspend"] = json!(true);
        scene.apply(suspended).await;
        scene.confirmed("edits", 3).await;
        scene.host.write("/srv/data", "333").unwrap();
        scene.apply(rule("edits", json!([entry("conf", "/etc/*.conf"), entry("srv", "/srv")]))).await;
        scene.confirmed("edits", 4).await;
        let told = scene.told(2).await;
        assert_eq!(told[1], "Modified /srv/data Content,Size");
        assert_eq!(scene.changes().unwrap()[1]["detection"], "Resumed");

        let mut disabled = entry("srv", "/srv");
        disabled["enabled"] = json!(false);
        scene.apply(rule("edits", json!([entry("conf", "/etc/*.conf"), disabled]))).await;
        scene.baseline("edits", 5).await;
        scene.host.remove("/srv/data").unwrap();
        scene.host.write("/etc/a.conf", "22").unwrap();
        assert_eq!(scene.told(3).await[2], "Modified /etc/a.conf Content,Size", "what left watch is not Removed");

        scene.delete("edits").await;
        scene.gone_from_node("edits").await;
        let metrics = scene.agent.metrics().await.unwrap();
        assert_eq!(metrics.get("vedette_agent_tracked_items", &[("rule", "edits"), ("category", "File")]), None);
        assert_eq!(metrics.sum("vedette_agent_changes_total", &[("rule", "edits")]), 0.0);
        assert_eq!(scene.changes().unwrap().len(), 3, "nothing is reported as removed");
    });
}

#[test]
fn two_rules_on_one_file_make_one_record_that_both_count() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "overlap").await;
        scene.host.write("/etc/a.conf", "1").unwrap();
        scene.start().await;
        let mut mode_only = entry("mode", "/etc/*.conf");
        mode_only["compare"] = json!(["Mode"]);
        mode_only["severity"] = json!("Critical");
        scene.apply(rule("overlap", json!([entry("etc", "/etc")]))).await;
        scene.apply(scene.rule_named("overlap-mode", json!([mode_only]))).await;
        scene.baseline("overlap", 1).await;
        scene.baseline("overlap-mode", 1).await;

        scene.host.write("/etc/a.conf", "22").unwrap();
        scene.told(1).await;
        scene.host.chmod("/etc/a.conf", 0o600).unwrap();
        scene.told(2).await;
        let changes = scene.changes().unwrap();
        assert_eq!(changes[0]["rules"], json!(["overlap/etc"]), "only who compares content reports it");
        assert_eq!(changes[0]["severity"], "Medium");
        assert_eq!(changes[1]["rules"], json!(["overlap-mode/mode", "overlap/etc"]));
        assert_eq!(changes[1]["severity"], "Critical");
        scene.rule_counts("overlap", json!({"added": 0, "modified": 2, "removed": 0})).await;
        scene.rule_counts("overlap-mode", json!({"added": 0, "modified": 1, "removed": 0})).await;
        scene.agree().await;
    });
}

#[test]
fn a_node_that_loses_its_label_or_is_recreated_keeps_its_journal_and_reports_no_removal() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "nodes").await;
        scene.host.write("/etc/a.conf", "1").unwrap();
        scene.start().await;
        scene.apply(rule("nodes", json!([entry("etc", "/etc")]))).await;
        scene.baseline("nodes", 1).await;
        scene.host.write("/etc/a.conf", "22").unwrap();
        scene.told(1).await;
        let journal =
            scene.status("has a journal", |status| status["journal"]["id"].is_string()).await["journal"]["id"].clone();

        scene.label(None).await;
        scene.config_is_gone().await;
        scene.label(Some("nodes")).await;
        scene.baseline("nodes", 1).await;
        assert_eq!(scene.changes().unwrap().len(), 1);

        scene.recreate_node().await;
        scene.baseline("nodes", 1).await;
        scene.host.write("/etc/a.conf", "333").unwrap();
        scene.told(2).await;
        let status = scene.status("counts it", |status| status["changes"]["modified"] == 2).await;
        assert_eq!(status["journal"]["id"], journal, "the same journal goes on");
        assert_eq!(scene.changes().unwrap()[1]["nodeUid"], scene.node_uid.as_str(), "of the new Node");
        scene.agree().await;
    });
}

#[test]
fn journal_status_and_metrics_agree_after_twenty_kills_in_mid_scan() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "kills").await;
        for file in 0..400 {
            scene.host.write(&format!("/data/{}/{file}", file % 20), &"x".repeat(20_000)).unwrap();
        }
        let large = File::create(scene.host.at("/data/large")).unwrap();
        large.set_len(512 << 20).unwrap();
        scene.start().await;
        scene.apply(rule("kills", json!([entry("data", "/data")]))).await;
        scene.baseline("kills", 1).await;
        for round in 0..20 {
            scene.host.write(&format!("/data/{round}/{round}"), &format!("round {round}")).unwrap();
            scene.host.write(&format!("/data/new-{round}"), "new").unwrap();
            if round % 2 == 0 {
                // Touched, it is read again and is no change: the compare is still at it when the next kill falls.
                large.set_modified(SystemTime::now()).unwrap();
            }
            scene.agent.kill().unwrap();
            scene.agent.start().await.unwrap();
        }
        scene.told(40).await;
        scene.host.remove("/data/0/0").unwrap();
        scene.told(41).await;
        let changes = scene.changes().unwrap();
        assert!(changes.iter().any(|change| change["detection"] == "Startup"));
        let mut named: Vec<String> = changes.iter().map(scene::tell).collect();
        named.sort();
        let all = named.len();
        named.dedup();
        assert_eq!(named.len(), all, "every change is there once");
        scene.agree().await;
        scene.restart_operator_and_agent().await;
        scene.agree().await;
        scene.rule_counts("kills", json!({"added": 20, "modified": 20, "removed": 1})).await;
    });
}

#[test]
fn an_invalid_rule_is_refused_at_apply_or_says_which_entry_it_is() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "invalid").await;
        scene.host.write("/etc/a.conf", "1").unwrap();
        scene.start().await;
        scene.apply(rule("invalid", json!([entry("etc", "/etc")]))).await;
        scene.baseline("invalid", 1).await;

        let relative = scene.try_apply(rule("invalid", json!([entry("etc", "etc/passwd")]))).await.unwrap_err();
        assert!(relative.contains("a path is absolute: begin it with /"), "{relative}");
        scene.apply(rule("invalid", json!([entry("etc", "/etc/{a[}]b")]))).await;
        let rule = scene
            .rule("says that it is refused", "invalid", |rule| scene::condition(rule, "Accepted")["status"] == "False");
        let message = scene::condition(&rule.await, "Accepted")["message"].as_str().unwrap().to_owned();
        assert!(message.contains("etc"), "{message}");
        scene.host.write("/etc/a.conf", "22").unwrap();
        assert_eq!(scene.told(1).await, ["Modified /etc/a.conf Content,Size"], "the last good form stays in force");
    });
}

#[test]
fn an_agent_without_its_node_config_goes_on_by_the_last_plan() {
    on_cluster(async |cluster| {
        let mut scene = Scene::new(cluster, "alone").await;
        scene.host.write("/etc/a.conf", "1").unwrap();
        scene.start().await;
        scene.apply(rule("alone", json!([entry("etc", "/etc")]))).await;
        scene.baseline("alone", 1).await;
        scene.remove_node().await;
        scene.config_is_gone().await;
        scene.host.write("/etc/a.conf", "22").unwrap();
        assert_eq!(scene.told(1).await, ["Modified /etc/a.conf Content,Size"]);
        scene.agent.kill().unwrap();
        scene.host.write("/etc/a.conf", "333").unwrap();
        scene.agent.start().await.unwrap();
        scene.told(2).await;
        let log = scene.agent.log().unwrap();
        assert!(log.contains("going on by the last plan"), "{log}");
    });
}
