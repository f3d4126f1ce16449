//! `vedette-agent run`: this node's NodeConfig in, its status, metrics and records out.

use crate::cli::Run;
use crate::config::{self, NodePlan, PlanState, Seen};
use crate::metrics::Metrics;
use crate::observe::{observe, threads};
use crate::standalone::{finish, on_runtime, spawn_lines, start};
use crate::status::{StatusSink, Target};
use crate::{Trouble, http, sentence};
use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vedette_crds::record::Detection;
use vedette_engine::clock::SystemClock;
use vedette_engine::driver::{Configuration, Handle};
use vedette_engine::{Engine, Settings};

/// Watches this node until it is told to end.
///
/// # Errors
/// When the state, the host root, the API server's address or an output cannot be used, or a task ends by itself.
pub fn run(options: Run) -> Result<std::process::ExitCode, Trouble> {
    let settings = Settings {
        state_dir: options.places.state_dir.clone(),
        host_root: options.places.host_root.clone(),
        threads: threads(),
        first_detection: Detection::Startup,
    };
    let engine =
        Engine::open(settings, Arc::new(SystemClock)).map_err(|error| Trouble::because("cannot start", error))?;
    let stored = match engine.remembered().map_err(|error| Trouble::because("cannot start", error))? {
        Some(bytes) => PlanState::Stored(config::kept(&bytes)?),
        None => PlanState::Waiting,
    };
    let metrics = Arc::new(Metrics::new().map_err(|error| Trouble::because("cannot make metrics", error))?);
    on_runtime(async {
        let client = client(options.kubeconfig.as_deref()).await?;
        let api = config::api(client);
        let ready = Arc::new(AtomicBool::new(stored != PlanState::Waiting));
        let (published, watch) = observe(engine.standing(), Arc::clone(&metrics));
        let mut tasks = JoinSet::new();
        let served = http::Served { metrics: Arc::clone(&metrics), watch: watch.clone(), ready: Arc::clone(&ready) };
        tasks.spawn(http::serve(http::bind(options.listen).await?, served));
        let lines = spawn_lines(&options.records, engine.journal(), &watch, &metrics)?;
        let (target, targeted) = watch::channel(Target { state: stored.clone(), ..Target::default() });
        let sink = StatusSink {
            node: options.node.clone(),
            boot_id: boot_id(),
            api: api.clone(),
            journal: engine.journal().clone(),
            metrics: Arc::clone(&metrics),
        };
        tasks.spawn(sink.run(watch.clone(), targeted));
        let driver = start(engine, published)?;
        let following = Following { node: options.node, metrics, target, ready, engine: driver.handle() };
        tasks.spawn(following.run(api, stored));
        finish(driver, tasks, lines, watch).await
    })
}

async fn client(kubeconfig: Option<&Path>) -> Result<Client, Trouble> {
    let config = match kubeconfig {
        Some(path) => {
            let failed = |source| Trouble::because(format!("cannot use the kubeconfig {}", path.display()), source);
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?
        }
        None => Config::incluster()
            .map_err(|source| Trouble::because("this is no pod with a service account: give a --kubeconfig", source))?,
    };
    Client::try_from(config).map_err(|source| Trouble::because("cannot make a client of the API server", source))
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Follows the NodeConfig.
struct Following {
    node: String,
    metrics: Arc<Metrics>,
    target: watch::Sender<Target>,
    ready: Arc<AtomicBool>,
    engine: Handle,
}

impl Following {
    async fn run(self, api: Api<DynamicObject>, stored: PlanState) -> Result<(), Trouble> {
        let mut in_force: Option<NodePlan> = None;
        if let Some(plan) = stored.plan() {
            tracing::info!(generation = plan.generation, "going on by the plan in the state directory");
            self.configure(plan, None);
            in_force = Some(plan.clone());
        }
        let mut seen = std::pin::pin!(config::watch(api, &self.node));
        while let Some(event) = seen.next().await {
            let seen = match event {
                Ok(seen) => seen,
                Err(error) => {
                    tracing::warn!("cannot watch the NodeConfig {}: {}; trying again", self.node, sentence(&error));
                    continue;
                }
            };
            self.ready.store(true, Ordering::Relaxed);
            let plan = self.plan(&seen);
            self.target.send_modify(|target| {
                *target = std::mem::take(target).after(&seen);
                if let Some(plan) = &plan {
                    target.state = PlanState::Current(plan.clone());
                }
            });
            match (plan, seen) {
                (Some(plan), Seen::Present(object)) => {
                    let news = in_force
                        .as_ref()
                        .is_none_or(|last| last.generation != plan.generation || last.spec != plan.spec);
                    if news {
                        let spec = object.data.get("spec").cloned().unwrap_or_default();
                        let keep = config::keep(plan.generation, &spec)
                            .map_err(|error| Trouble::because("cannot keep the plan", error))?;
                        self.configure(&plan, Some(keep));
                        in_force = Some(plan);
                    }
                }
                (_, Seen::Absent) => match &in_force {
                    Some(plan) => tracing::warn!(
                        generation = plan.generation,
                        "there is no NodeConfig {}: going on by the last plan",
                        self.node
                    ),
                    None => tracing::info!("there is no NodeConfig {} yet: waiting for one", self.node),
                },
                (None, Seen::Present(_)) => {}
            }
        }
        Err(Trouble::new("the watch of the NodeConfig ended by itself"))
    }

    /// The plan in a NodeConfig that is there; one that cannot be read changes nothing.
    fn plan(&self, seen: &Seen) -> Option<NodePlan> {
        let Seen::Present(object) = seen else { return None };
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        match NodePlan::of(config::generation(object), &spec) {
            Ok(plan) => Some(plan),
            Err(error) => {
                tracing::error!("the NodeConfig {} cannot be read, nothing of it is applied: {error}", self.node);
                None
            }
        }
    }

    fn configure(&self, plan: &NodePlan, remember: Option<Vec<u8>>) {
        self.metrics.configured(&plan.spec.rules);
        self.engine.configure(Configuration {
            rules: plan.spec.rules.clone(),
            identity: plan.identity(&self.node),
            generation: plan.generation,
            remember,
        });
    }
}
