//! When an agent counts as available and a node as ready.

use serde_json::json;
use vedette_crds::condition::node::{AgentAvailable, Ready};

use super::world::{World, etc};
use crate::event::Kind;
use crate::fleet::node::NodeState;

/// A node that is watched as its NodeConfig says.
fn watched() -> World {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.pass(20);
    assert_eq!((world.ready("n1"), world.available("n1")), (Some(Ready::Ready), Some(AgentAvailable::Available)));
    world.written();
    world
}

#[test]
fn a_node_that_never_had_an_agent_is_unknown_for_a_minute_and_then_without_one() {
    let mut world = World::new();
    world.node_alone("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(59);
    assert_eq!(
        (world.available("n1"), world.ready("n1")),
        (Some(AgentAvailable::Starting), Some(Ready::AgentUnavailable))
    );
    world.pass(2);
    assert_eq!(
        (world.available("n1"), world.ready("n1")),
        (Some(AgentAvailable::NoPod), Some(Ready::AgentUnavailable))
    );
}

#[test]
fn an_agent_that_is_back_within_a_minute_was_never_away() {
    let mut world = watched();
    world.pod("n1", false);
    world.pass(30);
    world.delete_pod("n1");
    world.pass(25);
    world.pod("n1", true);
    world.pass(120);
    assert_eq!(world.written(), Vec::<String>::new());
}

#[test]
fn a_pod_that_is_not_ready_for_a_minute_makes_the_node_unavailable_and_a_ready_one_makes_it_good() {
    let mut world = watched();
    world.pod("n1", false);
    world.pass(75);
    assert_eq!(
        (world.available("n1"), world.ready("n1")),
        (Some(AgentAvailable::NotReady), Some(Ready::AgentUnavailable))
    );
    assert_eq!(world.status("etc").nodes.unwrap().unavailable, 1);
    assert_eq!(world.fleet.nodes_in(NodeState::Unavailable), 1);
    world.delete_pod("n1");
    world.pass(2);
    assert_eq!(world.available("n1"), Some(AgentAvailable::NoPod));
    world.pod("n1", true);
    world.pass(20);
    assert_eq!((world.available("n1"), world.ready("n1")), (Some(AgentAvailable::Available), Some(Ready::Ready)));
}

#[test]
fn a_second_pod_is_enough_while_the_first_goes() {
    let mut world = watched();
    let mut next =
        crate::observed::ObservedPod { name: "next".into(), node: "n1".into(), ready: Some(world.now().wall) };
    world.tell(crate::event::Event::Pod(crate::event::Change::Applied(next.clone())));
    world.delete_pod("n1");
    world.pass(120);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Available));
    next.ready = None;
    world.tell(crate::event::Event::Pod(crate::event::Change::Applied(next)));
    world.pass(61);
    assert_eq!(world.available("n1"), Some(AgentAvailable::NotReady));
}

#[test]
fn an_agent_that_writes_nothing_for_two_and_a_half_refreshes_is_silent_until_it_writes() {
    let mut world = watched();
    world.pass(37 * 60);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Available));
    world.pass(60);
    assert_eq!(
        (world.available("n1"), world.ready("n1")),
        (Some(AgentAvailable::Silent), Some(Ready::AgentUnavailable))
    );
    world.confirm("n1", 5, 0);
    world.pass(2);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Available));
}

#[test]
fn an_agent_that_has_nothing_new_to_write_is_not_silent() {
    let mut slow = etc(None);
    slow["files"]["interval"] = json!("24h");
    let mut suspended = etc(None);
    suspended["suspend"] = json!(true);
    for spec in [slow, suspended] {
        let mut world = watched();
        world.rule("etc", spec);
        world.pass(1);
        world.confirm("n1", 5, 0);
        world.pass(6 * 3600);
        assert_eq!(world.available("n1"), Some(AgentAvailable::Available));
    }
}

#[test]
fn an_agent_that_was_not_asked_for_long_is_not_silent_the_moment_it_is_asked() {
    let mut world = watched();
    let mut suspended = etc(None);
    suspended["suspend"] = json!(true);
    world.rule("etc", suspended);
    world.pass(3 * 3600);
    world.rule("etc", etc(None));
    world.pass(60);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Available));
}

#[test]
fn a_restarted_operator_knows_a_silent_agent_by_when_it_last_wrote() {
    let mut world = watched();
    let last = world.now().wall;
    world.pass(38 * 60);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Silent));
    world.change_config("n1", |config| config.heard = Some(last));
    world.written();
    world.restart();
    Kind::ALL.into_iter().for_each(|kind| world.list(kind));
    world.pass(60);
    assert_eq!(world.available("n1"), Some(AgentAvailable::Silent));
}

#[test]
fn a_restarted_operator_gives_an_absent_agent_its_minute_without_a_write() {
    let mut world = watched();
    world.restart();
    world.pod("n1", false);
    Kind::ALL.into_iter().for_each(|kind| world.list(kind));
    world.pass(50);
    assert_eq!(world.written(), Vec::<String>::new());
    world.pass(12);
    assert_eq!(world.available("n1"), Some(AgentAvailable::NotReady));
}

#[test]
fn a_node_is_ready_by_its_own_generation_alone() {
    let mut world = watched();
    world.rule("etc", etc(None));
    world.pass(10);
    let generation = world.configs["n1"].generation;
    let stands = world.configs["n1"].ready.unwrap();
    assert_eq!((stands.reason, stands.generation), (Ready::Ready, generation - 1), "what stands is about the last one");
    assert_eq!((world.fleet.nodes_in(NodeState::Ready), world.status("etc").nodes.unwrap().ready), (0, 0));
    world.change_config("n1", |config| {
        config.confirmed = generation;
        config.baseline = false;
    });
    world.pass(2);
    assert_eq!(world.ready("n1"), Some(Ready::BaselineNotReady));
    world.change_config("n1", |config| config.baseline = true);
    world.pass(2);
    assert_eq!(world.ready("n1"), Some(Ready::Ready));
    assert_eq!(world.configs["n1"].ready.unwrap().generation, generation);
}

#[test]
fn a_confirmation_that_comes_as_soon_as_an_agent_may_write_costs_one_write_of_the_conditions() {
    for seconds in [0, 12] {
        let mut world = watched();
        world.rule("etc", etc(None));
        world.pass(seconds);
        world.confirm("n1", 5, 0);
        world.pass(60);
        assert_eq!(world.ready("n1"), Some(Ready::Ready));
        assert_eq!(world.configs["n1"].ready.unwrap().generation, world.configs["n1"].generation);
        assert_eq!(conditions(&mut world), 1, "after {seconds} s");
    }
}

#[test]
fn a_confirmation_that_does_not_come_is_said_whatever_else_the_agent_writes() {
    let mut world = watched();
    world.rule("etc", etc(None));
    for _ in 0..17 {
        world.change_config("n1", |config| config.fingerprint += 1);
        world.pass(1);
    }
    assert_eq!(world.ready("n1"), Some(Ready::ConfigNotApplied));
    assert_eq!(conditions(&mut world), 1);
}

#[test]
fn an_agent_that_does_not_confirm_is_told_however_often_it_is_asked_something_new() {
    let mut world = watched();
    for tag in 0..6 {
        let mut rule = etc(None);
        rule["tags"] = json!([format!("t{tag}")]);
        world.rule("etc", rule);
        world.pass(10);
    }
    assert_eq!(world.ready("n1"), Some(Ready::ConfigNotApplied));
}

#[test]
fn a_generation_that_is_confirmed_and_not_applied_as_it_stands_is_said_at_once() {
    let mut world = watched();
    world.rule("etc", etc(None));
    world.pass(0);
    world.change_config("n1", |config| (config.confirmed, config.applied) = (config.generation, false));
    world.pass(2);
    assert_eq!(world.ready("n1"), Some(Ready::ConfigNotApplied));
}

#[test]
fn an_agent_that_goes_is_told_though_its_answer_is_awaited() {
    let mut world = watched();
    for node in 2..2000 {
        world.node(&format!("n{node}"), &[("kubernetes.io/os", "windows")]);
    }
    world.pass(60);
    world.pod("n1", false);
    world.pass(30);
    world.rule("etc", etc(None));
    world.pass(32);
    assert_eq!(world.ready("n1"), Some(Ready::AgentUnavailable));
}

/// How often a node's conditions were written since that was last asked.
fn conditions(world: &mut World) -> usize {
    world.written().iter().filter(|write| *write == "n1: conditions").count()
}

#[test]
fn conditions_that_somebody_else_wrote_are_put_right_and_keep_their_time_where_the_status_stays() {
    let mut world = watched();
    let since = world.configs["n1"].ready.unwrap().since;
    world.change_config("n1", |config| {
        config.available = None;
        if let Some(ready) = &mut config.ready {
            ready.exact = false;
        }
    });
    world.pass(2);
    let config = &world.configs["n1"];
    assert_eq!((config.ready.unwrap().since, config.available.unwrap().since), (since, world.ago(1)));
}

#[test]
fn nodes_are_counted_by_how_they_stand() {
    let mut world = watched();
    world.node("n2", &[("kubernetes.io/os", "windows")]);
    world.node("n3", &[]);
    world.node_alone("n4", &[]);
    world.pass(61);
    let counts = NodeState::ALL.map(|state| world.fleet.nodes_in(state));
    assert_eq!(counts, [1, 1, 1, 1]);
    world.delete_node("n1");
    world.pass(0);
    assert_eq!(world.fleet.nodes_in(NodeState::Ready), 0);
}
