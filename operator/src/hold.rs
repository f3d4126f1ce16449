//! What stood, and what has stood long enough to be told: a condition that flaps tells nothing. Reads what a condition is
//! now, produces a transition when the new state has lasted. Pure; it asks no clock.

use std::time::Duration;

use vedette_crds::condition::{Reason, Status};

use crate::notice::Transition;
use crate::time::Moment;

/// A condition has to stay as it is for so long before it is told.
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// A condition under observation: 16 bytes while it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held<R> {
    stood: Option<R>,
    moving: Option<Box<Moving<R>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Moving<R> {
    to: R,
    since: Moment,
    /// Since when its status has been another one than that which stood, whatever the reasons meanwhile.
    away: Option<Moment>,
}

impl<R> Default for Held<R> {
    fn default() -> Self {
        Self { stood: None, moving: None }
    }
}

impl<R: Reason> Held<R> {
    /// Takes what stands already for what stood: it is not told.
    pub(crate) fn begin(&mut self, standing: Option<R>) {
        if self.stood.is_none() && self.moving.is_none() {
            self.stood = standing;
        }
    }

    /// Takes in how the condition is, and says what is to be told now.
    pub(crate) fn observe(&mut self, reason: R, now: Moment) -> Option<Transition<R>> {
        if self.stood == Some(reason) {
            self.moving = None;
            return None;
        }
        let before = self.moving.take();
        let away = self.is_away(reason).then(|| before.as_ref().and_then(|before| before.away).unwrap_or(now));
        let since = before.filter(|before| before.to == reason).map_or(now, |before| before.since);
        let moving = Moving { to: reason, since, away };
        if now < moving.due() {
            self.moving = Some(Box::new(moving));
            return None;
        }
        let from = self.stood.replace(reason);
        // That a new object is well is no news.
        (from.is_some() || reason.status() != Status::True).then_some(Transition { from, to: reason })
    }

    /// When [`Held::observe`] will have something to tell if nothing changes.
    pub(crate) fn due(&self) -> Option<Moment> {
        self.moving.as_ref().map(|moving| moving.due())
    }

    fn is_away(&self, reason: R) -> bool {
        self.stood.is_none_or(|stood| stood.status() != reason.status())
    }
}

impl<R> Moving<R> {
    fn due(&self) -> Moment {
        self.away.map_or(self.since, |away| away.min(self.since)) + HOLD
    }
}

#[cfg(test)]
mod tests {
    use vedette_crds::condition::node::AgentAvailable::{self, Available, NoPod, NotReady, Silent, Starting};

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn standing(reason: AgentAvailable) -> Held<AgentAvailable> {
        let mut held = Held::default();
        held.begin(Some(reason));
        held
    }

    /// What is told when a condition is so at these seconds.
    fn told(held: &mut Held<AgentAvailable>, seen: &[(u64, AgentAvailable)]) -> Vec<(u64, Transition<AgentAvailable>)> {
        let told = seen.iter().map(|(second, reason)| (*second, held.observe(*reason, at(*second))));
        told.filter_map(|(second, transition)| Some((second, transition?))).collect()
    }

    #[test]
    fn what_stood_at_the_start_is_not_told_and_what_has_changed_is_after_a_minute_and_once() {
        let mut held = standing(Available);
        assert_eq!(told(&mut held, &[(0, Available), (100, Available)]), []);
        assert_eq!(held.due(), None);
        assert_eq!(told(&mut held, &[(110, NoPod)]), []);
        assert_eq!(held.due(), Some(at(170)));
        let transition = Transition { from: Some(Available), to: NoPod };
        assert_eq!(told(&mut held, &[(169, NoPod), (170, NoPod), (400, NoPod)]), [(170, transition)]);
        assert_eq!(held.due(), None);
    }

    #[test]
    fn a_condition_that_is_back_within_a_minute_was_never_away() {
        let mut held = standing(Available);
        let flapping: Vec<_> = (0..100).map(|n| (n * 50, if n % 2 == 0 { NotReady } else { Available })).collect();
        assert_eq!(told(&mut held, &flapping), []);
        assert_eq!(held.due(), None);
    }

    #[test]
    fn one_that_flaps_between_two_kinds_of_bad_is_told_with_the_kind_of_the_moment() {
        let mut held = standing(Available);
        let transition = Transition { from: Some(Available), to: NoPod };
        assert_eq!(
            told(&mut held, &[(0, NotReady), (30, NoPod), (50, NotReady), (55, NoPod), (60, NoPod)]),
            [(60, transition)]
        );
        assert_eq!(told(&mut held, &[(80, NotReady), (100, NoPod), (130, NotReady), (160, NoPod)]), []);
    }

    #[test]
    fn another_reason_of_the_same_status_is_told_when_it_has_stayed_itself() {
        let mut held = standing(NoPod);
        let transition = Transition { from: Some(NoPod), to: Silent };
        assert_eq!(told(&mut held, &[(0, NotReady), (30, Silent), (60, Silent), (90, Silent)]), [(90, transition)]);
    }

    #[test]
    fn a_new_object_that_is_well_is_no_news_and_one_that_is_not_is() {
        let mut held = Held::default();
        assert_eq!(told(&mut held, &[(0, Starting), (20, Available), (90, Available), (200, Available)]), []);
        let mut held = Held::default();
        let transition = Transition { from: None, to: NoPod };
        assert_eq!(told(&mut held, &[(0, Starting), (59, NoPod), (60, NoPod)]), [(60, transition)]);
    }
}
