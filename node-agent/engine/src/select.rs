//! Selection on the way down: which selectors of a plan are alive in a directory, and which of them hit a name.
//!
//! Pure. A walk holds one [`Context`] a directory; the same steps say what an older plan selected, and what of the state
//! a new one still selects. Mounts on the way end the selectors that do not enter them.

use crate::mounts::Mount;
use crate::path::HostPath;
use crate::plan::{Due, Plan};
use std::time::Duration;
use vedette_crds::pattern::{Cursor, PathPattern};
use vedette_crds::settings::{Exclude, Links, Mounts as MountPolicy};

/// One pattern that selects for an entry: its path, or a link that its path led through.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) entry: u16,
    pub(crate) pattern: PathPattern,
    pub(crate) excluded_names: Vec<usize>,
    pub(crate) excluded_paths: Vec<PathPattern>,
    /// Which of the entry's excludes each of them is.
    pub(crate) excluded_by: Vec<usize>,
    pub(crate) max_depth: u32,
    pub(crate) is_prefix_link: bool,
    /// Whether it is what lies behind a link.
    pub(crate) is_followed: bool,
    /// Components of the pattern's literal prefix: above them nothing is excluded by name.
    pub(crate) prefix: u32,
}

/// A selector on its way down.
#[derive(Clone, Debug)]
struct Live {
    selector: u16,
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
    depth: u32,
}

/// One component further down.
#[derive(Debug)]
pub(crate) struct Step {
    /// For the directory of this name, if it is one.
    pub(crate) context: Context,
    hits: Vec<u16>,
}

impl Context {
    /// The selectors that are alive in it.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = u16> + '_ {
        self.live.iter().map(|live| live.selector)
    }

    /// How many components lie above the names in it, and itself.
    pub(crate) fn depth(&self) -> usize {
        self.depth as usize
    }
}

impl Step {
    /// The selectors that hit its object.
    pub(crate) fn hits(&self) -> &[u16] {
        &self.hits
    }

    /// Whether nothing selects this object or anything below it.
    pub(crate) fn is_dead(&self) -> bool {
        self.hits.is_empty() && self.context.live.is_empty()
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
    /// The host's `/`: what selects it, and the context of its listing.
    pub(crate) fn root(&self) -> Step {
        let mut live = Vec::new();
        let mut hits = Vec::new();
        for (at, selector) in self.selectors.iter().enumerate() {
            let cursor = selector.pattern.start();
            let excludes: Vec<Cursor> = selector.excluded_paths.iter().map(PathPattern::start).collect();
            if matching(&excludes, &selector.excluded_paths).is_some() {
                continue;
            }
            let covered = cursor.is_match(&selector.pattern).then_some(selector.max_depth);
            if covered.is_some() {
                hits.push(at as u16);
            }
            live.push(Live { selector: at as u16, cursor, covered, excludes });
        }
        Step { context: Context { live, depth: 0 }, hits }
    }

    /// The object of this name in a directory.
    pub(crate) fn child(&self, directory: &Context, name: &[u8]) -> Step {
        let depth = directory.depth + 1;
        let mut live = Vec::new();
        let mut hits = Vec::new();
        for above in &directory.live {
            let Ok(below) = self.descend(above, depth, name) else { continue };
            if below.covered.is_some() {
                hits.push(below.selector);
            }
            live.push(below);
        }
        Step { context: Context { live, depth }, hits }
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
        let steps = above.excludes.iter().zip(&selector.excluded_paths);
        let excludes: Vec<Cursor> = steps.map(|(cursor, pattern)| cursor.step(pattern, name)).collect();
        if let Some(at) = matching(&excludes, &selector.excluded_paths) {
            return Err(Lost::Excluded(selector.excluded_by[at]));
        }
        let cursor = above.cursor.step(&selector.pattern, name);
        let covered = covered.max(cursor.is_match(&selector.pattern).then_some(selector.max_depth));
        if covered.is_none() && cursor.is_dead() {
            return Err(Lost::Pattern);
        }
        Ok(Live { selector: above.selector, cursor, covered, excludes })
    }

    /// The selectors of a directory that do not go on at a name, each with why.
    pub(crate) fn lost(&self, directory: &Context, name: &[u8]) -> Vec<(u16, Lost)> {
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
        let context = self.context(path, &[]);
        let of = |live: &&Live| {
            let selector = &self.selectors[usize::from(live.selector)];
            selector.entry == entry && !selector.is_followed
        };
        context.live.iter().filter(of).filter_map(|live| live.covered).max()
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
        directory
    }

    /// The same for a mount point as a name: selectors that do not enter the mount do not see it.
    pub(crate) fn enter(&self, step: &Step, mount: &Mount) -> Step {
        let context = self.enter_directory(step.context.clone(), mount);
        let sees = |hit: &u16| self.enters(&self.selectors[usize::from(*hit)], context.depth, mount);
        Step { hits: step.hits.iter().copied().filter(sees).collect(), context }
    }

    /// The entries that may select in a directory or below it.
    pub(crate) fn alive<'p>(&'p self, directory: &'p Context) -> impl Iterator<Item = u16> + 'p {
        directory.live.iter().map(|live| self.selectors[usize::from(live.selector)].entry)
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
        selector.excluded_names.iter().copied().find(matches)
    }
}

fn matching(cursors: &[Cursor], patterns: &[PathPattern]) -> Option<usize> {
    cursors.iter().zip(patterns).position(|(cursor, pattern)| cursor.is_match(pattern))
}
