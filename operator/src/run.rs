//! Puts the operator together: reads settings, starts the tasks, and sees to it that none of them ends unnoticed.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt as _};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use vedette_crds::node_config::ClusterRef;
use vedette_service::http::{self, GuardError, Guarding, ListenError};
use vedette_service::{ApiServer, ConnectError, Retry, lasting, reason, rough};

use crate::apply::Applier;
use crate::event::Kind;
use crate::fleet::{AGENT_GRACE, Fleet};
use crate::http::{Readiness, Shown};
use crate::leadership::Leadership;
use crate::lease::Campaign;
use crate::metrics::Metrics;
use crate::reconcile::{Reconciler, Tools};
use crate::recorder::Recorder;
use crate::watch::Watches;

/// The namespace whose uid is the cluster's.
const KUBE_SYSTEM: &str = "kube-system";

/// Enough that a watch does not wait for a batch to be taken in.
const EVENTS_WAITING: usize = 1024;

const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// Events that wait when the end comes have this long.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How the operator is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where /metrics, /healthz and /readyz are.
    pub listen: SocketAddr,
    /// Who may read them.
    pub guarding: Guarding,
    /// Where the agents' pods and the operators' Lease are.
    pub namespace: String,
    /// What records call this cluster; may be empty.
    pub cluster_name: String,
    /// How to reach the API server; absent: as a pod of the cluster, or as kubectl would.
    pub kubeconfig: Option<PathBuf>,
}

/// Why the operator ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot start")]
    Listen {
        /// Which, and the system's reason.
        source: ListenError,
    },
    /// The API server cannot be found, or the credentials make no client.
    #[error("cannot start")]
    Connect {
        /// What was tried.
        source: ConnectError,
    },
    /// There is no certificate to serve pages with.
    #[error("cannot start")]
    Guard {
        /// What was looked for, and why there is none.
        source: GuardError,
    },
    /// The metrics do not fit together.
    #[error("cannot set up metrics")]
    Metrics {
        /// Which, and why.
        source: Box<prometheus::Error>,
    },
    /// A task ended that runs as long as the operator does.
    #[error("the task {task} ended")]
    Ended {
        /// Which one.
        task: &'static str,
    },
    /// A task panicked.
    #[error("a task panicked")]
    Panicked {
        /// Which, and where.
        source: JoinError,
    },
}

/// Runs the operator until `shutdown` comes, then finishes what is being written.
///
/// # Errors
/// It cannot start, or a task ended early.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let listener = http::bind(settings.listen).await.map_err(|source| RunError::Listen { source })?;
    let metrics = Metrics::new().map_err(|source| RunError::Metrics { source: Box::new(source) })?;
    let readiness = Readiness::new();
    let server = ApiServer::find(settings.kubeconfig.as_deref()).await;
    let server = server.map_err(|source| RunError::Connect { source })?;

    let guard = settings.guarding.guard(&server).map_err(|source| RunError::Guard { source })?;

    let (stop, stopped) = watch::channel(false);
    let mut tasks: JoinSet<Result<(), RunError>> = JoinSet::new();
    let told = |mut stopped: watch::Receiver<bool>| async move {
        // An error is the sender's end, which is the end too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let shown = Arc::new(Shown { metrics: metrics.clone(), readiness: readiness.clone() });
    let serving = http::serve(listener, shown, guard, told(stopped.clone()));
    tasks.spawn(async move {
        serving.await;
        Ok(())
    });

    let work = Work { server, namespace: settings.namespace, cluster_name: settings.cluster_name, metrics, readiness };
    tasks.spawn(work.run(stopped));

    tokio::select! {
        () = shutdown => {}
        Some(ended) = tasks.join_next() => {
            ended.map_err(|source| RunError::Panicked { source })??;
            return Err(RunError::Ended { task: "HTTP or work" });
        }
    }
    info!("ending");
    stop.send_replace(true);
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|source| RunError::Panicked { source })??;
    }
    Ok(())
}

/// What works on the cluster.
struct Work {
    server: ApiServer,
    namespace: String,
    cluster_name: String,
    metrics: Metrics,
    readiness: Readiness,
}

impl Work {
    async fn run(self, mut stopped: watch::Receiver<bool>) -> Result<(), RunError> {
        let uid = tokio::select! {
            uid = cluster_uid(&self.server) => uid,
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        };
        let Self { server, namespace, cluster_name, metrics, readiness } = self;
        let identity = identity();
        let leadership = Leadership::new();
        let fleet = Fleet::new(ClusterRef { name: cluster_name, uid }, AGENT_GRACE);
        let (recorder, writing) = Recorder::new(server.client(), identity.clone(), metrics.clone());
        let (synced, known) = watch::channel(false);
        let campaign = Campaign::new(server.client(), &namespace, identity, leadership.clone(), metrics.clone());
        let tools = Tools {
            applier: Applier::new(server.client(), leadership.clone()),
            leadership,
            recorder,
            metrics: metrics.clone(),
            readiness,
            synced,
        };
        let reconciler = Reconciler::new(fleet, tools);
        let (events, incoming) = mpsc::channel(EVENTS_WAITING);
        let watches = Watches { server, namespace, events, metrics };
        let mut watching = JoinSet::new();
        for kind in Kind::ALL {
            watching.spawn(watches.clone().run(kind));
        }
        drop(watches);
        // The Lease is held until the last write is done, and the recorder writes until the reconciler has dropped it.
        let (leave, left) = oneshot::channel();
        let mut standing = JoinSet::new();
        standing.spawn(campaign.run(known, left));
        let mut telling = JoinSet::new();
        telling.spawn(writing);
        tokio::select! {
            result = reconciler.run(incoming, stopped) => {
                result.map_err(|source| RunError::Panicked { source })?;
            }
            Some(ended) = watching.join_next() => return Err(RunError::early("watch", ended)),
            Some(ended) = standing.join_next() => return Err(RunError::early("lease", ended)),
            Some(ended) = telling.join_next() => return Err(RunError::early("events", ended)),
        }
        if timeout(LAST_EVENTS, telling.join_all()).await.is_err() {
            warn!("some Events were not raised in time");
        }
        // The campaign may have ended, and waits for nothing then.
        let _ = leave.send(());
        standing.join_all().await;
        Ok(())
    }
}

impl RunError {
    fn early(task: &'static str, ended: Result<(), JoinError>) -> Self {
        match ended {
            Ok(()) => Self::Ended { task },
            Err(source) => Self::Panicked { source },
        }
    }
}

/// The name of this pod, or host, and something that no other process has: who restarts in the same pod is another one.
fn identity() -> String {
    let system = rustix::system::uname();
    format!("{}_{}", system.nodename().to_string_lossy(), uuid::Uuid::new_v4())
}

/// The uid of the namespace kube-system, however long the API server takes to give it.
async fn cluster_uid(server: &ApiServer) -> String {
    let namespaces: Api<Namespace> = Api::all(server.client());
    let mut retry = Retry::new(LONGEST_RETRY);
    loop {
        match namespaces.get(KUBE_SYSTEM).await {
            Ok(namespace) => {
                if let Some(lasted) = retry.succeeded(Instant::now()) {
                    info!("the API server at {} answers, after {}", server.url(), rough(lasted));
                }
                return namespace.uid().unwrap_or_default();
            }
            Err(error) => {
                let failed = retry.failed(Instant::now());
                if let Some(lasted) = failed.say {
                    let (url, lasting, why) = (server.url(), lasting(lasted), reason(&error));
                    warn!("cannot read the namespace {KUBE_SYSTEM} at {url}{lasting}: {why}; trying again");
                }
                sleep(failed.pause).await;
            }
        }
    }
}
