//! Whether the state is the one that was known elsewhere: reads an anchor and the journal, begins another journal where they
//! contradict each other.
//!
//! What the state holds of the host stays and is compared: a difference that the lost journal may have told already is told
//! again, none is lost. The state as it was found is kept aside. Nothing of it is decided by what an anchor does not say.

use crate::engine::Engine;
use crate::meta::{Base, Meta, Totals};
use crate::records::notice;
use crate::store::StoreError;
use vedette_crds::record::{Chain, NoticeKind, ResetReason};

/// A journal remembers so many that it took the place of: their anchors may still be shown somewhere.
const PREDECESSORS: usize = 16;

/// Where a journal stood, as something outside of the state tells it: an exported line, a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The journal's id.
    pub journal: String,
    /// A sequence of it; 0 where nothing but the id is known.
    pub sequence: u64,
    /// The chain at that sequence, hex.
    pub head: String,
}

impl Anchor {
    /// What the mark beside the database says, though that is of another journal; `None` when it was only spoiled.
    pub(crate) fn of_mark(mark: String, sequence: u64) -> Option<Self> {
        let is_id = mark.len() == 32 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id && sequence > 0 {
            tracing::warn!("the state's mark names no journal: it is written anew");
            return None;
        }
        Some(Self { journal: if is_id { mark } else { String::new() }, ..Self::of_nothing_known() })
    }

    /// There was a state, and nobody says which.
    pub(crate) fn of_nothing_known() -> Self {
        Self { journal: String::new(), sequence: 0, head: String::new() }
    }
}

impl Engine {
    /// Holds the state against an anchor: at the next [`Engine::settle`], compare or start, before anything else is
    /// written.
    pub fn hold_against(&mut self, anchor: Anchor) {
        // Who says which state there was is believed before what only says that there was one.
        self.anchors.retain(|anchor| !anchor.journal.is_empty());
        self.anchors.push(anchor);
    }

    /// Begins another journal if this one is not the one that the anchors know. Its first line says so.
    ///
    /// # Errors
    /// When the state cannot be read or written, or kept aside; nothing has changed then.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        while let Some(anchor) = self.anchors.first() {
            if let Some(reason) = self.contradiction(anchor)? {
                self.begin_anew(reason, &anchor.clone())?;
            }
            self.anchors.remove(0);
            self.store.set_mark(&self.meta.journal)?;
        }
        Ok(())
    }

    /// What is wrong with the state if this anchor is right.
    fn contradiction(&self, anchor: &Anchor) -> Result<Option<ResetReason>, StoreError> {
        let Meta { journal, sequence, predecessors, .. } = &self.meta;
        if *journal != anchor.journal {
            return Ok(match (predecessors.contains(&anchor.journal), sequence) {
                (true, _) => None,
                (false, 0) => Some(ResetReason::StateMissing),
                (false, _) => Some(ResetReason::StateReplaced),
            });
        }
        if *sequence < anchor.sequence {
            return Ok(Some(ResetReason::StateRolledBack));
        }
        let Some(before) = anchor.sequence.checked_sub(1) else { return Ok(None) };
        // A line that has left the journal is no contradiction.
        let line = self.store.read()?.lines(before, 0)?.into_iter().find(|(at, _)| *at == anchor.sequence);
        let member = format!("\"chain\":\"{}\"}}", anchor.head);
        let differs = line.is_some_and(|(_, line)| !line.ends_with(member.as_bytes()));
        Ok(differs.then_some(ResetReason::StateDiverged))
    }

    fn begin_anew(&mut self, reason: ResetReason, anchor: &Anchor) -> Result<(), StoreError> {
        let found = (self.meta.sequence > 0).then(|| (self.meta.journal.clone(), self.meta.sequence));
        let kept = match &found {
            Some((journal, sequence)) => self.store.keep_aside(&format!("{journal}-{sequence}"))?,
            None => None,
        };
        // One without a line is another journal already.
        let id = if found.is_some() { Meta::new_id() } else { self.meta.journal.clone() };
        let mut meta = self.meta.succeeded_by(id);
        meta.predecessors.push(anchor.journal.clone());
        meta.predecessors.extend(found.iter().map(|(journal, _)| journal.clone()));
        let surplus = meta.predecessors.len().saturating_sub(PREDECESSORS);
        meta.predecessors.drain(..surplus);
        let is_line = anchor.sequence > 0;
        let kind = NoticeKind::BaselineReset {
            reason,
            expected_journal: Some(anchor.journal.clone()).filter(|id| !id.is_empty()),
            expected_sequence: is_line.then_some(anchor.sequence),
            expected_head: is_line.then(|| anchor.head.clone()),
            found_journal: found.as_ref().map(|(journal, _)| journal.clone()),
            found_sequence: found.as_ref().map(|(_, sequence)| *sequence),
        };
        let writer = self.store.write()?;
        writer.empty_journal()?;
        notice(&writer, &mut meta, &self.identity, self.clock.now(), kind)?;
        meta.save(&writer)?;
        writer.commit()?;
        self.meta = meta;
        self.journal.begins_anew();
        let kept = kept.map(|path| format!("; as it was found it is kept in {}", path.display())).unwrap_or_default();
        let expected = match anchor.journal.as_str() {
            "" => "that was in this directory".to_owned(),
            journal if is_line => format!("that journal {journal} was in at line {}", anchor.sequence),
            journal => format!("that journal {journal} was in"),
        };
        let begins = match found {
            Some(_) => format!("begins, and the host is compared with this state{kept}"),
            None => "begins with a new baseline".to_owned(),
        };
        tracing::warn!(reason = ?reason, "the state is not the one {expected}: a new journal {begins}");
        Ok(())
    }
}

impl Meta {
    /// The description of the journal that takes this one's place, over the same items.
    fn succeeded_by(&self, journal: String) -> Self {
        let mut totals = Totals { tracked: self.totals.tracked, rules: self.totals.rules.clone(), ..Totals::default() };
        for rule in &mut totals.rules {
            (rule.changes, rule.last_change) = Default::default();
        }
        Self { journal, sequence: 0, head: Chain::default(), base: Base::default(), totals, ..self.clone() }
    }
}
