//! What links that are followed lead to, as far as there is room: whoever may make links decides how many there are.
//!
//! Pure. What the plan follows already stays; of the rest the first in order are taken. So what is followed depends
//! neither on the order of threads nor on how often a host that stands still was walked: it only grows until it is full.

use crate::follow::{Follows, Reach, Target, add};
use crate::path::HostPath;
use crate::unknown::{Aspect, Found, Unknown};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A component takes so many bytes in a plan, beside its name.
const COMPONENT: usize = 64;

/// How much is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Targets that no entry selects anyway.
    pub(crate) targets: usize,
    /// Links on the way to them.
    pub(crate) links: usize,
    /// Of the paths of both.
    pub(crate) bytes: usize,
}

impl Default for Room {
    /// What a plan needs for it stays at some 30 MB, whatever the paths are; 20,000 of usual length have room.
    fn default() -> Self {
        Self { targets: 10_000, links: 10_000, bytes: 8 * 1024 * 1024 }
    }
}

/// A target that was met.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    /// Levels below it.
    pub(crate) depth: u32,
    /// Links on the way to it.
    pub(crate) links: BTreeSet<HostPath>,
    /// The first link that leads to it,
    pub(crate) from: HostPath,
    /// and how many do.
    pub(crate) met: u64,
    /// Of the entry that follows it.
    pub(crate) interval: Duration,
}

/// What a walk met behind links.
#[derive(Debug, Default)]
pub(crate) struct Leads {
    room: Room,
    /// What the plan follows already.
    known: Follows,
    /// What it does not, and links on the way that it does not know of.
    more: BTreeMap<Target, Lead>,
    taken: Taken,
    /// From here on there is no room.
    end: Option<Target>,
    over: Found,
}

impl Leads {
    pub(crate) fn new(room: Room) -> Self {
        Self { room, ..Self::default() }
    }

    /// Adds a target to which a link leads.
    pub(crate) fn meet(&mut self, follows: &Follows, target: Target, mut lead: Lead) {
        let Some(known) = follows.get(&target) else { return self.more(target, lead) };
        let is_known = |link: &HostPath| known.links.binary_search(link).is_ok();
        let links = lead.links.iter().filter(|link| is_known(link)).cloned().collect();
        add(&mut self.known, target.clone(), Reach { depth: lead.depth, links });
        lead.links.retain(|link| !is_known(link));
        if !lead.links.is_empty() {
            self.more(target, lead);
        }
    }

    /// Whether the plan's target was met.
    pub(crate) fn knows(&self, target: &Target) -> bool {
        self.known.contains_key(target)
    }

    /// Adds what another walker met.
    pub(crate) fn extend(&mut self, other: Self) {
        other.known.into_iter().for_each(|(target, reach)| add(&mut self.known, target, reach));
        self.over.extend(other.over);
        if let Some(end) = other.end {
            self.end_at(end);
        }
        other.more.into_iter().for_each(|(target, lead)| self.more(target, lead));
    }

    /// What is followed, with what `stays` anyway, and what is unknown because there is no room for it.
    pub(crate) fn choose(self, room: Room, stays: Follows) -> (Follows, Found) {
        let Self { known: mut follows, mut more, mut over, end, .. } = self;
        stays.into_iter().for_each(|(target, reach)| add(&mut follows, target, reach));
        // A link that both lead over counts twice, as it did while the walk was on, which knew less of what stays.
        let left = room.left_by(&follows);
        let mut taken = Taken::default();
        while let Some((target, lead)) = more.pop_first() {
            let is_new = !follows.contains_key(&target);
            taken.add(&target, &lead.links, is_new);
            if end.as_ref().is_some_and(|end| target >= *end) || !taken.fits(left) {
                more.insert(target, lead);
                break;
            }
            add(&mut follows, target, Reach { depth: lead.depth, links: lead.links.into_iter().collect() });
        }
        more.into_values().for_each(|lead| over.add(lead.unknown(room)));
        (follows, over)
    }

    fn more(&mut self, target: Target, lead: Lead) {
        if self.end.as_ref().is_some_and(|end| target >= *end) {
            self.over.add(lead.unknown(self.room));
            return;
        }
        let is_new = !self.known.contains_key(&target);
        match self.more.get_mut(&target) {
            Some(known) => {
                self.taken.add(&target, lead.links.difference(&known.links), false);
                known.and(lead);
            }
            None => {
                self.taken.add(&target, &lead.links, is_new);
                self.more.insert(target, lead);
            }
        }
        while !self.taken.fits(self.room)
            && let Some((last, _)) = self.more.last_key_value()
        {
            self.end_at(last.clone());
        }
    }

    /// What was popped once never comes back, or it would depend on when its links were met whether it fits.
    fn end_at(&mut self, end: Target) {
        for (target, lead) in self.more.split_off(&end) {
            self.taken.remove(&target, &lead.links, !self.known.contains_key(&target));
            self.over.add(lead.unknown(self.room));
        }
        self.end = Some(self.end.take().map_or(end.clone(), |before| before.min(end)));
    }
}

impl Lead {
    fn and(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.links.extend(other.links);
        if other.from < self.from {
            self.from = other.from;
        }
        self.met += other.met;
    }

    fn unknown(self, Room { targets, links, bytes }: Room) -> Unknown {
        let reason = format!(
            "what lies behind it: there is room for {targets} places that links lead to, {links} links on the way, and {} MiB of their paths",
            bytes >> 20
        );
        Unknown { path: self.from, aspect: Aspect::Listing, reason, interval: self.interval, items: self.met }
    }
}

/// The room that is taken; a link is one, however many targets lie behind it.
#[derive(Debug, Default)]
struct Taken {
    targets: usize,
    /// By entry, each with how many targets lie behind it.
    links: BTreeMap<String, BTreeMap<HostPath, usize>>,
    links_in_all: usize,
    bytes: usize,
}

impl Taken {
    fn add<'l>(&mut self, target: &Target, links: impl IntoIterator<Item = &'l HostPath>, is_new: bool) {
        if is_new {
            self.targets += 1;
            self.bytes += bytes(&target.real);
        }
        for link in links {
            let of_entry = self.links.entry(target.entry.clone()).or_default();
            let behind = of_entry.entry(link.clone()).or_default();
            if *behind == 0 {
                self.links_in_all += 1;
                self.bytes += bytes(link);
            }
            *behind += 1;
        }
    }

    fn remove(&mut self, target: &Target, links: &BTreeSet<HostPath>, was_new: bool) {
        if was_new {
            self.targets -= 1;
            self.bytes -= bytes(&target.real);
        }
        let Some(of_entry) = self.links.get_mut(&target.entry) else { return };
        for link in links {
            let Some(behind) = of_entry.get_mut(link) else { continue };
            *behind -= 1;
            if *behind == 0 {
                of_entry.remove(link);
                self.links_in_all -= 1;
                self.bytes -= bytes(link);
            }
        }
    }

    fn fits(&self, room: Room) -> bool {
        self.targets <= room.targets && self.links_in_all <= room.links && self.bytes <= room.bytes
    }
}

impl Room {
    fn left_by(self, follows: &Follows) -> Self {
        let mut taken = Taken::default();
        follows.iter().for_each(|(target, reach)| taken.add(target, &reach.links, true));
        let Taken { targets, links_in_all: links, bytes, .. } = taken;
        Self {
            targets: self.targets.saturating_sub(targets),
            links: self.links.saturating_sub(links),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

fn bytes(path: &HostPath) -> usize {
    path.as_bytes().len() + COMPONENT * path.components().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(at: usize) -> Target {
        Target { entry: "r/e".to_owned(), real: HostPath::from(format!("/t/{at:02}").as_str()) }
    }

    /// Where one link leads, over others.
    fn lead(at: usize) -> (Target, Lead) {
        let links = (0..at % 4).map(|link| HostPath::from(format!("/l/{}", at / 3 + link).as_str())).collect();
        let from = HostPath::from(format!("/home/{at}").as_str());
        (target(at % 17), Lead { depth: 9, links, from, met: 1, interval: Duration::from_secs(10) })
    }

    #[test]
    fn what_is_chosen_does_not_depend_on_who_met_it_and_when() {
        let known: Follows = [4, 12].map(|at| (target(at), Reach { depth: 9, links: Vec::new() })).into();
        for room in [(4, 100), (100, 7), (9, 9), (0, 0), (100, 100)].map(|(targets, links)| Room {
            targets,
            links,
            ..Room::default()
        }) {
            let choose = |order: &[usize], walkers: usize| {
                let mut all = Leads::default();
                for walker in 0..walkers {
                    let mut leads = Leads::new(room);
                    for at in order.iter().skip(walker).step_by(walkers) {
                        let (target, lead) = lead(*at);
                        leads.meet(&known, target, lead);
                    }
                    all.extend(leads);
                }
                let (follows, over) = all.choose(room, Follows::new());
                let mut unknown = crate::unknown::Unknowns::default();
                unknown.update(&crate::plan::Due::All, over);
                (follows, unknown.items())
            };
            let order: Vec<usize> = (0..60).collect();
            let expected = choose(&order, 1);
            assert!(expected.0.len() <= room.targets.max(2));
            for step in [7, 11, 13, 59] {
                let other: Vec<usize> = order.iter().map(|at| at * step % 60).collect();
                for walkers in 1..5 {
                    assert_eq!(choose(&other, walkers).0, expected.0, "{room:?}, {walkers} walkers, step {step}");
                    assert_eq!(choose(&other, walkers).1, expected.1, "{room:?}, {walkers} walkers, step {step}");
                }
            }
            // Under the plan that it made it chooses the same.
            let mut again = Leads::new(room);
            for at in &order {
                let (target, lead) = lead(*at);
                again.meet(&expected.0, target, lead);
            }
            assert_eq!(again.choose(room, Follows::new()).0, expected.0, "{room:?}");
        }
    }

    #[test]
    fn long_paths_take_more_room_than_short_ones() {
        let room = Room { bytes: 100_000, ..Room::default() };
        let mut leads = Leads::new(room);
        for at in 0..10 {
            let real = HostPath::root().join(&[b'x'; 30_000]).join(at.to_string().as_bytes());
            leads.meet(&Follows::new(), Target { entry: "r/e".to_owned(), real }, lead(0).1);
        }
        assert!(leads.taken.bytes <= room.bytes);
        let (follows, over) = leads.choose(room, Follows::new());
        assert_eq!(follows.len(), 3);
        assert!(over.misses_items);
    }
}
