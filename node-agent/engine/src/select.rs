//! Selection on the way down: which selectors of a plan are alive in a directory, and which of them hit a name.
//!
//! Pure. A walk holds one [`Context`] a directory; the same steps say what an older plan selected, and what of the state
//! a new one still selects. Mounts on the way end the selectors that do not enter them.

mod places;

use crate::item::ItemState;
use crate::mounts::Mount;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
pub(crate) use places::Places;
use places::Way;
use std::sync::Arc;
use std::time::Duration;
use vedette_crds::pattern::{Cursor, PathPattern};
use vedette_crds::record::ItemType;
use vedette_crds::settings::{Exclude, Links, Mounts as MountPolicy};

/// One of a plan's selectors. How many there are is up to whoever makes links where an entry follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SelectorId(usize);

impl From<SelectorId> for usize {
    fn from(SelectorId(at): SelectorId) -> Self {
        at
    }
}

/// What selects for an entry: its path, or a place that a link made one.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) entry: u16,
    /// From the host's `/` on, or from the place on.
    pub(crate) pattern: PathPattern,
    pub(crate) excluded: Arc<Excluded>,
    pub(crate) max_depth: u32,
    pub(crate) is_prefix_link: bool,
    /// Whether it is what lies behind a link.
    pub(crate) is_followed: bool,
    /// Components of the pattern's literal prefix: above them nothing is excluded by name.
    pub(crate) prefix: u32,
}

/// An entry's excludes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excluded {
    /// Which of them are names.
    pub(crate) names: Vec<usize>,
    pub(crate) paths: Vec<PathPattern>,
    /// Which of the entry's excludes each path is.
    pub(crate) by: Vec<usize>,
}

/// A selector on its way down.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    selector: SelectorId,
    cursor: Cursor,
    /// How many levels below here are selected because a directory above matched.
    covered: Option<u32>,
    excludes: Vec<Cursor>,
}

/// Why a selector ends at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its path matches above, and the name lies deeper than it selects.
    Depth,
    /// This one of the entry's excludes leaves it out.
    Excluded(usize),
    /// Its path does not lead there.
    Pattern,
}

/// The selectors that are alive in one directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    live: Vec<Live>,
    /// Where it leads to places.
    way: Option<Way>,
    depth: u32,
}

/// One component further down.
#[derive(Debug)]
pub(crate) struct Step {
    /// For the directory of this name, if it is one.
    pub(crate) context: Context,
    hits: Vec<SelectorId>,
}

impl Context {
    /// The selectors that are alive in it, but for those that begin further down.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = SelectorId> + '_ {
        self.live.iter().map(|live| live.selector)
    }

    /// How many components lie above the names in it, and itself.
    pub(crate) fn depth(&self) -> usize {
        self.depth as usize
    }
}

impl Step {
    /// The selectors that hit its object.
    pub(crate) fn hits(&self) -> &[SelectorId] {
        &self.hits
    }

    /// Whether nothing selects this object or anything below it.
    pub(crate) fn is_dead(&self) -> bool {
        self.hits.is_empty() && self.context.live.is_empty() && self.context.way.is_none()
    }
}

/// How a child of a directory is found out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Nothing that is due can lie here.
    None,
    /// Only these can be selected, or lead on.
    These(Vec<Vec<u8>>),
    /// Any name can be.
    Listing,
}

impl Plan {
    /// Adds a selector of an entry's own pattern.
    pub(crate) fn add_pattern(&mut self, selector: Selector) {
        let (id, entry) = (SelectorId(self.selectors.len()), usize::from(selector.entry));
        self.selectors.push(selector);
        self.patterns.resize(self.entries.len(), None);
        self.patterns[entry] = Some(id);
    }

    /// Adds a selector that begins at a place, unless the entry excludes that.
    pub(crate) fn add_place(&mut self, place: &HostPath, selector: Selector) {
        let paths = &selector.excluded.paths;
        let mut excludes: Vec<Cursor> = paths.iter().map(PathPattern::start).collect();
        for name in place.components() {
            if matching(&excludes, paths).is_some() {
                return;
            }
            excludes = excludes.iter().zip(paths).map(|(cursor, pattern)| cursor.step(pattern, name)).collect();
        }
        let name = place.split().1;
        if matching(&excludes, paths).is_some() || !name.is_empty() && self.excludes_name(&selector, name).is_some() {
            return;
        }
        let id = SelectorId(self.selectors.len());
        let covered = Some(selector.max_depth);
        let live = Live { selector: id, cursor: selector.pattern.start(), covered, excludes };
        self.places.add(place, selector.entry, live);
        self.selectors.push(selector);
    }

    /// The host's `/`: what selects it, and the context of its listing.
    pub(crate) fn root(&self) -> Step {
        let live = self.patterns.iter().flatten().filter_map(|id| self.start(*id)).collect();
        self.arrive(live, Some(self.places.root()), 0)
    }

    /// The object of this name in a directory.
    pub(crate) fn child(&self, directory: &Context, name: &[u8]) -> Step {
        let depth = directory.depth + 1;
        let live = directory.live.iter().filter_map(|above| self.descend(above, depth, name).ok()).collect();
        self.arrive(live, directory.way.and_then(|way| self.places.child(way, name)), depth)
    }

    /// Whether every name in a directory is selected by the same selectors, whatever it is.
    pub(crate) fn is_uniform(&self, directory: &Context) -> bool {
        let asks_no_name = |live: &Live| {
            let excluded = &self.selectors[usize::from(live.selector)].excluded;
            live.cursor.is_dead() && excluded.names.is_empty() && live.excludes.iter().all(Cursor::is_dead)
        };
        directory.way.is_none() && directory.live.iter().all(asks_no_name)
    }

    /// An object to which these selectors lead, with those that begin there.
    fn arrive(&self, mut live: Vec<Live>, way: Option<Way>, depth: u32) -> Step {
        if let Some(way) = way {
            let enters = |live: &&Live| self.goes(way, self.selectors[usize::from(live.selector)].entry);
            live.extend(self.places.here(way).iter().filter(enters).cloned());
        }
        let hits = live.iter().filter(|live| live.covered.is_some()).map(|live| live.selector).collect();
        let way = way.filter(|way| self.places.leads_on(*way));
        Step { context: Context { live, way, depth }, hits }
    }

    /// A selector at the host's `/`, unless that is excluded.
    fn start(&self, id: SelectorId) -> Option<Live> {
        let selector = &self.selectors[usize::from(id)];
        let cursor = selector.pattern.start();
        let excludes: Vec<Cursor> = selector.excluded.paths.iter().map(PathPattern::start).collect();
        let covered = cursor.is_match(&selector.pattern).then_some(selector.max_depth);
        let is_excluded = matching(&excludes, &selector.excluded.paths).is_some();
        (!is_excluded).then_some(Live { selector: id, cursor, covered, excludes })
    }

    /// Whether an entry's places are reached on this way, over the mounts that lie on it.
    fn goes(&self, way: Way, entry: u16) -> bool {
        match self.entries[usize::from(entry)].mounts {
            MountPolicy::All => way.enters_all,
            MountPolicy::Local | MountPolicy::Same => way.enters_local,
        }
    }

    /// The entries with places below a directory.
    fn below<'p>(&'p self, directory: &'p Context) -> impl Iterator<Item = u16> + 'p {
        let way = directory.way.into_iter();
        way.flat_map(move |way| self.places.entries_below(way).filter(move |entry| self.goes(way, *entry)))
    }

    /// A selector one component further down, at this depth, or why it ends there.
    fn descend(&self, above: &Live, depth: u32, name: &[u8]) -> Result<Live, Lost> {
        let selector = &self.selectors[usize::from(above.selector)];
        let covered = above.covered.and_then(|left| left.checked_sub(u32::from(left != u32::MAX)));
        if covered.is_none() && above.cursor.is_dead() {
            return Err(Lost::Depth);
        }
        if depth >= selector.prefix
            && let Some(exclude) = self.excludes_name(selector, name)
        {
            return Err(Lost::Excluded(exclude));
        }
        let Excluded { paths, by, .. } = &*selector.excluded;
        let steps = above.excludes.iter().zip(paths);
        let excludes: Vec<Cursor> = steps.map(|(cursor, pattern)| cursor.step(pattern, name)).collect();
        if let Some(at) = matching(&excludes, paths) {
            return Err(Lost::Excluded(by[at]));
        }
        let cursor = above.cursor.step(&selector.pattern, name);
        let covered = covered.max(cursor.is_match(&selector.pattern).then_some(selector.max_depth));
        if covered.is_none() && cursor.is_dead() {
            return Err(Lost::Pattern);
        }
        Ok(Live { selector: above.selector, cursor, covered, excludes })
    }

    /// The selectors of a directory that do not go on at a name, each with why.
    pub(crate) fn lost(&self, directory: &Context, name: &[u8]) -> Vec<(SelectorId, Lost)> {
        let end = |above: &Live| Some((above.selector, self.descend(above, directory.depth + 1, name).err()?));
        directory.live.iter().filter_map(end).collect()
    }

    /// The context of any directory as a walk from the root comes to it over these mounts.
    pub(crate) fn context(&self, directory: &HostPath, crossed: &[Mount]) -> Context {
        let enter = |context: Context, at: &HostPath| {
            crossed
                .iter()
                .filter(|mount| mount.point == *at)
                .fold(context, |context, mount| self.enter_directory(context, mount))
        };
        let mut here = HostPath::root();
        let mut context = enter(self.root().context, &here);
        for name in directory.components() {
            here = here.join(name);
            context = enter(self.child(&context, name).context, &here);
        }
        context
    }

    /// What selects the item of this name in a directory, with what is mounted on it; the empty name is the host's `/`
    /// itself.
    pub(crate) fn step(&self, directory: &Context, name: &[u8], mounted: Option<&Mount>) -> Step {
        if name.is_empty() {
            return self.root();
        }
        let step = self.child(directory, name);
        match mounted {
            Some(mount) => self.enter(&step, mount),
            None => step,
        }
    }

    /// The entries that select the object of a step, suspended ones included; sorted.
    pub(crate) fn selecting(&self, step: &Step, is_link: bool) -> Vec<u16> {
        let mut entries: Vec<u16> = Vec::with_capacity(step.hits.len());
        for hit in &step.hits {
            let selector = &self.selectors[usize::from(*hit)];
            let ignores =
                is_link && !selector.is_prefix_link && self.entries[usize::from(selector.entry)].links == Links::Ignore;
            if !ignores && !entries.contains(&selector.entry) {
                entries.push(selector.entry);
            }
        }
        entries.sort_unstable();
        entries
    }

    /// The same of a stored item. A link that all of them ignore is in the state only where it took an item's place, and
    /// stays that item.
    pub(crate) fn selecting_stored(&self, step: &Step, stored: &ItemState) -> Vec<u16> {
        let selecting = self.selecting(step, stored.kind == ItemType::Symlink);
        if self.any_running(&selecting) { selecting } else { self.selecting(step, false) }
    }

    /// The running entries that follow the link of a step, each with the levels below it that they select.
    pub(crate) fn following(&self, step: &Step) -> Vec<(u16, u32)> {
        let mut following: Vec<(u16, u32)> = Vec::new();
        for live in &step.context.live {
            let selector = &self.selectors[usize::from(live.selector)];
            // A link on the way to somewhere else was followed there.
            let follows = self.entries[usize::from(selector.entry)].links == Links::Follow && !selector.is_prefix_link;
            let Some(depth) = live.covered.filter(|_| follows && !self.is_suspended(selector.entry)) else { continue };
            match following.iter_mut().find(|(entry, _)| *entry == selector.entry) {
                Some((_, deepest)) => *deepest = depth.max(*deepest),
                None => following.push((selector.entry, depth)),
            }
        }
        following
    }

    /// How many levels below a path an entry selects, if it selects the path, whatever links lead there.
    pub(crate) fn reach(&self, entry: u16, path: &HostPath) -> Option<u32> {
        let is_own_link = |live: &Live| {
            let selector = &self.selectors[usize::from(live.selector)];
            selector.entry == entry && !selector.is_followed
        };
        let own_link = self.places.at(path).iter().any(is_own_link).then_some(0);
        let own = self.patterns.get(usize::from(entry)).copied().flatten().and_then(|id| {
            let mut components = (1..).zip(path.components());
            components.try_fold(self.start(id)?, |above, (depth, name)| self.descend(&above, depth, name).ok())?.covered
        });
        own.max(own_link)
    }

    /// Which names of a directory a walk of the due intervals has to look at.
    pub(crate) fn names(&self, directory: &Context, due: &Due) -> Names {
        let mut names = Vec::new();
        let mut any = false;
        for live in &directory.live {
            let selector = &self.selectors[usize::from(live.selector)];
            let entry = &self.entries[usize::from(selector.entry)];
            if self.is_suspended(selector.entry) || !due.contains(entry.interval) {
                continue;
            }
            if live.covered.is_some_and(|left| left > 0) {
                return Names::Listing;
            }
            if live.cursor.is_dead() {
                continue;
            }
            match live.cursor.next_literals(&selector.pattern) {
                None => return Names::Listing,
                Some(literals) => names.extend(literals.into_iter().map(<[u8]>::to_vec)),
            }
            any = true;
        }
        if let Some(way) = directory.way {
            let is_due = |entry: &u16| {
                let interval = self.entries[usize::from(*entry)].interval;
                self.goes(way, *entry) && !self.is_suspended(*entry) && due.contains(interval)
            };
            let places = self.places.names(way).filter(|(_, entries)| entries.iter().any(is_due));
            names.extend(places.map(|(name, _)| name.to_vec()));
            any |= self.below(directory).any(|entry| is_due(&entry));
        }
        if !any {
            return Names::None;
        }
        names.sort_unstable();
        names.dedup();
        Names::These(names)
    }

    /// The context without the selectors that do not enter this mount.
    pub(crate) fn enter_directory(&self, mut directory: Context, mount: &Mount) -> Context {
        let depth = directory.depth;
        directory.live.retain(|live| self.enters(&self.selectors[usize::from(live.selector)], depth, mount));
        if let Some(way) = &mut directory.way {
            way.enters_all &= mount.is_enterable();
            // To a place it leads to an entry's own root.
            way.enters_local &= mount.is_local() || mount.is_overlay();
        }
        directory
    }

    /// The same for a mount point as a name: selectors that do not enter the mount do not see it.
    pub(crate) fn enter(&self, step: &Step, mount: &Mount) -> Step {
        let context = self.enter_directory(step.context.clone(), mount);
        let sees = |hit: &SelectorId| self.enters(&self.selectors[usize::from(*hit)], context.depth, mount);
        Step { hits: step.hits.iter().copied().filter(sees).collect(), context }
    }

    /// The entries that may select in a directory or below it.
    pub(crate) fn alive<'p>(&'p self, directory: &'p Context) -> impl Iterator<Item = u16> + 'p {
        let live = directory.live.iter().map(|live| self.selectors[usize::from(live.selector)].entry);
        live.chain(self.below(directory))
    }

    /// The shortest interval of the running entries that are alive in a directory.
    pub(crate) fn interval_below(&self, directory: &Context) -> Option<Duration> {
        let running = self.alive(directory).filter(|entry| !self.is_suspended(*entry));
        running.map(|entry| self.entries[usize::from(entry)].interval).min()
    }

    fn enters(&self, selector: &Selector, depth: u32, mount: &Mount) -> bool {
        // The entry's own root lies on it, or below it.
        let leads_to_root = depth <= selector.prefix;
        let policy = self.entries[usize::from(selector.entry)].mounts;
        let is_readable = match policy {
            MountPolicy::All => mount.is_enterable(),
            MountPolicy::Local | MountPolicy::Same => mount.is_local() || mount.is_overlay() && leads_to_root,
        };
        is_readable && (policy != MountPolicy::Same || leads_to_root)
    }

    /// Which of the entry's excludes leaves this name out.
    fn excludes_name(&self, selector: &Selector, name: &[u8]) -> Option<usize> {
        let excludes = &self.entries[usize::from(selector.entry)].exclude;
        let matches = |at: &usize| matches!(&excludes[*at], Exclude::Name(pattern) if pattern.matches(name));
        selector.excluded.names.iter().copied().find(matches)
    }
}

fn matching(cursors: &[Cursor], patterns: &[PathPattern]) -> Option<usize> {
    cursors.iter().zip(patterns).position(|(cursor, pattern)| cursor.is_match(pattern))
}
