//! What a run stands on: the cluster with its nodes, the operator, the agents, and who watches.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Plan, agents::Agents, sights::Sights};
use crate::{
    cluster::Cluster,
    daemon::Operator,
    error::{Doing as _, Result},
};

/// State, host, connections, listener, engine and watch of one agent: so many descriptors, and some to spare.
const DESCRIPTORS: u64 = 24;

/// All of it.
pub(crate) struct Stage {
    pub(crate) plan: Plan,
    // Before the cluster: they speak to it until they end.
    pub(crate) sights: Sights,
    pub(crate) agents: Agents,
    pub(crate) operator: Operator,
    /// What the operator took before there was anything to know.
    pub(crate) operator_empty: super::Usage,
    pub(crate) cluster: Cluster,
}

impl Stage {
    /// An operator without nodes first, so that what the fleet takes can be told from what it takes anyway; then one that comes
    /// to a cluster of that size. No rule yet, and the agents do not run.
    pub(crate) async fn set(plan: &Plan) -> Result<Self> {
        allow_descriptors(plan.agents)?;
        let cluster = Cluster::start().await?;
        let mut operator = cluster.start_operator().await?;
        let operator_empty = super::Usage::of(operator.pid()?)?;
        operator.terminate().await?;
        let agents = Agents::prepare(&cluster, plan.agents).await?;
        operator.start().await?;
        let sights = Sights::begin(cluster.client());
        Ok(Self { plan: plan.clone(), sights, agents, operator, operator_empty, cluster })
    }

    /// Ends agents and operator as kubelets would.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.agents.end().await?;
        self.operator.terminate().await.map(drop)
    }
}

fn allow_descriptors(agents: usize) -> Result<()> {
    let needed = DESCRIPTORS * agents as u64 + 1024;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    // Only root may go beyond the maximum.
    let raised = Rlimit { current: Some(needed), maximum: maximum.map(|maximum| maximum.max(needed)) };
    setrlimit(Resource::Nofile, raised)
        .map_err(std::io::Error::from)
        .doing(|| format!("open {needed} files at once for {agents} agents (ulimit -n)"))
}
