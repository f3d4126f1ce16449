//! One operator leads, others follow; and two that both believe they lead.

use serde_json::json;
use vedette_crds::condition::node::AgentAvailable;
use vedette_crds::condition::rule::Programmed;

use super::world::{World, etc};

fn suspended() -> serde_json::Value {
    let mut spec = etc(None);
    spec["suspend"] = json!(true);
    spec
}

#[test]
fn a_standby_does_nothing_and_has_everything_to_do_at_hand_when_it_leads() {
    let mut world = World::new();
    world.restart_standby();
    world.node("n1", &[]);
    world.node_alone("n2", &[]);
    world.rule("etc", etc(None));
    world.pass(200);
    assert_eq!((world.written(), world.told()), (vec![], vec![]));
    world.lead();
    world.pass(0);
    assert_eq!((world.carried("n1"), world.carried("n2")), (vec![("etc", 1)], vec![("etc", 1)]));
    world.pass(2);
    assert_eq!(world.available("n2"), Some(AgentAvailable::NoPod), "it has waited that minute already");
}

#[test]
fn one_that_leads_no_more_does_nothing_and_takes_up_what_the_other_left() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(20);
    world.written();
    world.rule("etc", suspended());
    world.follow();
    world.pass(100);
    assert_eq!(world.written(), Vec::<String>::new());
    world.lead();
    world.pass(0);
    assert_eq!(world.carried("n1"), [("etc", 2)]);
}

#[test]
fn a_takeover_writes_nothing_when_all_is_right() {
    let mut world = World::new();
    world.rule("etc", etc(None));
    for number in 0..320 {
        world.node(&format!("n{number}"), &[]);
    }
    world.pass(70);
    // The interval that fitted more nodes is good enough for these; one that starts now would choose another.
    for number in 270..320 {
        world.delete_node(&format!("n{number}"));
    }
    world.pass(70);
    world.restart_standby();
    for number in 270..275 {
        world.node(&format!("n{number}"), &[]);
    }
    world.pass(0);
    let interval = world.configs["n0"].spec.as_ref().unwrap().reporting.min_interval.clone();
    world.written();
    world.lead();
    world.pass(0);
    let rewritten = world.written().iter().filter(|write| write.ends_with(": 1 rules")).count();
    assert_eq!(rewritten, 5, "the new nodes alone");
    assert_eq!(world.configs["n270"].spec.as_ref().unwrap().reporting.min_interval, interval);
}

#[test]
fn two_that_both_believe_they_lead_come_to_rest_and_to_what_is_right() {
    let mut world = World::new();
    for number in 0..30 {
        world.node(&format!("n{number}"), &[]);
    }
    world.rule("etc", etc(None));
    world.rule("web", etc(Some(("role", "web"))));
    world.pass(300);
    world.add_rival();
    world.written();
    for (number, node) in ["n1", "n2", "n3"].into_iter().enumerate() {
        world.confirm(node, 5, 1);
        world.node_alone(node, &[("role", "web")]);
        world.rule("etc", if number % 2 == 0 { suspended() } else { etc(None) });
        world.pod("n4", number % 2 == 0);
        world.pass(7);
    }
    world.pod("n4", false);
    world.delete_node("n5");
    world.node_alone("n1", &[]);
    world.pass(120);
    let busy = world.written().len();
    assert!(busy < 400, "{busy} writes");
    // Long enough for agents to be called silent, which the two know from different moments.
    world.pass(3_600);
    let silent = world.written().len();
    assert!(silent < 300, "{silent} writes");
    world.pass(3_600);
    assert_eq!(world.written(), Vec::<String>::new());
    assert_eq!(world.carried("n1"), [("etc", 4)]);
    assert_eq!(world.carried("n2"), [("etc", 4), ("web", 1)]);
    assert_eq!(world.available("n4"), Some(AgentAvailable::NotReady));
    assert!(!world.configs.contains_key("n5"));
    assert_eq!(world.says::<Programmed>("etc"), "True Suspended");
}

#[test]
fn what_a_stale_leader_has_decided_is_refused_whatever_it_is() {
    let mut world = World::new();
    for node in ["edited", "emptied", "new"] {
        world.node_alone(node, &[("role", node)]);
    }
    world.rule("etc", etc(Some(("role", "edited"))));
    world.rule("bin", etc(Some(("role", "emptied"))));
    world.pass(20);
    world.add_rival();
    world.pass(20);
    // It learns of this, decides, and is stopped right before it writes.
    world.rule("etc", suspended());
    world.delete_rule("bin");
    world.rival_reads();
    world.rule("etc", etc(None));
    world.rule("bin", etc(None));
    let first = |world: &mut World| {
        // The first alone has its turn.
        world.work_without_rival();
        (world.carried("edited").len(), world.carried("emptied").len(), world.carried("new").len())
    };
    assert_eq!(first(&mut world), (2, 2, 2));
    let before = world.configs.values().map(|config| (config.uid.clone(), config.version)).collect::<Vec<_>>();
    world.written();
    world.rival_works();
    let specs: Vec<_> = world.written().into_iter().filter(|write| write.ends_with("rules")).collect();
    assert_eq!(specs, Vec::<String>::new());
    assert!(world.conflicts >= 3, "{}", world.conflicts);
    let after = world.configs.values().map(|config| (config.uid.clone(), config.version)).collect::<Vec<_>>();
    assert_eq!(before.len(), after.len());
    assert!(["edited", "emptied", "new"].iter().all(|node| world.carried(node).len() == 2));
}
