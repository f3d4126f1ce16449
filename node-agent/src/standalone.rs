//! `vedette-agent standalone`: the same engine without a cluster.

use crate::cli::{Records, Standalone};
use crate::confine::{Needs, WRITES_AND_LISTENS, confine};
use crate::http::Shown;
use crate::lines::{self, Output};
use crate::metrics::Metrics;
use crate::narrate;
use crate::observe::{Watch, observe};
use crate::socket::{Bound, Server};
use crate::{Trouble, anchors, rules};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::task::JoinSet;
use vedette_crds::record::Detection;
use vedette_engine::clock::SystemClock;
use vedette_engine::driver::{Configuration, Driver};
use vedette_engine::journal::{Journal, Sink};
use vedette_engine::{Engine, Identity};
use vedette_service::http::Guard;
use vedette_service::{Signals, http};

/// Who reads the lines has this long for the last of them: they are in the journal, and a kubelet's patience ends.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Watches this host until it is told to end.
///
/// # Errors
/// When a rule, the state, the host root or an output cannot be used, or a task ends by itself.
pub fn standalone(options: Standalone) -> Result<ExitCode, Trouble> {
    let rules = rules::load(&options.rules)?;
    let node = rules::node_name(options.node.as_ref(), &options.places.host_root);
    let needs = Needs {
        state_dir: &options.places.state_dir,
        records: options.records.file(),
        programs: false,
        names: false,
        ports: Some(&[]),
        capabilities: WRITES_AND_LISTENS,
    };
    let (_, socket) = confine(needs, options.require_confinement)?;
    let anchor = anchors::of_records(&options.records)?;
    let share = options.limits.of_service();
    let mut engine = options.places.open(share, Detection::Startup)?;
    let identity = Identity { node, ..Identity::default() };
    engine.configure(rules.clone(), identity.clone(), 1);
    anchor.into_iter().for_each(|anchor| engine.hold_against(anchor));
    // Before a sink delivers what another journal is about to take the place of.
    engine.settle().map_err(Trouble::of)?;
    let metrics = Arc::new(
        Metrics::new(engine.pace(), share.threads, options.places.journal_max)
            .map_err(|error| Trouble::because("cannot make metrics", error))?,
    );
    metrics.configured(&rules);
    on_runtime(async |mut signals| {
        let (published, watch) = observe(engine.standing(), Arc::clone(&metrics));
        let mut tasks = JoinSet::new();
        if let Some(address) = options.listen {
            let ready = Arc::new(AtomicBool::new(true));
            let shown = Shown { metrics: Arc::clone(&metrics), watch: watch.clone(), ready };
            serve(&mut tasks, address, shown, None).await?;
        }
        let sink = spawn_lines(&options.records, engine.journal(), &watch, &metrics)?;
        let _answers = answer_questions(&engine, socket, &options.places.state_dir);
        let driver = start(engine, published)?;
        driver.handle().configure(Configuration { rules, identity, generation: 1, remember: None });
        finish(driver, tasks, sink, watch, signals.received()).await
    })
}

/// Runs to the end on one thread: what takes time runs on the engine's own. A write that nobody takes in holds up nothing.
pub(crate) fn on_runtime(work: impl AsyncFnOnce(Signals) -> Result<ExitCode, Trouble>) -> Result<ExitCode, Trouble> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = built.map_err(|source| Trouble::because("cannot start the runtime", source))?;
    let result = runtime.block_on(async {
        let signals = Signals::take().map_err(|source| Trouble::because("cannot wait for signals", source))?;
        work(signals).await
    });
    runtime.shutdown_background();
    result
}

/// Shows metrics and readiness for as long as the process lives.
pub(crate) async fn serve(
    tasks: &mut JoinSet<Result<(), Trouble>>,
    address: SocketAddr,
    shown: Shown,
    guard: Option<Guard>,
) -> Result<(), Trouble> {
    let listener = http::bind(address).await.map_err(|error| Trouble::because("cannot start", error))?;
    tasks.spawn(async move {
        http::serve(listener, Arc::new(shown), guard, std::future::pending()).await;
        Ok(())
    });
    Ok(())
}

/// Answers questions about the state until the result is dropped. Where there can be no socket the agent goes on without.
pub(crate) fn answer_questions(engine: &Engine, socket: std::io::Result<Bound>, state_dir: &Path) -> Option<Server> {
    match socket.and_then(|socket| Server::start(socket, engine.inspector())) {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(
                "cannot make a socket in {}: inventory and explain have to wait until this agent ends: {error}",
                state_dir.display()
            );
            None
        }
    }
}

pub(crate) fn start(engine: Engine, published: crate::observe::Published) -> Result<Driver, Trouble> {
    Driver::start(engine, Arc::new(SystemClock), Box::new(published))
        .map_err(|source| Trouble::because("cannot start the engine's thread", source))
}

/// The task that writes lines, if they go anywhere.
pub(crate) type LinesTask = Option<tokio::task::JoinHandle<Result<(), Trouble>>>;

pub(crate) fn spawn_lines(
    records: &Records,
    journal: &Journal,
    watch: &Watch,
    metrics: &Arc<Metrics>,
) -> Result<LinesTask, Trouble> {
    let (sink, output) = match records {
        Records::None => return Ok(None),
        Records::Stdout => (Sink::Stdout, Output::stdout()),
        Records::File(path) => (Sink::File, Output::file(path)?),
    };
    // Before the engine's thread runs: the task may begin after its first lines.
    let start = watch.borrow().standing.sequence;
    Ok(Some(tokio::spawn(lines::run(journal.clone(), sink, start, output, watch.clone(), Arc::clone(metrics)))))
}

/// Waits for the end or for a task that ends by itself; then ends the engine and writes the last lines.
pub(crate) async fn finish(
    driver: Driver,
    mut tasks: JoinSet<Result<(), Trouble>>,
    mut lines: LinesTask,
    mut watch: Watch,
    end: impl Future<Output = ()>,
) -> Result<ExitCode, Trouble> {
    let ended = |what: Result<Result<(), Trouble>, tokio::task::JoinError>| match what {
        Ok(Ok(())) => Trouble::new("a task of the agent ended by itself"),
        Ok(Err(trouble)) => trouble,
        Err(error) => Trouble::because("a task of the agent failed", error),
    };
    let writing = async {
        match &mut lines {
            Some(task) => task.await,
            None => std::future::pending().await,
        }
    };
    let log = narrate::log(driver.progress(), watch.clone());
    let engine_ended = async { while watch.changed().await.is_ok() {} };
    let trouble = tokio::select! {
        () = end => None,
        Some(task) = tasks.join_next() => Some(ended(task)),
        task = writing => return Err(ended(task)),
        () = engine_ended => Some(Trouble::new("the engine's thread ended by itself")),
        never = log => match never {},
    };
    let engine = tokio::task::spawn_blocking(move || driver.shutdown()).await;
    let engine = engine.map_err(|error| Trouble::because("the engine failed", error))?;
    // The watch has closed with the engine's thread: the sink writes what is left and ends.
    if let Some(task) = lines {
        match tokio::time::timeout(LAST_LINES, task).await {
            Ok(ended) => ended.map_err(|error| Trouble::because("the task that writes records failed", error))??,
            Err(_) => tracing::warn!("nobody takes in the last records: they come first next time"),
        }
    }
    drop(engine);
    match trouble {
        None => Ok(ExitCode::SUCCESS),
        Some(trouble) => Err(trouble),
    }
}
