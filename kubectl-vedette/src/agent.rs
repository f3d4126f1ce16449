//! The agents' pods: which one is on a node, and a question to the agent in it by way of `kubectl exec`.

use crate::cli::ClusterOptions;
use crate::connect::Cluster;
use crate::fleet;
use crate::trouble::Trouble;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitStatus};

const AGENT_PODS: &str = "app.kubernetes.io/name=vedette-agent";
/// The container of the agent, and where its image has the program.
const CONTAINER: &str = "agent";
const PROGRAM: &str = "/vedette-agent";
const STATE_DIR: &str = "/var/lib/vedette";

/// The pod of a node's agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentPod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) container: String,
    program: String,
    state_dir: String,
    host_root: Option<String>,
}

/// The pods of all agents, or of one node's.
pub(crate) async fn pods(cluster: &Cluster, node: Option<&str>) -> Result<Vec<AgentPod>, Trouble> {
    let mut only = ListParams::default().labels(AGENT_PODS);
    if let Some(node) = node {
        only = only.fields(&format!("spec.nodeName={node}"));
    }
    let what = format!("list the agents' pods in the namespace {}", cluster.namespace);
    let mut pods: Vec<AgentPod> =
        fleet::list(cluster, &cluster.pods(), &what, only, AgentPod::of).await?.into_iter().flatten().collect();
    pods.sort_by(|left, right| (&left.node, &left.name).cmp(&(&right.node, &right.name)));
    Ok(pods)
}

impl AgentPod {
    /// What is needed of a pod; `None` of one that is nowhere or on its way out.
    fn of(pod: Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let name = pod.name_any();
        let spec = pod.spec?;
        let node = spec.node_name?;
        let mut containers = spec.containers;
        let at = containers.iter().position(|container| container.name == CONTAINER).unwrap_or(0);
        let container = (!containers.is_empty()).then(|| containers.swap_remove(at))?;
        Some(Self {
            name,
            node,
            program: container.command.iter().flatten().next().cloned().unwrap_or_else(|| PROGRAM.to_owned()),
            state_dir: option(&container, "--state-dir").unwrap_or_else(|| STATE_DIR.to_owned()),
            host_root: option(&container, "--host-root"),
            container: container.name,
        })
    }

    /// The arguments of kubectl that have the agent explain a path.
    pub(crate) fn explain(&self, options: &ClusterOptions, path: &OsStr, more: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["exec", "--namespace", &options.namespace].map(Into::into).into();
        let flags = [
            ("--context", &options.context),
            ("--cluster", &options.cluster),
            ("--user", &options.user),
            ("--as", &options.impersonate),
        ];
        if let Some(kubeconfig) = &options.kubeconfig {
            arguments.extend(["--kubeconfig".into(), kubeconfig.into()]);
        }
        for (flag, value) in flags.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?))) {
            arguments.extend([flag.into(), value.into()]);
        }
        for group in &options.impersonate_groups {
            arguments.extend(["--as-group".into(), group.into()]);
        }
        arguments.extend([&self.name, "--container", &self.container, "--", &self.program, "explain"].map(Into::into));
        arguments.push(path.into());
        arguments.extend(["--state-dir", &self.state_dir].map(Into::into));
        if let Some(host_root) = &self.host_root {
            arguments.extend(["--host-root", host_root].map(Into::into));
        }
        arguments.extend(more.iter().map(Into::into));
        arguments
    }
}

/// Runs kubectl with our standard streams: its answer and its words are ours.
pub(crate) fn kubectl(arguments: &[OsString]) -> Result<ExitStatus, Trouble> {
    Command::new("kubectl").args(arguments).status().map_err(|source| Trouble::Io {
        what: "run kubectl, which has to be in the PATH for --ask-agent".to_owned(),
        source,
    })
}

/// A command line for people to copy.
pub(crate) fn shown(arguments: &[OsString]) -> String {
    let quoted = arguments.iter().map(|argument| {
        let text = argument.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
        if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    });
    ["kubectl".to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
}

/// The value of an option among a container's arguments.
fn option(container: &Container, name: &str) -> Option<String> {
    let arguments = container.args.as_deref().unwrap_or_default();
    let joined = |argument: &String| argument.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    let apart = || arguments.iter().zip(arguments.iter().skip(1)).find(|(argument, _)| *argument == name);
    arguments.iter().find_map(joined).or_else(|| Some(apart()?.1.clone()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_agent_is_asked_in_its_own_words_whatever_the_path_is() {
        let pod = json!({
            "metadata": {"name": "vedette-agent-x"},
            "spec": {"nodeName": "n", "containers": [{"name": "side"}, {"name": "agent", "args":
                ["run", "--state-dir=/state", "--host-root", "/host"]}]},
        });
        let pod = AgentPod::of(serde_json::from_value(pod).unwrap()).unwrap();
        let options =
            ClusterOptions { context: Some("prod".into()), namespace: "v".into(), ..ClusterOptions::default() };
        let arguments = pod.explain(&options, OsStr::new("/etc/it's; rm"), &["--output", "json"]);
        assert_eq!(
            shown(&arguments),
            "kubectl exec --namespace v --context prod vedette-agent-x --container agent -- /vedette-agent explain \
             '/etc/it'\\''s; rm' --state-dir /state --host-root /host --output json"
        );
        assert!(arguments.contains(&OsString::from("/etc/it's; rm")), "it goes as one argument");
    }
}
