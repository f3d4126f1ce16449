//! Links: recorded or ignored on the way, resolved in an entry's own path, and never a way out.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::{Host, everything, rule};

#[test]
fn a_dangling_link_and_one_out_of_the_tree_are_items_and_never_followed() {
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv"}]));
    host.write("/secret/file", "1");
    host.link("/nowhere", "/srv/dangling");
    host.link("/secret", "/srv/out");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3);
    host.write("/secret/file", "22");
    host.write("/secret/new", "1");
    assert!(host.compare().lines.is_empty());
    host.remove("/srv/out");
    host.link("/secret/file", "/srv/out");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /srv/out LinkTarget"]);
    assert_eq!(seen.only()["after"]["linkTarget"], "/secret/file");
    assert!(seen.only()["after"].get("md5").is_none());
}

#[test]
fn ignored_links_are_no_items() {
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv", "links": "Ignore"}]));
    host.write("/srv/file", "1");
    host.link("file", "/srv/link");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 2);
    host.link("file", "/srv/second");
    host.remove("/srv/link");
    assert!(host.compare().lines.is_empty());
}

#[test]
fn what_is_behind_a_link_in_the_path_is_walked_once_under_its_real_path() {
    let mut host = Host::new(json!([{"name": "bin", "path": "/bin"}, {"name": "usr-bin", "path": "/usr/bin"}]));
    host.write("/usr/bin/tool", "1");
    host.link("usr/bin", "/bin");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3, "/bin, /usr/bin and the tool");
    host.write("/usr/bin/tool", "22");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /usr/bin/tool Content,Size"]);
    assert_eq!(seen.only()["rules"], json!(["r/bin", "r/usr-bin"]));
}

#[test]
fn a_link_in_an_excludes_path_is_resolved_likewise() {
    let mut host = Host::new(json!([{"name": "usr", "path": "/usr", "exclude": ["/bin/secret*"]}]));
    host.write("/usr/bin/tool", "1");
    host.write("/usr/bin/secret1", "1");
    host.link("usr/bin", "/bin");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3);
}

#[test]
fn an_excluded_directory_that_becomes_a_link_stays_excluded() {
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv", "exclude": ["/srv/cache/**"]}]));
    host.write("/srv/cache/a", "1");
    host.write("/srv/b", "1");
    host.compare();
    host.remove("/srv/cache");
    host.link("elsewhere", "/srv/cache");
    host.write("/srv/b", "22");
    assert_eq!(host.compare().told(), ["Modified /srv/b Content,Size"]);
    assert_eq!(host.standing().totals.tracked, 2);
}

#[test]
fn a_prefix_link_that_is_retargeted_is_a_change_of_the_link_and_a_new_baseline_behind_it() {
    let mut host = Host::new(json!([{"name": "app", "path": "/opt/app"}]));
    host.write("/opt/app-1/tool", "1");
    host.write("/opt/app-2/tool", "2");
    host.link("app-1", "/opt/app");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3);
    host.remove("/opt/app");
    host.link("/opt/app-2", "/opt/app");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /opt/app LinkTarget"]);
    let applied = seen.notices("ConfigurationApplied");
    assert_eq!((&applied[0]["itemsAdded"], &applied[0]["itemsForgotten"]), (&json!(2), &json!(2)));
    host.write("/opt/app-2/tool", "33");
    assert_eq!(host.compare().told(), ["Modified /opt/app-2/tool Content,Size"]);
}

#[test]
fn a_prefix_link_that_becomes_a_directory_is_a_change_of_type() {
    let mut host = Host::new(json!([{"name": "app", "path": "/opt/app"}]));
    host.write("/opt/app-1/tool", "1");
    host.link("app-1", "/opt/app");
    host.compare();
    host.remove("/opt/app");
    host.write("/opt/app/evil", "1");
    let told = host.compare().told();
    assert!(told.len() == 1 && told[0].starts_with("Modified /opt/app LinkTarget,Mode,Type"), "{told:?}");
    assert_eq!(host.standing().totals.tracked, 2);
    host.remove("/opt/app");
    let told = host.compare().told();
    assert_eq!(told, ["Removed /opt/app", "Removed /opt/app/evil"]);
}

#[test]
fn a_loop_of_links_in_a_path_ends() {
    let mut host = Host::new(json!([
        {"name": "loop", "path": "/a/x/**"},
        {"name": "self", "path": "/self/file"},
        {"name": "grows", "path": "/grows/file"},
        {"name": "fine", "path": "/fine"},
    ]));
    host.link("b", "/a");
    host.link("a", "/b");
    host.link("self", "/self");
    host.link("grows/grows/grows/grows", "/grows");
    host.write("/fine", "1");
    host.compare();
    host.write("/fine", "22");
    assert_eq!(host.compare().told(), ["Modified /fine Content,Size"]);
}

#[test]
fn a_link_above_the_host_root_stays_inside_it() {
    let mut host = Host::new(json!([{"name": "up", "path": "/up/etc/passwd"}]));
    host.write("/etc/passwd", "1");
    host.link("../../../../..", "/up");
    host.compare();
    host.write("/etc/passwd", "22");
    assert_eq!(host.compare().told(), ["Modified /etc/passwd Content,Size"]);
}

#[test]
fn a_hard_link_changes_under_every_name_that_is_tracked() {
    let mut host = Host::new(json!([{"name": "srv", "path": "/srv"}]));
    host.write("/srv/one", "1");
    std::fs::hard_link(host.at("/srv/one"), host.at("/srv/two")).unwrap();
    std::fs::hard_link(host.at("/srv/one"), host.at("/outside")).unwrap();
    host.compare();
    host.write("/outside", "22");
    assert_eq!(host.compare().told(), ["Modified /srv/one Content,Size", "Modified /srv/two Content,Size"]);
    host.remove("/outside");
    assert!(host.compare().lines.is_empty(), "the number of links is compared only when it is asked for");
}

#[test]
fn a_directory_that_becomes_a_link_loses_what_was_in_it() {
    let mut host = Host::new(everything());
    host.write("/dir/a", "1");
    host.write("/other/a", "1");
    host.compare();
    host.remove("/dir");
    host.link("other", "/dir");
    let told = host.compare().told();
    assert!(told.len() == 2 && told[0].starts_with("Modified /dir LinkTarget,Mode"), "{told:?}");
    assert_eq!(told[1], "Removed /dir/a");
}

/// A rule that ignores links and one that records them, on one tree.
fn two_rules() -> Host {
    let mut host = Host::new(json!([]));
    let ignoring = rule("a", json!([{"name": "e", "path": "/srv", "links": "Ignore", "severity": "Critical"}]));
    let recording = rule("b", json!([{"name": "e", "path": "/srv", "severity": "Info"}]));
    host.set_rules(vec![ignoring, recording]);
    host
}

/// What each rule tracks, and all together.
fn tracked(host: &mut Host) -> (u64, u64, u64) {
    let totals = host.standing().totals;
    (totals.rules[0].tracked, totals.rules[1].tracked, totals.tracked)
}

#[test]
fn what_becomes_of_a_link_is_told_and_counted_only_for_entries_that_do_not_ignore_links() {
    let mut host = two_rules();
    host.write("/srv/file", "1");
    host.mkdir("/srv/d");
    for link in ["retargeted", "gone", "d/gone"] {
        host.link("old", &format!("/srv/{link}"));
    }
    host.compare();
    assert_eq!(tracked(&mut host), (3, 6, 6));
    host.remove("/srv/retargeted");
    host.link("new", "/srv/retargeted");
    host.remove("/srv/gone");
    host.remove("/srv/d/gone");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Modified /srv/retargeted LinkTarget", "Removed /srv/d/gone", "Removed /srv/gone"]);
    let of = |change: &&serde_json::Value| (&change["rules"], &change["severity"]) == (&json!(["b/e"]), &json!("Info"));
    assert!(seen.changes().iter().all(of), "{:?}", seen.changes());
    assert_eq!(tracked(&mut host), (3, 4, 4));
}

#[test]
fn a_link_that_goes_with_its_directory_is_nothing_to_who_ignores_links() {
    let mut host = two_rules();
    host.write("/srv/d/file", "1");
    host.link("old", "/srv/d/link");
    host.compare();
    host.remove("/srv/d");
    let seen = host.compare();
    assert_eq!(seen.told(), ["Removed /srv/d", "Removed /srv/d/file", "Removed /srv/d/link"]);
    let both = |change: &&&serde_json::Value| change["rules"] == json!(["a/e", "b/e"]);
    let (both, one): (Vec<_>, Vec<_>) = seen.changes().into_iter().partition(|change| both(&change));
    assert_eq!((both.len(), &one[0]["path"], &one[0]["rules"]), (2, &json!("/srv/d/link"), &json!(["b/e"])));
    assert_eq!(tracked(&mut host), (1, 1, 1));
}

#[test]
fn a_link_that_an_entry_names_and_that_is_gone_is_nothing_to_who_ignores_links() {
    let mut host = Host::new(json!([]));
    // So that the directory is not listed.
    let named = "/{srv,opt}/{link,other}";
    host.set_rules(vec![
        rule("a", json!([{"name": "e", "path": named, "links": "Ignore"}])),
        rule("b", json!([{"name": "e", "path": named}])),
    ]);
    host.link("old", "/srv/link");
    host.compare();
    assert_eq!(tracked(&mut host), (0, 1, 1));
    host.remove("/srv/link");
    assert_eq!(host.compare().only()["rules"], json!(["b/e"]));
    assert_eq!(tracked(&mut host), (0, 0, 0));
}

#[test]
fn a_file_that_becomes_a_link_and_a_link_that_becomes_a_file_are_told_to_who_ignores_links_and_counted() {
    let mut host = two_rules();
    host.write("/srv/file", "1");
    host.link("old", "/srv/link");
    host.compare();
    assert_eq!(tracked(&mut host), (2, 3, 3));
    host.remove("/srv/file");
    host.link("new", "/srv/file");
    assert_eq!(host.compare().only()["rules"], json!(["a/e", "b/e"]));
    assert_eq!(tracked(&mut host), (1, 3, 3));
    host.remove("/srv/link");
    host.write("/srv/link", "1");
    assert_eq!(host.compare().only()["rules"], json!(["a/e", "b/e"]));
    assert_eq!(tracked(&mut host), (2, 3, 3));
    assert!(host.compare().lines.is_empty());
}

#[test]
fn links_on_the_way_of_a_path_that_leads_elsewhere_again_and_again_do_not_become_ever_more_items() {
    let mut host = Host::new(json!([{"name": "current", "path": "/current"}]));
    host.mkdir("/end");
    for round in 0..8 {
        for at in 1..38 {
            host.link(&format!("/chain{round}/{at}"), &format!("/chain{round}/{}", at - 1));
        }
        host.link("/end", &format!("/chain{round}/37"));
        if round > 0 {
            host.remove("/current");
        }
        host.link(&format!("/chain{round}/0"), "/current");
        host.compare();
    }
    // 256 of the 305 links, and what lies behind them.
    assert_eq!(host.standing().totals.tracked, 257);
    host.remove("/chain7/20");
    host.link("/elsewhere", "/chain7/20");
    assert_eq!(host.compare().told(), ["Modified /chain7/20 LinkTarget"]);
}
