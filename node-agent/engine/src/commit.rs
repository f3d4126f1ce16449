//! The one committer: observations in, one transaction out that holds the new state and the records of what differs.
//!
//! The comparison that becomes a record is made here, inside the write transaction, against what is stored then. What a
//! walker sends is only a reason to compare. Nothing is Removed without a second lookup just before the commit.

use crate::clock::{Clock, Time};
use crate::digest::restrict;
use crate::host::{HostRoot, is_gone};
use crate::item::{Fields, ItemState};
use crate::look::{Look, Looker, is_racy};
use crate::meta::Meta;
use crate::mounts::Mounts;
use crate::page::{Named, Page, PlanId, Volume, paginate, subtree_prefix};
use crate::path::HostPath;
use crate::plan::{Ask, Plan};
use crate::plans::Plans;
use crate::render::{Owners, item};
use crate::store::{Pages, Store, StoreError, Writer};
use crate::volumes::Volumes;
use std::sync::Arc;
use vedette_crds::record::{
    ByteText, CHANGE_SCHEMA, Category, ChainedLine, Change, ChangeType, Detection, Field, Item, NOTICE_SCHEMA, Nanos,
    Notice, NoticeKind, Origin, render,
};
use vedette_crds::rule::Severity;

/// What walkers found in one directory that differs from the state, or is not in it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) volume: Volume,
    pub(crate) directory: HostPath,
    /// Sorted by name.
    pub(crate) findings: Vec<Finding>,
    /// Subdirectories that the state knows and the listing does not.
    pub(crate) vanished: Vec<Vec<u8>>,
}

/// One name that may have changed.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) name: Vec<u8>,
    /// The entries that select it, suspended ones included.
    pub(crate) selecting: Arc<[u16]>,
    pub(crate) ask: Arc<Ask>,
    pub(crate) what: What,
}

/// What was seen under a name.
#[derive(Debug)]
pub(crate) enum What {
    Seen(Box<ItemState>),
    Missing,
}

/// Who the records are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: Option<String>,
    /// The node's name.
    pub node: String,
    /// The Node's uid.
    pub node_uid: Option<String>,
}

/// All that a commit needs beside the reports.
pub(crate) struct Committer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) host: &'a HostRoot,
    pub(crate) mounts: &'a Mounts,
    pub(crate) volumes: &'a Volumes,
    pub(crate) plan: &'a Plan,
    pub(crate) plans: &'a Plans,
    pub(crate) identity: &'a Identity,
    pub(crate) owners: &'a Owners,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) looker: Looker<'a>,
    /// For entries that were not suspended before.
    pub(crate) detection: Detection,
}

/// What one record says beside where and for whom.
struct Difference {
    change_type: ChangeType,
    detection: Detection,
    fields: Fields,
    since: Option<Time>,
    before: Option<Item>,
    after: Option<Item>,
}

/// One transaction under way.
struct Transaction<'a, 'c> {
    committer: &'c mut Committer<'a>,
    writer: &'c Writer,
    meta: Meta,
    now: Time,
}

impl Committer<'_> {
    /// Commits reports and returns the description of the state after them; on an error nothing has changed.
    pub(crate) fn commit(&mut self, mut reports: Vec<Report>, meta: &Meta) -> Result<Meta, StoreError> {
        reports.sort_by_cached_key(|report| subtree_prefix(report.volume, &report.directory));
        let writer = self.store.write()?;
        let now = self.clock.now();
        let mut transaction = Transaction { committer: self, writer: &writer, meta: meta.clone(), now };
        let mut pages = writer.pages()?;
        for report in reports {
            transaction.report(&mut pages, report)?;
        }
        drop(pages);
        let mut meta = transaction.meta;
        meta.alive = Some(now);
        meta.save(&writer)?;
        writer.commit()?;
        Ok(meta)
    }
}

impl Transaction<'_, '_> {
    fn report(&mut self, pages: &mut Pages<'_>, report: Report) -> Result<(), StoreError> {
        let Report { volume, directory, findings, vanished } = report;
        let mut findings = findings.into_iter().peekable();
        while let Some(first) = findings.next() {
            let placed = pages.holding(volume, &directory, &first.name)?;
            let (key, page, next) = match placed {
                Some(placed) => (Some(placed.key), placed.page, placed.next),
                None => (None, Page::default(), None),
            };
            let known_under = key.is_some().then_some(page.plan).max(self.meta.complete);
            let mut items = page.items;
            self.finding(volume, &directory, &mut items, known_under, first)?;
            let belongs = |finding: &Finding| {
                next.as_ref().is_none_or(|next| crate::page::key(volume, &directory, &finding.name) < *next)
            };
            while let Some(finding) = findings.next_if(belongs) {
                self.finding(volume, &directory, &mut items, known_under, finding)?;
            }
            if let Some(key) = key {
                pages.remove(&key)?;
            }
            for items in paginate(items) {
                let key = crate::page::key(volume, &directory, &items[0].name);
                pages.put(&key, &Page { plan: self.committer.plan.id, items })?;
            }
        }
        for name in vanished {
            self.vanished(pages, volume, &directory, &name)?;
        }
        Ok(())
    }

    fn finding(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        items: &mut Vec<Named>,
        known_under: Option<PlanId>,
        finding: Finding,
    ) -> Result<(), StoreError> {
        let path = directory.join(&finding.name);
        let place = items.binary_search_by(|item| item.name.as_slice().cmp(&finding.name));
        let what = match (&place, finding.what) {
            (Ok(at), What::Missing) => {
                self.look_again(volume, directory, &finding.name, &items[*at].state, &finding.ask)?
            }
            // Another look began later and is stored: this one may be older than what it would replace.
            (Ok(at), What::Seen(seen)) if seen.looked < items[*at].state.looked => {
                self.look_again(volume, directory, &finding.name, &items[*at].state, &finding.ask)?
            }
            (_, what) => Some(what),
        };
        match (place, what) {
            (_, None) | (Err(_), Some(What::Missing)) => {}
            (Ok(at), Some(What::Seen(seen))) => {
                let mut after = *seen;
                after.keep_unknown(&items[at].state);
                self.modified(&path, &items[at].state, &after, &finding.ask)?;
                after.digests = restrict(after.digests, finding.ask.hashes());
                items[at].state = after;
            }
            (Ok(at), Some(What::Missing)) => {
                let before = items.remove(at).state;
                self.track(&finding.selecting, -1);
                self.removed(&path, &before, &finding.ask)?;
            }
            (Err(at), Some(What::Seen(state))) => {
                let is_new = self.was_selected(known_under, &path)?;
                self.track(&finding.selecting, 1);
                if is_new {
                    self.added(&path, &state, &finding.ask)?;
                } else if let Some(pending) = &mut self.meta.pending {
                    pending.added += 1;
                }
                items.insert(at, Named { name: finding.name, state: *state });
            }
        }
        Ok(())
    }

    /// The second lookup, in the volume that the item is stored under; `None` when it leaves things as they are.
    fn look_again(
        &mut self,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
        stored: &ItemState,
        ask: &Ask,
    ) -> Result<Option<What>, StoreError> {
        let open = match self.committer.host.directory(directory) {
            Ok(open) => open,
            Err(errno) => return Ok(is_gone(errno).then_some(What::Missing)),
        };
        let Ok(stat) = open.stat(b"") else { return Ok(None) };
        let Committer { store, host, mounts, volumes, .. } = self.committer;
        if volumes.of(store, host, mounts, stat.stx_mnt_id)? != Some(volume) {
            return Ok(None);
        }
        Ok(match self.committer.looker.look(&open, name, Some(stored), ask.want(&directory.join(name))) {
            Look::Gone => Some(What::Missing),
            Look::Seen(state) => Some(What::Seen(state)),
            Look::Same | Look::Unknown(_) | Look::Interrupted => None,
        })
    }

    /// A directory that its parent's listing does not have any more: what the state holds below it is gone.
    fn vanished(
        &mut self,
        pages: &mut Pages<'_>,
        volume: Volume,
        directory: &HostPath,
        name: &[u8],
    ) -> Result<(), StoreError> {
        let gone = directory.join(name);
        match self.committer.host.directory(&gone) {
            Err(errno) if is_gone(errno) => {}
            _ => return Ok(()),
        }
        let prefix = subtree_prefix(volume, &gone);
        let mut from = prefix.clone();
        loop {
            let batch = pages.subtree(&prefix, &from, 64)?;
            let Some((last, _, _)) = batch.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for (key, directory, page) in batch {
                let context = self.committer.plan.context(&directory);
                let mut kept = Vec::new();
                for named in page.items {
                    let step = self.committer.plan.child(&context, &named.name);
                    let is_link = named.state.target.is_some();
                    let selecting = self.committer.plan.selecting(&step, is_link);
                    match self.committer.plan.ask(&selecting) {
                        Some(ask) => {
                            self.track(&selecting, -1);
                            self.removed(&directory.join(&named.name), &named.state, &ask)?;
                        }
                        None if selecting.is_empty() => {}
                        None => kept.push(named),
                    }
                }
                pages.remove(&key)?;
                if let Some(first) = kept.first() {
                    let key = crate::page::key(volume, &directory, &first.name);
                    pages.put(&key, &Page { plan: page.plan, items: kept })?;
                }
            }
        }
    }

    /// Whether a name that the state does not have was selected when its directory was last compared.
    fn was_selected(&self, known_under: Option<PlanId>, path: &HostPath) -> Result<bool, StoreError> {
        let Some(id) = known_under else { return Ok(false) };
        if id == self.committer.plan.id {
            return Ok(true);
        }
        let Some(plan) = self.committer.plans.get(self.committer.store, id)? else { return Ok(false) };
        Ok(!plan.selecting(&plan.at(path), false).is_empty())
    }

    fn track(&mut self, selecting: &[u16], by: i64) {
        let totals = &mut self.meta.totals;
        totals.tracked = totals.tracked.saturating_add_signed(by);
        for rule in rules_of(self.committer.plan, selecting) {
            if let Some(rule) = totals.rules.get_mut(rule) {
                rule.tracked = rule.tracked.saturating_add_signed(by);
            }
        }
    }

    fn added(&mut self, path: &HostPath, after: &ItemState, ask: &Ask) -> Result<(), StoreError> {
        let since = self.compared(ask);
        let after = item(after, self.committer.owners);
        let detection = self.detection(&ask.entries);
        let (change_type, fields) = (ChangeType::Added, Fields::NONE);
        self.record(
            path,
            &ask.entries,
            Difference { change_type, detection, fields, since, before: None, after: Some(after) },
        )
    }

    fn removed(&mut self, path: &HostPath, before: &ItemState, ask: &Ask) -> Result<(), StoreError> {
        let since = Some(before.looked).max(self.compared(ask));
        let before = item(before, self.committer.owners);
        let detection = self.detection(&ask.entries);
        let (change_type, fields) = (ChangeType::Removed, Fields::NONE);
        self.record(
            path,
            &ask.entries,
            Difference { change_type, detection, fields, since, before: Some(before), after: None },
        )
    }

    fn modified(
        &mut self,
        path: &HostPath,
        before: &ItemState,
        after: &ItemState,
        ask: &Ask,
    ) -> Result<(), StoreError> {
        let differs = before.diff(after);
        let by_time = before.compares_by_time() || after.compares_by_time();
        let mut fields = Fields::NONE;
        let mut entries = Vec::new();
        for entry in &ask.entries {
            let produced = self.committer.plan.fields(*entry, by_time).and(differs);
            if !produced.is_empty() {
                fields = fields.or(produced);
                entries.push(*entry);
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        let unmoved = (before.changed, before.modified, before.size, before.inode)
            == (after.changed, after.modified, after.size, after.inode);
        let detection = if differs.contains(Field::Content) && unmoved && !is_racy(before) {
            Detection::Rehash
        } else {
            self.detection(&entries)
        };
        let since = Some(before.looked).max(self.compared(ask));
        let mut shown = after.clone();
        shown.digests = restrict(shown.digests, ask.hashes());
        let before = Some(item(before, self.committer.owners));
        let after = Some(item(&shown, self.committer.owners));
        let change_type = ChangeType::Modified;
        self.record(path, &entries, Difference { change_type, detection, fields, since, before, after })
    }

    /// The beginning of the last complete compare that looked at what these entries cover.
    fn compared(&self, ask: &Ask) -> Option<Time> {
        let of = |entry: &u16| {
            let interval = self.committer.plan.entries[usize::from(*entry)].interval;
            self.meta.compared.iter().find(|(compared, _)| *compared == interval).map(|(_, began)| *began)
        };
        ask.entries.iter().filter_map(of).max()
    }

    fn detection(&self, entries: &[u16]) -> Detection {
        let Some(complete) = self.meta.complete.filter(|complete| *complete != self.committer.plan.id) else {
            return self.committer.detection;
        };
        let resumed = |entry: &u16| {
            let uid = &self.committer.plan.rules[self.committer.plan.rule_of(*entry)].uid;
            self.committer.plans.was_suspended(complete, uid)
        };
        if entries.iter().all(resumed) { Detection::Resumed } else { self.committer.detection }
    }

    fn record(&mut self, path: &HostPath, entries: &[u16], difference: Difference) -> Result<(), StoreError> {
        let Difference { change_type, detection, fields, since, before, after } = difference;
        let plan = self.committer.plan;
        let mut rules: Vec<String> = entries.iter().map(|entry| plan.entry_name(*entry)).collect();
        rules.sort_unstable();
        let mut by_rule: Vec<(usize, Severity)> = Vec::new();
        for entry in entries {
            let severity = plan.severity(*entry);
            match by_rule.iter_mut().find(|(rule, _)| *rule == plan.rule_of(*entry)) {
                Some((_, highest)) => *highest = severity.max(*highest),
                None => by_rule.push((plan.rule_of(*entry), severity)),
            }
        }
        let mut tags: Vec<String> = by_rule.iter().flat_map(|(rule, _)| plan.rules[*rule].tags.clone()).collect();
        tags.sort_unstable();
        tags.dedup();
        let (path, path_bytes) = ByteText::exact(path.as_bytes());
        let change = Change {
            schema: CHANGE_SCHEMA.to_owned(),
            origin: origin(self.committer.identity, &self.meta),
            time: Nanos(self.now.timestamp()),
            since: since.map(|since| Nanos(since.timestamp())),
            category: Category::File,
            change_type,
            detection,
            path,
            path_bytes,
            fields: fields.list(),
            before,
            after,
            severity: by_rule.iter().map(|(_, severity)| *severity).max().unwrap_or(Severity::Info),
            rules,
            tags,
        };
        self.meta.totals.count(change_type, detection, &by_rule, self.now);
        let line = render(&change, self.meta.head);
        append(self.writer, &mut self.meta, line)
    }
}

/// The rules that these entries stand in, each once.
pub(crate) fn rules_of(plan: &Plan, entries: &[u16]) -> Vec<usize> {
    let mut rules: Vec<usize> = entries.iter().map(|entry| plan.rule_of(*entry)).collect();
    rules.dedup();
    rules
}

/// Appends a notice to the journal.
pub(crate) fn notice(
    writer: &Writer,
    meta: &mut Meta,
    identity: &Identity,
    now: Time,
    kind: NoticeKind,
) -> Result<(), StoreError> {
    let origin = origin(identity, meta);
    let notice = Notice { schema: NOTICE_SCHEMA.to_owned(), origin, time: Nanos(now.timestamp()), kind };
    let line = render(&notice, meta.head);
    append(writer, meta, line)
}

fn append(writer: &Writer, meta: &mut Meta, line: ChainedLine) -> Result<(), StoreError> {
    meta.sequence += 1;
    meta.head = line.chain;
    writer.append(meta.sequence, &line.line)
}

fn origin(identity: &Identity, meta: &Meta) -> Origin {
    Origin {
        cluster: identity.cluster.clone(),
        node: identity.node.clone(),
        node_uid: identity.node_uid.clone(),
        journal: meta.journal.clone(),
        sequence: meta.sequence + 1,
    }
}
