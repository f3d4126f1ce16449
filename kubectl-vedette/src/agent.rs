//! The agents' pods: which one is on a node, and a question to the agent in it by way of `kubectl exec`.

use crate::cli::ClusterOptions;
use crate::connect::Cluster;
use crate::fleet;
use crate::output::{pass_on, text};
use crate::trouble::Trouble;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};

const AGENT_PODS: &str = "app.kubernetes.io/name=vedette-agent";
/// The container of the agent, and where its image has the program.
const CONTAINER: &str = "agent";
const PROGRAM: &str = "/vedette-agent";
const STATE_DIR: &str = "/var/lib/vedette";
/// A pod that a kubelet made of a file on its own disk has this annotation; no DaemonSet made it, whatever its labels say.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// An answer names a path and the entries around it: what is longer is none.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The pod of a node's agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentPod {
    pub(crate) name: String,
    pub(crate) node: String,
    pub(crate) container: String,
    program: String,
    state_dir: String,
    host_root: Option<String>,
    /// Which of a node's pods is rather its agent's, and the newest.
    rank: (bool, bool, Option<Timestamp>),
}

/// The pods of all agents, or of one node's; of a node that has two, the one that is rather its agent's last.
pub(crate) async fn pods(cluster: &Cluster, node: Option<&str>) -> Result<Vec<AgentPod>, Trouble> {
    let mut only = ListParams::default().labels(AGENT_PODS);
    if let Some(node) = node {
        only = only.fields(&format!("spec.nodeName={node}"));
    }
    let what = format!("list the agents' pods in the namespace {}", cluster.namespace);
    let mut pods: Vec<AgentPod> =
        fleet::list(cluster, &cluster.pods(), &what, only, AgentPod::of).await?.into_iter().flatten().collect();
    pods.sort_by(|left, right| (&left.node, left.rank, &left.name).cmp(&(&right.node, right.rank, &right.name)));
    Ok(pods)
}

impl AgentPod {
    /// What is needed of a pod; `None` of one that is nowhere, on its way out or over, or that the node made itself.
    fn of(pod: Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() || pod.annotations().contains_key(MIRROR) {
            return None;
        }
        let status = pod.status.as_ref();
        if status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Failed" | "Succeeded"))
        {
            return None;
        }
        let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let is_of_set = pod.owner_references().iter().any(|owner| owner.kind == "DaemonSet");
        let rank = (is_of_set, is_ready, pod.creation_timestamp().map(|time| time.0));
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
            rank,
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

/// Runs kubectl: its answer and its words become ours, line by line, with what a terminal would obey made visible by `visible`. They
/// come from the node.
pub(crate) fn kubectl(arguments: &[OsString], visible: fn(&str) -> String) -> Result<ExitStatus, Trouble> {
    let failed =
        |source| Trouble::Io { what: "run kubectl, which has to be in the PATH for --ask-agent".to_owned(), source };
    let mut command = Command::new("kubectl");
    let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let (answer, words) = (child.stdout.take(), child.stderr.take());
    // A pipe that is not read on ends who writes into it.
    let words = std::thread::spawn(move || {
        lines(words, |line| {
            pass_on(line);
            Ok(())
        })
    });
    let answered = lines(answer, |line| text(&(visible(line) + "\n")));
    if answered.is_err() {
        let _ = child.kill(); // it may have ended by itself
    }
    let status = child.wait().map_err(failed)?;
    match words.join() {
        Ok(said) => answered.and(said)?,
        Err(_) => return Err(Trouble::said("a reader of kubectl's words ended")),
    }
    Ok(status)
}

/// Takes a stream line by line, as far as an answer may go.
fn lines(stream: Option<impl Read>, mut each: impl FnMut(&str) -> Result<(), Trouble>) -> Result<(), Trouble> {
    let Some(stream) = stream else { return Ok(()) };
    let mut stream = BufReader::new(stream.take(LONGEST_ANSWER));
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = stream.read_until(b'\n', &mut line);
        read.map_err(|source| Trouble::Io { what: "read what kubectl says".to_owned(), source })?;
        if line.is_empty() {
            break;
        }
        each(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).as_ref())?;
    }
    if stream.get_ref().limit() == 0 {
        let longest = LONGEST_ANSWER >> 10;
        return Err(Trouble::said(format!("the agent's answer is longer than {longest} KiB: the rest is not read")));
    }
    Ok(())
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
    fn of_pods_with_the_label_the_one_that_is_rather_the_agents_is_last() {
        let pod = |name: &str, more: serde_json::Value| {
            let mut pod = json!({
                "metadata": {"name": name, "creationTimestamp": "2026-11-24T04:00:00Z"},
                "spec": {"nodeName": "n", "containers": [{"name": "agent"}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            });
            for (part, members) in more.as_object().unwrap() {
                pod[part].as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            }
            AgentPod::of(serde_json::from_value(pod).unwrap())
        };
        let owned = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "vedette-agent", "uid": "u"}]);
        let agents = pod("a", json!({"metadata": {"ownerReferences": owned}})).unwrap();
        let new = json!({"metadata": {"ownerReferences": owned, "creationTimestamp": "2026-11-24T05:00:00Z"}});
        let new = pod("b", new).unwrap();
        let waiting = json!({"metadata": {"ownerReferences": owned}, "status": {"conditions": []}});
        let waiting = pod("c", waiting).unwrap();
        let somebodys = pod("d", json!({})).unwrap();
        assert!(somebodys.rank < waiting.rank && waiting.rank < agents.rank && agents.rank < new.rank);
        assert!(pod("e", json!({"status": {"phase": "Failed"}})).is_none(), "evicted: its containers are gone");
        let mirror = json!({"metadata": {"annotations": {MIRROR: "hash"}}});
        assert!(pod("f", mirror).is_none(), "the node put it there");
    }

    #[test]
    fn what_kubectl_says_is_taken_line_by_line_and_not_without_end() {
        let taken = |stream: &mut dyn Read| {
            let mut taken = Vec::new();
            let ended = lines(Some(stream), |line| {
                taken.push(line.to_owned());
                Ok(())
            });
            (taken, ended.map_err(|trouble| trouble.to_string()))
        };
        let (said, ended) = taken(&mut &b"a\n\xff\n\nlast"[..]);
        assert_eq!((said, ended), (["a", "\u{fffd}", "", "last"].map(str::to_owned).to_vec(), Ok(())));
        let (_, ended) = taken(&mut std::io::repeat(b'x'));
        assert_eq!(ended.unwrap_err(), "the agent's answer is longer than 1024 KiB: the rest is not read");
    }

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
