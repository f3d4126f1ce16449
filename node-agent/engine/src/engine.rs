//! One compare: mounts, plan, walkers, the committer, and the notice at its end.

use crate::adopt::{Resolution, adopt, resolve};
use crate::clock::{Clock, Time};
use crate::commit::{Committer, Identity, Report, notice};
use crate::host::HostRoot;
use crate::journal::Journal;
use crate::look::Looker;
use crate::meta::{Meta, Totals};
use crate::mounts::Mounts;
use crate::path::HostPath;
use crate::plan::{Due, Plan, entries};
use crate::plans::{self, Plans};
use crate::render::Owners;
use crate::store::{Store, StoreError};
use crate::unknown::{Aspect, Unknown, Unknowns};
use crate::volumes::{Volumes, identity};
use crate::walk::{Frontier, Walk, Walked, walk};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{Detection, NoticeKind};

/// Reports that may wait for the committer: a few directories for each walker.
const REPORTS: usize = 64;
/// A transaction takes so many findings,
const CHUNK_FINDINGS: usize = 32_000;
/// or what came in this time.
const CHUNK_TIME: Duration = Duration::from_secs(2);
/// The last configuration that the agent was given.
const CONFIGURATION: &str = "configuration";

/// What an engine works on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its state lies; it alone uses it.
    pub state_dir: PathBuf,
    /// Where the host's `/` is.
    pub host_root: PathBuf,
    /// Threads that walk.
    pub threads: usize,
    /// What the first compare after the start calls its differences.
    pub first_detection: Detection,
}

/// Why a compare could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The host root cannot be opened.
    #[error("cannot open the host root {}: --host-root is where the host's / is mounted", path.display())]
    HostRoot {
        /// The host root.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another directory stands where the host root was: nothing of it can be compared with the state.
    #[error("the host root {} is not the one that the state in {} is of: all of it is unknown. Mount the host's / there again, or give the new host a --state-dir of its own", path.display(), state.display())]
    HostRootChanged {
        /// The host root.
        path: PathBuf,
        /// The state directory.
        state: PathBuf,
    },
    /// The mount table cannot be read.
    #[error("cannot read the mount table")]
    Mounts(#[source] std::io::Error),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a compare ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end.
    Complete(Summary),
    /// It was told to stop; what was committed stays.
    Interrupted,
}

/// What a complete compare did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When it began.
    pub began: Time,
    /// How long it took.
    pub duration: Duration,
    /// Items that were looked at.
    pub items: u64,
    /// Bytes of content that were hashed.
    pub hashed: u64,
    /// Records that it made.
    pub records: u64,
    /// Items that came into the baseline.
    pub baselined: u64,
}

/// What the state holds, after the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The journal's id.
    pub journal: String,
    /// Its last sequence.
    pub sequence: u64,
    /// The chain at that sequence, hex.
    pub head: String,
    /// All counts.
    pub totals: Totals,
    /// Whether a complete compare has ended under the rules in force.
    pub baseline_ready: bool,
    /// What could not be seen.
    pub unknowns: Unknowns,
}

/// Looks, compares and commits when it is told to.
pub struct Engine {
    settings: Settings,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    host: HostRoot,
    volumes: Volumes,
    plans: Plans,
    meta: Meta,
    journal: Journal,
    identity: Identity,
    /// Set by [`Engine::configure`], resolved at each compare.
    rules: Option<Vec<NodeRule>>,
    plan: Option<Arc<Plan>>,
    detection: Detection,
    unknowns: Unknowns,
}

impl Engine {
    /// Opens the state and the host root.
    ///
    /// # Errors
    /// When either cannot be used; the sentence says what to do.
    pub fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        let host = HostRoot::open(&settings.host_root)
            .map_err(|errno| EngineError::HostRoot { path: settings.host_root.clone(), source: errno.into() })?;
        let (store, _) = Store::open(&settings.state_dir)?;
        let store = Arc::new(store);
        let known = Meta::load(&store.read()?)?;
        let is_new = known.is_none();
        let meta = known.unwrap_or_else(|| Meta::new(uuid::Uuid::new_v4().simple().to_string()));
        if is_new {
            let writer = store.write()?;
            meta.save(&writer)?;
            writer.commit()?;
        }
        let journal = Journal::new(Arc::clone(&store), is_new, meta.journal.clone());
        let volumes = Volumes::load(&store)?;
        let detection = settings.first_detection;
        Ok(Self {
            settings,
            clock,
            store,
            host,
            volumes,
            plans: Plans::default(),
            meta,
            journal,
            identity: Identity::default(),
            rules: None,
            plan: None,
            detection,
            unknowns: Unknowns::default(),
        })
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What the state holds.
    pub fn standing(&self) -> Standing {
        Standing {
            journal: self.meta.journal.clone(),
            sequence: self.meta.sequence,
            head: self.meta.head.to_string(),
            totals: self.meta.totals.clone(),
            baseline_ready: self.meta.plan.is_some() && self.meta.plan == self.meta.complete && self.plan_is_of_rules(),
            unknowns: self.unknowns.clone(),
        }
    }

    fn plan_is_of_rules(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| Some(&plan.source.rules) == self.rules.as_ref())
    }

    /// Sets what is compared from the next compare on, and whom its records name.
    pub fn configure(&mut self, rules: Vec<NodeRule>, identity: Identity) {
        self.rules = Some(rules);
        self.identity = identity;
    }

    /// The values in rules that this version does not know.
    pub fn unknown_values(rules: &[NodeRule]) -> Vec<String> {
        entries(rules).1
    }

    /// The intervals of the rules that are set, shortest first.
    pub fn intervals(&self) -> Vec<Duration> {
        let mut intervals: Vec<Duration> = self
            .rules
            .iter()
            .flat_map(|rules| {
                let (entries, _) = entries(rules);
                entries
                    .into_iter()
                    .filter(|entry| !rules[entry.rule].suspend)
                    .map(|entry| entry.interval)
                    .collect::<Vec<_>>()
            })
            .collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
    }

    /// The configuration that was last remembered: bytes that only the caller understands.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn remembered(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read()?.meta(CONFIGURATION)
    }

    /// Remembers a configuration over a restart.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn remember(&self, configuration: &[u8]) -> Result<(), StoreError> {
        let writer = self.store.write()?;
        writer.set_meta(CONFIGURATION, configuration)?;
        writer.commit()
    }

    /// Says in the journal that watching begins.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn announce_start(&mut self) -> Result<(), StoreError> {
        let text = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let machine_id = self.host.read_text(&HostPath::from("/etc/machine-id"), 128).map(|id| id.trim().to_owned());
        let kind = NoticeKind::Started {
            stopped_since: self.meta.alive.map(|alive| vedette_crds::record::Nanos(alive.timestamp())),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            machine_id: machine_id.filter(|id| !id.is_empty()),
            kernel: text("/proc/sys/kernel/osrelease"),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.write_notices(self.meta.clone(), [kind])
    }

    /// Opens the state anew after its database failed, for example on a full disk; nothing that was committed is lost.
    ///
    /// # Errors
    /// When it still cannot be used.
    pub fn recover(&mut self) -> Result<(), StoreError> {
        self.store.reopen()?;
        self.meta =
            Meta::load(&self.store.read()?)?.ok_or_else(|| StoreError::damaged("its description is missing"))?;
        self.volumes = Volumes::load(&self.store)?;
        self.plan = None;
        Ok(())
    }

    fn write_notices(&mut self, mut meta: Meta, kinds: impl IntoIterator<Item = NoticeKind>) -> Result<(), StoreError> {
        let writer = self.store.write()?;
        let now = self.clock.now();
        for kind in kinds {
            notice(&writer, &mut meta, &self.identity, now, kind)?;
        }
        meta.alive = Some(now);
        meta.save(&writer)?;
        writer.commit()?;
        self.meta = meta;
        Ok(())
    }

    /// Compares what is due with the state. `stop` ends it at the next directory or read; `committed` is called after
    /// each commit.
    ///
    /// A changed configuration makes everything due. Without rules nothing is compared.
    ///
    /// # Errors
    /// When the host root, the mount table or the state cannot be used; what was committed stays.
    pub fn compare(
        &mut self,
        due: &Due,
        stop: &AtomicBool,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Outcome, EngineError> {
        let (began, started) = (self.clock.now(), self.clock.since_boot());
        let mounts = Mounts::read(&self.settings.host_root).map_err(EngineError::Mounts)?;
        self.check_host_root(&mounts)?;
        self.volumes.begin_compare();
        let (plan, barred) = self.adopt_plan(&mounts)?;
        let due = if self.meta.complete == Some(plan.id) { due.clone() } else { Due::All };
        if let Some(complete) = self.meta.complete {
            self.plans.get(&self.store, complete)?;
        }
        let before = (self.meta.sequence, self.meta.pending.as_ref().map_or(0, |pending| pending.added));
        let walked = self.walk(&mounts, &plan, &due, stop, committed)?;
        let Some(mut walked) = walked else { return Ok(Outcome::Interrupted) };
        self.not_entered(&mounts, &plan, barred, &mut walked)?;
        let records = self.meta.sequence - before.0;
        let baselined = self.meta.pending.as_ref().map_or(0, |pending| pending.added) - before.1;
        let all_seen = walked
            .unknown
            .iter()
            .all(|unknown| !matches!(unknown.aspect, Aspect::Listing | Aspect::Metadata | Aspect::Volume));
        self.unknowns.update(&due, walked.unknown);
        self.complete(&plan, &due, all_seen.then_some(began))?;
        self.detection = Detection::Scan;
        committed(&self.standing());
        let duration = self.clock.since_boot().saturating_sub(started);
        Ok(Outcome::Complete(Summary {
            began,
            duration,
            items: walked.items,
            hashed: walked.hashed,
            records,
            baselined,
        }))
    }

    fn check_host_root(&mut self, mounts: &Mounts) -> Result<(), EngineError> {
        let failed = |errno: rustix::io::Errno| EngineError::HostRoot {
            path: self.settings.host_root.clone(),
            source: errno.into(),
        };
        // Opened anew: the old descriptor would go on showing what was mounted before.
        self.host = HostRoot::open(&self.settings.host_root).map_err(failed)?;
        let stat = self.host.stat().map_err(failed)?;
        let found =
            mounts.get(stat.stx_mnt_id).map(|mount| String::from_utf8_lossy(&identity(mount, &stat)).into_owned());
        match (&self.meta.host_root, found) {
            (Some(known), Some(found)) if *known == found => Ok(()),
            (None, Some(found)) => {
                self.meta.host_root = Some(found);
                Ok(())
            }
            _ => Err(EngineError::HostRootChanged {
                path: self.settings.host_root.clone(),
                state: self.settings.state_dir.clone(),
            }),
        }
    }

    /// The plan of the rules as the host is now; it comes into force when it differs from the one that is.
    fn adopt_plan(&mut self, mounts: &Mounts) -> Result<(Arc<Plan>, Vec<(HostPath, String)>), EngineError> {
        let stored = match (&self.plan, self.meta.plan) {
            (Some(plan), _) => Some((plan.id, plan.source.clone())),
            (None, Some(id)) => {
                self.store.read()?.plan(id)?.map(|bytes| plans::decode(&bytes)).transpose()?.map(|source| (id, source))
            }
            (None, None) => None,
        };
        let rules = match (&self.rules, &stored) {
            (Some(rules), _) => rules.clone(),
            (None, Some((_, source))) => source.rules.clone(),
            (None, None) => Vec::new(),
        };
        let in_force = stored.as_ref().map(|(_, source)| source);
        let Resolution { source, root_mounts, barred } = resolve(rules, &self.host, mounts, in_force);
        let same = in_force == Some(&source) && self.meta.plan.is_some();
        let id = match &stored {
            Some((id, _)) if same => *id,
            Some((id, _)) => id + 1,
            None => self.meta.plan.map_or(1, |id| id + 1),
        };
        let plan = Arc::new(Plan::new(id, source, &root_mounts));
        if !same {
            self.meta = adopt(&self.store, &plan, &self.meta)?;
        }
        self.plan = Some(Arc::clone(&plan));
        Ok((plan, barred))
    }

    /// Walks and commits; `None` when it was stopped.
    fn walk(
        &mut self,
        mounts: &Mounts,
        plan: &Plan,
        due: &Due,
        stop: &AtomicBool,
        committed: &mut dyn FnMut(&Standing),
    ) -> Result<Option<Walked>, StoreError> {
        // Walkers end on their own flag too, so that a failing committer ends them without touching the caller's.
        let clock = Arc::clone(&self.clock);
        let store = Arc::clone(&self.store);
        let owners = Owners::read(&self.host);
        let mut meta = self.meta.clone();
        let shared = Walk {
            store: &store,
            host: &self.host,
            mounts,
            volumes: &self.volumes,
            plan,
            due,
            clock: &*clock,
            stop,
            frontier: Frontier::new(plan),
        };
        let mut committer = Committer {
            store: &store,
            host: &self.host,
            mounts,
            volumes: &self.volumes,
            plan,
            plans: &self.plans,
            identity: &self.identity,
            owners: &owners,
            clock: &*clock,
            looker: Looker::new(&*clock, stop),
            detection: self.detection,
        };
        let standing = |meta: &Meta| Standing {
            journal: meta.journal.clone(),
            sequence: meta.sequence,
            head: meta.head.to_string(),
            totals: meta.totals.clone(),
            baseline_ready: meta.plan == meta.complete,
            unknowns: self.unknowns.clone(),
        };
        let result = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(REPORTS);
            let walkers: Vec<_> = (0..self.settings.threads.max(1))
                .map(|_| {
                    let (shared, sender) = (&shared, sender.clone());
                    scope.spawn(move || walk(shared, &sender))
                })
                .collect();
            drop(sender);
            let committing = commit_all(&receiver, &mut committer, &mut meta, &mut |meta| committed(&standing(meta)));
            // With the receiver gone, a walker that waits to send sees that no one commits any more.
            drop(receiver);
            let mut all = Walked::default();
            let mut result = committing;
            for walker in walkers {
                match walker.join() {
                    Ok(Ok(walked)) => {
                        all.items += walked.items;
                        all.hashed += walked.hashed;
                        all.unknown.extend(walked.unknown);
                    }
                    Ok(Err(error)) => result = result.and(Err(error)),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all.hashed += committer.looker.hashed;
            result.map(|()| all)
        });
        self.meta = meta;
        let walked = result?;
        Ok((!stop.load(Ordering::Relaxed)).then_some(walked))
    }

    /// Adds to what is unknown: entries whose root is not entered, and volumes of the state that are not there.
    fn not_entered(
        &self,
        mounts: &Mounts,
        plan: &Plan,
        barred: Vec<(HostPath, String)>,
        walked: &mut Walked,
    ) -> Result<(), StoreError> {
        let interval = plan.intervals().first().copied().unwrap_or_default();
        for (path, file_system) in barred {
            let reason = format!("it lies on a file system of type {file_system}, which is not entered");
            walked.unknown.push(Unknown { path, aspect: Aspect::Volume, reason, interval, items: 1 });
        }
        let root = self.host.stat().ok().map(|stat| stat.stx_mnt_id);
        for (volume, point) in self.volumes.all() {
            let mount = mounts.at(&point).map(|mount| mount.id).or(root.filter(|_| point == HostPath::root()));
            let here = match mount {
                Some(mount) => self.volumes.of(&self.store, &self.host, mounts, mount)?,
                None => None,
            };
            let items =
                if here == Some(volume) { 0 } else { self.store.read()?.items_below(volume, &HostPath::root())? };
            if items > 0 {
                let reason = "the file system that its items lie on is not mounted there".to_owned();
                walked.unknown.push(Unknown { path: point, aspect: Aspect::Volume, reason, interval, items });
            }
        }
        Ok(())
    }

    /// Writes down that a compare came to its end.
    fn complete(&mut self, plan: &Plan, due: &Due, all_seen_since: Option<Time>) -> Result<(), StoreError> {
        let mut meta = self.meta.clone();
        if let Some(began) = all_seen_since {
            meta.compared.retain(|(interval, _)| !due.contains(*interval));
            let compared = plan.intervals().into_iter().filter(|interval| due.contains(*interval));
            meta.compared.extend(compared.map(|interval| (interval, began)));
        }
        let mut kinds = Vec::new();
        if meta.complete != Some(plan.id) {
            meta.complete = Some(plan.id);
            let pending = meta.pending.take().unwrap_or_default();
            kinds.push(NoticeKind::ConfigurationApplied {
                rules: plan.rules.iter().map(|rule| rule.name.clone()).collect(),
                items_added: pending.added,
                items_forgotten: pending.forgotten,
            });
            if !meta.baseline_made && !plan.rules.is_empty() {
                meta.baseline_made = true;
                kinds.push(NoticeKind::BaselineMade { items: meta.totals.tracked });
            }
        }
        self.write_notices(meta, kinds)
    }
}

/// Commits reports in chunks until the walkers are done.
fn commit_all(
    reports: &Receiver<Report>,
    committer: &mut Committer<'_>,
    meta: &mut Meta,
    committed: &mut dyn FnMut(&Meta),
) -> Result<(), StoreError> {
    let mut chunk: Vec<Report> = Vec::new();
    let mut findings = 0;
    let mut since = Instant::now();
    loop {
        let left = CHUNK_TIME.saturating_sub(since.elapsed());
        let ended = match reports.recv_timeout(if chunk.is_empty() { CHUNK_TIME } else { left }) {
            Ok(report) => {
                if chunk.is_empty() {
                    since = Instant::now();
                }
                findings += report.findings.len() + report.vanished.len();
                chunk.push(report);
                if findings < CHUNK_FINDINGS && since.elapsed() < CHUNK_TIME {
                    continue;
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if !chunk.is_empty() {
            *meta = committer.commit(std::mem::take(&mut chunk), meta)?;
            findings = 0;
            committed(meta);
        }
        if ended {
            return Ok(());
        }
    }
}
