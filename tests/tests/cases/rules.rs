//! Rules: what an entry selects, what it does not blind, and what is refused with a sentence.
use serde_json::{Value, json};

use crate::scene::{NOBODY, Scene, rule, srv};

/// Which of these files a change is told of under these entries.
fn told_of(entries: Value, files: &[&str]) -> Vec<String> {
    let scene = Scene::with(entries, &files.iter().map(|file| (*file, "1")).collect::<Vec<_>>());
    files.iter().for_each(|file| scene.write(file, "22"));
    let told = scene.told();
    let path =
        |told: &String| told.strip_prefix("Modified ").unwrap().strip_suffix(" Content,Size").unwrap().to_owned();
    told.iter().map(path).collect()
}

#[test]
fn an_exclude_beats_the_path_within_its_entry() {
    let files = ["/srv/a", "/srv/a.swp", "/srv/d/b.swp", "/srv/private/key", "/srv/private.txt", "/srv/d/private/x"];
    let with = |exclude: Value| told_of(json!([{"name": "srv", "path": "/srv", "exclude": exclude}]), &files);
    assert_eq!(with(json!(["*.swp"])), ["/srv/a", "/srv/d/private/x", "/srv/private.txt", "/srv/private/key"]);
    assert_eq!(with(json!(["private"])), ["/srv/a", "/srv/a.swp", "/srv/d/b.swp", "/srv/private.txt"]);
    let by_path = with(json!(["/srv/private", "/srv/*.swp"]));
    assert_eq!(by_path, ["/srv/a", "/srv/d/b.swp", "/srv/d/private/x", "/srv/private.txt"]);
    assert_eq!(with(json!(["/srv/**"])), Vec::<String>::new());
    let exact = told_of(json!([{"name": "a", "path": "/srv/a", "exclude": ["/srv/a"]}]), &files);
    assert_eq!(exact, Vec::<String>::new());
}

#[test]
fn an_exclude_blinds_neither_another_rule_nor_another_entry() {
    let scene = Scene::new(json!([]));
    let narrow =
        json!([{"name": "all", "path": "/srv", "exclude": ["private"]}, {"name": "key", "path": "/srv/private/key"}]);
    scene.rules(&[rule("a", narrow), rule("b", json!([{"name": "private", "path": "/srv/private"}]))]);
    ["/srv/private/key", "/srv/private/other"].iter().for_each(|file| scene.write(file, "1"));
    scene.baseline();
    ["/srv/private/key", "/srv/private/other"].iter().for_each(|file| scene.write(file, "22"));
    let seen = scene.scan();
    let rules = |path: &str| seen.changes().iter().find(|change| change["path"] == path).unwrap()["rules"].clone();
    assert_eq!(rules("/srv/private/key"), json!(["a/key", "b/private"]));
    assert_eq!(rules("/srv/private/other"), json!(["b/private"]));
}

#[test]
fn patterns_mean_what_they_say() {
    let files = [
        "/e/a.conf",
        "/e/.hidden.conf",
        "/e/aXconf",
        "/e/d/b.conf",
        "/e/d/e/c.conf",
        "/e/x1",
        "/e/x2",
        "/e/x10",
        "/e/y",
        "/e/*",
        "/e/[",
        "/e/{a,b}",
        "/e/]",
    ];
    for (path, selected) in [
        ("/e/*.conf", vec!["/e/.hidden.conf", "/e/a.conf"]),
        ("/e/*/*.conf", vec!["/e/d/b.conf"]),
        ("/e/**/*.conf", vec!["/e/.hidden.conf", "/e/a.conf", "/e/d/b.conf", "/e/d/e/c.conf"]),
        ("/**/e/*.conf", vec!["/e/.hidden.conf", "/e/a.conf", "/e/d/e/c.conf"]),
        ("/e/a.conf", vec!["/e/a.conf"]),
        ("/e/a?conf", vec!["/e/a.conf", "/e/aXconf"]),
        ("/e/x?", vec!["/e/x1", "/e/x2"]),
        ("/e/x[12]", vec!["/e/x1", "/e/x2"]),
        ("/e/x[0-1]", vec!["/e/x1"]),
        ("/e/[!a-x.]", vec!["/e/*", "/e/[", "/e/]", "/e/y"]),
        ("/e/{x1,y,nothing}", vec!["/e/x1", "/e/y"]),
        ("/e/{x,}1*", vec!["/e/x1", "/e/x10"]),
        ("/e/[*]", vec!["/e/*"]),
        ("/e/[[]", vec!["/e/["]),
        ("/e/[{]a,b}", vec!["/e/{a,b}"]),
        ("/e/]", vec!["/e/]"]),
        ("/E/*.conf", vec![]),
        ("/e/a.conf/deeper", vec![]),
    ] {
        assert_eq!(told_of(json!([{"name": "e", "path": path}]), &files), selected, "{path}");
    }
}

#[test]
fn a_directory_that_matches_brings_what_lies_under_it_as_deep_as_its_entry_says() {
    let files = ["/srv/one/a", "/srv/one/two/b", "/srv/one/two/three/c"];
    for (setting, selected) in [
        (json!({}), files.to_vec()),
        (json!({"maxDepth": 2}), vec!["/srv/one/a", "/srv/one/two/b"]),
        (json!({"maxDepth": 1}), vec!["/srv/one/a"]),
        (json!({"recurse": false}), vec!["/srv/one/a"]),
        (json!({"maxDepth": 0}), vec![]),
        (json!({"enabled": false}), vec![]),
    ] {
        let mut entry = json!({"name": "e", "path": "/srv/*"});
        entry.as_object_mut().unwrap().extend(setting.as_object().unwrap().clone());
        assert_eq!(told_of(json!([entry, {"name": "none", "path": "/none"}]), &files), selected, "{setting}");
    }
}

#[test]
fn an_excluded_directory_is_not_walked() {
    let scene = Scene::new(json!([{"name": "srv", "path": "/srv", "exclude": ["cache", "/srv/tmp/**", "/srv/a/b/c"]}]));
    scene.write("/srv/file", "1");
    // Who went in would have to say that nothing can be seen there.
    for directory in ["/srv/cache", "/srv/d/cache", "/srv/tmp", "/srv/a/b/c"] {
        scene.write(&format!("{directory}/file"), "1");
        scene.chown(directory, NOBODY, 0);
        scene.chmod(directory, 0o700);
    }
    scene.scan_without_rights().nothing();
    scene.chown("/srv/d", NOBODY, 0);
    scene.chmod("/srv/d", 0o700);
    let seen = scene.scan_without_rights();
    assert_eq!(seen.unknown().len(), 1, "one that is not excluded is missed: {}", seen.err);
}

#[test]
fn an_impossible_pattern_is_refused_by_entry_and_the_state_stays_as_it_was() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    scene.write("/srv/file", "22");
    scene.entries(json!([{"name": "fine", "path": "/srv"}, {"name": "odd", "path": "/srv/[z-a]"}]));
    let refused = scene.scan();
    assert_eq!((refused.exit, refused.lines.len()), (2, 0));
    assert!(refused.err.contains("odd"), "{}", refused.err);
    scene.entries(srv());
    scene.scan().only("Modified /srv/file Content,Size");
}

#[test]
fn a_glob_that_starts_to_match_later_adds_what_it_finds() {
    let scene =
        Scene::new(json!([{"name": "conf", "path": "/opt/*/etc/*.conf"}, {"name": "none", "path": "/not/there/*.d"}]));
    scene.mkdir("/opt");
    scene.baseline();
    scene.write("/opt/app/etc/a.conf", "1");
    scene.write("/not/there/yet.d/file", "1");
    let told = ["Added /not/there/yet.d", "Added /not/there/yet.d/file", "Added /opt/app/etc/a.conf"];
    assert_eq!(scene.told(), told);
    scene.rename("/opt/app/etc/a.conf", "/opt/app/etc/a.txt");
    scene.scan().only("Removed /opt/app/etc/a.conf");
    scene.rename("/opt/app", "/opt/other");
    scene.rename("/opt/other/etc/a.txt", "/opt/other/etc/b.conf");
    scene.scan().only("Added /opt/other/etc/b.conf");
}

#[test]
fn a_path_that_cannot_be_meant_is_refused_with_a_sentence() {
    for (entry, sentence) in [
        (json!({"path": "etc/passwd"}), "a path is absolute: begin it with /"),
        (json!({"path": "~/x"}), "~"),
        (json!({"path": "/home/../etc"}), ".."),
        (json!({"path": "/./etc"}), "."),
        (json!({"path": "/etc/"}), "/"),
        (json!({"path": "/etc//passwd"}), "/"),
        (json!({"path": "/home/$USER"}), "$"),
        (json!({"path": "/${HOME}"}), "$"),
        (json!({"path": "/etc/a**"}), "**"),
        (json!({"path": "/etc/[a"}), "["),
        (json!({"path": "/etc/{a"}), "{"),
        (json!({"path": ""}), ""),
        (json!({"path": "/etc", "exclude": ["a/b"]}), "absolute"),
        (json!({"path": "/etc", "exclude": ["/a/../b"]}), ".."),
        (json!({"path": "/etc", "maxDepth": 3, "recurse": false}), "recurse"),
        (json!({"path": "/etc", "compare": []}), "compare"),
        (json!({"path": "/etc", "hashes": []}), "hashes"),
    ] {
        let mut named = json!({"name": "the-entry"});
        named.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
        let scene = Scene::new(json!([named]));
        let seen = scene.scan();
        assert_eq!((seen.exit, seen.lines.len()), (2, 0), "{entry}: {}", seen.err);
        assert!(seen.err.contains("the-entry") && seen.err.contains(sentence), "{entry}: {}", seen.err);
        assert!(!scene.path("state").exists(), "{entry}: nothing was begun");
    }
}

#[test]
fn what_two_entries_cover_is_told_once_by_those_whose_own_compare_found_it() {
    let scene = Scene::new(json!([]));
    let entry = |name: &str, compare: &str, severity: &str| json!({"name": name, "path": "/etc/passwd", "compare": [compare], "severity": severity});
    let mut low = rule("low", json!([entry("mode", "Mode", "Low"), entry("content", "Content", "High")]));
    low["spec"]["tags"] = json!(["b", "a"]);
    let mut high = rule("high", json!([entry("mode", "Mode", "Critical")]));
    high["spec"]["tags"] = json!(["c", "a"]);
    scene.rules(&[low, high]);
    scene.write("/etc/passwd", "1");
    scene.baseline();
    let by = |change: &Value| [&change["rules"], &change["severity"], &change["tags"]].map(Value::clone);
    scene.write("/etc/passwd", "22");
    let seen = scene.scan();
    let told = by(seen.only("Modified /etc/passwd Content,Size"));
    assert_eq!(told, [json!(["low/content"]), json!("High"), json!(["a", "b"])]);
    scene.chmod("/etc/passwd", 0o600);
    let seen = scene.scan();
    let told = by(seen.only("Modified /etc/passwd Mode"));
    assert_eq!(told, [json!(["high/mode", "low/mode"]), json!("Critical"), json!(["a", "b", "c"])]);
}

#[test]
fn a_rule_that_is_removed_takes_its_items_along_and_nothing_is_called_removed() {
    let scene = Scene::new(json!([]));
    let [one, two] =
        [("one", "/srv"), ("two", "/opt")].map(|(name, path)| rule(name, json!([{"name": "all", "path": path}])));
    scene.rules(&[one.clone(), two.clone()]);
    ["/srv/file", "/opt/file"].iter().for_each(|file| scene.write(file, "1"));
    scene.baseline();
    scene.rules(&[two]);
    ["/srv/file", "/opt/file"].iter().for_each(|file| scene.remove(file));
    let seen = scene.scan();
    seen.only("Removed /opt/file");
    assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsForgotten"], 2);
    scene.scan().nothing();
}
