//! What left watch: kept as it was for seven days, brought back where a plan selects it again, then forgotten.
//!
//! Reads and writes inside the transaction that puts a plan into force. It compares nothing: what comes back is compared
//! by the walk that follows, like everything else.

use crate::clock::{Clock, Time};
use crate::meta::Meta;
use crate::page::{Page, PlanId};
use crate::store::{BATCH, Kept, Pages, Row, StoreError};
use crate::view::View;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What left watch is kept so long.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// One transaction forgets so many pages: about 60,000 items.
pub(crate) const FORGET: usize = 1024;

/// The time by which what is kept is told from what is forgotten: that of the wall clock when it was first asked, and what
/// the boot clock has counted since. A wall clock that steps, and comes back, moves it no more than a machine that was off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lived {
    time: Time,
    since_boot: Duration,
}

impl Lived {
    /// Now. `forgotten_before` of a state whose version did not count says when that was last written.
    fn now(before: Option<Self>, forgotten_before: Time, wall: Time, since_boot: Duration) -> Self {
        let Some(before) = before else {
            let known = (forgotten_before != Time::default()).then(|| forgotten_before.after(KEPT_FOR));
            return Self { time: known.unwrap_or(wall), since_boot };
        };
        // A boot clock that shows less is one that began anew since, and has counted from there at least.
        let passed = since_boot.checked_sub(before.since_boot).unwrap_or(since_boot);
        Self { time: before.time.after(passed), since_boot }
    }
}

impl Meta {
    /// Goes on to what the clock shows, and returns the time that what leaves now is kept from. What is forgotten never comes
    /// back: names that were absent are known as long as those that were present are kept.
    pub(crate) fn live(&mut self, clock: &dyn Clock) -> Time {
        let lived = Lived::now(self.lived, self.forgotten_before, clock.now(), clock.since_boot());
        self.lived = Some(lived);
        self.forgotten_before = self.forgotten_before.max(lived.time.before(KEPT_FOR));
        lived.time
    }
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
