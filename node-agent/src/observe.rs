//! What the engine says, as a value that tasks can wait on.

use crate::metrics::Metrics;
use std::sync::Arc;
use tokio::sync::watch;
use vedette_crds::record::Nanos;
use vedette_engine::driver::Observer;
use vedette_engine::engine::{Standing, Summary};
use vedette_engine::{EngineError, StoreError};

/// What stands now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) standing: Standing,
    pub(crate) last: Option<Last>,
    /// Why the last try to compare or commit failed; gone after one that did not.
    pub(crate) fault: Option<Fault>,
}

/// The last complete compare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Last {
    pub(crate) ended: Nanos,
    pub(crate) seconds: f64,
    pub(crate) items: u64,
}

/// What keeps the engine from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
}

/// The closed set of faults, for conditions and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    HostRoot,
    HostRootChanged,
    Mounts,
    Threads,
    StoreFull,
    StoreDamaged,
    StoreFailing,
}

impl FaultKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::HostRoot,
        Self::HostRootChanged,
        Self::Mounts,
        Self::Threads,
        Self::StoreFull,
        Self::StoreDamaged,
        Self::StoreFailing,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::HostRoot => "HostRoot",
            Self::HostRootChanged => "HostRootChanged",
            Self::Mounts => "Mounts",
            Self::Threads => "Threads",
            Self::StoreFull => "StoreFull",
            Self::StoreDamaged => "StoreDamaged",
            Self::StoreFailing => "StoreFailing",
        }
    }

    fn of(error: &EngineError) -> Self {
        match error {
            EngineError::HostRoot { .. } => Self::HostRoot,
            EngineError::HostRootChanged { .. } => Self::HostRootChanged,
            EngineError::Mounts(_) => Self::Mounts,
            EngineError::Threads(_) => Self::Threads,
            EngineError::Store(
                StoreError::Damaged { .. }
                | StoreError::Corrupt { .. }
                | StoreError::NoFile { .. }
                | StoreError::Format { .. },
            ) => Self::StoreDamaged,
            EngineError::Store(error) if error.is_full() => Self::StoreFull,
            EngineError::Store(_) => Self::StoreFailing,
        }
    }
}

/// The reading end; it closes when the engine ends.
pub(crate) type Watch = watch::Receiver<View>;

/// The writing end: what the engine's thread is given.
pub(crate) struct Published {
    view: watch::Sender<View>,
    metrics: Arc<Metrics>,
}

/// Both ends, beginning with what stands at the start.
pub(crate) fn observe(standing: Standing, metrics: Arc<Metrics>) -> (Published, Watch) {
    let (view, watch) = watch::channel(View { standing, last: None, fault: None });
    (Published { view, metrics }, watch)
}

impl Observer for Published {
    fn stands(&mut self, standing: &Standing) {
        self.view.send_modify(|view| view.standing = standing.clone());
    }

    fn compared(&mut self, summary: &Summary, overrun: bool) {
        let seconds = summary.duration.as_secs_f64();
        tracing::info!(
            items = summary.items,
            records = summary.records,
            baselined = summary.baselined,
            seconds,
            "compared"
        );
        self.metrics.compared(summary, overrun);
        let ended = Nanos(jiff::Timestamp::now());
        self.view.send_modify(|view| {
            view.last = Some(Last { ended, seconds, items: summary.items });
            view.fault = None;
        });
    }

    fn failed(&mut self, error: &EngineError) {
        let fault = Fault { kind: FaultKind::of(error), message: crate::sentence(error) };
        tracing::error!(reason = fault.kind.as_str(), "{}", fault.message);
        self.metrics.failed(fault.kind);
        self.view.send_modify(|view| view.fault = Some(fault));
    }
}
