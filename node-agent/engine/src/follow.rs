//! Links that are followed: where they lead is selected too, under its real path.
//!
//! A walk finds them; what it found is part of the plan, so that what comes behind a link, or leaves with it, comes and
//! leaves like anything that a rule selects or not. Where a plan changes, the compare goes on under the new one. How much
//! of it is followed stands in `leads`.

use crate::host::HostRoot;
use crate::leads::{Lead, Leads, Room};
use crate::mounts::Mounts;
use crate::path::HostPath;
use crate::plan::{Due, Plan, PlanSource, entry_name};
use crate::select::Step;
use crate::unknown::Found;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use vedette_crds::settings::Links;

/// What lies behind a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Target {
    /// `rule/entry` that follows it.
    pub(crate) entry: String,
    pub(crate) real: HostPath,
}

/// How a target is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Levels below it.
    pub(crate) depth: u32,
    /// Links on the way to it; sorted.
    pub(crate) links: Vec<HostPath>,
}

/// All targets of a plan.
pub(crate) type Follows = BTreeMap<Target, Reach>;

/// Adds a target; the deeper reach counts.
pub(crate) fn add(follows: &mut Follows, target: Target, reach: Reach) {
    let known = follows.entry(target).or_default();
    known.depth = known.depth.max(reach.depth);
    known.links.extend(reach.links);
    known.links.sort();
    known.links.dedup();
}

/// Those that an entry follows.
pub(crate) fn of_entry<'f>(follows: &'f Follows, entry: &'f str) -> impl Iterator<Item = (&'f Target, &'f Reach)> {
    let first = Target { entry: entry.to_owned(), real: HostPath::root() };
    follows.range(first..).take_while(move |(target, _)| target.entry == entry)
}

impl Plan {
    /// Adds what lies behind a link that entries follow, unless they select that anyway.
    ///
    /// # Errors
    /// When this process lacks what it takes to resolve it.
    pub(crate) fn follow(
        &self,
        step: &Step,
        link: &HostPath,
        host: &HostRoot,
        mounts: &Mounts,
        leads: &mut Leads,
    ) -> Result<(), Errno> {
        let following = self.following(step);
        if following.is_empty() {
            return Ok(());
        }
        let enter = |path: &HostPath| mounts.at(path).is_none_or(|mount| !mount.is_remote() && !mount.is_hidden);
        let resolved = host.resolve(link.components(), &enter)?;
        let links: Vec<HostPath> = resolved.links.into_iter().filter(|met| met != link).collect();
        for (entry, depth) in following {
            let own = self.reach(entry, &resolved.real);
            let known = links.iter().all(|link| self.reach(entry, link).is_some());
            if own.is_some_and(|own| own >= depth) && known {
                continue;
            }
            let target = Target { entry: self.entry_name(entry), real: resolved.real.clone() };
            let interval = self.entries[usize::from(entry)].interval;
            let lead = Lead { depth, links: links.iter().cloned().collect(), from: link.clone(), interval, met: 1 };
            leads.meet(&self.source.follows, target, lead);
        }
        Ok(())
    }
}

/// What the plan has to follow after a walk that met these, and what of it is unknown because there is no room for more.
/// What was not looked at, or not seen, stays. `left` is what has left in this compare: if that comes back it stays until
/// the next one, for two places may lead to each other alone.
pub(crate) fn after_walk(
    plan: &Plan,
    due: &Due,
    all_seen: bool,
    (leads, room): (Leads, Room),
    left: &mut BTreeSet<Target>,
) -> (Follows, Found) {
    let entries = plan.entries.iter().map(|entry| (entry_name(&plan.source.rules, entry), entry));
    let looked_at: BTreeSet<String> = entries
        .filter(|(_, entry)| due.contains(entry.interval) && !plan.source.rules[entry.rule].suspend)
        .map(|(name, _)| name)
        .collect();
    let mut stay = Follows::new();
    for (target, reach) in &plan.source.follows {
        let is_looked_at = all_seen && looked_at.contains(&target.entry);
        if !is_looked_at || !leads.knows(target) && !left.insert(target.clone()) {
            add(&mut stay, target.clone(), reach.clone());
        }
    }
    leads.choose(room, stay)
}

/// Those whose entry is still one that follows.
pub(crate) fn retained(source: &PlanSource, follows: &Follows) -> Follows {
    let (entries, _) = crate::plan::entries(&source.rules);
    let following = entries.iter().filter(|entry| entry.links == Links::Follow);
    let following: BTreeSet<String> = following.map(|entry| entry_name(&source.rules, entry)).collect();
    let retained = follows.iter().filter(|(target, _)| following.contains(&target.entry));
    retained.map(|(target, reach)| (target.clone(), reach.clone())).collect()
}
