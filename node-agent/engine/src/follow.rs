//! Links that are followed: where they lead is selected too, under its real path.
//!
//! A walk finds them; what it found is part of the plan, so that what comes behind a link, or leaves with it, comes and
//! leaves like anything that a rule selects or not. Where a plan changes, the compare goes on under the new one.

use crate::host::HostRoot;
use crate::mounts::Mounts;
use crate::path::HostPath;
use crate::plan::{Due, Plan, PlanSource, entry_name};
use crate::select::Step;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use vedette_crds::settings::Links;

/// So many targets are followed; what lies behind further links is unknown.
pub(crate) const LIMIT: usize = 10_000;

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
    /// Links on the way to it.
    pub(crate) links: Vec<HostPath>,
}

/// All targets of a plan, or those that a walk met.
pub(crate) type Follows = BTreeMap<Target, Reach>;

/// Adds a target; the deeper reach counts.
pub(crate) fn add(follows: &mut Follows, target: Target, reach: Reach) {
    let known = follows.entry(target).or_default();
    known.depth = known.depth.max(reach.depth);
    known.links.extend(reach.links);
    known.links.sort();
    known.links.dedup();
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
        follows: &mut Follows,
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
            add(follows, target, Reach { depth, links: links.clone() });
        }
        Ok(())
    }
}

/// What the plan has to follow after a walk that found this. What was not looked at, or not seen, stays.
pub(crate) fn after_walk(plan: &Plan, due: &Due, all_seen: bool, found: Follows) -> Follows {
    let mut follows = found;
    for (target, reach) in &plan.source.follows {
        let entry = plan.entries.iter().find(|entry| entry_name(&plan.source.rules, entry) == target.entry);
        let is_looked_at =
            entry.is_some_and(|entry| due.contains(entry.interval) && !plan.source.rules[entry.rule].suspend);
        if !all_seen || !is_looked_at {
            add(&mut follows, target.clone(), reach.clone());
        }
    }
    follows
}

/// Those whose entry is still one that follows.
pub(crate) fn retained(source: &PlanSource, follows: &Follows) -> Follows {
    let (entries, _) = crate::plan::entries(&source.rules);
    let is_followed = |target: &Target| {
        let mut entries = entries.iter().filter(|entry| entry.links == Links::Follow);
        entries.any(|entry| entry_name(&source.rules, entry) == target.entry)
    };
    follows
        .iter()
        .filter(|(target, _)| is_followed(target))
        .map(|(target, reach)| (target.clone(), reach.clone()))
        .collect()
}
