//! What is told, when, and what is not.

use serde_json::json;

use super::world::{World, etc};
use crate::event::Kind;
use crate::notice::{About, Subject};

/// Two nodes that are watched, and nothing to tell.
fn watched() -> World {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        world.node(node, &[("role", "web")]);
    }
    world.rule("etc", etc(Some(("role", "web"))));
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.confirm("n2", 5, 0);
    world.pass(300);
    assert_eq!(world.told(), Vec::<String>::new(), "what is new and well is no news");
    world
}

#[test]
fn an_agent_that_stays_away_is_told_once_for_its_node_and_once_for_each_rule_and_so_is_its_return() {
    let mut world = watched();
    world.pod("n1", false);
    world.pass(119);
    assert_eq!(world.told(), Vec::<String>::new());
    world.pass(1);
    world.pass(10);
    let [of_node, of_rule] = &world.notices[..] else { panic!("{:?}", world.notices) };
    assert_eq!((of_node.about, of_node.subject), (About::NodeConfig, Subject::AgentUnavailable));
    assert_eq!(*of_node.uid, world.configs["n1"].uid);
    assert!(of_node.note.ends_with("(before: True, Available)"), "{}", of_node.note);
    assert_eq!((of_rule.about, of_rule.subject, &*of_rule.uid), (About::Rule, Subject::NodesUnavailable, "etc-uid"));
    assert!(of_rule.note.contains("without an available agent: n1"), "{}", of_rule.note);
    world.told();
    world.pass(600);
    assert_eq!(world.told(), Vec::<String>::new());
    world.pod("n1", true);
    world.pass(59);
    assert_eq!(world.told(), Vec::<String>::new());
    world.pass(30);
    assert_eq!(world.told(), ["n1: AgentAvailable", "n1: NodeReady", "etc: NodesCovered"]);
}

#[test]
fn what_flaps_is_not_told() {
    let mut world = watched();
    for _ in 0..10 {
        world.rule("etc", etc(Some(("role", "web"))));
        world.pass(50);
        world.confirm("n1", 5, 0);
        world.confirm("n2", 5, 0);
        world.pass(10);
    }
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn what_stood_when_the_operator_started_is_not_told_and_what_stood_before_is_remembered() {
    let mut world = watched();
    world.pod("n1", false);
    world.pass(300);
    world.told();
    world.restart();
    Kind::ALL.into_iter().for_each(|kind| world.list(kind));
    world.pass(600);
    assert_eq!(world.told(), Vec::<String>::new());
    world.pod("n1", true);
    world.pass(61);
    let note = &world.notices[0].note;
    assert_eq!(note, "AgentAvailable is True, Available (before: False, NotReady)");
}

#[test]
fn a_standby_counts_the_minute_too_and_tells_nothing_twice() {
    let mut world = watched();
    world.follow();
    world.pod("n1", false);
    world.pass(100);
    // The leader would have written this.
    world.lead();
    world.pass(20);
    assert_eq!(world.told(), ["n1: AgentUnavailable"], "after two minutes, whoever led");
    world.follow();
    world.pod("n1", true);
    world.pass(100);
    world.lead();
    world.pass(0);
    assert!(!world.told().iter().any(|told| told.starts_with("n1")), "the former leader has told it");
}

#[test]
fn what_came_up_while_nobody_led_is_told_by_the_next_leader() {
    let mut world = watched();
    world.follow();
    let journal = |world: &mut World, id: &str| world.change_config("n1", |config| config.journal = Some(id.into()));
    journal(&mut world, "told by the former leader");
    world.pass(10);
    journal(&mut world, "nobody's");
    world.pass(10);
    world.lead_after(15);
    world.pass(0);
    let [notice] = &world.notices[..] else { panic!("{:?}", world.notices) };
    assert!(notice.note.contains("and is \"nobody's\""), "{}", notice.note);
}

#[test]
fn what_a_standby_keeps_is_bounded() {
    let mut world = watched();
    world.follow();
    for number in 0..1_000 {
        world.change_config("n1", |config| config.journal = Some(number.to_string()));
    }
    world.lead_after(15);
    world.pass(0);
    assert_eq!(world.told().len(), 128);
}

#[test]
fn a_rule_that_is_suspended_or_selects_nothing_is_told_once_not_once_a_condition() {
    let mut world = watched();
    let mut suspended = etc(Some(("role", "web")));
    suspended["suspend"] = json!(true);
    world.rule("etc", suspended);
    world.pass(10);
    world.confirm("n1", 5, 0);
    world.confirm("n2", 5, 0);
    world.pass(90);
    assert_eq!(world.told(), ["etc: RuleSuspended"]);
    world.rule("nowhere", etc(Some(("role", "none"))));
    world.pass(90);
    let note = world.notices[0].note.clone();
    assert_eq!(world.told(), ["nowhere: NoNodes"]);
    assert!(note.contains("no Linux node matches the nodeSelector: role=none"), "{note}");
}

#[test]
fn every_other_journal_is_told_at_once_with_both_ids() {
    let mut world = watched();
    let first = world.configs["n1"].journal.clone().unwrap();
    let report = |world: &mut World, journal: Option<&str>| {
        world.change_config("n1", |config| config.journal = journal.map(Into::into));
        world.pass(0);
    };
    report(&mut world, Some("second"));
    // A status without one, which no admission policy lets through, does not make the next one the first.
    report(&mut world, None);
    report(&mut world, Some(&first));
    let notes: Vec<_> = world.notices.iter().map(|notice| notice.note.clone()).collect();
    assert_eq!(world.told(), ["n1: JournalChanged", "n1: JournalChanged"]);
    assert!(notes[0].contains(&format!("was {first} and is \"second\"")), "{notes:?}");
    assert!(notes[1].contains(&format!("was \"second\" and is {first}")), "{notes:?}");
    world.follow();
    report(&mut world, Some("third"));
    assert_eq!(world.told(), Vec::<String>::new(), "the leader tells it");
}

#[test]
fn a_live_node_that_leaves_a_rule_by_its_own_labels_is_told_at_once_and_one_that_a_rule_lets_go_is_not() {
    let mut world = watched();
    world.node_alone("n1", &[]);
    world.pass(0);
    let [notice] = &world.notices[..] else { panic!("{:?}", world.notices) };
    assert_eq!((notice.about, notice.subject), (About::Rule, Subject::NodeDeselected));
    assert!(notice.note.contains("n1"), "{}", notice.note);
    world.told();
    world.rule("etc", etc(Some(("role", "db"))));
    world.delete_node("n1");
    world.pass(0);
    assert_eq!(world.told(), Vec::<String>::new());
}

#[test]
fn a_rule_that_is_gone_leaves_nothing_to_wait_for() {
    let mut world = World::new();
    world.rule("nowhere", etc(Some(("role", "none"))));
    world.pass(30);
    let due = world.fleet.next_wake();
    assert!(due.is_some_and(|due| due > world.now().moment));
    world.delete_rule("nowhere");
    world.pass(90);
    assert_eq!((world.fleet.next_wake(), world.told()), (None, vec![]));
}
