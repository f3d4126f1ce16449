//! Links: what they point to is told, where they lead is watched as their entry says, and no way leads out of the host.
use serde_json::{Value, json};

use crate::scene::{Scene, rule, srv};

fn linked(links: &str) -> Value {
    json!([{"name": "srv", "path": "/srv", "links": links}])
}

#[test]
fn a_retargeted_link_is_told_with_both_targets() {
    let scene = Scene::new(srv());
    scene.link("/srv/link", "/opt/v1");
    scene.baseline();
    // Relative, absolute, dangling, out of the host: a target is text.
    for (before, after) in [("/opt/v1", "/opt/v2"), ("/opt/v2", "../x"), ("../x", "."), (".", "/../../../etc/passwd")] {
        scene.link("/srv/link", after);
        let seen = scene.scan();
        let change = seen.only("Modified /srv/link LinkTarget");
        let target = |side: &str| change[side]["linkTarget"].clone();
        assert_eq!((target("before"), target("after")), (json!(before), json!(after)));
    }
    scene.link("/srv/link", "/../../../etc/passwd");
    scene.scan().nothing();
}

#[test]
fn a_dangling_link_is_an_item_like_any_other() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    scene.link("/srv/link", "nowhere");
    assert_eq!(scene.scan().only("Added /srv/link")["after"]["linkTarget"], "nowhere");
    scene.write("/srv/nowhere", "1");
    scene.scan().only("Added /srv/nowhere");
    scene.remove("/srv/nowhere");
    scene.scan().only("Removed /srv/nowhere");
    scene.remove("/srv/link");
    scene.scan().only("Removed /srv/link");
}

#[test]
fn a_link_out_of_the_tree_is_recorded_followed_or_ignored_as_its_entry_says() {
    let link = "Modified /srv/out LinkTarget";
    for (links, behind, retargeted) in [
        ("Record", vec![], vec![link]),
        ("Follow", vec!["Added /opt/d/new", "Modified /opt/d/file Content,Size"], vec![link]),
        ("Ignore", vec![], vec![]),
    ] {
        let scene = Scene::new(linked(links));
        scene.write("/opt/d/file", "1");
        scene.write("/other/file", "1");
        scene.write("/srv/own", "1");
        scene.link("/srv/out", "../opt/d");
        scene.baseline();
        scene.write("/opt/d/file", "22");
        scene.write("/opt/d/new", "1");
        assert_eq!(scene.told(), behind, "{links}");
        scene.link("/srv/out", "/other");
        assert_eq!(scene.told(), retargeted, "{links}: what it leads to now comes under watch");
        scene.write("/other/file", "22");
        let told = if links == "Follow" { vec!["Modified /other/file Content,Size"] } else { vec![] };
        assert_eq!(scene.told(), told, "{links}");
        scene.remove("/srv/out");
        let told = if links == "Ignore" { vec![] } else { vec!["Removed /srv/out"] };
        assert_eq!(scene.told(), told, "{links}: what was behind it is removed by nobody");
    }
}

#[test]
fn a_link_to_a_file_is_followed_like_one_to_a_directory() {
    let scene = Scene::new(linked("Follow"));
    scene.write("/opt/tool", "1");
    scene.link("/srv/tool", "/opt/tool");
    scene.baseline();
    scene.write("/opt/tool", "22");
    scene.scan().only("Modified /opt/tool Content,Size");
    scene.remove("/opt/tool");
    scene.scan().only("Removed /opt/tool");
}

#[test]
fn links_that_lead_in_a_circle_end() {
    for links in ["Record", "Follow", "Ignore"] {
        let scene = Scene::new(linked(links));
        scene.write("/srv/d/file", "1");
        scene.link("/srv/self", "self");
        scene.link("/srv/d/up", "..");
        scene.link("/srv/a", "b");
        scene.link("/srv/b", "a");
        scene.baseline();
        scene.write("/srv/d/file", "22");
        scene.scan().only("Modified /srv/d/file Content,Size");
    }
}

#[test]
fn no_link_leads_out_of_the_host_root() {
    let scene = Scene::new(json!([
        {"name": "srv", "path": "/srv", "links": "Follow"},
        {"name": "way", "path": "/way/secret", "links": "Follow"},
    ]));
    std::fs::write(scene.path("secret"), "outside").unwrap();
    scene.write("/secret", "the host's own");
    scene.link("/srv/relative", "../../../../../../../secret");
    scene.link("/srv/absolute", scene.path("secret").to_str().unwrap());
    scene.link("/way", "/..");
    scene.baseline();
    std::fs::write(scene.path("secret"), "changed outside").unwrap();
    scene.scan().nothing();
    scene.write("/secret", "changed");
    scene.scan().only("Modified /secret Content,Size");
}

#[test]
fn a_link_in_a_configured_path_is_an_item_and_what_is_behind_it_has_its_real_path() {
    let scene = Scene::new(json!([{"name": "bin", "path": "/bin"}, {"name": "usr", "path": "/usr/bin"}]));
    scene.write("/usr/bin/tool", "1");
    scene.write("/evil/tool", "1");
    scene.link("/bin", "usr/bin");
    scene.baseline();
    scene.write("/usr/bin/tool", "22");
    let seen = scene.scan();
    assert_eq!(seen.only("Modified /usr/bin/tool Content,Size")["rules"], json!(["web/bin", "web/usr"]));
    scene.link("/bin", "/evil");
    scene.scan().only("Modified /bin LinkTarget");
    scene.write("/evil/tool", "22");
    scene.scan().only("Modified /evil/tool Content,Size");
}

#[test]
fn a_change_through_a_hard_link_outside_is_told_of_the_name_inside() {
    let scene = Scene::new(srv());
    scene.write("/outside", "1");
    scene.mkdir("/srv");
    scene.hard_link("/outside", "/srv/inside");
    scene.baseline();
    scene.host.append("/outside", "2").unwrap();
    scene.scan().only("Modified /srv/inside Content,Size");
    scene.chmod("/outside", 0o600);
    scene.scan().only("Modified /srv/inside Mode");
    scene.remove("/outside");
    scene.scan().nothing();
}

#[test]
fn a_change_through_one_hard_link_is_told_of_each_name_that_is_watched() {
    let scene = Scene::with(srv(), &[("/srv/one", "1")]);
    scene.hard_link("/srv/one", "/srv/two");
    scene.scan().only("Added /srv/two");
    scene.write("/srv/two", "22");
    assert_eq!(scene.told(), ["Modified /srv/one Content,Size", "Modified /srv/two Content,Size"]);
    // Written anew, it is no longer the same file.
    scene.remove("/srv/one");
    scene.write("/srv/one", "22");
    scene.scan().nothing();
    scene.write("/srv/two", "333");
    scene.scan().only("Modified /srv/two Content,Size");
}

#[test]
fn a_file_under_two_rules_or_two_names_is_read_once() {
    let scene = Scene::new(json!([]));
    scene.rules(&[
        rule("one", json!([{"name": "all", "path": "/srv"}])),
        rule(
            "two",
            json!([{"name": "one", "path": "/srv/one"}, {"name": "two", "path": "/srv/two", "hashes": ["Md5"]}]),
        ),
    ]);
    scene.write("/srv/one", &"x".repeat(1 << 20));
    scene.hard_link("/srv/one", "/srv/two");
    let seen = scene.baseline();
    assert!(seen.err.contains("baseline made: 3 items, 1.0 MiB read in "), "{}", seen.err);
    scene.chmod("/srv/one", 0o600);
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Modified /srv/one Mode", "Modified /srv/two Mode"]);
    assert_eq!(seen.changes()[0]["rules"], json!(["one/all", "two/one"]));
    assert_eq!(seen.changes()[0]["after"]["sha256"], seen.changes()[1]["after"]["sha256"]);
}

#[test]
fn a_large_file_under_two_names_is_read_once() {
    let scene = Scene::new(srv());
    scene.write("/srv/one", &"x".repeat(3 << 20));
    scene.hard_link("/srv/one", "/srv/two");
    let seen = scene.baseline();
    assert!(seen.err.contains("baseline made: 3 items, 3.0 MiB read in "), "{}", seen.err);
}
