//! Time: what came and went between two looks, what changed during one, and what changed while nobody looked.
use std::fs;

use serde_json::{Value, json};

use crate::{
    scene::{Scene, srv, tell},
    service::Service,
};

#[test]
fn what_is_made_changed_and_deleted_between_two_scans_is_nothing() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    scene.write("/srv/brief", "1");
    scene.write("/srv/brief", "22");
    scene.write("/srv/d/brief", "1");
    scene.remove("/srv/brief");
    scene.remove("/srv/d");
    scene.scan().nothing();
}

#[test]
fn what_changes_during_the_first_scan_is_in_the_baseline_or_told_after_it() {
    let scene = Scene::new(srv());
    let paths: Vec<_> = (0..300).map(|number| format!("/srv/f{number}")).collect();
    paths.iter().for_each(|path| scene.write(path, "0"));
    // Read to its end before the scan ends, so that what is changed meanwhile is changed in mid-scan.
    fs::File::create(scene.at("/srv/large")).unwrap().set_len(200 << 20).unwrap();
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    paths.iter().for_each(|path| scene.write(path, "1"));
    scene.write("/srv/new", "1");
    let first = scan.end();
    assert_eq!(first.told(), Vec::<String>::new(), "the first scan tells of nothing");
    scene.scan();
    scene.scan().nothing();
    paths.iter().for_each(|path| scene.write(path, "2"));
    scene.write("/srv/new", "2");
    let seen = scene.scan();
    assert_eq!(seen.changes().len(), 301);
    let md5_of_1 = "c4ca4238a0b923820dcc509a6f75849b";
    let known = |change: &&Value| change["before"]["md5"] == md5_of_1;
    assert!(seen.changes().iter().all(known), "each was known as it was after the first scan");
}

#[test]
fn what_changes_while_a_scan_reads_is_told_by_it_or_by_the_next_and_once() {
    let scene = Scene::with(srv(), &[("/srv/large", ""), ("/srv/a", "0"), ("/srv/z/z", "0")]);
    fs::File::options().write(true).open(scene.at("/srv/large")).unwrap().set_len(200 << 20).unwrap();
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    scene.write("/srv/a", "11");
    scene.remove("/srv/z");
    let mut told = [scan.end().told(), scene.told()].concat();
    told.sort();
    let expected =
        ["Modified /srv/a Content,Size", "Modified /srv/large Content,Size", "Removed /srv/z", "Removed /srv/z/z"];
    assert_eq!(told, expected);
    scene.scan().nothing();
}

#[test]
fn a_file_that_is_written_while_it_is_read_is_told_as_it_stands_in_the_end() {
    let scene = Scene::with(srv(), &[("/srv/large", "")]);
    let file = fs::File::options().write(true).open(scene.at("/srv/large")).unwrap();
    file.set_len(200 << 20).unwrap();
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    scene.write("/srv/large", "1");
    let last = [scan.end(), scene.scan()].into_iter().rfind(|seen| !seen.changes().is_empty()).unwrap();
    assert_eq!(last.changes()[0]["after"]["md5"], "c4ca4238a0b923820dcc509a6f75849b");
    scene.scan().nothing();
}

#[test]
fn what_changes_while_the_agent_is_down_is_told_at_its_start_and_marked() {
    let scene = Scene::new(srv());
    for (path, content) in [("/srv/file", "1"), ("/srv/gone", "1"), ("/srv/moved", "1")] {
        scene.write(path, content);
    }
    scene.link("/srv/link", "one");
    let service = Service::start(&scene);
    service.baseline();
    service.end();
    scene.write("/srv/file", "22");
    scene.write("/srv/new", "1");
    scene.remove("/srv/gone");
    scene.rename("/srv/moved", "/srv/here");
    scene.link("/srv/link", "two");
    let service = Service::start(&scene);
    let told = [
        "Added /srv/here <- /srv/moved",
        "Added /srv/new",
        "Modified /srv/file Content,Size",
        "Modified /srv/link LinkTarget",
        "Removed /srv/gone",
        "Removed /srv/moved -> /srv/here",
    ];
    let changes = service.changes(told.len());
    let mut words: Vec<String> = changes.iter().map(tell).collect();
    words.sort();
    assert_eq!(words, told);
    assert!(changes.iter().all(|change| change["detection"] == "Startup"), "{changes:?}");
    let started = service.notices("Started");
    assert_eq!(started.len(), 2);
    assert!(started[1]["stoppedSince"].is_string(), "it says since when nobody watched: {}", started[1]);
    service.end();
}

#[test]
fn what_an_agent_that_was_killed_did_not_see_is_told_at_its_next_start_once() {
    let scene = Scene::new(srv());
    scene.write("/srv/file", "1");
    let service = Service::start(&scene);
    service.baseline();
    service.kill();
    scene.write("/srv/file", "22");
    let service = Service::start(&scene);
    let changes = service.changes(1);
    assert_eq!(
        (tell(&changes[0]).as_str(), &changes[0]["detection"]),
        ("Modified /srv/file Content,Size", &json!("Startup"))
    );
    service.kill();
    let service = Service::start(&scene);
    service.compared();
    assert_eq!(service.changes(1).len(), 1);
    service.end();
}

#[test]
fn what_changes_between_two_configurations_is_told_where_it_was_watched_and_baselined_where_it_was_not() {
    let scene = Scene::with(srv(), &[("/srv/file", "1"), ("/opt/file", "1")]);
    scene.write("/srv/file", "22");
    scene.write("/srv/new", "1");
    scene.write("/opt/file", "22");
    scene.entries(json!([{"name": "other", "path": "/srv"}, {"name": "opt", "path": "/opt"}]));
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Added /srv/new", "Modified /srv/file Content,Size"]);
    assert_eq!(seen.changes()[0]["rules"], json!(["web/other"]), "by the entries that hold now");
    let notice = seen.notices("ConfigurationApplied")[0];
    assert_eq!(notice["itemsAdded"], 2, "/opt and its file: {notice}");
    scene.scan().nothing();
}

#[test]
fn another_time_zone_changes_nothing() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    scene.link("/etc/localtime", "/usr/share/zoneinfo/Asia/Tokyo");
    for zone in ["Pacific/Kiritimati", "America/St_Johns", "", "nonsense"] {
        let mut scan = scene.agent("scan");
        scan.env("TZ", zone);
        scene.scan_by(scan).nothing();
    }
    scene.write("/srv/file", "22");
    let mut scan = scene.agent("scan");
    scan.env("TZ", "Asia/Tokyo");
    let seen = scene.scan_by(scan);
    let change = seen.only("Modified /srv/file Content,Size");
    for time in [&change["time"], &change["since"], &change["after"]["modified"]] {
        assert!(time.as_str().unwrap().ends_with('Z'), "{change}");
    }
}

#[test]
fn times_before_1970_and_far_ahead_are_times() {
    let scene =
        Scene::with(json!([{"name": "srv", "path": "/srv", "compare": ["ModifiedTime"]}]), &[("/srv/file", "1")]);
    for date in ["1969-12-31T23:59:59.5Z", "1903-01-01T00:00:00Z", "2200-01-01T00:00:00Z"] {
        crate::run("touch", &["-d".as_ref(), date.as_ref(), scene.at("/srv/file").as_os_str()]);
        let seen = scene.scan();
        let modified = seen.only("Modified /srv/file ModifiedTime")["after"]["modified"].as_str().unwrap().to_owned();
        assert!(modified.starts_with(date.trim_end_matches('Z')), "{modified}");
    }
    scene.scan().nothing();
}

#[test]
fn what_is_unknown_in_one_place_does_not_age_what_is_told_of_another() {
    let scene = Scene::with_own_mounts(srv());
    scene.write("/srv/a", "1");
    scene.write("/srv/data/file", "1");
    scene.baseline();
    scene.mount("/srv/data", &["-t", "tmpfs", "cover"]);
    assert_eq!(scene.told(), ["Modified /srv/data Mount"]);
    scene.remove("/srv/a");
    let removed = scene.scan().only("Removed /srv/a")["time"].clone();
    scene.write("/srv/a", "1");
    let seen = scene.scan();
    assert!(seen.err.contains("is unknown"), "{}", seen.err);
    let added = seen.only("Added /srv/a")["since"].clone();
    assert!(
        added.as_str().unwrap() < removed.as_str().unwrap(),
        "the look that found it gone began before it was told"
    );
    scene.write("/srv/a", "22");
    let modified = scene.scan().only("Modified /srv/a Content,Size")["since"].clone();
    assert!(modified.as_str().unwrap() > removed.as_str().unwrap(), "{modified}");
    scene.unmount("/srv/data");
}
