//! Some of the nodes that a rule's status speaks of, by name: a number alone says nothing about where to look. Reads the
//! nodes, once for each status that counts any; always the same few, so that a message changes only with what it says.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use super::node::Node;
use super::tally::{Obstacle, Share, Standing, Tally};
use super::{Name, Uid};

/// As many are named.
const NAMED: usize = 3;

/// The first few of some nodes, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Few {
    first: BTreeSet<Name>,
    all: usize,
}

/// Nodes of a rule that a person has to look at.
#[derive(Debug, Default)]
pub(crate) struct Examples {
    pub(crate) degraded: Few,
    pub(crate) unavailable: Few,
    pub(crate) no_room: Few,
}

impl Examples {
    /// Of the rule of this uid.
    pub(crate) fn of(uid: &Uid, tally: &Tally, nodes: &HashMap<Name, Box<Node>>) -> Self {
        let mut examples = Self::default();
        if tally.nodes.degraded + tally.nodes.unavailable + tally.no_room == 0 {
            return examples;
        }
        for (name, node) in nodes {
            let share = node.shares.iter().find(|share| share.rule == *uid && share.selected);
            share.into_iter().for_each(|share| examples.add(name, share));
        }
        examples
    }

    fn add(&mut self, name: &Name, share: &Share) {
        match share.standing {
            Standing::Ready => {}
            Standing::Degraded => self.degraded.add(name),
            Standing::Unavailable => self.unavailable.add(name),
        }
        if share.obstacle == Some(Obstacle::NoRoom) {
            self.no_room.add(name);
        }
    }
}

impl Few {
    fn add(&mut self, name: &Name) {
        self.all += 1;
        self.first.insert(name.clone());
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, name) in self.first.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{name}")?;
        }
        match self.all - self.first.len() {
            0 => Ok(()),
            1 => write!(f, " and 1 other"),
            others => write!(f, " and {others} others"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_are_named_always_the_same_and_the_others_are_counted() {
        for (names, said) in [
            (&["n2"][..], "n2"),
            (&["n3", "n1", "n2"], "n1, n2, n3"),
            (&["n4", "n3", "n1", "n2"], "n1, n2, n3 and 1 other"),
            (&["n5", "n2", "n4", "n3", "n1"], "n1, n2, n3 and 2 others"),
        ] {
            let mut few = Few::default();
            names.iter().for_each(|name| few.add(&Name::from(*name)));
            assert_eq!(few.to_string(), said);
        }
    }
}
