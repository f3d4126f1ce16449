//! What is known of a name from before: whether it was watched when it was last looked for, or for a while was not.
//!
//! Reads the plans that the state still holds, newest first. It decides whether a new name is Added or baselined, and
//! what a difference is called; it compares nothing.

use crate::commit::{Place, Transaction};
use crate::meta::InForce;
use crate::page::PlanId;
use crate::plan::Plan;
use crate::store::StoreError;
use crate::view::View;
use std::sync::Arc;

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It came under watch with the plan in force, or what was known is forgotten.
    Nothing,
    /// It has been under watch since it was last looked for.
    Watched,
    /// It comes back: it had left watch, or was suspended, after it was last looked for.
    Returns,
}

/// What an older plan says of an item.
pub(crate) struct Older {
    pub(crate) plan: Arc<Plan>,
    pub(crate) selecting: Vec<u16>,
}

impl Transaction<'_, '_> {
    /// What is known of a name, present or not. Names that a plan selects were looked for when its first compare came
    /// to its end, or when the page was written under it.
    pub(crate) fn known(&mut self, place: Place<'_>, is_link: bool) -> Result<Known, StoreError> {
        let plan = self.committer.plan.id;
        let Some(page) = place.under else { return Ok(Known::Nothing) };
        if page == plan || self.meta.complete == Some(plan) {
            return Ok(Known::Watched);
        }
        let mut left = None;
        let mut frozen = None;
        for InForce { plan: id, since, is_complete, .. } in self.meta.before(plan) {
            if Some(id) < frozen {
                break;
            }
            let Some(older) = self.selected_by(id, place, is_link)? else { continue };
            let is_running = older.plan.any_running(&older.selecting);
            if is_running && !is_complete && id != page {
                continue;
            }
            if !is_running {
                frozen = frozen.or_else(|| self.frozen_under(&older));
                if older.selecting.is_empty() || frozen.is_some() {
                    left = Some(since);
                    continue;
                }
                // A suspended rule selects only what was looked for before it was suspended.
            }
            return Ok(match left {
                Some(left) if left < self.meta.forgotten_before => Known::Nothing,
                None if is_running => Known::Watched,
                _ => Known::Returns,
            });
        }
        // What is frozen still, and no other rule watched since, is compared with that.
        Ok(if frozen.is_some() { Known::Returns } else { Known::Nothing })
    }

    /// The plan under which the rule of one of these entries was suspended that still is.
    fn frozen_under(&self, older: &Older) -> Option<PlanId> {
        let rules = older.selecting.iter().map(|entry| &older.plan.rules[older.plan.rule_of(*entry)].uid);
        let frozen = rules.filter_map(|uid| self.meta.frozen.iter().find(|frozen| frozen.rule == *uid));
        frozen.map(|frozen| frozen.under).min()
    }

    /// An older plan, and which of its entries selected an item; `None` when the state does not hold it any more.
    pub(crate) fn selected_by(
        &mut self,
        id: PlanId,
        place: Place<'_>,
        is_link: bool,
    ) -> Result<Option<Older>, StoreError> {
        if !self.older.contains_key(&id) {
            let plan = self.committer.plans.get(self.committer.store, id)?;
            let view = plan.map(|plan| View::new(&plan, self.committer.mounts, self.committer.volumes));
            self.older.insert(id, view);
        }
        let Some(view) = self.older.get_mut(&id).and_then(Option::as_mut) else { return Ok(None) };
        let selecting = view.at(place.volume, place.directory).selecting(place.name, is_link);
        Ok(Some(Older { plan: Arc::clone(&view.plan), selecting }))
    }
}
