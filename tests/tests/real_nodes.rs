//! Real nodes: pods run on them, tests may tamper with them, and nothing is left of them, however they end.
//! Skipped, with the reason, where no node can run; `VEDETTE_REQUIRE_REAL_NODES=1` makes that a failure.
#![allow(clippy::unwrap_used)]
use std::{env, fs, path::Path, process::Command, time::Duration};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use vedette_tests::{RealCluster, Result, eventually, nodes::PAUSE, not_yet, process::Process};

const SOON: Duration = Duration::from_secs(120);
/// The controller manager waits 40 s before it gives up on a silent node.
const NOTICED_WITHIN: Duration = Duration::from_secs(240);

async fn every_node_runs_a_pod(cluster: &RealCluster) -> Result<()> {
    let daemons: Api<DaemonSet> = Api::default_namespaced(cluster.client());
    let daemon = serde_json::from_value(json!({
        "metadata": { "name": "pause" },
        "spec": {
            "selector": { "matchLabels": { "app": "pause" } },
            "template": {
                "metadata": { "labels": { "app": "pause" } },
                "spec": { "containers": [{ "name": "pause", "image": PAUSE, "imagePullPolicy": "Never" }] },
            },
        },
    }));
    daemons.create(&PostParams::default(), &daemon.unwrap()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    eventually("a running pod on every node", SOON, async || {
        let mut running: Vec<String> = pods
            .list(&ListParams::default().labels("app=pause"))
            .await?
            .into_iter()
            .filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running"))
            .filter_map(|pod| pod.spec?.node_name)
            .collect();
        running.sort();
        if running == ["n1", "n2"] { Ok(()) } else { Err(not_yet(format!("{running:?}"))) }
    })
    .await
}

async fn readiness(cluster: &RealCluster, within: Duration, wanted: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client());
    eventually(&format!("every node's Ready is {wanted}"), within, async || {
        for node in nodes.list(&ListParams::default()).await? {
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
            if ready.as_ref().is_none_or(|condition| condition.status != wanted) {
                return Err(not_yet(format!("{:?}: {ready:?}", node.metadata.name)));
            }
        }
        Ok(())
    })
    .await
}

/// Everything on this machine that says that a cluster with this folder was here.
fn leftovers(folder: &Path) -> Vec<String> {
    let (path, run) = (folder.to_str().unwrap(), folder.file_name().unwrap().to_str().unwrap());
    let list = |folder: &str| fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let mentions = |file: &Path| fs::read(file).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(path));
    let mut found = Vec::new();
    for process in list("/proc") {
        // A machine's processes see mounts of its disk, the control plane's have its folder in their arguments.
        if ["cmdline", "mountinfo"].iter().any(|file| mentions(&process.join(file))) {
            found.push(process.display().to_string());
        }
    }
    for device in list("/sys/block") {
        if mentions(&device.join("loop/backing_file")) {
            found.push(device.display().to_string());
        }
    }
    for hierarchy in list("/sys/fs/cgroup") {
        let hierarchy = hierarchy.to_str().unwrap();
        if Path::new(hierarchy).is_dir() {
            let groups = list(hierarchy).into_iter().map(|group| group.display().to_string());
            found.extend(groups.filter(|group| group.contains(run)));
        }
    }
    found
}

/// Of each kind something is found while the cluster runs, or finding nothing afterwards would prove nothing.
fn everything_is_there(folder: &Path) {
    let found = leftovers(folder);
    for kind in ["/proc/", "/sys/block/loop", "/sys/fs/cgroup/memory/"] {
        assert!(found.iter().any(|one| one.starts_with(kind)), "no {kind} in {found:?}");
    }
}

async fn nothing_is_left(folder: &Path) -> Result<()> {
    eventually("nothing is left", SOON, async || match leftovers(folder) {
        left if left.is_empty() => Ok(()),
        left => Err(not_yet(left.join("\n"))),
    })
    .await
}

#[tokio::test]
async fn nodes_run_pods_are_tampered_with_lose_their_kubelet_and_network_and_leave_nothing() -> Result<()> {
    let Some(cluster) = RealCluster::start_or_skip().await? else { return Ok(()) };
    let folder = cluster.control_plane().folder("")?;
    everything_is_there(&folder);
    every_node_runs_a_pod(&cluster).await?;
    let logs = cluster.kubectl().args(["logs", "--selector=app=pause"]).output().unwrap();
    assert!(logs.status.success(), "the API server reaches the kubelets: {logs:?}");

    let (n1, n2) = (cluster.node("n1")?, cluster.node("n2")?);
    for path in ["/etc/tampered-with", "/usr/bin/tampered-with"] {
        n1.write(path, "evil")?;
        let mut cat = Command::new("cat");
        cat.arg(path);
        assert_eq!(n1.run(cat).await?.stdout, b"evil");
        assert!(n2.read(path).is_err(), "{path} is n1's alone");
        assert!(!Path::new(path).exists(), "{path} is no file of this machine");
    }
    for node in [n1, n2] {
        eventually("a pod reaches the API server by its service", SOON, async || {
            let mut dial = Command::new("sh");
            let script = "nsenter -n -t $(pgrep -xn pause) timeout 5 bash -c ': < /dev/tcp/10.96.0.1/443'";
            dial.args(["-c", script]);
            let dialed = node.run(dial).await?;
            if dialed.status.success() { Ok(()) } else { Err(not_yet(format!("{dialed:?}"))) }
        })
        .await?;
    }

    n1.stop_kubelet().await?;
    n2.cut_off()?;
    readiness(&cluster, NOTICED_WITHIN, "Unknown").await?;
    n1.start_kubelet().await?;
    n2.reconnect()?;
    readiness(&cluster, SOON, "True").await?;

    drop(cluster);
    nothing_is_left(&folder).await
}

/// Set for the process that the test below starts and kills: the file where it names its cluster's folder.
const VICTIM: &str = "VEDETTE_TEST_VICTIM";

#[tokio::test]
async fn nothing_is_left_of_a_cluster_whose_process_was_killed() -> Result<()> {
    const NAME: &str = "nothing_is_left_of_a_cluster_whose_process_was_killed";
    if let Some(file) = env::var_os(VICTIM) {
        let cluster = RealCluster::start_or_skip().await?;
        let folder = match &cluster {
            Some(cluster) => {
                every_node_runs_a_pod(cluster).await?;
                cluster.control_plane().folder("")?.display().to_string()
            }
            None => "skipped".to_owned(),
        };
        fs::write(file, format!("{folder}\n")).unwrap();
        std::future::pending::<()>().await;
    }
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("folder");
    let mut victim = Command::new(env::current_exe().unwrap());
    victim.args(["--exact", NAME, "--nocapture"]).env(VICTIM, &file);
    let mut victim = Process::start("victim", victim, &scratch.path().join("log"))?;
    let folder = eventually("the victim's cluster", Duration::from_secs(1800), async || {
        if let Err(ended) = victim.still_runs() {
            return Ok(Err(ended));
        }
        let folder = fs::read_to_string(&file)?;
        folder.strip_suffix('\n').map(|folder| Ok(folder.to_owned())).ok_or_else(|| not_yet("half a name"))
    })
    .await??;
    if folder == "skipped" {
        eprintln!("{}", victim.output()?);
        return Ok(());
    }
    everything_is_there(Path::new(&folder));
    victim.kill()?;
    nothing_is_left(Path::new(&folder)).await
}
