//! What left watch: kept as it was for seven days, brought back where a plan selects it again, then forgotten.
//!
//! Reads and writes inside the transaction that puts a plan into force. It compares nothing: what comes back is compared
//! by the walk that follows, like everything else.

use crate::clock::Time;
use crate::page::{Page, PlanId};
use crate::store::{BATCH, Kept, Pages, Row, StoreError};
use crate::view::View;
use std::time::Duration;

/// What left watch is kept so long.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// One transaction forgets so many pages: about 60,000 items.
pub(crate) const FORGET: usize = 1024;

/// What left watch before this is forgotten. It goes back with no clock: names that were absent are known as long as
/// those that were present are kept.
pub(crate) fn horizon(before: Time, now: Time) -> Time {
    before.max(now.before(KEPT_FOR))
}

/// How many items came back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CameBack {
    pub(crate) items: u64,
    /// Those of them that had left with a plan that no complete compare has ended under.
    pub(crate) unsaid: u64,
}

/// Brings back what `selects` says that the plan of the view selects again.
pub(crate) fn bring_back(
    kept: &mut Kept<'_>,
    pages: &mut Pages<'_>,
    view: &mut View<'_>,
    selects: &dyn Fn(&[u16]) -> bool,
    horizon: Time,
    said: Option<PlanId>,
) -> Result<CameBack, StoreError> {
    let mut came = CameBack::default();
    let mut from = Vec::new();
    loop {
        let rows = kept.rows(&from, BATCH)?;
        let Some(last) = rows.last() else { return Ok(came) };
        from = [last.key.as_slice(), &[0]].concat();
        for Row { key, left, under, found } in rows {
            if left < horizon {
                continue;
            }
            let at = view.at(found.volume, &found.directory);
            if found.page.items.is_empty() {
                if at.walks() {
                    kept.remove(&key)?;
                    pages.mark(found.volume, &found.directory)?;
                }
                continue;
            }
            let plan = found.page.plan;
            let (back, away): (Vec<_>, Vec<_>) =
                found.page.items.into_iter().partition(|item| selects(&at.selecting_stored(&item.name, &item.state)));
            if back.is_empty() {
                continue;
            }
            if away.is_empty() {
                kept.remove(&key)?;
            } else {
                kept.reduce(&key, &Page { plan, items: away })?;
            }
            let items = pages.restore(found.volume, &found.directory, plan, back)?;
            came.items += items;
            if Some(under) > said {
                came.unsaid += items;
            }
        }
    }
}
