//! What is to be looked at, each object once, however often it is named. Reads keys and outcomes, produces the next
//! key: rules' statuses when the configurations they speak of are out, then configurations, then conditions. It is
//! bounded by the objects there are: a key is an object.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::fleet::{Dirty, Name, Uid};
use crate::time::Moment;

/// How many writes a second the API server is to bear from us: one slot each 20 ms, and none are saved up.
pub(crate) const BETWEEN_WRITES: Duration = Duration::from_millis(20);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// A rule's status waits at most this long for the configurations: it is to be right at once, and never to starve.
const RULE_PATIENCE: Duration = Duration::from_secs(2);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// The NodeConfig of this node: spec, owner, existence.
    Config(Name),
    /// The operator's conditions in it.
    Conditions(Name),
    /// The status of the rule of this uid.
    Rule(Uid),
}

/// The keys that wait or are worked on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<Key, Entry>,
    due: BTreeSet<(Moment, Key)>,
    rules: BTreeSet<(Moment, Key)>,
    configs: BTreeSet<(Moment, Key)>,
    conditions: BTreeSet<(Moment, Key)>,
    running_configs: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting {
        due: Moment,
        ready: bool,
    },
    /// `again`: it became due once more meanwhile.
    Running {
        again: Option<Moment>,
    },
}

impl Queue {
    /// Names a key. One that waits already keeps the earlier time; one that failed keeps its backoff, but when what is
    /// wanted has changed.
    pub(crate) fn push(&mut self, dirty: Dirty) {
        let Dirty { key, due, fresh } = dirty;
        let Some(entry) = self.entries.get_mut(&key) else {
            self.wait(key, due, 0);
            return;
        };
        let failures = if fresh { 0 } else { entry.failures };
        match &mut entry.state {
            State::Running { again } => {
                *again = Some(again.map_or(due, |again| again.min(due)));
                entry.failures = failures;
            }
            State::Waiting { due: held, ready } => {
                let sooner = due < *held && failures == 0;
                if sooner && !*ready {
                    let held = *held;
                    self.due.remove(&(held, key.clone()));
                    self.wait(key, due, 0);
                }
            }
        }
    }

    /// The next key, which runs until [`Queue::done`] or [`Queue::failed`] is called for it.
    pub(crate) fn pop(&mut self, now: Moment) -> Option<Key> {
        while let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((due, key)) = self.due.pop_first()
        {
            if let Some(Entry { state: State::Waiting { ready, .. }, .. }) = self.entries.get_mut(&key) {
                *ready = true;
            }
            self.lane(&key).insert((due, key));
        }
        let configs_are_out = self.configs.is_empty() && self.running_configs == 0;
        let rule_is_next = self.rules.first().is_some_and(|(due, _)| configs_are_out || now >= *due + RULE_PATIENCE);
        let (_, key) = if rule_is_next {
            self.rules.pop_first()
        } else {
            self.configs.pop_first().or_else(|| self.conditions.pop_first())
        }?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Running { again: None };
        }
        self.running_configs += usize::from(matches!(key, Key::Config(_)));
        Some(key)
    }

    /// Ends a key's run: it was written, or needed nothing.
    pub(crate) fn done(&mut self, key: Key) {
        if let Some(again) = self.end(&key).1 {
            self.wait(key, again, 0);
        }
    }

    /// Ends a key's run, and tries it again after a while: twice as long each time, and not with all others at once.
    pub(crate) fn failed(&mut self, key: Key, now: Moment) {
        let (failures, _) = self.end(&key);
        let failures = failures.saturating_add(1);
        let delay = backoff(&key, failures);
        self.wait(key, now + delay, failures);
    }

    /// Ends a key's run that came too late, and tries it again by what is known then: soon, and no later each time, or
    /// somebody who writes often could hold us off for ever.
    pub(crate) fn overtaken(&mut self, key: Key, now: Moment) {
        let (failures, _) = self.end(&key);
        self.wait(key.clone(), now + backoff(&key, 1), failures);
    }

    /// When [`Queue::pop`] will have something new to give.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let due = self.due.first().map(|(due, _)| *due);
        let patience = self.rules.first().map(|(due, _)| *due + RULE_PATIENCE);
        due.into_iter().chain(patience).min()
    }

    /// Whether nothing waits and nothing is worked on.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many keys wait or are worked on.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn end(&mut self, key: &Key) -> (u32, Option<Moment>) {
        self.running_configs -= usize::from(matches!(key, Key::Config(_)));
        match self.entries.remove(key) {
            Some(Entry { state: State::Running { again }, failures }) => (failures, again),
            _ => (0, None),
        }
    }

    fn wait(&mut self, key: Key, due: Moment, failures: u32) {
        self.due.insert((due, key.clone()));
        self.entries.insert(key, Entry { state: State::Waiting { due, ready: false }, failures });
    }

    fn lane(&mut self, key: &Key) -> &mut BTreeSet<(Moment, Key)> {
        match key {
            Key::Rule(_) => &mut self.rules,
            Key::Config(_) => &mut self.configs,
            Key::Conditions(_) => &mut self.conditions,
        }
    }
}

/// Between half and all of the doubled delay, by the key's own number: a fleet that failed together spreads out.
fn backoff(key: &Key, failures: u32) -> Duration {
    let longest = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_RETRY);
    let mut hasher = DefaultHasher::new();
    (key, failures).hash(&mut hasher);
    longest.mul_f64(0.5 + 0.5 * (hasher.finish() % 1_000) as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::default() + Duration::from_millis(milliseconds)
    }

    fn config(name: &str) -> Key {
        Key::Config(name.into())
    }

    fn conditions(name: &str) -> Key {
        Key::Conditions(name.into())
    }

    fn rule(uid: &str) -> Key {
        Key::Rule(uid.into())
    }

    fn queue(keys: &[(&Key, u64)]) -> Queue {
        let mut queue = Queue::default();
        for (key, due) in keys {
            queue.push(Dirty { key: (*key).clone(), due: at(*due), fresh: false });
        }
        queue
    }

    fn push(queue: &mut Queue, key: &Key, due: u64, fresh: bool) {
        queue.push(Dirty { key: key.clone(), due: at(due), fresh });
    }

    #[test]
    fn an_object_that_is_named_often_is_looked_at_once_and_at_the_earliest_time() {
        let key = config("n1");
        let mut queue = queue(&[(&key, 50), (&key, 10), (&key, 30)]);
        assert_eq!(queue.pop(at(9)), None);
        assert_eq!(queue.next_due(), Some(at(10)));
        assert_eq!(queue.pop(at(10)), Some(key.clone()));
        assert_eq!(queue.pop(at(100)), None);
        queue.done(key);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_changes_while_it_is_worked_on_is_looked_at_again_and_never_twice_at_a_time() {
        let key = config("n1");
        let mut queue = queue(&[(&key, 0)]);
        assert_eq!(queue.pop(at(0)), Some(key.clone()));
        push(&mut queue, &key, 5, false);
        assert_eq!(queue.pop(at(10)), None);
        queue.done(key.clone());
        assert_eq!(queue.pop(at(10)), Some(key));
    }

    #[test]
    fn a_rule_waits_for_the_configurations_it_speaks_of_but_not_for_long() {
        let (one, two, spoken) = (config("n1"), config("n2"), rule("r"));
        let mut queue = queue(&[(&spoken, 0), (&one, 0), (&two, 0), (&conditions("n1"), 0)]);
        assert_eq!(queue.pop(at(0)), Some(one.clone()));
        assert_eq!(queue.pop(at(0)), Some(two));
        assert_eq!(queue.pop(at(0)), Some(conditions("n1")), "two configurations are not out yet");
        assert_eq!(queue.next_due(), Some(at(2_000)));
        queue.done(one);
        assert_eq!(queue.pop(at(1_999)), None);
        assert_eq!(queue.pop(at(2_000)), Some(spoken));
    }

    #[test]
    fn a_rule_without_configurations_on_their_way_is_next() {
        let mut queue = queue(&[(&conditions("n1"), 0), (&rule("r"), 0)]);
        assert_eq!(queue.pop(at(0)), Some(rule("r")));
    }

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less_often() {
        let key = config("n1");
        let mut queue = queue(&[(&key, 0)]);
        let mut now = at(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(queue.pop(now), Some(key.clone()));
            queue.failed(key.clone(), now);
            push(&mut queue, &key, 0, false);
            assert_eq!(queue.pop(now), None, "an event does not cut the backoff short");
            let next = queue.next_due().unwrap_or_default();
            waits.push(next.since(now));
            now = next;
        }
        assert!(waits[0] <= FIRST_RETRY && waits[11] <= LONGEST_RETRY, "{waits:?}");
        assert!(waits[11] >= LONGEST_RETRY / 2, "{waits:?}");
    }

    #[test]
    fn what_was_overtaken_is_tried_again_soon_however_often() {
        let key = config("n1");
        let mut queue = queue(&[(&key, 0)]);
        let mut now = at(0);
        for _ in 0..20 {
            assert_eq!(queue.pop(now), Some(key.clone()));
            queue.overtaken(key.clone(), now);
            let next = queue.next_due().unwrap_or_default();
            assert!(next > now && next.since(now) <= FIRST_RETRY);
            now = next;
        }
    }

    #[test]
    fn what_is_wanted_anew_is_tried_at_once() {
        let key = config("n1");
        let mut queue = queue(&[(&key, 0)]);
        assert_eq!(queue.pop(at(0)), Some(key.clone()));
        queue.failed(key.clone(), at(0));
        push(&mut queue, &key, 10, true);
        assert_eq!(queue.pop(at(10)), Some(key));
    }

    #[test]
    fn a_fleet_that_failed_together_does_not_come_back_together() {
        let delays: std::collections::HashSet<_> =
            (0..100).map(|number| backoff(&config(&format!("n{number}")), 5)).collect();
        assert!(delays.len() > 50);
    }
}
