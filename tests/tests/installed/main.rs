//! The product on real nodes, as the chart and the plain manifest install it. Skipped, with the reason, where no node can run
//! (`VEDETTE_REQUIRE_REAL_NODES=1` makes that a failure) or no image be built.
#![allow(clippy::unwrap_used)]

#[cfg(target_arch = "x86_64")]
mod intruder;
mod operation;
mod plugin;
mod scene;
mod scraped;
mod secured;
#[cfg(target_arch = "x86_64")]
mod taken_over;

use scene::Scene;
use std::{path::Path, process::Command};
use vedette_tests::{cluster::NAMESPACE, release::NAME};

#[tokio::test(flavor = "multi_thread")]
async fn from_an_empty_cluster_to_a_change_that_is_told_by_helm_and_by_the_plain_manifest() {
    let Some(scene) = Scene::new().await else { return };
    scene.install().unwrap();
    scene.is_watched().await;
    scene.helm(&["test", NAME, "--namespace", NAMESPACE, "--timeout", "180s"]).unwrap();
    let left = [
        "get",
        "pods,serviceaccounts,roles",
        "--namespace",
        NAMESPACE,
        "--selector=app.kubernetes.io/name=vedette-check",
    ];
    assert_eq!(scene.kubectl(&left).unwrap(), "", "what helm test needs is gone with it");
    scene.is_confined_and_sees_all();
    const CHANGED: &str = "root:x:0:0::/root:/bin/sh\n";
    scene.tells(CHANGED).await;
    plugin::tells(&scene, CHANGED.len()).await;
    scraped::is_scraped(&scene).await;
    secured::is_secured(&scene).await;

    // Removed and installed again by other means: rules and what stands on the nodes have stayed.
    scene.helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let at = |path: &str| root.join(path).display().to_string();
    let manifest = ["apply", "--server-side", "--force-conflicts", "--filename", &at("crds/generated"), "--filename"];
    scene.kubectl(&[&manifest[..], &[&at("charts/manifests/vedette.yaml")]].concat()).unwrap();
    scene.has_ready_pods();
    scene.is_watched().await;
    scene.tells("root:x:0:0::/root:/bin/bash\nevil:x:0:0::/:/bin/sh\n").await;
    let mut uid = Command::new("cat");
    uid.arg("/var/lib/vedette/vedette.journal");
    let kept = scene.cluster.node("n1").unwrap().run(uid).await.unwrap();
    let journal = scene.get(&["nodeconfig", "n1"]).unwrap()["status"]["journal"]["id"].clone();
    assert_eq!(String::from_utf8(kept.stdout).unwrap().trim(), journal.as_str().unwrap(), "the same journal as before");
}
