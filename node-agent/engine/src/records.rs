//! What the journal says: one record for one difference, and notices.
//!
//! Reads two states and the entries that cover them; appends one line to the transaction under way. It decides who
//! reports what, never what is stored.

use crate::clock::Time;
use crate::commit::{Aside, Committer, Identity, Place, Transaction};
use crate::compared::Compared;
use crate::gate::{is_large, is_racy};
use crate::item::{Fields, ItemState};
use crate::known::Known;
use crate::meta::Meta;
use crate::mounts::Mount;
use crate::path::HostPath;
use crate::plan::{Ask, Plan};
use crate::render::{Owners, item};
use crate::store::{StoreError, Writer};
use vedette_crds::record::{
    ByteText, CHANGE_SCHEMA, Category, ChainedLine, Change, ChangeType, Detection, Field, Item, ItemType,
    NOTICE_SCHEMA, Nanos, Notice, NoticeKind, Origin, render,
};
use vedette_crds::rule::Severity;

/// What one record says beside where and for whom.
pub(crate) struct Difference {
    pub(crate) change_type: ChangeType,
    pub(crate) detection: Detection,
    pub(crate) fields: Fields,
    pub(crate) since: Option<Time>,
    pub(crate) before: Option<Item>,
    pub(crate) after: Option<Item>,
    /// The other path of a move.
    pub(crate) moved: Option<HostPath>,
}

impl Transaction<'_, '_> {
    pub(crate) fn added(
        &mut self,
        place: Place<'_>,
        after: &ItemState,
        moved_from: Option<&HostPath>,
        ask: &Ask,
    ) -> Result<(), StoreError> {
        let is_link = after.kind == ItemType::Symlink;
        let since = self.compared(place, ask, &[after])?;
        let after = self.shown(place, after);
        let detection = self.detection(place, is_link)?;
        let (change_type, fields, moved) = (ChangeType::Added, Fields::NONE, moved_from.cloned());
        self.record(
            &place.path(),
            &ask.entries,
            Difference { change_type, detection, fields, since, before: None, after: Some(after), moved },
        )
    }

    pub(crate) fn removed(
        &mut self,
        place: Place<'_>,
        before: &ItemState,
        moved_to: Option<&HostPath>,
        ask: &Ask,
    ) -> Result<(), StoreError> {
        let is_link = before.kind == ItemType::Symlink;
        let since = Some(before.looked).max(self.compared(place, ask, &[before])?);
        let before = self.shown(place, before);
        let detection = self.detection(place, is_link)?;
        let (change_type, fields, moved) = (ChangeType::Removed, Fields::NONE, moved_to.cloned());
        self.record(
            &place.path(),
            &ask.entries,
            Difference { change_type, detection, fields, since, before: Some(before), after: None, moved },
        )
    }

    pub(crate) fn modified(
        &mut self,
        place: Place<'_>,
        before: &ItemState,
        after: &ItemState,
        ask: &Ask,
    ) -> Result<(), StoreError> {
        let differs = before.diff(after);
        let Some((fields, entries)) = reporting(self.committer.plan, &ask.entries, before, after) else {
            return Ok(());
        };
        let unmoved = (before.changed, before.modified, before.size, before.inode)
            == (after.changed, after.modified, after.size, after.inode);
        let detection = if before.is_read() && differs.contains(Field::Content) && unmoved && !is_racy(before) {
            Detection::Rehash
        } else if fields.contains(Field::Content) && before.content.is_none() {
            // No entry asked for content when it was last looked at: this compares what was before that.
            Detection::Resumed
        } else {
            self.detection(place, before.kind == ItemType::Symlink)?
        };
        let since = Some(before.looked).max(self.compared(place, ask, &[before, after])?);
        let before = Some(self.shown(place, before));
        let after = Some(self.shown(place, after));
        let change_type = ChangeType::Modified;
        self.record(
            &place.path(),
            &entries,
            Difference { change_type, detection, fields, since, before, after, moved: None },
        )
    }

    /// A state as its record shows it, with what is mounted there.
    fn shown(&self, place: Place<'_>, state: &ItemState) -> Item {
        let Committer { mounts, volumes, owners, .. } = &*self.committer;
        let mount = volumes.mounted(mounts, place.volume, place.directory, place.name);
        Item { mount: mount.map(Mount::info), ..item(state, owners) }
    }

    /// The beginning of the last complete compare that looked at an item, under the plan that it was made under.
    pub(crate) fn compared(
        &mut self,
        place: Place<'_>,
        ask: &Ask,
        states: &[&ItemState],
    ) -> Result<Option<Time>, StoreError> {
        let Some(complete) = self.meta.complete else { return Ok(None) };
        if matches!(self.committer.aside, Aside::Large) && states.iter().any(|state| is_large(state)) {
            return Ok(None);
        }
        let is_link = states.first().is_some_and(|state| state.kind == ItemType::Symlink);
        if complete == self.committer.plan.id {
            return Ok(self.times().last(self.committer.plan, &ask.entries, &place.path()));
        }
        let older = self.selected_by(complete, place, is_link)?;
        Ok(older.and_then(|older| self.times().last(&older.plan, &older.selecting, &place.path())))
    }

    /// When each interval was last compared to the end, before these looks.
    fn times(&self) -> &Compared {
        match &self.committer.aside {
            Aside::Since(compared) => compared,
            Aside::Nothing | Aside::Large => &self.meta.compared,
        }
    }

    pub(crate) fn detection(&mut self, place: Place<'_>, is_link: bool) -> Result<Detection, StoreError> {
        let returns = self.known(place, is_link)? == Known::Returns;
        Ok(if returns { Detection::Resumed } else { self.committer.detection })
    }

    pub(crate) fn record(
        &mut self,
        path: &HostPath,
        entries: &[u16],
        difference: Difference,
    ) -> Result<(), StoreError> {
        let Committer { plan, identity, owners, .. } = *self.committer;
        let reporter = Reporter { writer: self.writer, plan, identity, owners, now: self.now };
        reporter.record(&mut self.meta, path, entries, difference)
    }
}

/// Appends records of differences.
pub(crate) struct Reporter<'a> {
    pub(crate) writer: &'a Writer,
    pub(crate) plan: &'a Plan,
    pub(crate) identity: &'a Identity,
    pub(crate) owners: &'a Owners,
    pub(crate) now: Time,
}

impl Reporter<'_> {
    /// What these entries say of an item that was frozen as `before` and stands as `after` when their rule is resumed;
    /// nothing when both are the same to them.
    pub(crate) fn resumed(
        &self,
        meta: &mut Meta,
        path: &HostPath,
        entries: &[u16],
        before: Option<&ItemState>,
        after: Option<&ItemState>,
    ) -> Result<(), StoreError> {
        let (change_type, fields, entries) = match (before, after) {
            (Some(before), Some(after)) => {
                let Some((fields, entries)) = reporting(self.plan, entries, before, after) else { return Ok(()) };
                (ChangeType::Modified, fields, entries)
            }
            (None, _) => (ChangeType::Added, Fields::NONE, entries.to_vec()),
            (_, None) => (ChangeType::Removed, Fields::NONE, entries.to_vec()),
        };
        let since = before.map(|before| before.looked);
        let (before, after) =
            (before.map(|state| item(state, self.owners)), after.map(|state| item(state, self.owners)));
        let detection = Detection::Resumed;
        self.record(
            meta,
            path,
            &entries,
            Difference { change_type, detection, fields, since, before, after, moved: None },
        )
    }

    fn record(
        &self,
        meta: &mut Meta,
        path: &HostPath,
        entries: &[u16],
        difference: Difference,
    ) -> Result<(), StoreError> {
        let Difference { change_type, detection, fields, since, before, after, moved } = difference;
        let plan = self.plan;
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
        let (moved, moved_bytes) = match moved.map(|moved| ByteText::exact(moved.as_bytes())) {
            Some((text, exact)) => (Some(text), exact),
            None => (None, None),
        };
        let is_new = change_type == ChangeType::Added;
        let (moved_from, moved_to) = if is_new { (moved, None) } else { (None, moved) };
        let (moved_from_bytes, moved_to_bytes) = if is_new { (moved_bytes, None) } else { (None, moved_bytes) };
        let change = Change {
            schema: CHANGE_SCHEMA.to_owned(),
            origin: origin(self.identity, meta),
            time: Nanos(self.now.timestamp()),
            // After a clock that went back it may lie ahead.
            since: since.map(|since| Nanos(since.min(self.now).timestamp())),
            category: Category::File,
            change_type,
            detection,
            path,
            path_bytes,
            moved_to,
            moved_to_bytes,
            moved_from,
            moved_from_bytes,
            fields: fields.list(),
            before,
            after,
            severity: by_rule.iter().map(|(_, severity)| *severity).max().unwrap_or(Severity::Info),
            rules,
            tags,
        };
        meta.totals.count(change_type, detection, &by_rule, self.now);
        let line = render(&change, meta.head);
        append(self.writer, meta, line)
    }
}

/// Which of these entries report the difference, and the fields that they produce; `None` when none does.
fn reporting(plan: &Plan, entries: &[u16], before: &ItemState, after: &ItemState) -> Option<(Fields, Vec<u16>)> {
    let (differs, by_time) = (before.diff(after), before.compares_by_time(after));
    let produced = |entry: &u16| plan.fields(*entry, by_time).and(differs);
    let reporting: Vec<u16> = entries.iter().copied().filter(|entry| !produced(entry).is_empty()).collect();
    let fields = reporting.iter().fold(Fields::NONE, |fields, entry| fields.or(produced(entry)));
    (!reporting.is_empty()).then_some((fields, reporting))
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
    meta.totals.journal_bytes += line.line.len() as u64;
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
