//! The product's agents, many in this process: each on a host of its own with one file on it, with its own token, state,
//! connections and metrics. What `vedette-agent run` does once a process is not done: nothing is confined, no signal is taken.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{
    sync::watch,
    task::{JoinSet, spawn_blocking},
    time::{Instant, timeout},
};
use vedette_node_agent::{
    budget::{Limit, Limits},
    cli::{Places, Records, Run},
    run::Agent,
};

use crate::{
    cluster::{AgentFolder, Cluster},
    error::{Doing as _, Error, Result},
};

/// So many requests of the administrator are under way together.
pub(crate) const AT_ONCE: usize = 16;

const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// The least there is: what an agent of a load test holds is a few lines.
const JOURNAL: u64 = 1 << 20;

/// The agents of all nodes.
pub(crate) struct Agents {
    pub(crate) nodes: Vec<String>,
    options: Vec<Run>,
    /// How many files each host has had more than at first.
    changes: usize,
    end: watch::Sender<bool>,
    running: JoinSet<Result<()>>,
}

impl Agents {
    /// Nodes with ready pods, and all that an agent needs on each.
    pub(crate) async fn prepare(cluster: &Cluster, count: usize) -> Result<Self> {
        let options: Vec<Run> = stream::iter(0..count)
            .map(|number| prepare(cluster, format!("load{number}")))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let nodes = options.iter().map(|options| options.node.clone()).collect();
        Ok(Self { nodes, options, changes: 0, end: watch::Sender::new(false), running: JoinSet::new() })
    }

    /// Starts all of them at once.
    pub(crate) fn start(&mut self) {
        for options in self.options.clone() {
            let mut end = self.end.subscribe();
            self.running.spawn(async move {
                let node = options.node.clone();
                let trouble = |error| Error::Unexpected(format!("the agent of {node} ended: {error:?}"));
                let opened = spawn_blocking(|| Agent::open(options)).await;
                let agent = opened.map_err(|panic| Error::Unexpected(panic.to_string()))?.map_err(trouble)?;
                let told = async {
                    // An error is the sender's end, which is the end too.
                    let _ = end.wait_for(|end| *end).await;
                };
                agent.run(told).await.map(drop).map_err(trouble)
            });
        }
    }

    /// Puts another file onto each host, and says when it was there.
    pub(crate) fn change(&mut self) -> Result<Vec<(String, Instant)>> {
        self.changes += 1;
        let add = |options: &Run| {
            let path = watched(&options.places.host_root).join(self.changes.to_string());
            fs::write(&path, "").doing(|| format!("write {}", path.display()))?;
            Ok((options.node.clone(), Instant::now()))
        };
        self.options.iter().map(add).collect()
    }

    /// How many changes each host has had.
    pub(crate) fn changes(&self) -> usize {
        self.changes
    }

    /// Fails when an agent has ended.
    pub(crate) fn still_run(&mut self) -> Result<()> {
        match self.running.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(early(ended)),
        }
    }

    /// Ends all of them as a kubelet would.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.still_run()?;
        self.end.send_replace(true);
        while let Some(ended) = timeout(ENDS_WITHIN, self.running.join_next())
            .await
            .map_err(|_| Error::Unexpected(format!("{} agents did not end", self.running.len())))?
        {
            ended.map_err(|panic| Error::Unexpected(panic.to_string()))??;
        }
        Ok(())
    }
}

fn early(ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::Unexpected("an agent ended by itself".into()),
        Ok(Err(error)) => error,
        Err(panic) => Error::Unexpected(panic.to_string()),
    }
}

async fn prepare(cluster: &Cluster, node: String) -> Result<Run> {
    cluster.add_node(&node, &[]).await?;
    let AgentFolder { state_dir, kubeconfig, folder } = cluster.agent_folder(&node).await?;
    cluster.set_agent_ready(&node, true).await?;
    let host_root = folder.join("host");
    let host = watched(&host_root);
    fs::create_dir_all(&host)
        .and_then(|()| fs::write(host.join("0"), ""))
        .doing(|| format!("make the host of {node}"))?;
    Ok(Run {
        guarding: Default::default(),
        node,
        places: Places { state_dir, host_root, journal_max: JOURNAL },
        // The budget of one agent: in one process each would take the others' work for its own.
        limits: Limits { cpu_limit: Some(Limit::None), read_limit: None, threads: Some(1), background: Some(false) },
        listen: ([127, 0, 0, 1], 0).into(),
        kubeconfig: Some(kubeconfig),
        records: Records::None,
        require_confinement: false,
    })
}

/// What the rule is about.
fn watched(host_root: &Path) -> PathBuf {
    host_root.join("etc")
}
