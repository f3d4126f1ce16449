//! `explain` of a node that is not well, and `--ask-agent` of an agent that was taken over. There are no containers here: a program
//! in kubectl's place says what one would pass on.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use vedette_tests::{
    Cluster,
    cluster::{OPERATOR, empty_spec, node_config, node_configs_as},
};

use crate::scene::{Person, Ran, folder};

fn kubectl(folder: &Path, script: &str) {
    let program = folder.join("kubectl");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_moves_no_terminal_and_does_not_go_on_for_ever() {
    let cluster = Cluster::start().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    cluster.add_nodes("n", 1, &[]).await.unwrap();
    let config = node_config("n1", json!({"spec": empty_spec("uid")}));
    cluster.node_configs().patch("n1", &PatchParams::apply("test"), &Patch::Apply(&config)).await.unwrap();
    let programs = tempfile::tempdir().unwrap();
    let asks = |more: &[&str]| {
        let mut command: Command = person.command(&[&["explain", "n1", "/etc/x", "--ask-agent"], more].concat());
        command.env("PATH", programs.path());
        Ran::of(command, None)
    };

    kubectl(
        programs.path(),
        r"printf '/etc/x is \033[2Jtracked\n  \302\233by\342\200\256 all\n'; printf '\033]0;x\007\n' >&2",
    );
    let ran = asks(&[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.output, "/etc/x is \\u{1b}[2Jtracked\n  \\u{9b}by\\u{202e} all\n");
    assert_eq!(ran.errors, "\\u{1b}]0;x\\u{7}\n");

    kubectl(programs.path(), r#"printf '{"path":"/etc/\302\233x"}\n'; exit 1"#);
    let ran = asks(&["-o", "json"]);
    assert_eq!((ran.code, &*ran.output), (Some(2), "{\"path\":\"/etc/\\u009bx\"}\n"), "kubectl failed");
    assert_eq!(ran.json()["path"], Value::from("/etc/\u{9b}x"), "it is the same still");

    for stream in ["", " >&2"] {
        kubectl(programs.path(), &format!("while :; do echo all work and no play makes jack a dull boy{stream}; done"));
        let ran = asks(&[]);
        assert_eq!(ran.code, Some(2), "{stream}");
        let end = "error: the agent's answer is longer than 1024 KiB: the rest is not read\n";
        assert!(ran.errors.ends_with(end), "{stream}");
        assert!(ran.output.len() + ran.errors.len() < 2 << 20, "{stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_nobody_looks_is_said_of_what_is_selected() {
    let cluster = Cluster::start().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    let config = node_config("n1", json!({"spec": empty_spec("uid")}));
    let configs = cluster.node_configs();
    configs.patch("n1", &PatchParams::apply("test"), &Patch::Apply(&config)).await.unwrap();
    let is = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-24T04:00:00Z"})
    };
    let conditions =
        [is("AgentAvailable", "False", "NoPod", "no agent pod is on the node"), is("Ready", "False", "NoPod", "")];
    let object = node_config("n1", json!({"status": {"conditions": conditions}}));
    let operator = cluster.operator_identity().await.unwrap().client().await.unwrap();
    let how = PatchParams::apply(OPERATOR).force();
    node_configs_as(operator).patch_status("n1", &how, &Patch::Apply(object)).await.unwrap();
    let ran = person.runs(&["explain", "n1", "/etc/passwd"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let note = ran.output.lines().find(|line| line.starts_with("note: the node is not well for ")).unwrap();
    assert!(note.ends_with(": AgentAvailable, NoPod: no agent pod is on the node"), "{note}");
}
