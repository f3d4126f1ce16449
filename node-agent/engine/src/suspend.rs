//! A suspended rule's items: frozen as they were, for as long as it lasts, and compared with what stands when it is
//! resumed.
//!
//! Each suspended rule has a table of pages of its own, beside the state's: other rules may watch the same items
//! meanwhile. Reads and writes inside the transaction that puts a plan into force; looks at no item.

use crate::clock::Time;
use crate::meta::{Frozen, Meta};
use crate::page::{Named, Page, PlanId, Volume, subtree_prefix};
use crate::plan::Plan;
use crate::records::Reporter;
use crate::store::{BATCH, Finder, Found, Kept, Pages, StoreError, Writer};
use crate::view::View;
use std::collections::BTreeSet;
use vedette_crds::node_config::NodeRule;

/// The suspended rules of a plan, and those that are not suspended any more.
#[derive(Debug)]
pub(crate) struct Suspensions {
    /// Rules of the plan, by their index, that it suspends and that were not suspended before.
    begun: Vec<usize>,
    /// Those that were.
    going_on: Vec<usize>,
    /// The uids of rules that were suspended before and are not any more.
    ended: Vec<String>,
}

/// The plan that comes into force and those that were.
pub(crate) struct Change<'a> {
    pub(crate) view: View<'a>,
    /// The one that was in force until now.
    pub(crate) before: Option<View<'a>>,
    /// Older ones under which a complete compare has ended.
    pub(crate) compared: Vec<View<'a>>,
    /// The file systems of the state that are mounted.
    pub(crate) mounted: BTreeSet<Volume>,
    /// When, in time that was lived.
    pub(crate) now: Time,
}

impl Suspensions {
    /// How a plan changes what is suspended.
    pub(crate) fn of(plan: &Plan, meta: &Meta) -> Self {
        let is_frozen = |uid: &str| meta.frozen.iter().any(|frozen| frozen.rule == uid);
        let suspended = (0..plan.rules.len()).filter(|rule| plan.rules[*rule].suspended);
        let (going_on, begun): (Vec<_>, Vec<_>) = suspended.partition(|rule| is_frozen(&plan.rules[*rule].uid));
        let is_suspended = |uid: &str| plan.rules.iter().any(|rule| rule.suspended && rule.uid == uid);
        let frozen = meta.frozen.iter().map(|frozen| frozen.rule.clone());
        Self { begun, going_on, ended: frozen.filter(|uid| !is_suspended(uid)).collect() }
    }

    /// Whether an item that these entries select stands in the state when the plan comes into force: one that is frozen
    /// already stands in its own table.
    pub(crate) fn stands(&self, plan: &Plan, selecting: &[u16]) -> bool {
        selecting.iter().any(|entry| !self.going_on.contains(&plan.rule_of(*entry)))
    }

    /// Whether one of these entries is of a rule whose items are being frozen.
    pub(crate) fn freezes(&self, plan: &Plan, selecting: &[u16]) -> bool {
        selecting.iter().any(|entry| self.begun.contains(&plan.rule_of(*entry)))
    }

    /// Whether a rule is suspended no more.
    pub(crate) fn any_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The tables of the rules whose items are being frozen.
    pub(crate) fn tables<'w>(&self, plan: &Plan, writer: &'w Writer) -> Result<Vec<(usize, Pages<'w>)>, StoreError> {
        self.begun.iter().map(|rule| Ok((*rule, writer.frozen(&plan.rules[*rule].uid)?))).collect()
    }

    /// Puts what was frozen back into the state, where nothing that was seen since stands for it; what nothing selects
    /// any more leaves.
    pub(crate) fn thaw(
        &self,
        writer: &Writer,
        pages: &mut Pages<'_>,
        kept: &mut Kept<'_>,
        change: &mut Change<'_>,
    ) -> Result<(), StoreError> {
        for uid in &self.ended {
            for_each(&writer.frozen(uid)?, &mut |found| {
                if found.page.items.is_empty() {
                    return change.mark(pages, &found);
                }
                let Found { key, volume, directory, page } = &found;
                let (mut back, mut gone) = (Vec::new(), Vec::new());
                for item in &page.items {
                    let selecting = change.view.at(*volume, directory).selecting_stored(&item.name, &item.state);
                    if !self.stands(&change.view.plan, &selecting) {
                        gone.push(item.clone());
                    } else if !change.was_seen(&found, item) {
                        back.push(item.clone());
                    }
                }
                pages.restore(*volume, directory, page.plan, back)?;
                if gone.is_empty() {
                    return Ok(());
                }
                kept.put(change.now, change.view.plan.id, key, &Page { plan: page.plan, items: gone })
            })?;
        }
        Ok(())
    }

    /// Copies into the state what is frozen and another rule comes to watch, or takes with it when it is suspended too.
    pub(crate) fn lend(
        &self,
        writer: &Writer,
        pages: &mut Pages<'_>,
        change: &mut Change<'_>,
        meta: &Meta,
    ) -> Result<(), StoreError> {
        for Frozen { rule, under, .. } in meta.frozen.iter().filter(|frozen| !self.ended.contains(&frozen.rule)) {
            for_each(&writer.frozen(rule)?, &mut |found| {
                let Found { volume, directory, page, .. } = &found;
                let mut items = Vec::new();
                for item in &page.items {
                    let selecting = change.view.at(*volume, directory).selecting_stored(&item.name, &item.state);
                    if self.stands(&change.view.plan, &selecting) && !change.was_watched_since(*under, &found, item) {
                        items.push(item.clone());
                    }
                }
                pages.restore(*volume, directory, page.plan, items).map(drop)
            })?;
        }
        Ok(())
    }

    /// Counts what is frozen, for each rule; returns how many items of it no other rule watches.
    pub(crate) fn count(&self, writer: &Writer, view: &mut View<'_>, tracked: &mut [u64]) -> Result<u64, StoreError> {
        let mut alone = 0;
        let mut counted: Vec<Pages<'_>> = Vec::new();
        for rule in self.begun.iter().chain(&self.going_on) {
            let frozen = writer.frozen(&view.plan.rules[*rule].uid)?;
            let mut earlier: Vec<_> = counted.iter().map(Finder::new).collect();
            for_each(&frozen, &mut |Found { volume, directory, page, .. }| {
                tracked[*rule] += page.items.len() as u64;
                for Named { name, state } in &page.items {
                    let mut is_counted = view.at(volume, &directory).watches(name, state);
                    for earlier in &mut earlier {
                        is_counted = is_counted || earlier.item(volume, &directory, name)?.is_some();
                    }
                    alone += u64::from(!is_counted);
                }
                Ok(())
            })?;
            drop(earlier);
            counted.push(frozen);
        }
        Ok(alone)
    }

    /// Reports, for the entries of each rule that is resumed, what differs between its frozen items and what stands, and
    /// forgets what was frozen.
    pub(crate) fn report(
        &self,
        pages: &Pages<'_>,
        change: &mut Change<'_>,
        reporter: &Reporter<'_>,
        meta: &mut Meta,
    ) -> Result<(), StoreError> {
        for uid in &self.ended {
            if let Some(rule) = reporter.plan.rules.iter().position(|rule| rule.uid == *uid) {
                let frozen = reporter.writer.frozen(uid)?;
                let was = meta.frozen.iter().find(|frozen| frozen.rule == *uid);
                let looked_at = was.map(|frozen| frozen.volumes.clone()).unwrap_or_default();
                report(rule, &frozen, looked_at, pages, change, reporter, meta)?;
            }
            reporter.writer.forget_frozen(uid)?;
        }
        meta.frozen.retain(|frozen| !self.ended.contains(&frozen.rule));
        let begun = self.begun.iter().map(|rule| reporter.plan.rules[*rule].uid.clone());
        let under = reporter.plan.id;
        meta.frozen.extend(begun.map(|rule| Frozen { rule, under, volumes: change.mounted.clone() }));
        Ok(())
    }
}

/// Suspends the rules that are frozen for one more compare, when the last one has not come to its end: what stands for
/// their items has to be whole. Says whether there are any.
pub(crate) fn hold(rules: &mut [NodeRule], meta: &Meta) -> bool {
    let mut holds = false;
    if meta.complete != meta.plan {
        let is_frozen = |rule: &&mut NodeRule| meta.frozen.iter().any(|frozen| frozen.rule == rule.uid);
        for rule in rules.iter_mut().filter(is_frozen) {
            holds |= !rule.suspend;
            rule.suspend = true;
        }
    }
    holds
}

impl Change<'_> {
    /// Whether what stands in the state, or does not, is what other rules saw of an item last.
    fn was_seen(&mut self, found: &Found, item: &Named) -> bool {
        watch(&mut self.before, found, item)
    }

    /// Whether other rules watched an item since it froze under this plan: then what they saw last stands for them.
    fn was_watched_since(&mut self, under: PlanId, found: &Found, item: &Named) -> bool {
        watch(&mut self.before, found, item)
            || watch(self.compared.iter_mut().filter(|compared| compared.plan.id >= under), found, item)
    }

    /// Whether a rule selected an item in the plan that was in force until now, suspended or not.
    fn was_selected(&mut self, uid: &str, found: &Found, item: &Named) -> bool {
        let Some(before) = &mut self.before else { return false };
        let selecting = before.at(found.volume, &found.directory).selecting_stored(&item.name, &item.state);
        selecting.iter().any(|entry| before.plan.rules[before.plan.rule_of(*entry)].uid == uid)
    }

    /// Notes again that a directory was never seen, unless it was since.
    fn mark(&mut self, pages: &mut Pages<'_>, found: &Found) -> Result<(), StoreError> {
        let (volume, directory) = (found.volume, &found.directory);
        let was_walked = self.before.as_mut().is_some_and(|before| before.at(volume, directory).walks());
        if !was_walked && self.view.at(volume, directory).walks() {
            pages.mark(volume, directory)?;
        }
        Ok(())
    }
}

/// Whether one of these plans watches an item.
fn watch<'v, 'a: 'v>(views: impl IntoIterator<Item = &'v mut View<'a>>, found: &Found, item: &Named) -> bool {
    views.into_iter().any(|view| view.at(found.volume, &found.directory).watches(&item.name, &item.state))
}

/// Reports the differences of one rule. `looked_at` are the volumes on which it may have found nothing; where it has items, it
/// has looked too.
fn report(
    rule: usize,
    frozen: &Pages<'_>,
    mut looked_at: BTreeSet<Volume>,
    pages: &Pages<'_>,
    change: &mut Change<'_>,
    reporter: &Reporter<'_>,
    meta: &mut Meta,
) -> Result<(), StoreError> {
    let plan = reporter.plan;
    let of_rule = |change: &mut Change<'_>, found: &Found, item: &Named| -> Vec<u16> {
        let selecting = change.view.at(found.volume, &found.directory).selecting_stored(&item.name, &item.state);
        selecting.into_iter().filter(|entry| plan.rule_of(*entry) == rule).collect()
    };
    // What lies there was never seen for this rule: it is no news to it.
    let mut unseen = Vec::new();
    let (mut standing, mut before) = (Finder::new(pages), Finder::new(frozen));
    for_each(frozen, &mut |found| {
        looked_at.insert(found.volume);
        if found.page.items.is_empty() {
            unseen.push(subtree_prefix(found.volume, &found.directory));
        }
        for item in &found.page.items {
            let entries = of_rule(change, &found, item);
            let stands = standing.item(found.volume, &found.directory, &item.name)?;
            if entries.is_empty() || stands.is_none() && !change.was_seen(&found, item) {
                continue;
            }
            let path = found.directory.join(&item.name);
            reporter.resumed(meta, &path, &entries, Some(&item.state), stands.map(|stands| &stands.state))?;
        }
        Ok(())
    })?;
    for_each(pages, &mut |found| {
        if !looked_at.contains(&found.volume) || unseen.iter().any(|prefix| found.key.starts_with(prefix)) {
            return Ok(());
        }
        for item in &found.page.items {
            let entries = of_rule(change, &found, item);
            if !entries.is_empty()
                && change.was_selected(&plan.rules[rule].uid, &found, item)
                && before.item(found.volume, &found.directory, &item.name)?.is_none()
            {
                reporter.resumed(meta, &found.directory.join(&item.name), &entries, None, Some(&item.state))?;
            }
        }
        Ok(())
    })
}

/// Calls `each` with every page of a table, in order.
pub(crate) fn for_each(
    pages: &Pages<'_>,
    each: &mut dyn FnMut(Found) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let batch = pages.subtree(&[], &from, BATCH)?;
        let Some(last) = batch.last() else { return Ok(()) };
        from = [last.key.as_slice(), &[0]].concat();
        batch.into_iter().try_for_each(&mut *each)?;
    }
}
