//! Questions about a state, answered from short reads of its own: while an engine works on it, or of one that nobody holds.
//!
//! Reads the store, the mount table and the host's names of users; writes nothing and looks at no item. What it says is what was
//! last committed.

use crate::clock::Time;
use crate::engine::{Engine, EngineError};
use crate::explain::{Explanation, Place as Lies, Question, explain};
use crate::host::HostRoot;
use crate::meta::Meta;
use crate::mounted::{self, Shown};
use crate::mounts::{Mount, Mounts};
use crate::page::{Named, Volume, directory_prefix};
use crate::path::HostPath;
use crate::plan::{Plan, PlanSource};
use crate::plans;
use crate::render::{Owners, item};
use crate::store::{Found, Medium, Reader, Store, StoreError};
use crate::unknown::Unknowns;
use crate::volumes::Volumes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use vedette_crds::record::{ByteText, Item, ItemType, Nanos};

/// Pages that one read transaction of an inventory covers: some thousand items.
const PAGES: usize = 64;

/// Answers questions about one state.
#[derive(Clone, Debug)]
pub struct Inspector {
    store: Arc<Store>,
    host_root: PathBuf,
    /// Those of the engine at work; of a state that nobody holds, nobody knows.
    unknowns: Arc<Mutex<Unknowns>>,
}

/// An item as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracked {
    /// Its path on the host.
    pub path: ByteText,
    /// The exact bytes of the path, base64, where the text lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
    /// Where the file system that it lies on is mounted.
    pub volume: ByteText,
    /// The entries that select it, each rule/entry, sorted; those of suspended rules too.
    pub rules: Vec<String>,
    /// When it was last looked at and found so: the beginning of that look, or of the last complete compare.
    pub last_looked: Nanos,
    /// When its content was last read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_read: Option<Nanos>,
    /// What it was, as records show it.
    pub item: Item,
}

/// Where a part of an inventory begins: the table, first that of what is watched, and a key in it.
struct Place {
    table: usize,
    key: Vec<u8>,
}

impl Place {
    fn of(bytes: &[u8]) -> Self {
        match bytes.split_first_chunk::<4>() {
            Some((table, key)) => Self { table: u32::from_be_bytes(*table) as usize, key: key.to_vec() },
            None => Self { table: 0, key: Vec::new() },
        }
    }

    fn bytes(self) -> Vec<u8> {
        [&(self.table as u32).to_be_bytes()[..], &self.key].concat()
    }
}

/// A part of an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// In the order of volumes and paths.
    pub items: Vec<Tracked>,
    /// Where the next part begins; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Engine {
    /// Who answers questions about the state while this engine works on it.
    pub fn inspector(&self) -> Inspector {
        let (store, unknowns) = (Arc::clone(&self.store), Arc::clone(&self.unknowns));
        Inspector { store, host_root: self.settings.host_root.clone(), unknowns }
    }
}

impl Inspector {
    /// Opens a state that nobody holds, without changing it.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn open(state_dir: &Path, host_root: &Path) -> Result<Self, StoreError> {
        let store = Arc::new(Store::open_existing(state_dir, Medium::Unchanged)?);
        Ok(Self { store, host_root: host_root.to_owned(), unknowns: Arc::default() })
    }

    /// What is tracked, from the beginning or from where the last part said.
    ///
    /// # Errors
    /// When the state, the host root or the mount table cannot be read.
    pub fn inventory(&self, from: Option<&[u8]>) -> Result<Part, EngineError> {
        let view = View::new(&self.store, &self.host_root)?;
        let Place { table, key } = Place::of(from.unwrap_or_default());
        let frozen = view.frozen();
        let pages = match table.checked_sub(1) {
            None => view.reader.pages_from(&key, PAGES)?,
            Some(at) => match frozen.get(at) {
                Some(rule) => view.reader.frozen(rule, &[], &key, PAGES)?,
                None => Vec::new(),
            },
        };
        let next = match pages.last().filter(|_| pages.len() == PAGES) {
            Some(last) => Some(Place { table, key: [last.key.as_slice(), &[0]].concat() }),
            None => (table < frozen.len()).then(|| Place { table: table + 1, key: Vec::new() }),
        };
        let mut items = Vec::new();
        for Found { volume, directory, page, .. } in pages {
            for named in &page.items {
                // What another rule watches too, or is frozen for an earlier one, was in an earlier table.
                let is_known =
                    table > 0 && view.holds(volume, &directory, &named.name, &frozen[..table.saturating_sub(1)])?;
                if !is_known {
                    items.push(view.tracked(volume, &directory, named));
                }
            }
        }
        Ok(Part { items, next: next.map(Place::bytes) })
    }

    /// Which entries decide about a path, and why or why not: those of the rules in the question, else of the plan in force.
    ///
    /// # Errors
    /// When the state, the host root or the mount table cannot be read.
    pub fn explain(&self, question: &Question) -> Result<Explanation, EngineError> {
        let unknowns = self.unknowns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        explain(&self.host_root, Some((&View::new(&self.store, &self.host_root)?, &unknowns)), question)
    }
}

/// What the state holds under a path.
pub(crate) struct Held {
    pub(crate) tracked: Tracked,
    pub(crate) place: Lies,
    volume: Volume,
    directory: HostPath,
    named: Named,
}

/// One consistent view of a state, with what it takes to say something of an item.
pub(crate) struct View {
    reader: Reader,
    meta: Option<Meta>,
    mounts: Mounts,
    /// What the state knows to be mounted.
    mounted: BTreeMap<HostPath, Shown>,
    volumes: Volumes,
    owners: Owners,
    in_force: Option<Plan>,
    /// The plan of the last complete compare, where it is another one.
    complete: Option<Plan>,
}

impl View {
    fn new(store: &Store, host_root: &Path) -> Result<Self, EngineError> {
        let host = HostRoot::open(host_root)
            .map_err(|errno| EngineError::HostRoot { path: host_root.to_owned(), source: errno.into() })?;
        let mounts = Mounts::read(host_root).map_err(EngineError::Mounts)?;
        let volumes = Volumes::load(store)?;
        let reader = store.read()?;
        let meta = Meta::load(&reader)?;
        let plan = |id: Option<u32>| -> Result<Option<Plan>, StoreError> {
            let Some(id) = id else { return Ok(None) };
            let source = reader.plan(id)?.map(|bytes| plans::decode(&bytes)).transpose()?;
            Ok(source.map(|source| Plan::new(id, source)))
        };
        let ids = meta.as_ref().map(|meta| (meta.plan, meta.complete)).unwrap_or_default();
        let in_force = plan(ids.0)?;
        let complete = if ids.0 == ids.1 { None } else { plan(ids.1)? };
        let (owners, mounted) = (Owners::read(&host, &mounts), mounted::load(&reader)?);
        Ok(Self { owners, reader, meta, mounts, mounted, volumes, in_force, complete })
    }

    /// The plan in force.
    pub(crate) fn plan_in_force(&self) -> Option<&PlanSource> {
        self.in_force.as_ref().map(|plan| &plan.source)
    }

    /// The plan of the last complete compare.
    pub(crate) fn plan_compared(&self) -> Option<&PlanSource> {
        let has_compared = self.meta.as_ref().is_some_and(|meta| meta.complete.is_some());
        has_compared.then(|| self.complete.as_ref().or(self.in_force.as_ref()).map(|plan| &plan.source)).flatten()
    }

    /// What the state holds under a path: of what shows there, before what is covered and what is not mounted.
    pub(crate) fn held(&self, host: &HostRoot, path: &HostPath) -> Result<Option<Held>, StoreError> {
        let (directory, name) = path.split();
        let mut found: Vec<Held> = Vec::new();
        for (volume, point) in self.volumes.all().into_iter().filter(|(_, point)| path.starts_with(point)) {
            let named = match self.reader.item(volume, &directory, name)? {
                Some(state) => Some(Named { name: name.to_vec(), state }),
                None => self.find_frozen(volume, &directory, name, &self.frozen())?,
            };
            let Some(named) = named else { continue };
            let place = self.place(host, volume, &point, path);
            let tracked = self.tracked(volume, &directory, &named);
            found.push(Held { tracked, place, volume, directory: directory.clone(), named });
        }
        let order = |held: &Held| match held.place {
            Lies::Shows => 0,
            Lies::Beneath(_) => 1,
            Lies::Unmounted { .. } => 2,
        };
        Ok(found.into_iter().min_by_key(order))
    }

    /// Where what lies on a volume is, that was mounted at a point.
    fn place(&self, host: &HostRoot, volume: Volume, point: &HostPath, path: &HostPath) -> Lies {
        let crossed = self.volumes.crossed(&self.mounts, volume);
        let file_system = crossed.last().map(|mount| mount.file_system.clone()).unwrap_or_default();
        let is_mounted = self.mounts.id_at(point).is_some_and(|id| {
            match self.volumes.known(host, &self.mounts, id) {
                Some(known) => known == volume,
                // What may never answer is not asked which one it is.
                None => self.mounts.get(id).is_some_and(|mount| mount.is_remote() && mount.file_system == file_system),
            }
        });
        if !is_mounted {
            return Lies::Unmounted { point: point.clone(), file_system };
        }
        let covers = |mount: &&Mount| mount.point != *point || mount.is_hidden;
        match self.mounts.on_the_way(path).last().filter(covers) {
            Some(mount) => Lies::Beneath(mount.clone()),
            None => Lies::Shows,
        }
    }

    /// The entries of a plan that select what is held, suspended ones included.
    pub(crate) fn selecting(&self, plan: &Plan, Held { volume, directory, named, .. }: &Held) -> Vec<u16> {
        self.selecting_of(plan, *volume, directory, named)
    }

    fn selecting_of(&self, plan: &Plan, volume: Volume, directory: &HostPath, named: &Named) -> Vec<u16> {
        let context = plan.context(directory, &self.volumes.crossed(&self.mounts, volume));
        let mounted = self.volumes.mounted(&self.mounts, volume, directory, &named.name);
        let step = plan.step(&context, &named.name, mounted);
        plan.selecting(&step, named.state.kind == ItemType::Symlink)
    }

    /// When what was known under a path left watch last, while that is kept.
    pub(crate) fn left(&self, path: &HostPath) -> Result<Option<Time>, StoreError> {
        let (directory, name) = path.split();
        let forgotten_before = self.meta.as_ref().map(|meta| meta.forgotten_before).unwrap_or_default();
        Ok(self.reader.left(&directory, name)?.filter(|left| *left >= forgotten_before))
    }

    /// The rules that are suspended with their items as they were.
    fn frozen(&self) -> Vec<String> {
        self.meta.iter().flat_map(|meta| &meta.frozen).map(|frozen| frozen.rule.clone()).collect()
    }

    /// Whether an item is watched, or is frozen for one of these rules.
    fn holds(&self, volume: Volume, directory: &HostPath, name: &[u8], rules: &[String]) -> Result<bool, StoreError> {
        let is_watched = self.reader.item(volume, directory, name)?.is_some();
        Ok(is_watched || self.find_frozen(volume, directory, name, rules)?.is_some())
    }

    fn find_frozen(
        &self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
        rules: &[String],
    ) -> Result<Option<Named>, StoreError> {
        let prefix = directory_prefix(volume, directory);
        for rule in rules {
            let pages = self.reader.frozen(rule, &prefix, &prefix, usize::MAX)?;
            let mut items = pages.into_iter().flat_map(|found| found.page.items);
            if let Some(named) = items.find(|named| named.name == name) {
                return Ok(Some(named));
            }
        }
        Ok(None)
    }

    fn tracked(&self, volume: Volume, directory: &HostPath, named: &Named) -> Tracked {
        let (path, path_bytes) = ByteText::exact(directory.join(&named.name).as_bytes());
        let points = self.volumes.all();
        let point = points.iter().find(|(number, _)| *number == volume).map(|(_, point)| point.clone());
        let selecting = |plan: &Plan| self.selecting_of(plan, volume, directory, named);
        let mut rules: Vec<String> = self
            .in_force
            .as_ref()
            .map_or_else(Vec::new, |plan| selecting(plan).into_iter().map(|entry| plan.entry_name(entry)).collect());
        rules.sort_unstable();
        let compared = self.meta.as_ref().zip(self.complete.as_ref().or(self.in_force.as_ref()));
        let place = directory.join(&named.name);
        let compared = compared.and_then(|(meta, plan)| meta.compared.last(plan, &selecting(plan), &place));
        let looked = compared.max(Some(named.state.looked)).unwrap_or(named.state.looked);
        let here = directory.join(&named.name);
        let shown = self.mounted.get(&here).filter(|shown| shown.volume == Some(volume));
        // What is not mounted there any more is not shown: only the next compare says what is.
        let mount = shown.zip(self.mounts.at(&here)).filter(|(shown, mount)| shown.is_of(mount));
        let mount = mount.map(|(_, mount)| mount.info());
        let shown = |time: Time| Nanos(time.timestamp());
        Tracked {
            path,
            path_bytes,
            volume: ByteText::exact(point.unwrap_or_default().as_bytes()).0,
            rules,
            last_looked: shown(looked),
            last_read: named.state.read.map(shown),
            item: Item { mount, ..item(&named.state, &self.owners) },
        }
    }
}
