//! A plan comes into force: its links are resolved, what it does not select any more is kept apart, what it selects
//! again comes back, the rest is counted.
//!
//! Reads the host for links and the whole state once; writes one transaction. It looks at no item.

use crate::clock::{Clock, Time};
use crate::commit::Identity;
use crate::follow::{self, Follows};
use crate::host::HostRoot;
use crate::meta::{Meta, Pending, RuleTotals};
use crate::mounts::{Mount, Mounts};
use crate::page::{Named, Page, Volume};
use crate::path::HostPath;
use crate::plan::{EntryResolution, Plan, PlanSource, entries, entry_name};
use crate::plans::{self, Plans};
use crate::records::{Reporter, rules_of};
use crate::render::Owners;
use crate::retain::{FORGET, bring_back};
use crate::store::{BATCH, Found, Kept, Pages, Store, StoreError, Writer};
use crate::suspend::{Change, Suspensions};
use crate::view::View;
use crate::volumes::Volumes;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::sync::Arc;
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::{PathPattern, Segment};
use vedette_crds::settings::{Exclude, Mounts as MountPolicy};

/// So many links of an entry's path stay its items: those of now first, then the latest. Whoever may change one on the way
/// could else make it more with every compare.
const LINKS: usize = 256;

/// A plan's source as the host is now, and roots that cannot be entered.
pub(crate) struct Resolution {
    pub(crate) source: PlanSource,
    pub(crate) barred: Vec<Barred>,
}

/// An entry's root that lies on a file system that is not entered.
pub(crate) struct Barred {
    pub(crate) path: HostPath,
    /// Its type.
    pub(crate) file_system: String,
}

/// Resolves the links in the literal parts of the rules' patterns.
///
/// `in_force` is the plan in force: links that an entry's path once led through stay its items when they stop being
/// links, and a rule that is suspended there stays what it is. `compared` is the last one whose compare came to its end:
/// a rule that comes to be suspended is what it was there, and selects nothing if it was not there. `follows` is what lies
/// behind links that were met since.
///
/// # Errors
/// When this process lacks something: a link that cannot be read is no link that leads elsewhere.
pub(crate) fn resolve<'p>(
    mut rules: Vec<NodeRule>,
    host: &HostRoot,
    mounts: &Mounts,
    in_force: Option<&'p PlanSource>,
    compared: Option<&'p PlanSource>,
    follows: &Follows,
) -> Result<Resolution, Errno> {
    let mut frozen = Vec::new();
    for rule in rules.iter_mut().filter(|rule| rule.suspend) {
        let of = |plan: &'p PlanSource| plan.rules.iter().find(|was| was.uid == rule.uid).map(|was| (plan, was));
        let suspended = in_force.and_then(of).filter(|(_, was)| was.suspend);
        let was = suspended.or_else(|| compared.and_then(of));
        rule.files = was.and_then(|(_, was)| was.files.clone());
        frozen.extend(was.map(|(plan, _)| (rule.name.clone(), plan)));
    }
    let enterable = |mount: &Mount| mount.is_local() || mount.is_overlay();
    let enter = |path: &HostPath| mounts.at(path).is_none_or(enterable);
    let mut resolutions = Vec::new();
    let mut barred = Vec::new();
    let (entries, _) = entries(&rules);
    for entry in &entries {
        let name = entry_name(&rules, entry);
        let of_rule = |(of, _): &&(String, _)| *of == rules[entry.rule].name;
        let was =
            frozen.iter().find(of_rule).and_then(|(_, plan)| plan.resolutions.iter().find(|was| was.name == name));
        if let Some(was) = was {
            resolutions.push(was.clone());
            continue;
        }
        let resolved = host.resolve(prefix(&entry.path), &enter)?;
        let mut links = resolved.links;
        for link in links_before(in_force, &rules[entry.rule], &entry.name) {
            if !links.contains(&link) {
                links.push(link);
            }
        }
        links.truncate(LINKS);
        let enters = |mount: &Mount| enterable(mount) || entry.mounts == MountPolicy::All && mount.is_enterable();
        if let Some(mount) = mounts.on_the_way(&resolved.real).find(|mount| !enters(mount)) {
            barred.push(Barred { path: resolved.real.clone(), file_system: mount.file_system.clone() });
        }
        let excludes = entry.exclude.iter().filter_map(|exclude| match exclude {
            Exclude::Path(pattern) => Some(host.resolve(prefix(pattern), &enter)),
            Exclude::Name(_) => None,
        });
        let excludes = excludes.map(|resolved| Ok(owned(&resolved?.real))).collect::<Result<_, Errno>>()?;
        resolutions.push(EntryResolution {
            name,
            excludes,
            links: links.iter().map(owned).collect(),
            real: owned(&resolved.real),
        });
    }
    let mut source = PlanSource { rules, resolutions, follows: Follows::default() };
    source.follows = follow::retained(&source, follows);
    Ok(Resolution { source, barred })
}

fn prefix(pattern: &PathPattern) -> impl Iterator<Item = &[u8]> {
    pattern.segments()[..pattern.literal_prefix()].iter().filter_map(|segment| match segment {
        Segment::Literal(literal) => Some(&**literal),
        Segment::Name(_) | Segment::AnyDepth => None,
    })
}

fn owned(path: &HostPath) -> Vec<Vec<u8>> {
    path.components().map(<[u8]>::to_vec).collect()
}

/// The links of the same entry, with the same path, in the plan in force.
fn links_before(before: Option<&PlanSource>, rule: &NodeRule, entry: &str) -> Vec<HostPath> {
    let Some(before) = before else { return Vec::new() };
    let path = |rule: &NodeRule| {
        let mut paths = rule.files.iter().flat_map(|files| &files.paths);
        paths.find(|path| path.name == entry).map(|path| path.path.clone())
    };
    let same_path =
        before.rules.iter().any(|old| old.uid == rule.uid && path(old).is_some() && path(old) == path(rule));
    let name = format!("{}/{entry}", rule.name);
    let same = before.resolutions.iter().find(|resolution| same_path && resolution.name == name);
    same.into_iter().flat_map(|resolution| &resolution.links).map(HostPath::from_components).collect()
}

/// A plan on its way into force.
pub(crate) struct Adoption<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a HostRoot,
    pub(crate) mounts: &'a Mounts,
    pub(crate) volumes: &'a Volumes,
    pub(crate) plans: &'a Plans,
    pub(crate) identity: &'a Identity,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) plan: &'a Arc<Plan>,
    /// The one in force.
    pub(crate) before: Option<Arc<Plan>>,
}

impl Adoption<'_> {
    /// Puts the plan into force: one transaction that keeps what leaves, brings back what returns, counts, and stores
    /// the plan. Returns the new description.
    pub(crate) fn adopt(&self, meta: &Meta) -> Result<Meta, StoreError> {
        let (plan, mut meta) = (self.plan, meta.clone());
        let now = meta.live(self.clock);
        let mut change = self.change(&meta, now)?;
        let suspensions = Suspensions::of(plan, &meta);
        let writer = self.store.write()?;
        let mut pages = writer.pages()?;
        let mut kept = writer.kept()?;
        let stands = |selecting: &[u16]| suspensions.stands(plan, selecting);
        let back = bring_back(&mut kept, &mut pages, &mut change.view, &stands, meta.forgotten_before, meta.complete)?;
        suspensions.thaw(&writer, &mut pages, &mut kept, &mut change)?;
        suspensions.lend(&writer, &mut pages, &mut change, &meta)?;
        let mut sorted = self.sort(&writer, &mut pages, &mut kept, &mut change, &suspensions)?;
        kept.forget_before(meta.forgotten_before, FORGET)?;
        sorted.items += suspensions.count(&writer, &mut change.view, &mut sorted.tracked)?;
        let old = std::mem::take(&mut meta.totals.rules);
        meta.totals.rules = plan
            .rules
            .iter()
            .zip(sorted.tracked)
            .map(|(rule, tracked)| {
                let before = old.iter().find(|before| before.uid == rule.uid).cloned().unwrap_or_default();
                RuleTotals {
                    uid: rule.uid.clone(),
                    name: rule.name.clone(),
                    generation: rule.generation,
                    tracked,
                    ..before
                }
            })
            .collect();
        meta.totals.tracked = sorted.items;
        let pending = meta.pending.take().unwrap_or_default();
        meta.pending = Some(Pending {
            added: pending.added + back.items - back.unsaid,
            forgotten: (pending.forgotten + sorted.left).saturating_sub(back.unsaid),
        });
        let owners = if suspensions.any_ended() { Owners::read(self.host, self.mounts) } else { Owners::default() };
        let reporter =
            Reporter { writer: &writer, plan, identity: self.identity, owners: &owners, now: self.clock.now() };
        suspensions.report(&pages, &mut change, &reporter, &mut meta)?;
        drop((pages, kept));
        writer.written()?;
        meta.put_into_force(plan.id, plans::hash(&plan.source)?, now);
        writer.set_plan(plan.id, &plans::encode(&plan.source)?, |id| meta.holds(id))?;
        meta.save(&writer)?;
        writer.commit()?;
        Ok(meta)
    }

    fn view(&self, plan: &Arc<Plan>) -> View<'_> {
        View::new(plan, self.mounts, self.volumes)
    }

    fn change(&self, meta: &Meta, now: Time) -> Result<Change<'_>, StoreError> {
        let mut compared = Vec::new();
        if !meta.frozen.is_empty() {
            for older in meta.plans.iter().filter(|older| older.is_complete) {
                let plan = self.plans.get(self.store, older.plan)?;
                compared.extend(plan.map(|plan| self.view(&plan)));
            }
        }
        let before = self.before.as_ref().map(|before| self.view(before));
        Ok(Change { view: self.view(self.plan), before, compared, mounted: self.mounted(), now })
    }

    fn mounted(&self) -> BTreeSet<Volume> {
        let volumes = self.volumes.all().into_iter().filter(|(volume, point)| {
            let shows = self.mounts.id_at(point).and_then(|mount| self.volumes.known(self.host, self.mounts, mount));
            shows == Some(*volume)
        });
        volumes.map(|(volume, _)| volume).collect()
    }

    /// Goes through the state: what a running rule selects stays, what a rule selects that is being suspended is frozen,
    /// and all else is kept apart.
    fn sort(
        &self,
        writer: &Writer,
        pages: &mut Pages<'_>,
        kept: &mut Kept<'_>,
        change: &mut Change<'_>,
        suspensions: &Suspensions,
    ) -> Result<Sorted, StoreError> {
        let plan = self.plan;
        let mut sorted = Sorted { tracked: vec![0; plan.rules.len()], items: 0, left: 0 };
        let mut freezing = suspensions.tables(plan, writer)?;
        let mut from = Vec::new();
        loop {
            let batch = pages.subtree(&[], &from, BATCH)?;
            let Some(last) = batch.last() else { return Ok(sorted) };
            from = [last.key.as_slice(), &[0]].concat();
            for Found { key, volume, directory, page } in batch {
                let at = change.view.at(volume, &directory);
                // A page without items says that its directory was never seen; who does not walk there need not know.
                if page.items.is_empty() {
                    for (_, table) in &mut freezing {
                        table.put(&key, &page)?;
                    }
                    if !at.walks() {
                        kept.put(change.now, plan.id, &key, &page)?;
                        pages.remove(&key)?;
                    }
                    continue;
                }
                let Page { plan: under, items } = page;
                let part = |items| Page { plan: under, items };
                let before = items.len();
                let (mut stay, mut leave) = (Vec::with_capacity(before), Vec::new());
                let mut freeze: Vec<Vec<Named>> = vec![Vec::new(); freezing.len()];
                for named in items {
                    let selecting = at.selecting_stored(&named.name, &named.state);
                    for ((rule, _), freeze) in freezing.iter().zip(&mut freeze) {
                        if selecting.iter().any(|entry| plan.rule_of(*entry) == *rule) {
                            freeze.push(named.clone());
                        }
                    }
                    if plan.any_running(&selecting) {
                        let running = selecting.into_iter().filter(|entry| !plan.is_suspended(*entry));
                        let running: Vec<u16> = running.collect();
                        rules_of(plan, &running).into_iter().for_each(|rule| sorted.tracked[rule] += 1);
                        stay.push(named);
                    } else if !suspensions.freezes(plan, &selecting) {
                        leave.push(named);
                    }
                }
                for ((_, table), freeze) in freezing.iter_mut().zip(freeze) {
                    if !freeze.is_empty() {
                        table.put(&key, &part(freeze))?;
                    }
                }
                sorted.items += stay.len() as u64;
                sorted.left += leave.len() as u64;
                if !leave.is_empty() {
                    kept.put(change.now, plan.id, &key, &part(leave))?;
                }
                if stay.is_empty() {
                    pages.remove(&key)?;
                } else if stay.len() < before {
                    // Under the key that it has, or this loop would meet it again.
                    pages.put(&key, &part(stay))?;
                }
            }
        }
    }
}

/// What the state holds under a plan.
struct Sorted {
    /// Items of each rule.
    tracked: Vec<u64>,
    items: u64,
    /// Items that left.
    left: u64,
}
