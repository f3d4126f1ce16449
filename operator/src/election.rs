//! Who may take the Lease: reads the Lease as it stands and when it was seen so, produces a verdict. Pure. The times that
//! others wrote into the Lease are for people: a candidate counts from when it saw the Lease change, by its own clock.

use std::time::Duration;

use crate::leadership::LEASE_DURATION;
use crate::time::Moment;

/// A holder may ask for more patience than ours, but not for ever.
const LONGEST_DURATION: Duration = Duration::from_secs(120);

/// A Lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Who holds it; empty when it was released.
    pub(crate) holder: String,
    /// How long its holder wants others to wait.
    pub(crate) duration: Duration,
    /// Differs after every write to it.
    pub(crate) version: String,
}

/// What a candidate is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Make the Lease: there is none.
    Make,
    /// Renew it: it is ours, and was last seen so long ago.
    Renew(Duration),
    /// Take it from whoever held it, who was last heard of so long ago.
    Take(Duration),
    /// Leave it to this holder.
    Leave(String),
}

/// One that may lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    /// The version last seen of the Lease, and since when: then its holder was alive.
    seen: Option<(String, Moment)>,
}

impl Candidate {
    /// `identity` is this process's alone: not even the process before it in the same pod had it.
    pub(crate) fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// Judges what is there now.
    pub(crate) fn judge(&mut self, standing: Option<&Standing>, now: Moment) -> Verdict {
        let Some(standing) = standing else {
            self.seen = None;
            return Verdict::Make;
        };
        let silent = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| now.since(*since));
        if standing.holder == self.identity {
            self.seen = Some((standing.version.clone(), now));
            return Verdict::Renew(silent);
        }
        if standing.holder.is_empty() {
            return Verdict::Take(silent);
        }
        let patience = standing.duration.clamp(LEASE_DURATION, LONGEST_DURATION);
        match &self.seen {
            Some((version, _)) if *version == standing.version => {
                if silent >= patience {
                    return Verdict::Take(silent);
                }
            }
            _ => self.seen = Some((standing.version.clone(), now)),
        }
        Verdict::Leave(standing.holder.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leadership::RENEW_DEADLINE;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn lease(holder: &str, version: u64) -> Standing {
        Standing { holder: holder.into(), duration: LEASE_DURATION, version: version.to_string() }
    }

    #[test]
    fn a_lease_that_is_free_or_not_there_is_taken_at_once() {
        let mut one = Candidate::new("one".into());
        assert_eq!(one.judge(None, at(0)), Verdict::Make);
        assert_eq!(one.judge(Some(&lease("", 1)), at(0)), Verdict::Take(Duration::ZERO));
        assert_eq!(one.judge(Some(&lease("one", 2)), at(0)), Verdict::Renew(Duration::ZERO));
        assert_eq!(one.judge(Some(&lease("one", 3)), at(40)), Verdict::Renew(Duration::from_secs(40)));
    }

    #[test]
    fn the_lease_of_another_is_taken_when_it_was_seen_unchanged_for_its_duration() {
        let mut one = Candidate::new("one".into());
        let leave = Verdict::Leave("two".into());
        assert_eq!(one.judge(Some(&lease("two", 1)), at(100)), leave);
        assert_eq!(one.judge(Some(&lease("two", 1)), at(114)), leave);
        assert_eq!(one.judge(Some(&lease("two", 2)), at(116)), leave, "it was renewed");
        assert_eq!(one.judge(Some(&lease("two", 2)), at(130)), leave);
        assert_eq!(one.judge(Some(&lease("two", 2)), at(131)), Verdict::Take(Duration::from_secs(15)));
    }

    #[test]
    fn a_lease_that_is_handed_back_says_since_when_nobody_was_heard_of() {
        let mut one = Candidate::new("one".into());
        assert_eq!(one.judge(Some(&lease("two", 1)), at(100)), Verdict::Leave("two".into()));
        assert_eq!(one.judge(Some(&lease("", 2)), at(103)), Verdict::Take(Duration::from_secs(3)));
    }

    #[test]
    fn nobody_can_ask_for_less_patience_than_a_term_takes_or_for_endless_patience() {
        for (asked, waited) in [(Duration::from_secs(1), 15), (Duration::from_secs(1_000_000), 120)] {
            let mut one = Candidate::new("one".into());
            let standing = Standing { duration: asked, ..lease("two", 1) };
            assert_eq!(one.judge(Some(&standing), at(0)), Verdict::Leave("two".into()));
            assert_eq!(one.judge(Some(&standing), at(waited - 1)), Verdict::Leave("two".into()));
            assert_eq!(one.judge(Some(&standing), at(waited)), Verdict::Take(Duration::from_secs(waited)));
        }
    }

    /// The Lease on an API server, and candidates whose clocks show what they like.
    struct Ballot {
        stored: Standing,
        writes: u64,
    }

    impl Ballot {
        /// One candidate's round; says until when it leads by its own clock.
        fn round(&mut self, candidate: &mut Candidate, clock: Moment) -> Option<Moment> {
            match candidate.judge(Some(&self.stored), clock) {
                Verdict::Leave(_) => return None,
                Verdict::Make | Verdict::Renew(_) | Verdict::Take(_) => {}
            }
            self.writes += 1;
            self.stored = lease(candidate.identity(), self.writes);
            Some(clock + RENEW_DEADLINE)
        }
    }

    #[test]
    fn two_never_lead_at_once_however_far_their_clocks_are_apart() {
        for (pause_at, pause) in [(0, 0), (40, 5), (40, 12), (40, 16), (40, 60)] {
            let mut ballot = Ballot { stored: lease("", 0), writes: 0 };
            let (mut one, mut two) = (Candidate::new("one".into()), Candidate::new("two".into()));
            let (mut one_until, mut two_until) = (at(0), at(0));
            let mut led = [0, 0];
            for second in 0..200 {
                // The first is stopped for a while, and its clock goes on; the clock of the second is years ahead.
                let (clock, other) = (at(second), at(1_000_000_000 + second));
                let stopped = (pause_at..pause_at + pause).contains(&second);
                if !stopped && second % 3 == 0 {
                    one_until = ballot.round(&mut one, clock).unwrap_or(at(0));
                }
                two_until = ballot.round(&mut two, other).unwrap_or(two_until);
                let leads = [one_until > clock, two_until > other];
                assert_ne!(leads, [true, true], "second {second}, stopped for {pause}");
                leads.iter().zip(&mut led).for_each(|(leads, led)| *led += u32::from(*leads));
            }
            assert_eq!(led[1] > 0, pause >= 16, "stopped for {pause}: {led:?}");
        }
    }
}
