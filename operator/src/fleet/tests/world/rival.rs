//! Leaders that change, and a second operator beside the first that believes it leads too.

use std::time::Duration;

use super::{Event, Fleet, Kind, Queue, World, fleet, follower};

/// Another operator.
pub(super) struct Rival {
    pub(super) fleet: Fleet,
    queue: Queue,
    /// What happened since it last had its turn.
    pub(super) inbox: Vec<Event>,
}

impl World {
    /// The first operator leads from now on, right after another.
    pub(in crate::fleet::tests) fn lead(&mut self) {
        self.lead_after(0);
    }

    /// A second operator on the same cluster, which believes that it leads too. It takes in what happens when it has its
    /// turn, after the first.
    pub(in crate::fleet::tests) fn add_rival(&mut self) {
        self.rival = Some(Rival { fleet: fleet(), queue: Queue::default(), inbox: Vec::new() });
        let first = std::mem::replace(&mut self.fleet, follower());
        Kind::ALL.into_iter().for_each(|kind| self.list(kind));
        self.fleet = first;
    }

    /// The first operator is another's follower from now on.
    pub(in crate::fleet::tests) fn follow(&mut self) {
        let now = self.now();
        self.fleet.follow(now);
        self.queue = Queue::default();
    }

    /// The first operator leads from now on; nobody has for so many seconds.
    pub(in crate::fleet::tests) fn lead_after(&mut self, unled: u64) {
        let now = self.now();
        self.fleet.lead(now, Duration::from_secs(unled));
    }

    /// The rival takes in what has happened, and does nothing about it yet.
    pub(in crate::fleet::tests) fn rival_reads(&mut self) {
        let now = self.now();
        let rival = self.rival.as_mut().unwrap();
        rival.inbox.drain(..).for_each(|event| rival.fleet.apply(event, now));
    }

    /// The first operator has its turn, and the rival has none.
    pub(in crate::fleet::tests) fn work_without_rival(&mut self) {
        self.work_alone();
    }

    /// The rival works by what it has taken in.
    pub(in crate::fleet::tests) fn rival_works(&mut self) {
        let mut rival = self.rival.take().unwrap();
        let missed = std::mem::take(&mut rival.inbox);
        std::mem::swap(&mut self.fleet, &mut rival.fleet);
        std::mem::swap(&mut self.queue, &mut rival.queue);
        let (fleet, queue) = (rival.fleet, rival.queue);
        self.first = Some((fleet, Vec::new()));
        self.work_alone();
        let (first, told) = self.first.take().unwrap();
        let (fleet, queue) = (std::mem::replace(&mut self.fleet, first), std::mem::replace(&mut self.queue, queue));
        self.rival = Some(Rival { fleet, queue, inbox: missed });
        told.into_iter().for_each(|event| self.tell(event));
    }
}
