//! Puts the operator together: reads settings, starts the tasks, and sees to it that none of them ends unnoticed.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config, ResourceExt as _};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use vedette_crds::node_config::ClusterRef;

use crate::apply::Applier;
use crate::event::Kind;
use crate::fleet::{AGENT_GRACE, Fleet};
use crate::http::{self, Readiness};
use crate::leadership::Leadership;
use crate::lease::Campaign;
use crate::metrics::Metrics;
use crate::reconcile::{Reconciler, Tools};
use crate::recorder::Recorder;
use crate::report;
use crate::watch::Watches;

/// The namespace whose uid is the cluster's.
const KUBE_SYSTEM: &str = "kube-system";

/// Enough that a watch does not wait for a batch to be taken in.
const EVENTS_WAITING: usize = 1024;

const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// Events that wait when the end comes have this long.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// How the operator is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where /metrics, /healthz and /readyz are.
    pub listen: SocketAddr,
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
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The kubeconfig file cannot be used.
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// Nothing says where the API server is.
    #[error("cannot find the API server")]
    NoCluster {
        /// What was tried.
        source: Box<InferConfigError>,
    },
    /// The credentials make no client.
    #[error("cannot make a client")]
    Client {
        /// What is wrong with them.
        source: Box<kube::Error>,
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
    /// HTTP requests cannot be answered any more.
    #[error("cannot serve HTTP")]
    Http {
        /// The system's reason.
        source: io::Error,
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
    let address = settings.listen;
    let unusable = |source| RunError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let local = listener.local_addr().map_err(unusable)?;
    let metrics = Metrics::new().map_err(|source| RunError::Metrics { source: Box::new(source) })?;
    let readiness = Readiness::new();
    let client = client(settings.kubeconfig).await?;

    let (stop, stopped) = watch::channel(false);
    let mut tasks: JoinSet<Result<(), RunError>> = JoinSet::new();
    let told = |mut stopped: watch::Receiver<bool>| async move {
        // An error is the sender's end, which is the end too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let serving = http::serve(listener, metrics.clone(), readiness.clone(), told(stopped.clone()));
    tasks.spawn(async move { serving.await.map_err(|source| RunError::Http { source }) });
    info!(version = env!("CARGO_PKG_VERSION"), "listening on http://{local}");

    let work = Work { client, namespace: settings.namespace, cluster_name: settings.cluster_name, metrics, readiness };
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
    client: Client,
    namespace: String,
    cluster_name: String,
    metrics: Metrics,
    readiness: Readiness,
}

impl Work {
    async fn run(self, mut stopped: watch::Receiver<bool>) -> Result<(), RunError> {
        let uid = tokio::select! {
            uid = cluster_uid(&self.client) => uid,
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        };
        let Self { client, namespace, cluster_name, metrics, readiness } = self;
        let identity = identity();
        let leadership = Leadership::new();
        let fleet = Fleet::new(ClusterRef { name: cluster_name, uid }, AGENT_GRACE);
        let (recorder, writing) = Recorder::new(client.clone(), identity.clone(), metrics.clone());
        let (synced, known) = watch::channel(false);
        let campaign = Campaign::new(client.clone(), &namespace, identity, leadership.clone(), metrics.clone());
        let tools = Tools {
            applier: Applier::new(client.clone(), leadership.clone()),
            leadership,
            recorder,
            metrics: metrics.clone(),
            readiness,
            synced,
        };
        let reconciler = Reconciler::new(fleet, tools);
        let (events, incoming) = mpsc::channel(EVENTS_WAITING);
        let watches = Watches { client, namespace, events, metrics };
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
async fn cluster_uid(client: &Client) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut pause = FIRST_RETRY;
    loop {
        match namespaces.get(KUBE_SYSTEM).await {
            Ok(namespace) => return namespace.uid().unwrap_or_default(),
            Err(error) => warn!("cannot read the namespace {KUBE_SYSTEM} yet: {}", report(&error)),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
    }
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<Client, RunError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let unusable = |path, source| RunError::Kubeconfig { path, source: Box::new(source) };
            match Kubeconfig::read_from(&path) {
                Err(source) => return Err(unusable(path, source)),
                Ok(read) => Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|source| unusable(path, source))?,
            }
        }
        // In a pod KUBERNETES_SERVICE_HOST is dialed as it stands: no name has to be looked up.
        None => match Config::incluster() {
            Ok(config) => config,
            Err(_) => Config::infer().await.map_err(|source| RunError::NoCluster { source: Box::new(source) })?,
        },
    };
    // The queue tries again by its own rules.
    config.default_retry = false;
    Client::try_from(config).map_err(|source| RunError::Client { source: Box::new(source) })
}
