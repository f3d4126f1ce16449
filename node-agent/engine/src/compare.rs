//! One compare: the mount table, the plan, the walkers and the committer, and the notice at its end.
//!
//! Reads the host through the walkers; writes the state through the committer. It decides what is due, never what
//! differs.

use crate::adopt::Barred;
use crate::clock::Time;
use crate::commit::{Aside, Committer};
use crate::compared::Compared;
use crate::crew::Crew;
use crate::engine::{Engine, EngineError, Outcome, PlanChange, Standing, Summary};
use crate::follow;
use crate::frontier::Frontier;
use crate::host::FileId;
use crate::idle::idle;
use crate::lane::Ground;
use crate::look::Looker;
use crate::meta::Meta;
use crate::mounted;
use crate::mounts::Mounts;
use crate::moves::Moves;
use crate::newcomers::Newcomers;
use crate::pace::Charged;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use crate::progress::SoFar;
use crate::remote::Remotes;
use crate::render::Owners;
use crate::side_by_side::files_at_once;
use crate::stop::Stop;
use crate::store::StoreError;
use crate::unknown::Found;
use crate::walk::{Before, Walk, Walked, read, settle, walk};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use vedette_crds::record::{Detection, NoticeKind};

/// Links behind links: a compare walks so often at most.
const WALKS: usize = 16;

/// A walk that came to its end.
struct Ended {
    plan: Arc<Plan>,
    due: Due,
    barred: Vec<Barred>,
    walked: Walked,
    /// Links that lead to more than can be followed.
    over: Found,
    /// Items that came into the baseline.
    baselined: u64,
}

impl Engine {
    /// Compares what is due with the state. `stop` ends it at the next directory or read; `committed` is called after
    /// each commit.
    ///
    /// A changed configuration, and a clock that went back, make everything due. Without rules nothing is compared.
    ///
    /// # Errors
    /// When the host root, the mount table or the state cannot be used; what was committed stays.
    pub fn compare(
        &mut self,
        due: &Due,
        stop: &Arc<AtomicBool>,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Outcome, EngineError> {
        let _charged = Charged::begin(&self.pace);
        let first = self.compare_once(due, stop, committed)?;
        match first {
            Outcome::Complete(first) if self.holds => Ok(match self.compare_once(due, stop, committed)? {
                Outcome::Complete(second) => Outcome::Complete(first.and(second)),
                Outcome::Interrupted => Outcome::Interrupted,
            }),
            outcome => Ok(outcome),
        }
    }

    fn compare_once(
        &mut self,
        due: &Due,
        stop: &Arc<AtomicBool>,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Outcome, EngineError> {
        let (began, started) = (self.clock.now(), self.clock.since_boot());
        self.settle()?;
        self.open_host_root()?;
        let table = Newcomers::table().map_err(EngineError::Mounts)?;
        let mounts = Arc::new(Mounts::read(&self.settings.host_root).map_err(EngineError::Mounts)?);
        self.check_host_root(&mounts)?;
        self.guard_host_root(table, &mounts)?;
        self.volumes.begin_compare();
        self.check_clock()?;
        self.mounts = Some(Arc::clone(&mounts));
        let sequence = self.meta.sequence;
        self.progress.begin();
        let walked = self.walk_all(&mounts, due, stop, committed);
        let SoFar { items, hashed, .. } = self.progress.end();
        let Some(Ended { plan, due, barred, mut walked, over, baselined }) = walked? else {
            return Ok(Outcome::Interrupted);
        };
        let said = self.not_entered(&mounts, &plan, barred, &mut walked)?;
        let records = self.meta.sequence - sequence;
        let plan_change = (self.meta.complete != Some(plan.id)).then(|| {
            let pending = self.meta.pending.clone().unwrap_or_default();
            PlanChange { added: pending.added, forgotten: pending.forgotten }
        });
        let idle_before = if plan_change.is_none() { Arc::clone(&self.idle) } else { Arc::default() };
        self.idle = idle(&plan, &due, &walked.met, &idle_before);
        let unseen = walked.unknown.unseen().map(|unseen| [unseen, said].concat());
        // Nothing of the state lies behind them alone.
        walked.unknown.extend(over);
        if let Some(blind) = mounts.blind(&plan, &due) {
            walked.unknown.add(blind);
        }
        self.unknowns.lock().unwrap_or_else(PoisonError::into_inner).update(&due, walked.unknown);
        self.complete(&plan, &due, began, unseen.as_deref())?;
        self.detection = Detection::Scan;
        committed(&self.standing());
        let duration = self.clock.since_boot().saturating_sub(started);
        Ok(Outcome::Complete(Summary { began, duration, items, hashed, records, baselined, plan_change }))
    }

    /// Walks, and again as long as links are met that lead to what the plan does not select yet.
    fn walk_all(
        &mut self,
        mounts: &Arc<Mounts>,
        due: &Due,
        stop: &Arc<AtomicBool>,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Option<Ended>, EngineError> {
        let (mut walks, mut baselined, mut left) = (0, 0, BTreeSet::new());
        loop {
            let sequence = self.meta.sequence;
            let (plan, barred) = self.adopt_plan(mounts)?;
            if self.meta.sequence > sequence {
                committed(&self.standing());
            }
            let is_all_due = self.meta.complete != Some(plan.id) || self.meta.reread;
            let due = if is_all_due { Due::All } else { due.clone() };
            let added = |meta: &Meta| meta.pending.as_ref().map_or(0, |pending| pending.added);
            let before = added(&self.meta);
            let Some(mut walked) = self.walk(mounts, &plan, &due, stop, committed)? else { return Ok(None) };
            baselined += added(&self.meta) - before;
            walks += 1;
            let leads = std::mem::take(&mut walked.leads);
            let (leads, all_seen) = ((leads, self.room), !walked.unknown.misses_items);
            let (follows, over) = follow::after_walk(&plan, &due, all_seen, leads, &mut left);
            let is_known = follows == plan.source.follows;
            self.follows = Some(follows);
            if !is_known && walks == WALKS {
                // The next compare goes on from there.
                tracing::warn!("the links that rules follow change faster than they are followed");
            }
            if is_known || walks == WALKS {
                return Ok(Some(Ended { plan, due, barred, walked, over, baselined }));
            }
        }
    }

    /// Walks and commits; `None` when it was stopped.
    fn walk(
        &mut self,
        mounts: &Arc<Mounts>,
        plan: &Arc<Plan>,
        due: &Due,
        stop: &Arc<AtomicBool>,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Option<Walked>, EngineError> {
        if self.meta.complete != Some(plan.id) {
            // What waits was asked for by another plan.
            self.lane.reset();
        }
        let shared = Arc::new(self.to_walk(mounts, plan, due, stop)?);
        let waits = shared.waits;
        let owners = Owners::read(&self.host, mounts);
        let mut meta = self.meta.clone();
        let looker = shared.ground.looker(shared.stop.clone());
        let mut left_behind = std::mem::take(&mut self.left_behind);
        let this = &*self;
        let mut committer = this.committer(plan, mounts, &owners, &shared.moves, looker);
        let mut committed = |meta: &Meta| {
            // The next looks pay for it.
            this.pace.charge();
            committed(&this.standing_at(meta));
        };
        let mut work = |work| -> Result<Walked, EngineError> {
            let crew = Crew::start(&shared, this.settings.threads, work)?;
            let remotes = Remotes::new(&shared, &mut left_behind, this.settings.answer_within);
            Ok(crew.commit(&mut committer, &mut meta, &mut committed, remotes)?)
        };
        let mut result = work(walk);
        // All names were seen: what is gone and what is new can be told apart from what moved.
        if result.is_ok() && !stop.load(Ordering::Relaxed) && shared.moves.settle() {
            result = result.and_then(|mut walked| {
                walked.extend(work(settle)?);
                Ok(walked)
            });
        }
        if result.is_ok() && !stop.load(Ordering::Relaxed) && waits && !self.lane.is_empty() {
            result = result.and_then(|mut walked| {
                walked.extend(work(read)?);
                Ok(walked)
            });
        }
        // What an interrupted walk has found and not sent, its files must not be read as if it had been.
        if waits || result.is_err() || stop.load(Ordering::Relaxed) {
            self.lane.reset();
        } else {
            self.lane.man();
        }
        if result.is_ok() && !stop.load(Ordering::Relaxed) {
            result = result.and_then(|walked| {
                meta = committer.settle_absent(&shared, &meta)?;
                Ok(walked)
            });
        }
        self.left_behind = left_behind;
        self.meta = meta;
        let walked = result?;
        Ok((!stop.load(Ordering::Relaxed)).then_some(walked))
    }

    /// What the walkers of a compare share.
    pub(crate) fn to_walk(
        &self,
        mounts: &Arc<Mounts>,
        plan: &Arc<Plan>,
        due: &Due,
        stop: &Arc<AtomicBool>,
    ) -> Result<Walk, StoreError> {
        let Self { store, meta, lane, .. } = self;
        let before = match meta.complete {
            None => Before::Nothing,
            Some(complete) if complete == plan.id => Before::Same,
            Some(complete) => Before::Other(self.plans.get(store, complete)?),
        };
        Ok(Walk {
            store: Arc::clone(store),
            host: Arc::clone(&self.host),
            mounts: Arc::clone(mounts),
            volumes: Arc::clone(&self.volumes),
            shown: Arc::new(mounted::load(&store.read()?)?),
            visitors: Arc::new(meta.visitors.iter().map(|visitor| visitor.volume).collect()),
            plan: Arc::clone(plan),
            before,
            due: due.clone(),
            reread: meta.reread,
            stop: Stop::new(stop),
            progress: Arc::clone(&self.progress),
            frontier: Arc::new(Frontier::new(plan)),
            flow: Arc::default(),
            pass: self.pass,
            room: self.room,
            moves: Arc::<Moves>::default(),
            lane: Arc::clone(lane),
            // A baseline is ready when all was read, and what the first compare finds was changed while nobody watched.
            waits: !lane.has_thread() || meta.complete != Some(plan.id) || self.detection != Detection::Scan,
            ground: self.ground(mounts, Arc::new(meta.compared.clone())),
            threads: self.settings.threads,
            is_remote: false,
        })
    }

    /// What looks need.
    pub(crate) fn ground(&self, mounts: &Arc<Mounts>, compared: Arc<Compared>) -> Ground {
        Ground {
            host: Arc::clone(&self.host),
            mounts: Arc::clone(mounts),
            volumes: Arc::clone(&self.volumes),
            clock: Arc::clone(&self.clock),
            // A database that was deleted under us has no name that a look could meet.
            own: [FileId::at(&self.store.file()).ok(), FileId::of_socket(&self.store.socket())],
            progress: Arc::clone(&self.progress),
            links: Arc::default(),
            pace: Arc::clone(&self.pace),
            compared,
            files: files_at_once(getrlimit(Resource::Nofile).current, self.settings.threads),
        }
    }

    pub(crate) fn committer<'a>(
        &'a self,
        plan: &'a Plan,
        mounts: &'a Mounts,
        owners: &'a Owners,
        moves: &'a Moves,
        looker: Looker,
    ) -> Committer<'a> {
        Committer {
            store: &self.store,
            host: &self.host,
            mounts,
            volumes: &self.volumes,
            plan,
            plans: &self.plans,
            identity: &self.identity,
            owners,
            clock: &*self.clock,
            looker: looker.at_once(),
            moves,
            lane: &self.lane,
            aside: if self.lane.has_thread() { Aside::Large } else { Aside::Nothing },
            detection: self.detection,
            journal_max: self.journal_max,
        }
    }

    /// Writes down that a compare came to its end.
    fn complete(&mut self, plan: &Plan, due: &Due, began: Time, unseen: Option<&[HostPath]>) -> Result<(), StoreError> {
        let mut meta = self.meta.clone();
        meta.reread = false;
        if meta.complete != Some(plan.id) {
            meta.compared.clear();
        }
        meta.compared.complete(plan, due, began, unseen);
        let mut kinds = Vec::new();
        if meta.complete != Some(plan.id) {
            meta.complete = Some(plan.id);
            meta.plans.iter_mut().filter(|held| held.plan == plan.id).for_each(|held| held.is_complete = true);
            if !self.holds {
                let pending = meta.pending.take().unwrap_or_default();
                kinds.push(NoticeKind::ConfigurationApplied {
                    rules: plan.rules.iter().map(|rule| rule.name.clone()).collect(),
                    items_added: pending.added,
                    items_forgotten: pending.forgotten,
                });
            }
            if !meta.baseline_made && !plan.rules.is_empty() {
                meta.baseline_made = true;
                kinds.push(NoticeKind::BaselineMade { items: meta.totals.tracked });
            }
        }
        self.write_notices(meta, kinds)
    }
}
