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
