//! `vedette-agent run`: this node's NodeConfig in, its status, metrics and records out.

use crate::cli::Run;
use crate::config::{self, NodePlan, PlanState, Seen, Watch};
use crate::confine::{Confinement, Needs, READS, WRITES_AND_LISTENS, confine};
use crate::http::Shown;
use crate::metrics::Metrics;
use crate::observe::observe;
use crate::socket::Bound;
use crate::standalone::{answer_questions, finish, on_runtime, serve, spawn_lines, start};
use crate::status::{StatusSink, Target};
use crate::{Trouble, anchors, sentence};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vedette_crds::record::Detection;
use vedette_engine::driver::{Configuration, Handle};
use vedette_engine::{Engine, StoreError};
use vedette_service::{ApiServer, Broken};

/// Where a plan that cannot be read is put, for examination: the next one takes its place in the state.
const UNREADABLE_PLAN: &str = "unreadable-plan";

/// Watches this node until it is told to end.
///
/// # Errors
/// When the state, the host root, the API server's address or an output cannot be used, or a task ends by itself.
pub fn run(options: Run) -> Result<ExitCode, Trouble> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok().filter(|_| options.kubeconfig.is_none());
    let is_pod = host.is_some();
    // As the client library finds the API server in a pod.
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok().and_then(|port| port.parse().ok()).filter(|_| is_pod);
    let needs = Needs {
        state_dir: &options.places.state_dir,
        records: options.records.file(),
        programs: !is_pod,
        // Some providers put a name in the place of the address.
        names: host.is_none_or(|host| host.parse::<IpAddr>().is_err()),
        ports: port.as_ref().map(std::slice::from_ref),
        capabilities: if is_pod { READS } else { WRITES_AND_LISTENS },
    };
    let (confinement, socket) = confine(needs, options.require_confinement)?;
    let agent = Agent { confinement, socket: Some(socket), ..Agent::open(options)? };
    on_runtime(async |mut signals| agent.run(async move { signals.received().await }).await)
}

/// One node's agent with all that it holds open. What a process does but once is left to who runs it: to bind itself, to make
/// the socket for questions, to take signals.
pub struct Agent {
    options: Run,
    engine: Engine,
    stored: PlanState,
    metrics: Arc<Metrics>,
    confinement: Confinement,
    socket: Option<std::io::Result<Bound>>,
}

impl Agent {
    /// Opens the state and the host.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(options: Run) -> Result<Self, Trouble> {
        let anchor = anchors::of_records(&options.records)?;
        let share = options.limits.of_service();
        let mut engine = options.places.open(share, Detection::Startup)?;
        anchor.into_iter().for_each(|anchor| engine.hold_against(anchor));
        let stored = stored_plan(&engine, &options.places.state_dir)?;
        let metrics = Metrics::new(engine.pace(), share.threads, options.places.journal_max);
        let metrics = Arc::new(metrics.map_err(|error| Trouble::because("cannot make metrics", error))?);
        Ok(Self { options, engine, stored, metrics, confinement: Confinement::none(), socket: None })
    }

    /// Watches the node until the end comes.
    ///
    /// # Errors
    /// When the API server's address or an output cannot be used, or a task ends by itself.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<ExitCode, Trouble> {
        let Self { options, engine, stored, metrics, confinement, socket } = self;
        let server = ApiServer::find(options.kubeconfig.as_deref()).await;
        let server = server.map_err(|error| Trouble::because("cannot start", error))?;
        metrics.watches("NodeConfig");
        let ready = Arc::new(AtomicBool::new(stored != PlanState::Waiting));
        let (published, watch) = observe(engine.standing(), Arc::clone(&metrics));
        let mut tasks = JoinSet::new();
        let shown = Shown { metrics: Arc::clone(&metrics), watch: watch.clone(), ready: Arc::clone(&ready) };
        let guard = options.guarding.guard(&server).map_err(|error| Trouble::because("cannot start", error))?;
        serve(&mut tasks, options.listen, shown, guard).await?;
        let lines = spawn_lines(&options.records, engine.journal(), &watch, &metrics)?;
        let (target, targeted) = watch::channel(Target { state: stored.clone(), ..Target::default() });
        let sink = StatusSink {
            node: options.node.clone(),
            boot_id: boot_id(),
            confinement,
            url: server.url().to_owned(),
            api: config::api(server.client()),
            journal: engine.journal().clone(),
            metrics: Arc::clone(&metrics),
        };
        tasks.spawn(sink.run(watch.clone(), targeted));
        let _answers = socket.and_then(|socket| answer_questions(&engine, socket, &options.places.state_dir));
        let driver = start(engine, published)?;
        let following = Following {
            node: options.node,
            metrics,
            target,
            ready,
            engine: driver.handle(),
            is_held: false,
            in_force: None,
        };
        tasks.spawn(following.run(server, stored));
        finish(driver, tasks, lines, watch, end).await
    }
}

/// The plan to begin with. One that cannot be read does not end an agent that the API server has a plan for.
fn stored_plan(engine: &Engine, state_dir: &Path) -> Result<PlanState, Trouble> {
    let (why, kept) = match engine.remembered() {
        Ok(None) => return Ok(PlanState::Waiting),
        Ok(Some(bytes)) => match config::kept(&bytes) {
            Ok(plan) => return Ok(PlanState::Stored(plan)),
            Err(trouble) => (sentence(&trouble), set_aside(state_dir, &bytes)),
        },
        Err(error @ StoreError::Damaged { .. }) => (sentence(&error), None),
        Err(error) => return Err(Trouble::because("cannot start", error)),
    };
    let kept = kept.map(|path| format!(" It is kept in {path} for examination.")).unwrap_or_default();
    tracing::warn!(
        "the last plan in the state directory cannot be read, nothing is watched until the API server gives one: {why}.{kept}"
    );
    Ok(PlanState::Waiting)
}

/// Writes a plan that cannot be read where the next plan does not overwrite it, and says where.
fn set_aside(state_dir: &Path, plan: &[u8]) -> Option<String> {
    let path = state_dir.join(UNREADABLE_PLAN);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    match file.and_then(|mut file| file.write_all(plan)) {
        Ok(()) => Some(path.display().to_string()),
        Err(error) => {
            tracing::warn!("cannot write {}: {error}", path.display());
            None
        }
    }
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
    /// Whether the state was held against the status that stood.
    is_held: bool,
    /// The plan that the engine was last given.
    in_force: Option<NodePlan>,
}

impl Following {
    async fn run(mut self, server: ApiServer, stored: PlanState) -> Result<(), Trouble> {
        let mut stored = stored.plan().cloned();
        let target = self.target.subscribe();
        let mut watch = Watch::new(&server, &self.node, move || meanwhile(&target.borrow().state));
        let mut is_broken = false;
        loop {
            let seen = watch.next().await;
            if let Ok(seen) = &seen {
                self.hold_against(seen);
            }
            // Not before the API server was asked once: what it knows of the journal comes before a compare.
            if let Some(plan) = stored.take() {
                tracing::info!(generation = plan.generation, "going on by the plan in the state directory");
                self.configure(&plan, None);
                self.in_force = Some(plan);
            }
            match seen {
                Ok(seen) => {
                    self.ready.store(true, Ordering::Relaxed);
                    self.take_in(seen, std::mem::take(&mut is_broken))?;
                }
                Err(Broken) => {
                    self.metrics.watch_broke("NodeConfig");
                    is_broken = true;
                }
            }
        }
    }

    /// Holds the state against the status that stands, once: what stands there later is this process's own.
    fn hold_against(&mut self, seen: &Seen) {
        let found = Target::default().after(seen).found;
        if let Some(anchor) = anchors::of_status(&found).filter(|_| !self.is_held) {
            self.is_held = true;
            self.engine.hold_against(anchor);
        }
    }

    /// Acts by what the API server says; `is_back`: after it could not be asked.
    fn take_in(&mut self, seen: Seen, is_back: bool) -> Result<(), Trouble> {
        let spec = match &seen {
            Seen::Present(object) => object.data.get("spec").cloned().unwrap_or_default(),
            Seen::Absent => serde_json::Value::Null,
        };
        let plan = self.plan(&seen, &spec);
        let is_news = plan.as_ref().is_some_and(|plan| !self.in_force.as_ref().is_some_and(|last| last.is(plan)));
        self.target.send_modify(|target| {
            *target = std::mem::take(target).after(&seen);
            target.returns += u64::from(is_back);
            if let Some(plan) = &plan {
                target.state = PlanState::Current(plan.clone());
            }
        });
        match (plan, seen) {
            (Some(plan), _) if is_news => {
                let keep =
                    config::keep(&plan, spec).map_err(|error| Trouble::because("cannot keep the plan", error))?;
                self.configure(&plan, Some(keep));
                self.in_force = Some(plan);
            }
            (_, Seen::Absent) => match &self.in_force {
                Some(plan) => tracing::warn!(
                    generation = plan.generation,
                    "there is no NodeConfig {}: going on by the last plan",
                    self.node
                ),
                None => tracing::info!("there is no NodeConfig {} yet: waiting for one", self.node),
            },
            _ => {}
        }
        Ok(())
    }

    /// The plan in a NodeConfig that is there; one that cannot be read changes nothing.
    fn plan(&self, seen: &Seen, spec: &serde_json::Value) -> Option<NodePlan> {
        let Seen::Present(object) = seen else { return None };
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        match NodePlan::of(uid, config::generation(object), spec) {
            Ok(plan) => {
                let last = self.in_force.as_ref();
                let same = last.filter(|last| last.is(&plan));
                let next = last.map_or(1, |last| last.revision + 1);
                Some(NodePlan { revision: same.map_or(next, |same| same.revision), ..plan })
            }
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
            generation: plan.revision,
            remember,
        });
    }
}

/// What the agent does while the API server cannot be asked.
fn meanwhile(state: &PlanState) -> String {
    match state.plan() {
        Some(plan) => format!("going on by the last plan (generation {})", plan.generation),
        None => "there is no plan to go on by: nothing is watched until it answers".to_owned(),
    }
}
