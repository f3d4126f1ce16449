//! What a rule's status says.

use serde_json::json;
use vedette_crds::condition::rule::{Accepted, AllNodesCovered, Programmed, Ready};
use vedette_crds::rule::NodeCounts;

use super::world::{World, etc};
use crate::queue::Key;

#[test]
fn a_rule_without_nodes_says_so_at_once() {
    let mut world = World::new();
    world.rule("etc", etc(None));
    world.pass(0);
    assert_eq!(world.says::<Accepted>("etc"), "True Accepted");
    assert_eq!(world.says::<Programmed>("etc"), "False NoNodes");
    assert_eq!(world.says::<Ready>("etc"), "False NoNodes");
    assert_eq!(world.says::<AllNodesCovered>("etc"), "False NoNodes");
    let status = world.status("etc");
    assert_eq!((status.nodes, status.tracked_items), (Some(NodeCounts::default()), Some(0)));
    assert_eq!(status.observed_generation, Some(1));
}

#[test]
fn the_first_status_is_right_at_once() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.pass(0);
    world.rule("etc", etc(None));
    world.pass(0);
    assert_eq!(world.written().last().unwrap(), "etc: status");
    assert_eq!(world.says::<Programmed>("etc"), "True Programmed");
}

#[test]
fn ready_degraded_and_unavailable_nodes_are_the_selected_ones() {
    let mut world = World::new();
    for node in ["ready", "degraded", "starting"] {
        world.node(node, &[]);
    }
    world.node_alone("without", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.confirm("ready", 5, 0);
    world.pass(20);
    let counts = |world: &World| world.status("etc").nodes.unwrap();
    let expected = NodeCounts { selected: 4, programmed: 4, ready: 1, degraded: 2, unavailable: 1 };
    assert_eq!(counts(&world), expected);
    assert_eq!(world.says::<Ready>("etc"), "False NodesNotReady");
    assert_eq!(world.says::<AllNodesCovered>("etc"), "False NodesUnavailable");
    world.confirm("degraded", 5, 0);
    world.confirm("starting", 5, 0);
    world.pass(20);
    assert_eq!(counts(&world), NodeCounts { ready: 3, degraded: 0, ..expected });
    assert_eq!(world.says::<Ready>("etc"), "True Ready");
    world.pod("without", true);
    world.confirm("without", 5, 0);
    world.pass(20);
    assert_eq!(world.says::<AllNodesCovered>("etc"), "True Covered");
}

#[test]
fn without_any_agent_a_rule_is_not_ready() {
    let mut world = World::new();
    world.node_alone("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    assert_eq!(world.says::<Ready>("etc"), "False NoAgents");
}

#[test]
fn another_rule_that_changes_makes_this_one_no_less_ready() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.rule("bin", etc(None));
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.pass(20);
    world.rule("bin", etc(None));
    world.pass(20);
    assert_eq!(
        (world.says::<Ready>("etc"), world.says::<Ready>("bin")),
        ("True Ready".into(), "False NodesNotReady".into())
    );
}

#[test]
fn a_suspended_rule_is_programmed_and_not_ready() {
    let mut world = World::new();
    world.node("n1", &[]);
    let mut spec = etc(None);
    spec["suspend"] = json!(true);
    world.rule("etc", spec);
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.pass(20);
    assert_eq!(world.says::<Programmed>("etc"), "True Suspended");
    assert_eq!(world.says::<Ready>("etc"), "False Suspended");
}

#[test]
fn nodes_of_a_suspended_rule_lack_nothing_while_their_agents_are_there() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.node_alone("n2", &[]);
    let mut spec = etc(None);
    spec["suspend"] = json!(true);
    world.rule("etc", spec);
    world.pass(90);
    let expected = NodeCounts { selected: 2, programmed: 2, ready: 1, degraded: 0, unavailable: 1 };
    assert_eq!(world.status("etc").nodes.unwrap(), expected);
    world.rule("etc", etc(None));
    world.pass(20);
    assert_eq!(world.status("etc").nodes.unwrap(), NodeCounts { ready: 0, degraded: 1, ..expected });
}

#[test]
fn messages_name_the_nodes_to_look_at_and_the_selector_that_finds_none() {
    let mut world = World::new();
    for number in 1..=5 {
        world.node(&format!("slow{number}"), &[("role", "web")]);
    }
    world.node_alone("bare", &[("role", "web")]);
    world.rule("etc", etc(Some(("role", "web"))));
    world.pass(20);
    let degraded =
        "5 nodes with an available agent not watching by this generation yet: slow1, slow2, slow3 and 2 others";
    assert_eq!(world.message::<Ready>("etc"), degraded);
    assert_eq!(world.message::<AllNodesCovered>("etc"), "1 of 6 nodes without an available agent: bare");
    world.rule("etc", etc(Some(("role", "none"))));
    world.pass(20);
    assert_eq!(world.message::<Programmed>("etc"), "no Linux node matches the nodeSelector: role=none");
}

#[test]
fn numbers_are_the_sums_over_the_configurations_that_exist() {
    let mut world = World::new();
    for node in ["n1", "n2", "n3"] {
        world.node(node, &[]);
    }
    world.rule("etc", etc(None));
    world.pass(0);
    world.confirm("n1", 10, 1);
    world.pass(1);
    world.confirm("n2", 20, 2);
    let last = world.now().wall;
    world.confirm("n3", 30, 0);
    world.pass(20);
    let status = world.status("etc");
    assert_eq!((status.tracked_items, status.changes.unwrap().modified), (Some(60), 3));
    assert_eq!(status.last_change_time.as_ref().unwrap().0, last);
    world.delete_node("n2");
    world.pass(20);
    let status = world.status("etc");
    assert_eq!((status.tracked_items, status.changes.unwrap().modified), (Some(40), 1));
    assert!(status.last_change_time.as_ref().unwrap().0 < last);
}

#[test]
fn one_report_is_work_for_the_rules_of_that_node_alone() {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        world.node(node, &[("own", node)]);
    }
    world.rule("first", etc(Some(("own", "n1"))));
    world.rule("second", etc(Some(("own", "n2"))));
    world.pass(30);
    world.confirm("n1", 5, 0);
    world.pass(30);
    world.confirm("n1", 6, 0);
    let keys: Vec<_> = world.fleet.take_dirty().into_iter().map(|dirty| dirty.key).collect();
    assert_eq!(keys, [Key::Rule("first-uid".into())]);
}

#[test]
fn a_status_is_written_at_most_every_ten_seconds_and_only_when_it_differs() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(30);
    world.written();
    for second in 0..29 {
        world.confirm("n1", second, second);
        world.pass(1);
    }
    let statuses = |world: &mut World| world.written().iter().filter(|write| *write == "etc: status").count();
    assert_eq!(statuses(&mut world), 3);
    world.pass(30);
    assert_eq!(statuses(&mut world), 1, "the last of them");
    world.pass(300);
    assert_eq!(statuses(&mut world), 0);
}

#[test]
fn a_transition_keeps_its_time_while_only_numbers_change() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    let since = |world: &World| world.status("etc").conditions[0].last_transition_time.clone();
    let before = since(&world);
    world.pass(60);
    world.confirm("n1", 5, 0);
    world.pass(20);
    assert_eq!(world.status("etc").tracked_items, Some(5));
    assert_eq!(since(&world), before);
}
