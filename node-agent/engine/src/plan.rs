//! What is selected: rules with their links resolved, asked name by name on the way down.
//!
//! Pure. A walk holds one [`Context`] a directory: which selectors are alive there and how far each has matched. The
//! plan's source, rules and resolution, is what the store keeps, so that an older plan can be asked what it selected.

use crate::item::{Fields, fields_of};
use crate::look::Want;
use crate::mounts::Mount;
use crate::page::PlanId;
use crate::path::HostPath;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::{Cursor, PathPattern};
use vedette_crds::record::Field;
use vedette_crds::rule::Severity;
use vedette_crds::settings::{Compare, Exclude, FileEntry, HashSet, Links, Mounts as MountPolicy, resolve};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Where the literal parts of one entry's patterns really lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryResolution {
    /// `rule/entry`: a later version may make entries of what this one leaves out.
    pub(crate) name: String,
    /// The literal prefix of the path, free of links.
    pub(crate) real: Vec<Vec<u8>>,
    /// Links that were met on its way; they stay items when they stop being links.
    pub(crate) links: Vec<Vec<Vec<u8>>>,
    /// The literal prefixes of the excludes that are paths, in their order.
    pub(crate) excludes: Vec<Vec<Vec<u8>>>,
}

/// All that decides what a plan selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlanSource {
    /// As the operator compiled them.
    pub(crate) rules: Vec<NodeRule>,
    /// One for each entry.
    pub(crate) resolutions: Vec<EntryResolution>,
}

/// A rule as reports need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedRule {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) suspended: bool,
}

/// A plan that can be walked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) id: PlanId,
    pub(crate) source: PlanSource,
    pub(crate) rules: Vec<PlannedRule>,
    pub(crate) entries: Vec<FileEntry>,
    selectors: Vec<Selector>,
}

/// One pattern that selects for an entry: its path, or a link that its path led through.
#[derive(Debug)]
struct Selector {
    entry: u16,
    pattern: PathPattern,
    excluded_names: Vec<usize>,
    excluded_paths: Vec<PathPattern>,
    max_depth: u32,
    is_prefix_link: bool,
    /// Components of the pattern's literal prefix: above them nothing is excluded by name.
    prefix: u32,
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
    /// How many components lie above the names in it, and itself.
    pub(crate) fn depth(&self) -> usize {
        self.depth as usize
    }
}

impl Step {
    /// Whether nothing selects this object or anything below it.
    pub(crate) fn is_dead(&self) -> bool {
        self.hits.is_empty() && self.context.live.is_empty()
    }
}

/// The entries that cover one item, and what they ask for together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Of rules that are not suspended; sorted.
    pub(crate) entries: Vec<u16>,
    /// The union of what their `compare` can produce.
    pub(crate) fields: Fields,
    pub(crate) interval: Duration,
    hashes: HashSet,
    max_content_size: u64,
    rehash_interval: Duration,
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

/// `rule/entry`, the name that records give an entry.
pub(crate) fn entry_name(rules: &[NodeRule], entry: &FileEntry) -> String {
    format!("{}/{}", rules[entry.rule].name, entry.name)
}

/// The rules of a plan as entries, and the values in them that this version does not know.
pub(crate) fn entries(rules: &[NodeRule]) -> (Vec<FileEntry>, Vec<String>) {
    let resolved = resolve(rules);
    (resolved.entries, resolved.unknown)
}

impl Plan {
    /// The plan of this source.
    pub(crate) fn new(id: PlanId, source: PlanSource) -> Self {
        let (entries, _) = entries(&source.rules);
        let rules = source.rules.iter().map(|rule| PlannedRule {
            name: rule.name.clone(),
            uid: rule.uid.clone(),
            generation: rule.generation,
            tags: rule.tags.clone(),
            suspended: rule.suspend,
        });
        let mut selectors = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            let name = entry_name(&source.rules, entry);
            let Some(resolution) = source.resolutions.iter().find(|resolution| resolution.name == name) else {
                continue;
            };
            let mut prefixes = resolution.excludes.iter();
            let excluded_paths = entry.exclude.iter().filter_map(|exclude| match exclude {
                Exclude::Path(pattern) => {
                    Some(prefixes.next().map_or_else(|| pattern.clone(), |real| pattern.with_prefix(real)))
                }
                Exclude::Name(_) => None,
            });
            let names = entry.exclude.iter().enumerate().filter(|(_, exclude)| matches!(exclude, Exclude::Name(_)));
            let selector = Selector {
                entry: at as u16,
                pattern: entry.path.with_prefix(&resolution.real),
                excluded_names: names.map(|(at, _)| at).collect(),
                excluded_paths: excluded_paths.collect(),
                max_depth: entry.max_depth.unwrap_or(u32::MAX),
                is_prefix_link: false,
                prefix: resolution.real.len() as u32,
            };
            for link in &resolution.links {
                selectors.push(Selector {
                    entry: selector.entry,
                    pattern: PathPattern::literal(link),
                    excluded_names: Vec::new(),
                    excluded_paths: Vec::new(),
                    max_depth: 0,
                    is_prefix_link: true,
                    prefix: link.len() as u32,
                });
            }
            selectors.push(selector);
        }
        Self { id, rules: rules.collect(), entries, selectors, source }
    }

    /// The host's `/`: what selects it, and the context of its listing.
    pub(crate) fn root(&self) -> Step {
        let mut live = Vec::new();
        let mut hits = Vec::new();
        for (at, selector) in self.selectors.iter().enumerate() {
            let cursor = selector.pattern.start();
            let excludes: Vec<Cursor> = selector.excluded_paths.iter().map(PathPattern::start).collect();
            if matches_any(&excludes, &selector.excluded_paths) {
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
            let selector = &self.selectors[usize::from(above.selector)];
            let covered = above.covered.and_then(|left| left.checked_sub(u32::from(left != u32::MAX)));
            if covered.is_none() && above.cursor.is_dead() {
                continue;
            }
            if depth >= selector.prefix && self.excludes_name(selector, name) {
                continue;
            }
            let steps = above.excludes.iter().zip(&selector.excluded_paths);
            let excludes: Vec<Cursor> = steps.map(|(cursor, pattern)| cursor.step(pattern, name)).collect();
            if matches_any(&excludes, &selector.excluded_paths) {
                continue;
            }
            let cursor = above.cursor.step(&selector.pattern, name);
            let matched = cursor.is_match(&selector.pattern).then_some(selector.max_depth);
            let covered = covered.max(matched);
            if covered.is_some() {
                hits.push(above.selector);
            }
            if covered.is_some() || !cursor.is_dead() {
                live.push(Live { selector: above.selector, cursor, covered, excludes });
            }
        }
        Step { context: Context { live, depth }, hits }
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

    /// What the entries of running rules ask of an item together; `None` when all of them are suspended.
    pub(crate) fn ask(&self, selecting: &[u16]) -> Option<Ask> {
        let entries: Vec<u16> = selecting.iter().copied().filter(|entry| !self.is_suspended(*entry)).collect();
        let of = |at: &u16| &self.entries[usize::from(*at)];
        let interval = entries.iter().map(|at| of(at).interval).min()?;
        let reads = |at: &&u16| of(at).compare.contains(Compare::Content);
        Some(Ask {
            fields: entries.iter().fold(Fields::NONE, |fields, at| fields.or(self.fields(*at, true))),
            interval,
            hashes: entries.iter().filter(reads).fold(HashSet::empty(), |hashes, at| hashes.union(of(at).hashes)),
            max_content_size: entries.iter().filter(reads).map(|at| of(at).max_content_size).max().unwrap_or(0),
            rehash_interval: entries
                .iter()
                .filter(reads)
                .map(|at| of(at).rehash_interval)
                .min()
                .unwrap_or(Duration::MAX),
            entries,
        })
    }

    /// The fields that an entry reports; `by_time` when the modification time stands in for content.
    pub(crate) fn fields(&self, entry: u16, by_time: bool) -> Fields {
        let compare = self.entries[usize::from(entry)].compare;
        let fields = compare.iter().fold(Fields::NONE, |fields, member| fields.or(fields_of(member)));
        if by_time && compare.contains(Compare::Content) {
            fields.or(Fields::of(&[Field::ModifiedTime]))
        } else {
            fields
        }
    }

    /// `rule/entry`.
    pub(crate) fn entry_name(&self, entry: u16) -> String {
        entry_name(&self.source.rules, &self.entries[usize::from(entry)])
    }

    /// The severity of an entry.
    pub(crate) fn severity(&self, entry: u16) -> Severity {
        self.entries[usize::from(entry)].severity
    }

    /// The index of the rule that an entry stands in.
    pub(crate) fn rule_of(&self, entry: u16) -> usize {
        self.entries[usize::from(entry)].rule
    }

    /// Whether an entry's rule keeps its state and collects nothing.
    pub(crate) fn is_suspended(&self, entry: u16) -> bool {
        self.rules[self.rule_of(entry)].suspended
    }

    /// The intervals of running entries, shortest first.
    pub(crate) fn intervals(&self) -> Vec<Duration> {
        let running = (0..self.entries.len() as u16).filter(|entry| !self.is_suspended(*entry));
        let mut intervals: Vec<Duration> = running.map(|entry| self.entries[usize::from(entry)].interval).collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
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

    /// Whether one of these entries is due.
    pub(crate) fn any_due(&self, entries: &[u16], due: &Due) -> bool {
        entries.iter().any(|entry| due.contains(self.entries[usize::from(*entry)].interval))
    }

    /// The shortest interval of the running entries that are alive in a directory.
    pub(crate) fn interval_below(&self, directory: &Context) -> Option<Duration> {
        let entries = directory.live.iter().map(|live| self.selectors[usize::from(live.selector)].entry);
        let running = entries.filter(|entry| !self.is_suspended(*entry));
        running.map(|entry| self.entries[usize::from(entry)].interval).min()
    }

    fn enters(&self, selector: &Selector, depth: u32, mount: &Mount) -> bool {
        // The entry's own root lies on it, or below it.
        let leads_to_root = depth <= selector.prefix;
        let is_readable = mount.is_local() || mount.is_overlay() && leads_to_root;
        let policy = self.entries[usize::from(selector.entry)].mounts;
        is_readable && (policy == MountPolicy::Local || leads_to_root)
    }

    fn excludes_name(&self, selector: &Selector, name: &[u8]) -> bool {
        let excludes = &self.entries[usize::from(selector.entry)].exclude;
        selector
            .excluded_names
            .iter()
            .any(|at| matches!(&excludes[*at], Exclude::Name(pattern) if pattern.matches(name)))
    }
}

impl Ask {
    /// What a look at an item of this phase has to find out.
    pub(crate) fn want(&self, phase: u64) -> Want {
        let Self { hashes, max_content_size, rehash_interval, .. } = *self;
        Want { hashes, max_content_size, rehash_interval, phase }
    }

    /// The kinds of digests that are stored.
    pub(crate) fn hashes(&self) -> HashSet {
        self.hashes
    }
}

/// Where in its interval an item is hashed again: the same for one path forever.
pub(crate) fn phase(directory: &HostPath, name: &[u8]) -> u64 {
    phase_in(xxh3_64(directory.as_bytes()), name)
}

/// The same, for a directory's own phase.
pub(crate) fn phase_in(directory: u64, name: &[u8]) -> u64 {
    xxh3_64_with_seed(name, directory)
}

/// Which entries a compare is for: those whose interval has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// All of them.
    All,
    /// Those with one of these intervals.
    Intervals(Vec<Duration>),
}

impl Due {
    /// Whether entries of this interval are due.
    pub fn contains(&self, interval: Duration) -> bool {
        match self {
            Self::All => true,
            Self::Intervals(intervals) => intervals.contains(&interval),
        }
    }
}

fn matches_any(cursors: &[Cursor], patterns: &[PathPattern]) -> bool {
    cursors.iter().zip(patterns).any(|(cursor, pattern)| cursor.is_match(pattern))
}
