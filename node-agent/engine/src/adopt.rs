//! A plan comes into force: its links are resolved, what it does not select any more is forgotten, the rest is counted.
//!
//! Reads the host for links and the whole state once; writes one transaction. It looks at no item.

use crate::follow::{self, Follows};
use crate::host::HostRoot;
use crate::meta::{Meta, Pending, RuleTotals};
use crate::mounts::{Mount, Mounts};
use crate::page::{Page, Volume};
use crate::path::HostPath;
use crate::plan::{Due, EntryResolution, Plan, PlanSource, entries, entry_name};
use crate::plans;
use crate::records::rules_of;
use crate::select::{Context, Names};
use crate::store::{Found, Store, StoreError};
use crate::volumes::Volumes;
use rustix::io::Errno;
use vedette_crds::node_config::NodeRule;
use vedette_crds::pattern::{PathPattern, Segment};
use vedette_crds::record::ItemType;
use vedette_crds::settings::{Exclude, Mounts as MountPolicy};

/// More plans than this are not kept behind one that never came to a complete compare.
const MAX_PLANS: u32 = 64;

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
/// links. `follows` is what lies behind links that were met since. `compared` is the last one whose compare came to its end: a suspended rule stays what it was there, and
/// selects nothing if it was not there.
///
/// # Errors
/// When this process lacks something: a link that cannot be read is no link that leads elsewhere.
pub(crate) fn resolve(
    mut rules: Vec<NodeRule>,
    host: &HostRoot,
    mounts: &Mounts,
    in_force: Option<&PlanSource>,
    compared: Option<&PlanSource>,
    follows: &Follows,
) -> Result<Resolution, Errno> {
    for rule in rules.iter_mut().filter(|rule| rule.suspend) {
        let was = compared.and_then(|compared| compared.rules.iter().find(|was| was.uid == rule.uid));
        rule.files = was.and_then(|was| was.files.clone());
    }
    let enterable = |mount: &Mount| mount.is_local() || mount.is_overlay();
    let enter = |path: &HostPath| mounts.at(path).is_none_or(enterable);
    let mut resolutions = Vec::new();
    let mut barred = Vec::new();
    let (entries, _) = entries(&rules);
    for entry in &entries {
        let name = entry_name(&rules, entry);
        if rules[entry.rule].suspend
            && let Some(frozen) = compared.and_then(|compared| compared.resolutions.iter().find(|was| was.name == name))
        {
            resolutions.push(frozen.clone());
            continue;
        }
        let resolved = host.resolve(prefix(&entry.path), &enter)?;
        let mut links = resolved.links;
        for link in links_before(in_force, &rules[entry.rule], &entry.name) {
            if !links.contains(&link) {
                links.push(link);
            }
        }
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

/// Puts a plan into force: one transaction that forgets, counts and stores it. Returns the new description.
pub(crate) fn adopt(
    store: &Store,
    mounts: &Mounts,
    volumes: &Volumes,
    plan: &Plan,
    meta: &Meta,
) -> Result<Meta, StoreError> {
    let mut meta = meta.clone();
    let writer = store.write()?;
    let mut tracked = vec![0u64; plan.rules.len()];
    let mut items = 0;
    let mut forgotten = 0;
    let mut pages = writer.pages()?;
    let mut from = Vec::new();
    let mut crossed: Option<(Volume, Vec<Mount>)> = None;
    let mut here: Option<(Volume, HostPath, Context)> = None;
    loop {
        let batch = pages.subtree(&[], &from, 256)?;
        let Some(last) = batch.last() else { break };
        from = [last.key.as_slice(), &[0]].concat();
        for Found { key, volume, directory, page } in batch {
            let over = match crossed.take() {
                Some((of, crossed)) if of == volume => crossed,
                _ => volumes.crossed(mounts, volume),
            };
            let context = match here.take() {
                Some((on, at, context)) if on == volume && at == directory => context,
                _ => plan.context(&directory, &over),
            };
            let before = page.items.len();
            let mut kept = Vec::with_capacity(before);
            for named in page.items {
                let mounted = volumes.mounted(mounts, volume, &directory, &named.name);
                let step = plan.step(&context, &named.name, mounted);
                let selecting = plan.selecting(&step, named.state.kind == ItemType::Symlink);
                if !selecting.is_empty() {
                    rules_of(plan, &selecting).into_iter().for_each(|rule| tracked[rule] += 1);
                    kept.push(named);
                }
            }
            items += kept.len() as u64;
            forgotten += (before - kept.len()) as u64;
            // A page without items says that its directory was never seen; who does not select there need not know.
            if kept.len() < before || before == 0 && plan.names(&context, &Due::All) == Names::None {
                if kept.is_empty() {
                    pages.remove(&key)?;
                } else {
                    // Under the key that it has, or this loop would meet it again.
                    pages.put(&key, &Page { plan: page.plan, items: kept })?;
                }
            }
            crossed = Some((volume, over));
            here = Some((volume, directory, context));
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
            RuleTotals {
                uid: rule.uid.clone(),
                name: rule.name.clone(),
                generation: rule.generation,
                tracked,
                ..before
            }
        })
        .collect();
    meta.totals.tracked = items;
    let pending = meta.pending.take().unwrap_or_default();
    meta.pending = Some(Pending { forgotten: pending.forgotten + forgotten, ..pending });
    meta.plan = Some(plan.id);
    writer.set_plan(plan.id, &plans::encode(&plan.source)?, |id| {
        id.saturating_add(MAX_PLANS) > plan.id && meta.complete.is_none_or(|complete| id >= complete)
            || meta.complete == Some(id)
    })?;
    meta.save(&writer)?;
    writer.commit()?;
    Ok(meta)
}
