//! Links that are followed: what lies behind them under its real path, loops cut, and what comes and leaves with a link.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Host, rule};

fn following() -> Value {
    json!([{"name": "app", "path": "/srv/app", "links": "Follow"}])
}

#[test]
fn a_link_out_of_the_tree_is_recorded_followed_or_ignored_as_its_entry_says() {
    for (links, tracked, told) in
        [("Record", 2, vec![]), ("Follow", 5, vec!["Modified /opt/v1/deep/file Content,Size"]), ("Ignore", 1, vec![])]
    {
        let mut host = Host::new(json!([{"name": "app", "path": "/srv/app", "links": links}]));
        host.write("/opt/v1/deep/file", "1");
        host.mkdir("/srv/app");
        host.link("../../opt/v1", "/srv/app/current");
        host.compare();
        assert_eq!(host.standing().totals.tracked, tracked, "{links}");
        assert!(host.compare().lines.is_empty(), "{links}");
        host.write("/opt/v1/deep/file", "22");
        assert_eq!(host.compare().told(), told, "{links}");
    }
}

#[test]
fn a_link_that_leads_elsewhere_brings_the_new_target_under_watch_and_lets_the_old_one_go() {
    let mut host = Host::new(following());
    host.write("/opt/v1/file", "1");
    host.write("/opt/v2/file", "2");
    host.mkdir("/srv/app");
    host.link("/opt/v1", "/srv/app/current");
    host.compare();
    host.remove("/srv/app/current");
    host.link("/opt/v2", "/srv/app/current");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /srv/app/current LinkTarget"]);
    let notice = seen.notices("ConfigurationApplied")[0];
    assert_eq!((&notice["itemsAdded"], &notice["itemsForgotten"]), (&json!(2), &json!(2)));
    host.write("/opt/v1/file", "11");
    host.write("/opt/v2/file", "22");
    assert_eq!(host.compare().told(), ["Modified /opt/v2/file Content,Size"]);
}

#[test]
fn a_link_that_is_retargeted_again_and_again_pushes_out_no_plan_of_other_rules() {
    let mut host = Host::new(json!([]));
    let web = || rule("web", json!([{"name": "srv", "path": "/srv", "links": "Follow"}]));
    let base = || rule("base", json!([{"name": "etc", "path": "/etc"}]));
    host.write("/etc/good", "1");
    (0..2).for_each(|target| host.write(&format!("/opt/{target}/file"), "1"));
    host.mkdir("/srv");
    host.set_rules(vec![web(), base()]);
    host.compare();
    host.set_rules(vec![web()]);
    host.compare();
    host.write("/etc/evil", "1");
    host.write("/etc/good", "22");
    for round in 0..66 {
        if round > 0 {
            host.remove("/srv/link");
        }
        host.link(&format!("/opt/{}", round % 2), "/srv/link");
        host.compare();
    }
    host.set_rules(vec![web(), base()]);
    let seen = host.compare();
    assert_eq!(seen.told(), ["Added /etc/evil", "Modified /etc/good Content,Size"]);
    assert!(seen.changes().iter().all(|change| change["detection"] == "Resumed"));
}

#[test]
fn loops_of_links_are_cut() {
    let mut host = Host::new(following());
    host.write("/srv/app/d/file", "1");
    host.link(".", "/srv/app/self");
    host.link("..", "/srv/app/d/up");
    host.link("b", "/srv/app/a");
    host.link("a", "/srv/app/b");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 7);
    assert!(host.compare().lines.is_empty());
    host.write("/srv/app/d/file", "22");
    assert_eq!(host.compare().told(), ["Modified /srv/app/d/file Content,Size"]);
}

#[test]
fn links_behind_links_are_followed_and_each_on_the_way_is_an_item() {
    let mut host = Host::new(following());
    host.write("/data/file", "1");
    host.write("/evil/file", "666");
    host.mkdir("/srv/app");
    host.link("/data", "/second");
    host.link("/second/more", "/srv/app/first");
    host.mkdir("/data/more");
    host.link("/data/file", "/data/more/again");
    host.compare();
    // /srv/app, first, second, /data/more, again, /data/file
    assert_eq!(host.standing().totals.tracked, 6);
    host.write("/data/file", "22");
    assert_eq!(host.compare().told(), ["Modified /data/file Content,Size"]);
    host.remove("/second");
    host.link("/evil", "/second");
    assert_eq!(
        host.compare().told(),
        ["Modified /second LinkTarget"],
        "a link on the way may not be retargeted unseen"
    );
}

#[test]
fn depth_and_excludes_hold_behind_a_link_too() {
    let entries = json!([{"name": "app", "path": "/srv/app", "links": "Follow", "maxDepth": 2, "exclude": ["*.log", "/opt/v1/private"]}]);
    let mut host = Host::new(entries);
    for file in ["one", "x.log", "private/key", "deep/two", "deep/deeper/three"] {
        host.write(&format!("/opt/v1/{file}"), "1");
    }
    host.mkdir("/srv/app");
    host.link("/opt/v1", "/srv/app/current");
    host.compare();
    // /srv/app, current, /opt/v1, one, deep
    assert_eq!(host.standing().totals.tracked, 5);
}

#[test]
fn a_dangling_link_is_an_item_and_what_comes_behind_it_is_added() {
    let mut host = Host::new(following());
    host.mkdir("/srv/app");
    host.link("/opt/later", "/srv/app/current");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 2);
    host.write("/opt/later/file", "1");
    assert_eq!(host.compare().told(), ["Added /opt/later", "Added /opt/later/file"]);
    assert!(host.compare().lines.is_empty());
}

#[test]
fn what_is_followed_is_known_after_a_restart() {
    let mut host = Host::new(following());
    host.write("/opt/v1/file", "1");
    host.mkdir("/srv/app");
    host.link("/opt/v1", "/srv/app/current");
    host.compare();
    host.stop();
    host.write("/opt/v1/file", "22");
    host.start();
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /opt/v1/file Content,Size"]);
    assert!(seen.notices("ConfigurationApplied").is_empty());
}

#[test]
fn a_link_never_leads_out_of_the_host() {
    let mut host = Host::new(following());
    host.mkdir("/srv/app");
    std::fs::write(host.root().with_file_name("outside"), "secret").unwrap();
    host.link("../../../../../../outside", "/srv/app/escape");
    host.write("/outside", "the host's own");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3);
    std::fs::write(host.root().with_file_name("outside"), "changed").unwrap();
    assert!(host.compare().lines.is_empty());
    host.write("/outside", "changed");
    assert_eq!(host.compare().told(), ["Modified /outside Content,Size"]);
}

/// A host whose rule `a` follows links in /home and whose rule `b` watches /etc, both compared once; and a chain of so
/// many links that begins with /tmp/c/0.
fn beside_another_rule(chain: usize) -> Host {
    let mut host = Host::new(json!([]));
    let home = json!([{"name": "home", "path": "/home", "links": "Follow"}]);
    host.set_rules(vec![rule("a", home), rule("b", json!([{"name": "etc", "path": "/etc"}]))]);
    host.write("/etc/passwd", "root");
    host.write("/home/u/file", "1");
    host.mkdir("/tmp/end");
    for at in 1..chain {
        host.link(&format!("/tmp/c/{at}"), &format!("/tmp/c/{}", at - 1));
    }
    host.link("/tmp/end", &format!("/tmp/c/{}", chain - 1));
    host.compare();
    host
}

/// Changes what both rules watch; nothing is told but that, by any compare.
fn sees_what_both_rules_watch(host: &mut Host) {
    host.write("/etc/passwd", "evil");
    host.write("/etc/shadow", "new");
    host.write("/home/u/file", "22");
    let seen = host.compare();
    assert_eq!(
        seen.told(),
        ["Added /etc/shadow", "Modified /etc/passwd Content", "Modified /home/u/file Content,Size"]
    );
    assert!(seen.notices("ConfigurationApplied").is_empty());
    assert!(host.compare().lines.is_empty());
}

#[test]
fn links_that_lead_over_many_others_to_many_places_blind_no_other_rule() {
    let mut host = beside_another_rule(38);
    for at in 0..1750 {
        host.link(&format!("/tmp/c/0/t{at}"), &format!("/home/u/l{at}"));
    }
    let seen = host.compare();
    assert_eq!(seen.changes().len(), 1750);
    let notice = seen.notices("ConfigurationApplied")[0];
    assert_eq!(
        (&notice["itemsAdded"], &notice["itemsForgotten"]),
        (&json!(38), &json!(0)),
        "each link on the way once"
    );
    sees_what_both_rules_watch(&mut host);
}

#[test]
fn where_more_places_are_led_to_than_there_is_room_for_the_rest_is_unknown_and_nothing_else_changes() {
    let mut host = beside_another_rule(1);
    host.engine().set_room_for_links(3, 100);
    for at in (0..8).rev() {
        host.write(&format!("/opt/t{at}/file"), "1");
        host.link(&format!("/opt/t{at}"), &format!("/home/u/l{at}"));
    }
    let seen = host.compare();
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsAdded"], 6);
    for _ in 0..2 {
        let unknowns = host.standing().unknowns;
        assert_eq!(unknowns.items(), 5);
        let mut named: Vec<_> = unknowns.named().iter().map(|unknown| unknown.path.to_string()).collect();
        named.sort();
        assert_eq!(named, ["/home/u/l3", "/home/u/l4", "/home/u/l5", "/home/u/l6", "/home/u/l7"]);
        let reason = &unknowns.named()[0].reason;
        assert!(reason.starts_with("what lies behind it: there is room for 3 places"), "{reason}");
        assert!(host.compare().lines.is_empty(), "what is followed is the same at every compare");
    }
    sees_what_both_rules_watch(&mut host);
    host.link("/opt/t7", "/home/u/a");
    assert_eq!(host.compare().told(), ["Added /home/u/a"], "what is followed already is not crowded out");
    host.write("/opt/t2/file", "22");
    assert_eq!(host.compare().told(), ["Modified /opt/t2/file Content,Size"]);
    host.remove("/home/u/l0");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Removed /home/u/l0"]);
    let notice = seen.notices("ConfigurationApplied")[0];
    assert_eq!((&notice["itemsAdded"], &notice["itemsForgotten"]), (&json!(2), &json!(2)), "where one left is room");
    assert_eq!(host.standing().unknowns.items(), 5);
}

#[test]
fn a_path_over_more_links_than_there_is_room_for_is_unknown() {
    let mut host = beside_another_rule(6);
    host.engine().set_room_for_links(100, 5);
    host.link("/tmp/c/0", "/home/u/long");
    host.link("/tmp/c/3", "/home/u/short");
    host.write("/opt/file", "1");
    host.link("/opt", "/home/u/straight");
    host.compare();
    // What lies at one end of both is one place.
    let unknowns = host.standing().unknowns;
    assert_eq!(unknowns.items(), 2);
    assert!(unknowns.named()[0].path.to_string().starts_with("/home/u/"));
    host.write("/opt/file", "22");
    assert_eq!(host.compare().told(), ["Modified /opt/file Content,Size"]);
    sees_what_both_rules_watch(&mut host);
    host.remove("/home/u/long");
    host.write("/tmp/end/file", "1");
    host.compare();
    assert_eq!(host.standing().unknowns.items(), 0);
    host.write("/tmp/end/file", "22");
    assert_eq!(host.compare().told(), ["Modified /tmp/end/file Content,Size"]);
}

#[test]
fn two_places_that_only_lead_to_each_other_do_not_come_and_go_by_turns() {
    let mut host = Host::new(following());
    host.write("/one/file", "1");
    host.mkdir("/two");
    host.mkdir("/srv/app");
    host.link("/one", "/srv/app/current");
    host.compare();
    host.remove("/srv/app/current");
    host.link("/two", "/one/on");
    host.link("/one", "/two/back");
    host.compare();
    assert!(host.compare().lines.is_empty());
    assert!(host.compare().lines.is_empty());
}
