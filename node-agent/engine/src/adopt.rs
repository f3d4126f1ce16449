//! A plan comes into force: its links are resolved, what it does not select any more is forgotten, the rest is counted.
//!
//! Reads the host for links and the whole state once; writes one transaction. It looks at no item.

use crate::commit::rules_of;
use crate::host::HostRoot;
use crate::meta::{Meta, Pending, RuleTotals};
use crate::mounts::{Mount, MountId, Mounts};
use crate::page::{Page, PlanId};
use crate::path::HostPath;
use crate::plan::{Context, EntryResolution, Plan, PlanSource, entries, entry_name};
use crate::plans;
use crate::store::{Store, StoreError};
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::{PathPattern, Segment};
use vedette_crds::settings::Exclude;

/// More plans than this are not kept behind one that never came to a complete compare.
const MAX_PLANS: u32 = 64;

/// A plan's source as the host is now, the mounts that its entries' roots lie on, and roots that cannot be entered.
pub(crate) struct Resolution {
    pub(crate) source: PlanSource,
    pub(crate) root_mounts: Vec<Option<MountId>>,
    /// Where an entry's root lies on a file system that is not entered, and its type.
    pub(crate) barred: Vec<(HostPath, String)>,
}

/// Resolves the links in the literal parts of the rules' patterns.
///
/// `before` is the plan in force: links that an entry's path once led through stay its items when they stop being links.
pub(crate) fn resolve(
    rules: Vec<NodeRule>,
    host: &HostRoot,
    mounts: &Mounts,
    before: Option<&PlanSource>,
) -> Resolution {
    let enterable = |mount: &Mount| mount.is_local() || mount.is_overlay();
    let enter = |path: &HostPath| mounts.at(path).is_none_or(enterable);
    let mut resolutions = Vec::new();
    let mut root_mounts = Vec::new();
    let mut barred = Vec::new();
    let (entries, _) = entries(&rules);
    for entry in &entries {
        let resolved = host.resolve(prefix(&entry.path), &enter);
        let mut links = resolved.links;
        for link in links_before(before, &rules[entry.rule], &entry.name) {
            if !links.contains(&link) {
                links.push(link);
            }
        }
        let stands_on = |path: &HostPath| {
            let mut here = path.clone();
            loop {
                if let Some(mount) = mounts.at(&here) {
                    return Some(mount);
                }
                if here == HostPath::root() {
                    return resolved.mount.and_then(|id| mounts.get(id));
                }
                here = here.split().0;
            }
        };
        if let Some(mount) = stands_on(&resolved.real).filter(|mount| !enterable(mount)) {
            barred.push((resolved.real.clone(), mount.file_system.clone()));
        }
        let excludes = entry.exclude.iter().filter_map(|exclude| match exclude {
            Exclude::Path(pattern) => Some(host.resolve(prefix(pattern), &enter).real),
            Exclude::Name(_) => None,
        });
        root_mounts.push(resolved.mount);
        resolutions.push(EntryResolution {
            name: entry_name(&rules, entry),
            excludes: excludes.map(|path| owned(&path)).collect(),
            links: links.iter().map(owned).collect(),
            real: owned(&resolved.real),
        });
    }
    Resolution { source: PlanSource { rules, resolutions }, root_mounts, barred }
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

/// Puts a plan into force: one transaction that forgets, counts and stores it. Returns the new description.
pub(crate) fn adopt(store: &Store, plan: &Plan, meta: &Meta) -> Result<Meta, StoreError> {
    let mut meta = meta.clone();
    let writer = store.write()?;
    let mut tracked = vec![0u64; plan.rules.len()];
    let mut items = 0;
    let mut forgotten = 0;
    let mut pages = writer.pages()?;
    let mut from = Vec::new();
    let mut here: Option<(HostPath, Context)> = None;
    loop {
        let batch = pages.subtree(&[], &from, 256)?;
        let Some((last, _, _)) = batch.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for (key, directory, page) in batch {
            let context = match here.take() {
                Some((at, context)) if at == directory => context,
                _ => plan.context(&directory),
            };
            let before = page.items.len();
            let mut kept = Vec::with_capacity(before);
            for named in page.items {
                // The item of `/` stands in the root's page under the empty name.
                let step = if named.name.is_empty() { plan.root() } else { plan.child(&context, &named.name) };
                let selecting = plan.selecting(&step, named.state.target.is_some());
                if !selecting.is_empty() {
                    rules_of(plan, &selecting).into_iter().for_each(|rule| tracked[rule] += 1);
                    kept.push(named);
                }
            }
            items += kept.len() as u64;
            forgotten += (before - kept.len()) as u64;
            if kept.len() < before {
                pages.remove(&key)?;
                if let Some(first) = kept.first() {
                    let (volume, _) =
                        crate::page::parse_key(&key).ok_or_else(|| StoreError::damaged("a page has no directory"))?;
                    let key = crate::page::key(volume, &directory, &first.name);
                    pages.put(&key, &Page { plan: page.plan, items: kept })?;
                }
            }
            here = Some((directory, context));
        }
    }
    drop(pages);
    let old = std::mem::take(&mut meta.totals.rules);
    meta.totals.rules = plan
        .rules
        .iter()
        .zip(tracked)
        .map(|(rule, tracked)| {
            let before = old.iter().find(|before| before.uid == rule.uid).cloned().unwrap_or_default();
            RuleTotals { uid: rule.uid.clone(), name: rule.name.clone(), tracked, ..before }
        })
        .collect();
    meta.totals.tracked = items;
    let pending = meta.pending.take().unwrap_or_default();
    meta.pending = Some(Pending { forgotten: pending.forgotten + forgotten, ..pending });
    meta.plan = Some(plan.id);
    meta.compared.clear();
    let oldest: PlanId = meta.complete.unwrap_or(plan.id).max(plan.id.saturating_sub(MAX_PLANS));
    writer.set_plan(plan.id, &plans::encode(&plan.source)?, oldest)?;
    meta.save(&writer)?;
    writer.commit()?;
    Ok(meta)
}
