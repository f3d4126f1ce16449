//! Which NodeConfigs there are, and what they say.

use serde_json::json;
use vedette_crds::condition::rule::{Accepted, Programmed};

use super::world::{World, config_event, etc};
use crate::event::Kind;

#[test]
fn nothing_is_done_before_all_four_lists_are_complete() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.node("gone", &[]);
    world.pass(20);
    world.nodes.remove("gone");
    world.rule("late", etc(None));
    world.written();
    for last in Kind::ALL {
        world.restart();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != last) {
            world.list(kind);
        }
        world.pass(300);
        assert_eq!(world.written(), Vec::<String>::new(), "{last:?} is missing");
        assert_eq!(world.fleet.unlisted().collect::<Vec<_>>(), [last]);
    }
    world.list(Kind::Pod);
    world.pass(0);
    let written = world.written();
    assert!(written.contains(&"gone: deleted".into()) && written.contains(&"n1: 2 rules".into()), "{written:?}");
}

#[test]
fn an_operator_that_comes_back_writes_nothing_when_all_is_right() {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        world.node(node, &[]);
    }
    world.rule("etc", etc(None));
    world.rule("bin", json!({"files": {"paths": [{"name": "bin", "path": "/bin"}]}}));
    world.pass(2);
    world.confirm("n1", 5, 1);
    world.confirm("n2", 7, 0);
    world.pass(30);
    world.written();
    world.restart();
    Kind::ALL.into_iter().for_each(|kind| world.list(kind));
    world.pass(30);
    assert_eq!(world.written(), Vec::<String>::new());
}

#[test]
fn every_selected_node_carries_the_rules_that_select_it() {
    let mut world = World::new();
    world.node("web", &[("role", "web")]);
    world.node("db", &[("role", "db")]);
    world.node("windows", &[("kubernetes.io/os", "windows")]);
    world.rule("all", etc(None));
    world.rule("web-only", etc(Some(("role", "web"))));
    world.pass(0);
    assert_eq!(world.carried("web"), [("all", 1), ("web-only", 1)]);
    assert_eq!(world.carried("db"), [("all", 1)]);
    assert!(!world.configs.contains_key("windows"));
}

#[test]
fn an_edited_rule_reaches_its_nodes_and_no_other_is_written() {
    let mut world = World::new();
    world.node("web", &[("role", "web")]);
    world.node("db", &[]);
    world.rule("web-only", etc(Some(("role", "web"))));
    world.rule("all", etc(None));
    world.pass(30);
    world.written();
    let mut suspended = etc(Some(("role", "web")));
    suspended["suspend"] = json!(true);
    world.rule("web-only", suspended);
    world.pass(0);
    assert_eq!(world.written(), ["web: 2 rules", "web-only: status"]);
    assert_eq!(world.carried("web"), [("all", 1), ("web-only", 2)]);
    assert!(world.configs["web"].spec.as_ref().unwrap().rules[1].suspend);
}

#[test]
fn a_node_that_is_selected_no_more_is_emptied_first_and_deleted_when_the_agent_has_confirmed() {
    let mut world = World::new();
    world.node("n1", &[("role", "web")]);
    world.rule("web-only", etc(Some(("role", "web"))));
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.pass(5);
    world.written();
    world.node_alone("n1", &[("role", "db")]);
    world.pass(600);
    assert_eq!(world.carried("n1"), []);
    assert!(!world.written().contains(&"n1: deleted".into()));
    world.confirm("n1", 0, 0);
    world.pass(0);
    assert!(world.written().contains(&"n1: deleted".into()));
    assert!(world.configs.is_empty());
}

#[test]
fn a_node_that_is_selected_again_before_that_is_filled_again() {
    let mut world = World::new();
    world.node("n1", &[("role", "web")]);
    world.rule("web-only", etc(Some(("role", "web"))));
    world.pass(0);
    world.node_alone("n1", &[]);
    world.pass(0);
    let uid = world.configs["n1"].uid.clone();
    world.node_alone("n1", &[("role", "web")]);
    world.pass(0);
    world.confirm("n1", 0, 0);
    world.pass(5);
    assert_eq!(world.carried("n1"), [("web-only", 1)]);
    assert_eq!(world.configs["n1"].uid, uid);
}

#[test]
fn a_deleted_rule_leaves_the_nodes_it_had() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.rule("bin", etc(None));
    world.pass(0);
    world.delete_rule("etc");
    world.pass(0);
    assert_eq!(world.carried("n1"), [("bin", 1)]);
    world.delete_rule("bin");
    world.pass(0);
    assert_eq!(world.carried("n1"), []);
}

#[test]
fn a_rule_that_went_and_came_back_between_two_lists_is_another_one() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    let rule = world.rules.get_mut("etc").unwrap();
    rule.metadata.uid = Some("another".into());
    rule.version += 100;
    world.list(Kind::Rule);
    world.pass(0);
    assert_eq!(world.configs["n1"].spec.as_ref().unwrap().rules[0].uid, "another");
}

#[test]
fn the_configuration_of_a_node_that_is_gone_is_deleted_without_asking_its_agent() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.delete_node("n1");
    world.pass(0);
    assert!(world.configs.is_empty());
}

#[test]
fn a_node_that_comes_back_under_its_name_owns_its_configuration_and_is_not_ready_by_what_the_former_said() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.confirm("n1", 5, 0);
    world.pass(20);
    assert_eq!(world.status("etc").nodes.unwrap().ready, 1);
    world.node_of("n1", "another", &[]);
    world.pass(20);
    let config = &world.configs["n1"];
    assert_eq!(config.owner.as_deref(), Some("another"));
    assert_eq!(config.spec.as_ref().unwrap().node_uid, "another");
    assert_eq!((world.status("etc").nodes.unwrap().ready, world.status("etc").nodes.unwrap().degraded), (0, 1));
    world.confirm("n1", 5, 0);
    world.pass(20);
    assert_eq!(world.status("etc").nodes.unwrap().ready, 1);
}

#[test]
fn a_refused_rule_keeps_its_last_good_form_and_says_all_that_is_wrong() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    let odd = |name: &str| json!({"name": name, "path": "/etc/{a[}]b"});
    world.rule("etc", json!({"files": {"paths": [odd("one"), odd("two")]}}));
    world.node("n2", &[]);
    world.pass(20);
    assert_eq!(world.carried("n1"), [("etc", 1)]);
    assert!(!world.configs.contains_key("n2"), "there is no good form for it");
    assert_eq!(world.says::<Accepted>("etc"), "False Refused");
    let message = world.message::<Accepted>("etc");
    assert!(message.contains("\"one\"") && message.contains("\"two\""), "{message}");
    assert_eq!(world.says::<Programmed>("etc"), "False Pending");
    assert_eq!(world.status("etc").observed_generation, Some(2));
    world.rule("etc", etc(None));
    world.pass(20);
    assert_eq!((world.carried("n1"), world.carried("n2")), (vec![("etc", 3)], vec![("etc", 3)]));
    assert_eq!(world.says::<Accepted>("etc"), "True Accepted");
}

#[test]
fn a_rule_that_cannot_be_read_keeps_its_form_everywhere_after_a_restart_too() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.rule("etc", json!({"files": 5}));
    world.pass(20);
    world.restart();
    Kind::ALL.into_iter().for_each(|kind| world.list(kind));
    world.node("n2", &[]);
    world.pass(20);
    assert_eq!(world.carried("n1"), [("etc", 1)]);
    assert!(!world.configs.contains_key("n2"));
    assert_eq!(world.says::<Accepted>("etc"), "False Refused");
    assert_eq!(world.status("etc").nodes.unwrap().selected, 1, "those that carry it");
}

#[test]
fn a_configuration_that_cannot_be_read_is_left_alone_while_it_may_hold_the_only_good_form() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.rule("etc", json!({"files": 5}));
    world.pass(20);
    let good = world.configs["n1"].spec.clone();
    world.written();
    world.change_config("n1", |config| {
        config.spec = None;
        config.generation += 1;
    });
    world.pass(0);
    assert!(!world.written().iter().any(|write| write.ends_with("rules")));
    world.change_config("n1", |config| config.spec = good);
    world.rule("etc", etc(None));
    world.change_config("n1", |config| {
        config.spec = None;
        config.generation += 1;
    });
    world.pass(0);
    assert_eq!(world.carried("n1"), [("etc", 3)]);
}

#[test]
fn what_somebody_else_wrote_into_a_spec_is_put_right() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    world.change_config("n1", |config| {
        config.spec.as_mut().unwrap().rules.clear();
        config.generation += 1;
    });
    world.pass(0);
    assert_eq!(world.carried("n1"), [("etc", 1)]);
}

#[test]
fn an_event_that_is_older_than_what_was_stored_undoes_nothing() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.rule("etc", etc(None));
    world.pass(0);
    let old = world.configs["n1"].clone();
    world.rule("bin", etc(None));
    world.pass(20);
    world.written();
    world.tell(config_event(old));
    world.pass(20);
    assert_eq!(world.written(), Vec::<String>::new());
}

#[test]
fn when_older_rules_fill_a_configuration_the_youngest_has_no_room_and_says_so() {
    let mut world = World::new();
    world.node("n1", &[]);
    for number in 0..33 {
        world.rule(&format!("r{number:02}"), etc(None));
    }
    world.pass(20);
    assert_eq!(world.carried("n1").len(), 32);
    assert_eq!(world.says::<Programmed>("r32"), "False NodeConfigTooLarge");
    let message = world.message::<Programmed>("r32");
    assert!(message.contains("NodeConfigs of n1:") && message.contains("32 rules and 64 KiB"), "{message}");
    assert_eq!(world.says::<Programmed>("r31"), "True Programmed");
    world.delete_rule("r00");
    world.pass(20);
    assert_eq!(world.says::<Programmed>("r32"), "True Programmed");
}

#[test]
fn a_definition_older_than_the_operator_is_named_and_asked_less_and_less_often() {
    let mut world = World::new();
    world.node("n1", &[]);
    world.definition_is_older = true;
    world.rule("etc", etc(None));
    world.pass(3600);
    assert_eq!(world.says::<Programmed>("etc"), "False SchemaOutdated");
    let message = world.message::<Programmed>("etc");
    assert!(message.contains("nodeconfigs.vedette.dev") && message.contains("kubectl apply"), "{message}");
    let applies = world.written().iter().filter(|write| *write == "n1: 1 rules").count();
    assert!((10..=35).contains(&applies), "{applies} in an hour");
    world.definition_is_older = false;
    world.rule("etc", etc(None));
    world.pass(20);
    assert_eq!(world.says::<Programmed>("etc"), "True Programmed");
}

#[test]
fn a_node_that_leaves_a_rule_by_its_own_labels_is_counted_and_one_that_a_rule_lets_go_is_not() {
    let mut world = World::new();
    world.node("n1", &[("role", "web")]);
    world.node("n2", &[("role", "web")]);
    world.rule("web-only", etc(Some(("role", "web"))));
    world.pass(0);
    world.node_alone("n1", &[]);
    assert_eq!(world.fleet.deselected(), 1);
    world.rule("web-only", etc(Some(("role", "db"))));
    world.delete_node("n2");
    world.pass(0);
    assert_eq!(world.fleet.deselected(), 1);
}

#[test]
fn a_fleet_that_grows_reports_less_often() {
    let mut world = World::new();
    world.rule("etc", etc(None));
    for number in 0..200 {
        world.node(&format!("n{number}"), &[]);
    }
    world.pass(1);
    let interval = |world: &World| world.configs["n0"].spec.as_ref().unwrap().reporting.min_interval.clone();
    assert_eq!(interval(&world), "10s");
    for number in 200..260 {
        world.node(&format!("n{number}"), &[]);
    }
    world.pass(61);
    assert_eq!(interval(&world), "13s");
}
