//! kubectl-vedette as people run it, on a cluster of the test.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use vedette_crds::rule::DataCollectionRule;
use vedette_tests::{
    Agent, Cluster, Identity, ScratchHost, binaries::Binaries, cluster::node_configs_as, eventually, not_yet, products,
};

/// Generous: an interval and a minInterval are 20 s, and the machine is shared.
pub(crate) const SOON: Duration = Duration::from_secs(180);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ran {
    pub(crate) fn of(mut command: Command, input: Option<&str>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its lines as JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Somebody at a shell, with a kubeconfig.
pub(crate) struct Person {
    program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl Person {
    pub(crate) async fn new(identity: &Identity, kubeconfig: PathBuf) -> Self {
        identity.write_kubeconfig(&kubeconfig).unwrap();
        Self { program: products().await.unwrap().kubectl_vedette.clone(), kubeconfig }
    }

    /// Somebody whose kubeconfig is there already.
    pub(crate) async fn with(kubeconfig: PathBuf) -> Self {
        Self { program: products().await.unwrap().kubectl_vedette.clone(), kubeconfig }
    }

    /// Somebody without a cluster.
    pub(crate) async fn offline() -> Self {
        Self::with("/nonexistent".into()).await
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("KUBECONFIG", &self.kubeconfig).env_remove("NO_COLOR");
        command
    }

    pub(crate) fn runs(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words), None)
    }

    pub(crate) fn pipes(&self, input: &str, words: &[&str]) -> Ran {
        Ran::of(self.command(words), Some(input))
    }

    /// The same through the real kubectl, which finds the plugin in the PATH.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Ran {
        let apiserver = Binaries::find_or_build().unwrap().kube_apiserver;
        let beside = apiserver.with_file_name("kubectl");
        let mut command = Command::new(if beside.is_file() { &beside } else { &apiserver });
        let path = std::env::join_paths(self.program.parent()).unwrap();
        command.arg0("kubectl").args(words).env("KUBECONFIG", &self.kubeconfig).env("PATH", path);
        Ran::of(command, None)
    }
}

/// A node with a host of its own and a running agent.
pub(crate) async fn node(cluster: &Cluster, name: &str) -> (ScratchHost, Agent) {
    cluster.add_node(name, &[]).await.unwrap();
    let root = cluster.control_plane().folder(format!("hosts/{name}")).unwrap();
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let host = ScratchHost::empty(root);
    host.write("/etc/passwd", "root").unwrap();
    let agent = cluster.start_agent(name, host.root()).await.unwrap();
    (host, agent)
}

/// A rule for every node, compared every 10 s.
pub(crate) fn rule(name: &str, paths: Value) -> Value {
    json!({
        "apiVersion": "vedette.dev/v1alpha1",
        "kind": "DataCollectionRule",
        "metadata": {"name": name},
        "spec": {"files": {"interval": "10s", "paths": paths}},
    })
}

pub(crate) async fn apply(cluster: &Cluster, rule: Value) {
    let rules: Api<DynamicObject> = Api::all_with(cluster.client(), &ApiResource::erase::<DataCollectionRule>(&()));
    let name = rule["metadata"]["name"].as_str().unwrap();
    rules.patch(name, &PatchParams::apply("kubectl").force(), &Patch::Apply(&rule)).await.unwrap();
}

/// Waits until a node's status is as wanted.
pub(crate) async fn status(cluster: &Cluster, node: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{node} {what}"), SOON, async || {
        let config = node_configs_as(cluster.client()).get(node).await?;
        let status = config.data["status"].clone();
        if is(&status) { Ok(status) } else { Err(not_yet(status)) }
    })
    .await
    .unwrap()
}

/// Waits until a node's status counts so many changes.
pub(crate) async fn counts(cluster: &Cluster, node: &str, changes: u64) -> Value {
    status(cluster, node, &format!("counts {changes} changes"), |status| {
        let of = |kind: &str| status["changes"][kind].as_u64().unwrap_or_default();
        of("added") + of("modified") + of("removed") == changes
    })
    .await
}

/// Waits until a run comes to this exit code.
pub(crate) async fn until(person: &Person, words: &[&str], code: i32) -> Ran {
    eventually(&format!("kubectl vedette {} exits {code}", words.join(" ")), SOON, async || {
        let ran = person.runs(words);
        if ran.code == Some(code) { Ok(ran) } else { Err(not_yet(format!("{ran:?}"))) }
    })
    .await
    .unwrap()
}

/// A table without what differs from run to run: ages, times, and how wide columns are for them.
pub(crate) fn plain(table: &str) -> String {
    let word = |word: &str| {
        let digits = word.trim_end_matches(['s', 'm', 'h', 'd']);
        let is_age = digits.len() + 1 == word.len() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let is_time = word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
        if is_age {
            "AGO".to_owned()
        } else if is_time {
            "TIME".to_owned()
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) fn folder(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.control_plane().folder("people").unwrap().join(Path::new(name))
}
