//! The engine as its caller holds it: what it works on, what it stands at, and the notices of its own life.
//!
//! Opens the state and the host root; the work of a compare stands in `compare`.

use crate::anchor::Anchor;
use crate::budget::Budget;
use crate::clock::{Clock, Time};
use crate::commit::Identity;
use crate::follow::Follows;
use crate::host::HostRoot;
use crate::idle::IdleEntry;
use crate::journal::Journal;
use crate::lane::Lane;
use crate::leads::Room;
use crate::machine::System;
use crate::meta::Meta;
use crate::mounts::Mounts;
use crate::pace::Pace;
use crate::path::HostPath;
use crate::plan::{Plan, entries};
use crate::plans::Plans;
use crate::progress::Progress;
use crate::prune::{JOURNAL_MAX, prune};
use crate::records::notice;
use crate::remote::LeftBehind;
use crate::retain::FORGET;
use crate::store::{Medium, Store, StoreError};
use crate::unknown::Unknowns;
use crate::volumes::Volumes;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::record::{Detection, Nanos, NoticeKind};

pub use crate::outcome::{EngineError, Outcome, PlanChange, Standing, Summary};

/// The last configuration that the agent was given.
const CONFIGURATION: &str = "configuration";
/// So many names of a directory are taken up at once, some 60 bytes each; a directory with more is listed again for the next.
const PASS: usize = 65_536;

/// A clock that goes back by less is none that was set: a leap second is one second, and what corrects a clock in small
/// steps makes them shorter. One that is slewed does not go back at all.
const STEP: Duration = Duration::from_secs(2);

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
    /// A file system that may never answer, for example of another machine, is left alone when it has not for so long.
    pub answer_within: Duration,
}

/// Looks, compares and commits when it is told to.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Store>,
    pub(crate) host: Arc<HostRoot>,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) plans: Plans,
    pub(crate) meta: Meta,
    pub(crate) journal: Journal,
    pub(crate) identity: Identity,
    pub(crate) generation: Option<i64>,
    /// Set by [`Engine::configure`], resolved at each compare.
    pub(crate) rules: Option<Vec<NodeRule>>,
    pub(crate) plan: Option<Arc<Plan>>,
    /// The rules that the plan was made of.
    pub(crate) planned: Option<Vec<NodeRule>>,
    pub(crate) detection: Detection,
    /// Whether the plan still suspends a rule that is suspended no more.
    pub(crate) holds: bool,
    /// Both clocks, when they were last checked against each other.
    checked: Option<(Time, Duration)>,
    pub(crate) unknowns: Arc<Mutex<Unknowns>>,
    pub(crate) idle: Arc<[IdleEntry]>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) left_behind: LeftBehind,
    /// What lies behind links, as the last walk met it; `None` before the first: as the plan in force has it.
    pub(crate) follows: Option<Follows>,
    /// What the state is still to be held against.
    pub(crate) anchors: Vec<Anchor>,
    pub(crate) journal_max: u64,
    pub(crate) pass: usize,
    /// So much is followed.
    pub(crate) room: Room,
    pub(crate) lane: Arc<Lane>,
    pub(crate) pace: Arc<Pace>,
    /// Of the last compare.
    pub(crate) mounts: Option<Arc<Mounts>>,
}

impl Engine {
    /// Opens the state and the host root.
    ///
    /// # Errors
    /// When either cannot be used; the sentence says what to do.
    pub fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        Self::open_on(settings, clock, Medium::File)
    }

    /// The same without changing the state, or making one: what is committed stays in memory and goes with the engine.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn rehearse(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        Self::open_on(settings, clock, Medium::Unchanged)
    }

    /// The same with the database on what a test gives.
    #[doc(hidden)]
    pub fn open_on(settings: Settings, clock: Arc<dyn Clock>, medium: Medium) -> Result<Self, EngineError> {
        let host = HostRoot::open(&settings.host_root)
            .map_err(|errno| EngineError::HostRoot { path: settings.host_root.clone(), source: errno.into() })?;
        let host = Arc::new(host);
        let store = Arc::new(Store::open(&settings.state_dir, medium)?);
        let known = Meta::load(&store.read()?)?;
        let is_new = known.is_none();
        let meta = known.unwrap_or_else(|| Meta::new(Meta::new_id()));
        if is_new {
            let writer = store.write()?;
            meta.save(&writer)?;
            writer.commit()?;
        }
        let journal = Journal::new(Arc::clone(&store), is_new);
        // The mark stays when the database is taken away, and names what is missing then.
        let anchors = match store.mark()? {
            Some(mark) if mark != meta.journal => Anchor::of_mark(mark, meta.sequence),
            None if meta.sequence == 0 && store.has_leftovers()? => Some(Anchor::of_nothing_known()),
            _ => None,
        };
        if anchors.is_none() {
            store.set_mark(&meta.journal)?;
        }
        let volumes = Arc::new(Volumes::load(&store)?);
        let detection = settings.first_detection;
        let mut engine = Self {
            settings,
            clock,
            store,
            host,
            volumes,
            plans: Plans::default(),
            meta,
            journal,
            identity: Identity::default(),
            generation: None,
            rules: None,
            plan: None,
            planned: None,
            detection,
            holds: false,
            checked: None,
            unknowns: Arc::default(),
            idle: Arc::default(),
            progress: Arc::default(),
            left_behind: LeftBehind::new(),
            follows: None,
            anchors: anchors.into_iter().collect(),
            journal_max: JOURNAL_MAX,
            pass: PASS,
            room: Room::default(),
            lane: Arc::default(),
            pace: Arc::default(),
            mounts: None,
        };
        // A restart takes no baseline back.
        engine.planned = engine.stored_plan(engine.meta.plan)?.map(|(_, source)| source.rules);
        Ok(engine)
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// How far the compare under way is, for whoever wants to know while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// What the state holds.
    pub fn standing(&self) -> Standing {
        self.standing_at(&self.meta)
    }

    pub(crate) fn standing_at(&self, meta: &Meta) -> Standing {
        Standing {
            journal: meta.journal.clone(),
            sequence: meta.sequence,
            lines: meta.sequence.saturating_sub(meta.base.sequence),
            head: meta.head.to_string(),
            totals: meta.totals.clone(),
            generation: self.generation,
            baseline_ready: meta.plan.is_some() && meta.plan == meta.complete && self.plan_is_of_rules(),
            baseline_made: meta.baseline_made,
            unknowns: self.unknowns.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            idle: Arc::clone(&self.idle),
        }
    }

    fn plan_is_of_rules(&self) -> bool {
        self.rules.is_some() && self.planned == self.rules
    }

    /// Sets what is compared from the next compare on, and whom its records name.
    ///
    /// `generation` is what [`Standing::generation`] says from now on.
    pub fn configure(&mut self, rules: Vec<NodeRule>, identity: Identity, generation: i64) {
        self.rules = Some(rules);
        self.identity = identity;
        self.generation = Some(generation);
    }

    /// Another number of names that are taken up at once: so that a test needs no huge directory.
    #[doc(hidden)]
    pub fn set_pass(&mut self, names: usize) {
        self.pass = names;
    }

    /// Room for so many targets of links, and so many links on the way: so that a test needs no ten thousand.
    #[doc(hidden)]
    pub fn set_room_for_links(&mut self, targets: usize, links: usize) {
        self.room = Room { targets, links, ..Room::default() };
    }

    /// Sets how many bytes of lines the journal holds: from the next commit on the oldest lines go first.
    pub fn set_journal_max(&mut self, bytes: u64) {
        self.journal_max = bytes;
    }

    /// Reads all content at the next compare, whatever its turn.
    pub fn reread(&mut self) {
        self.meta.reread = true;
    }

    /// Sets what compares may take of the machine from the next one on; without it, as much as there is.
    pub fn set_budget(&mut self, budget: Budget) {
        self.pace = Arc::new(Pace::new(budget, Box::new(System)));
    }

    /// What keeps the budget, for whoever wants to know what was taken.
    pub fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
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

    /// What the host calls itself in its own /etc/hostname.
    pub fn host_name(host_root: &Path) -> Option<String> {
        let text = Self::read_own(&HostRoot::open(host_root).ok()?, host_root, "/etc/hostname")?;
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned)
    }

    fn read_own(host: &HostRoot, host_root: &Path, path: &str) -> Option<String> {
        host.read_text(&HostPath::from(path), 1024, &Mounts::read(host_root).ok()?)
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
        self.settle()?;
        let text = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let machine_id = Self::read_own(&self.host, &self.settings.host_root, "/etc/machine-id");
        let machine_id = machine_id.map(|id| id.trim().to_owned());
        let kind = NoticeKind::Started {
            stopped_since: self.meta.alive.map(|alive| Nanos(alive.timestamp())),
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
        self.lane.reset();
        self.store.reopen()?;
        let found =
            Meta::load(&self.store.read()?)?.ok_or_else(|| StoreError::damaged("its description is missing"))?;
        // Another file may lie under its name by now.
        let Meta { journal, sequence, head, .. } = std::mem::replace(&mut self.meta, found);
        self.hold_against(Anchor { journal, sequence, head: head.to_string() });
        self.volumes = Arc::new(Volumes::load(&self.store)?);
        self.plan = None;
        self.planned = self.stored_plan(self.meta.plan)?.map(|(_, source)| source.rules);
        Ok(())
    }

    /// Notices when the wall clock has gone back: behind what the state was last written at, or in this process behind
    /// the boot clock. Then all content is due, because a file may change twice at what is the same time to its ctime.
    pub(crate) fn check_clock(&mut self) -> Result<(), StoreError> {
        let (now, since_boot) = (self.clock.now(), self.clock.since_boot());
        let expected = self.checked.map(|(then, at)| then.after(since_boot.saturating_sub(at)));
        if let Some(from) = expected.max(self.meta.alive).filter(|from| now < from.before(STEP)) {
            let kind = NoticeKind::ClockStepped { from: Nanos(from.timestamp()), to: Nanos(now.timestamp()) };
            self.write_notices(Meta { alive: None, reread: true, ..self.meta.clone() }, [kind])?;
        }
        self.checked = Some((now, since_boot));
        Ok(())
    }

    pub(crate) fn write_notices(
        &mut self,
        mut meta: Meta,
        kinds: impl IntoIterator<Item = NoticeKind>,
    ) -> Result<(), StoreError> {
        let writer = self.store.write()?;
        let now = self.clock.now();
        for kind in kinds {
            notice(&writer, &mut meta, &self.identity, now, kind)?;
        }
        prune(&writer, &mut meta, &self.identity, now, self.journal_max)?;
        meta.alive = meta.alive.max(Some(now));
        meta.live(&*self.clock);
        writer.kept()?.forget_before(meta.forgotten_before, FORGET)?;
        meta.save(&writer)?;
        writer.commit()?;
        self.meta = meta;
        Ok(())
    }
}
