//! An agent whose node is not its admin's any more reports what it likes.

use std::num::NonZeroI64;

use vedette_crds::node_config::Changes;

use super::world::{World, etc};
use crate::observed::{Found, Report};

/// Two nodes with a rule each.
fn watched() -> World {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        world.node(node, &[("own", node)]);
    }
    world.rule("first", etc(Some(("own", "n1"))));
    world.rule("second", etc(Some(("own", "n2"))));
    world.pass(0);
    world.confirm("n1", 5, 1);
    world.confirm("n2", 7, 2);
    world.pass(20);
    world
}

fn report(rule: &str, name: &str, tracked: u64) -> Report {
    let changes = Changes { added: tracked, ..Changes::default() };
    let found = Found { generation: 1, tracked, changes, last_change: None };
    Report { rule: rule.into(), name: name.into(), found }
}

fn tracked(world: &World) -> [Option<u64>; 2] {
    ["first", "second"].map(|rule| world.status(rule).tracked_items)
}

#[test]
fn reports_about_rules_that_a_node_was_not_given_count_nothing() {
    let mut world = watched();
    let before = tracked(&world);
    for foreign in [
        report("second-uid", "second", 1_000),
        report("second-uid", "first", 1_000),
        report("first-uid", "second", 1_000),
        report("nothing", "first", 1_000),
    ] {
        world.change_config("n1", |config| config.reports.push(foreign));
        world.pass(20);
        assert_eq!(tracked(&world), before);
    }
}

#[test]
fn a_number_larger_than_any_is_cut_and_goes_when_the_agent_takes_it_back() {
    let mut world = watched();
    world.change_config("n1", |config| config.reports = vec![report("first-uid", "first", u64::MAX)]);
    world.pass(20);
    assert_eq!(tracked(&world), [Some(i64::MAX.unsigned_abs()), Some(7)]);
    world.confirm("n1", 5, 1);
    world.pass(20);
    assert_eq!(tracked(&world), [Some(5), Some(7)]);
}

#[test]
fn a_change_that_is_yet_to_come_is_none_and_a_clock_that_is_a_little_ahead_is_believed() {
    let mut world = watched();
    let before = world.status("first").last_change_time.clone().unwrap();
    let last_change = |world: &mut World, ahead: i64| {
        let second = NonZeroI64::new(world.now().wall.as_second() + ahead);
        world.change_config("n1", |config| config.reports[0].found.last_change = second);
        world.pass(20);
        world.status("first").last_change_time.clone()
    };
    assert_eq!(last_change(&mut world, 3_600), None);
    assert_eq!(world.status("first").tracked_items, Some(5), "the rest counts");
    assert!(last_change(&mut world, 50).unwrap() > before);
}

#[test]
fn a_rule_that_was_taken_away_counts_until_the_agent_knows_and_no_longer() {
    let mut world = watched();
    world.node_alone("n1", &[]);
    world.pass(20);
    assert_eq!(tracked(&world), [Some(5), Some(7)]);
    let kept = world.configs["n1"].reports.clone();
    let generation = world.configs["n1"].generation;
    world.node_alone("n1", &[("own", "n2")]);
    world.pass(20);
    assert_eq!(world.carried("n1"), [("second", 1)]);
    world.change_config("n1", |config| config.confirmed = generation + 1);
    assert_eq!(world.configs["n1"].reports, kept, "it goes on about it");
    world.pass(20);
    assert_eq!(tracked(&world), [Some(0), Some(7)]);
}
