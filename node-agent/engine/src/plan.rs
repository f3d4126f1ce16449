//! A plan: rules with their links resolved, and what its entries ask of the items that they select.
//!
//! Pure. A plan's source, rules and resolution, is what the store keeps, so that an older plan can be asked what it
//! selected. How a walk asks stands in `select`.

use crate::follow::Follows;
use crate::gate::Want;
use crate::item::{Fields, fields_of};
use crate::page::PlanId;
use crate::path::HostPath;
use crate::select::{Selector, Step};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::PathPattern;
use vedette_crds::record::Field;
use vedette_crds::rule::Severity;
use vedette_crds::settings::{Compare, Exclude, FileEntry, HashSet, resolve};
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
    /// What lies behind links that entries follow.
    pub(crate) follows: Follows,
}

impl PlanSource {
    /// Leaves out the rules that a later plan does not have as they are here: some of their items have left with it.
    pub(crate) fn forget_what_left_with(&mut self, later: &Self) {
        let Self { rules, resolutions, follows } = self;
        let resolved = |of: &[EntryResolution], rule: &NodeRule| -> Vec<EntryResolution> {
            let prefix = format!("{}/", rule.name);
            of.iter().filter(|resolution| resolution.name.starts_with(&prefix)).cloned().collect()
        };
        let followed = |of: &Follows, rule: &NodeRule| -> Follows {
            let prefix = format!("{}/", rule.name);
            let own = of.iter().filter(|(target, _)| target.entry.starts_with(&prefix));
            own.map(|(target, reach)| (target.clone(), reach.clone())).collect()
        };
        rules.retain(|rule| {
            let same = later.rules.iter().any(|other| other.uid == rule.uid && other.files == rule.files);
            let follows_same = followed(follows, rule) == followed(&later.follows, rule);
            same && follows_same && resolved(resolutions, rule) == resolved(&later.resolutions, rule)
        });
    }
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
    pub(crate) selectors: Vec<Selector>,
}

/// The entries that cover one item, and what they ask for together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
            // An exclude holds for paths as it names them, and for where its links lead.
            let mut excluded_paths = Vec::new();
            let mut excluded_by = Vec::new();
            for (at, exclude) in entry.exclude.iter().enumerate() {
                let Exclude::Path(pattern) = exclude else { continue };
                let resolved = prefixes.next().map(|real| pattern.with_prefix(real));
                excluded_paths.extend(resolved.filter(|resolved| resolved != pattern));
                excluded_paths.push(pattern.clone());
                excluded_by.resize(excluded_paths.len(), at);
            }
            let names = entry.exclude.iter().enumerate().filter(|(_, exclude)| matches!(exclude, Exclude::Name(_)));
            let own_links = resolution.links.iter().map(|link| (HostPath::from_components(link), false));
            let mut links: Vec<(HostPath, bool)> = own_links.collect();
            let selector = Selector {
                entry: at as u16,
                pattern: entry.path.with_prefix(&resolution.real),
                excluded_names: names.map(|(at, _)| at).collect(),
                excluded_paths,
                excluded_by,
                max_depth: entry.max_depth.unwrap_or(u32::MAX),
                is_prefix_link: false,
                is_followed: false,
                prefix: resolution.real.len() as u32,
            };
            for (target, reach) in source.follows.iter().filter(|(target, _)| target.entry == name) {
                let real: Vec<&[u8]> = target.real.components().collect();
                let (pattern, prefix) = (PathPattern::literal(&real), real.len() as u32);
                selectors.push(Selector {
                    pattern,
                    prefix,
                    max_depth: reach.depth,
                    is_followed: true,
                    ..selector.clone()
                });
                links.extend(reach.links.iter().map(|link| (link.clone(), true)));
            }
            for (link, is_followed) in links {
                let link: Vec<&[u8]> = link.components().collect();
                selectors.push(Selector {
                    entry: selector.entry,
                    pattern: PathPattern::literal(&link),
                    excluded_names: Vec::new(),
                    excluded_paths: Vec::new(),
                    excluded_by: Vec::new(),
                    max_depth: 0,
                    is_prefix_link: true,
                    is_followed,
                    prefix: link.len() as u32,
                });
            }
            selectors.push(selector);
        }
        Self { id, rules: rules.collect(), entries, selectors, source }
    }

    /// The entries that a mount at a path concerns: those that select the path, else those that may select below it; and
    /// whether they select it.
    pub(crate) fn concerned(&self, step: &Step) -> (Vec<u16>, bool) {
        let mut entries = self.selecting(step, false);
        let is_item = !entries.is_empty();
        if !is_item {
            entries.extend(self.alive(&step.context));
            entries.sort_unstable();
            entries.dedup();
        }
        (entries, is_item)
    }

    /// What the entries of running rules ask of an item together; `None` when all of them are suspended.
    pub(crate) fn ask(&self, selecting: &[u16]) -> Option<Ask> {
        let entries: Vec<u16> = selecting.iter().copied().filter(|entry| !self.is_suspended(*entry)).collect();
        let of = |at: &u16| &self.entries[usize::from(*at)];
        let interval = entries.iter().map(|at| of(at).interval).min()?;
        let reads = |at: &&u16| of(at).compare.contains(Compare::Content);
        // The kinds that a suspended rule asks for are computed with the others: they are compared when it is resumed.
        let hashing = if entries.iter().any(|at| reads(&at)) { selecting } else { &[] };
        Some(Ask {
            fields: entries.iter().fold(Fields::NONE, |fields, at| fields.or(self.fields(*at, true))),
            interval,
            hashes: hashing.iter().filter(reads).fold(HashSet::empty(), |hashes, at| hashes.union(of(at).hashes)),
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

    /// Whether one of these entries stands in a rule that is not suspended.
    pub(crate) fn any_running(&self, entries: &[u16]) -> bool {
        entries.iter().any(|entry| !self.is_suspended(*entry))
    }

    /// The intervals of running entries, shortest first.
    pub(crate) fn intervals(&self) -> Vec<Duration> {
        let running = (0..self.entries.len() as u16).filter(|entry| !self.is_suspended(*entry));
        let mut intervals: Vec<Duration> = running.map(|entry| self.entries[usize::from(entry)].interval).collect();
        intervals.sort_unstable();
        intervals.dedup();
        intervals
    }

    /// Whether one of these entries is due.
    pub(crate) fn any_due(&self, entries: &[u16], due: &Due) -> bool {
        entries.iter().any(|entry| due.contains(self.entries[usize::from(*entry)].interval))
    }
}

impl Ask {
    /// The same, with all content due.
    pub(crate) fn at_once(self) -> Self {
        Self { rehash_interval: Duration::ZERO, ..self }
    }

    /// What a look at an item of this phase has to find out.
    pub(crate) fn want(&self, phase: u64) -> Want {
        let Self { hashes, max_content_size, rehash_interval, .. } = *self;
        Want { hashes, max_content_size, rehash_interval, phase, leaves_large: false }
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
