//! `kubectl vedette changes --full`: whole records, from the logs of the agents' pods.
//!
//! Node by node, each in the order of its journal, a line as it was written: `vedette-agent verify -` takes them. A log is one
//! sink among others: what it does not hold any more is said, never passed over. A node whose log cannot be read hides no other.

use crate::TROUBLE;
use crate::agent::{self, AgentPod};
use crate::cli::Form;
use crate::connect::Cluster;
use crate::filter::Wanted;
use crate::fleet::{self, part};
use crate::log_lines::LogLines;
use crate::output::{say, text};
use crate::reading::Reading;
use crate::trouble::Trouble;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams, LogParams};
use std::collections::BTreeMap;
use std::process::ExitCode;
use vedette_crds::node_config::{JournalHead, NodeConfigStatus};

/// Nodes without a pod that are named; the rest is a number.
const NAMED: usize = 5;

/// Writes the records that are wanted.
pub(crate) async fn records(cluster: &Cluster, wanted: &Wanted<'_>, form: Form) -> Result<ExitCode, Trouble> {
    if matches!(form, Form::Yaml | Form::Wide) {
        return Err(Trouble::said("records are lines of JSON: leave -o out, or write -o json"));
    }
    // Before the logs: what a status names is in its node's log by then.
    let heads = heads(cluster, wanted).await;
    let mut pods = agent::pods(cluster, wanted.only_node().as_deref()).await?;
    pods.retain(|pod| wanted.node(&pod.node));
    if pods.is_empty() {
        let message = format!(
            "no agent's pod is in the namespace {} on such nodes: is it another one (--namespace)?",
            cluster.namespace
        );
        return Err(Trouble::said(message));
    }
    let mut sweep = Sweep { cluster, wanted, is_complete: true };
    let heads = heads.unwrap_or_else(|trouble| {
        sweep.lacks(&format!("{trouble}. What logs hold is not compared with what statuses say of their journals"));
        BTreeMap::new()
    });
    match sweep.nodes(&pods, &heads).await {
        Ok(()) => sweep.podless(&pods, &heads),
        // Who reads no further still gets to know how far it went.
        Err(trouble) if trouble.is_broken_pipe() => {}
        Err(trouble) => return Err(trouble),
    }
    Ok(if sweep.is_complete { ExitCode::SUCCESS } else { ExitCode::from(TROUBLE) })
}

/// Where the nodes' journals stand, as their statuses say.
async fn heads(cluster: &Cluster, wanted: &Wanted<'_>) -> Result<BTreeMap<String, JournalHead>, Trouble> {
    let only = wanted.only_node().map(|node| ListParams::default().fields(&format!("metadata.name={node}")));
    let head = |object: DynamicObject| {
        let status: NodeConfigStatus = part(&object, "status").unwrap_or_default();
        Some((object.name_any(), status.journal?))
    };
    let heads = fleet::list(cluster, &cluster.node_configs(), "NodeConfigs", only.unwrap_or_default(), head).await?;
    Ok(heads.into_iter().flatten().filter(|(node, _)| wanted.node(node)).collect())
}

/// One pass over all nodes.
struct Sweep<'s> {
    cluster: &'s Cluster,
    wanted: &'s Wanted<'s>,
    /// Whether each log was read to its end and can be believed.
    is_complete: bool,
}

impl Sweep<'_> {
    async fn nodes(&mut self, pods: &[AgentPod], heads: &BTreeMap<String, JournalHead>) -> Result<(), Trouble> {
        // While an agent is replaced its node may have two.
        for of_node in pods.chunk_by(|left, right| left.node == right.node) {
            let Some(AgentPod { node, .. }) = of_node.first() else { continue };
            let mut reading = Reading::new(node, self.wanted, heads.get(node));
            let mut is_whole = true;
            for pod in of_node {
                // Who was there before the last restart of the container wrote into a log of its own.
                for previous in [true, false] {
                    is_whole &= self.log(pod, previous, &mut reading).await?;
                }
            }
            reading.end(is_whole);
            said(node, &mut reading);
            self.is_complete &= reading.is_believed();
        }
        Ok(())
    }

    /// Reads one log; whether all of it could be read. An error is one of our own output.
    async fn log(&mut self, pod: &AgentPod, previous: bool, reading: &mut Reading<'_>) -> Result<bool, Trouble> {
        let which = LogParams { container: Some(pod.container.clone()), previous, ..LogParams::default() };
        let what = format!("read the log of {}", pod.name);
        let log = match self.cluster.ask(&what, self.cluster.pods().log_stream(&pod.name, &which)).await {
            Ok(log) => log,
            Err(Trouble::Asked { source, .. })
                if previous && matches!(&*source, kube::Error::Api(status) if matches!(status.code, 400 | 404)) =>
            {
                return Ok(true);
            }
            Err(trouble) => {
                self.lacks(&format!("{}: {trouble}", pod.node));
                return Ok(false);
            }
        };
        let log = std::pin::pin!(log);
        let mut lines = LogLines::new(log);
        loop {
            match lines.next().await {
                Ok(Some(line)) => {
                    let wanted = reading.line(&line);
                    said(&pod.node, reading);
                    if let Some(line) = wanted {
                        text(&format!("{line}\n"))?;
                    }
                }
                Ok(None) => return Ok(true),
                Err(unread) => {
                    self.lacks(&format!("{}: cannot {what} to its end: {unread}", pod.node));
                    return Ok(false);
                }
            }
        }
    }

    /// Says which nodes have records and nobody who would show them.
    fn podless(&mut self, pods: &[AgentPod], heads: &BTreeMap<String, JournalHead>) {
        let has_none = |node: &&String| pods.binary_search_by(|pod| pod.node.cmp(node)).is_err();
        let without: Vec<&String> =
            heads.iter().filter(|(_, head)| head.sequence > 0).map(|(node, _)| node).filter(has_none).collect();
        for node in without.iter().take(NAMED) {
            self.lacks(&format!("{node}: it has records, and no agent's pod is on it to read them from"));
        }
        if without.len() > NAMED {
            self.lacks(&format!("the same of {} more nodes", without.len() - NAMED));
        }
    }

    fn lacks(&mut self, what: &str) {
        self.is_complete = false;
        say(&format!("warning: {what}"));
    }
}

fn said(node: &str, reading: &mut Reading<'_>) {
    for note in reading.notes() {
        say(&format!("note: {node}: {note}"));
    }
}
