//! Baselines: the first run, one that was killed, a node that starts anew, and a state that is deleted.
use std::fs;

use serde_json::json;

use crate::{
    scene::{Scene, srv},
    service::Service,
};

#[test]
fn the_first_run_makes_the_baseline_says_so_and_tells_of_nothing() {
    let scene = Scene::new(srv());
    ["/srv/a", "/srv/d/b"].iter().for_each(|path| scene.write(path, "1"));
    let seen = scene.scan();
    assert_eq!((seen.exit, seen.changes().len()), (0, 0));
    assert_eq!(seen.notices("BaselineMade")[0]["items"], 4);
    let applied = seen.notices("ConfigurationApplied");
    assert!(seen.err.starts_with("baseline made: 4 items, "), "{}", seen.err);
    assert!(applied.len() <= 1, "{applied:?}");
    let again = scene.scan();
    again.nothing();
    assert!(again.lines.is_empty() && again.err.is_empty(), "{again:?}");
}

#[test]
fn a_baseline_of_an_empty_host_says_that_nothing_is_there_to_watch() {
    let scene = Scene::new(srv());
    let seen = scene.scan();
    assert!(seen.exit == 0 && seen.err.starts_with("baseline made, but nothing is there to watch"), "{}", seen.err);
    scene.write("/srv/file", "1");
    assert_eq!(scene.told(), ["Added /srv", "Added /srv/file"]);
}

#[test]
fn a_first_run_that_is_killed_is_made_good_by_the_next_which_tells_at_most_of_what_happened_since() {
    let scene = Scene::new(srv());
    (0..200).for_each(|number| scene.write(&format!("/srv/f{number}"), "1"));
    fs::File::create(scene.at("/srv/large")).unwrap().set_len(200 << 20).unwrap();
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    assert_eq!(scan.kill(), Vec::<String>::new());
    (0..100).for_each(|number| scene.write(&format!("/srv/f{number}"), "22"));
    scene.write("/srv/new", "1");
    let seen = scene.scan();
    // What the killed run had looked at is known, and compared.
    let mut since: Vec<String> = (0..100).map(|number| format!("Modified /srv/f{number} Content,Size")).collect();
    since.push("Added /srv/new".to_owned());
    assert!(seen.told().iter().all(|told| since.contains(told)), "{:?}", seen.told());
    assert_eq!(seen.notices("BaselineMade").len(), 1);
    scene.write("/srv/f0", "333");
    let seen = scene.scan();
    assert_eq!(seen.only("Modified /srv/f0 Content,Size")["before"]["size"], 2);
}

#[test]
fn a_scan_that_is_killed_is_made_good_by_the_next_and_every_change_is_told_once() {
    let scene = Scene::new(srv());
    (0..200).for_each(|number| scene.write(&format!("/srv/f{number}"), "1"));
    scene.write("/srv/large", "1");
    scene.baseline();
    (0..200).for_each(|number| scene.write(&format!("/srv/f{number}"), "22"));
    fs::File::options().write(true).open(scene.at("/srv/large")).unwrap().set_len(200 << 20).unwrap();
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    let mut told = scan.kill();
    told.extend(scene.told());
    told.sort();
    assert_eq!(told.len(), 201, "what was committed before it was killed is not lost either");
    scene.scan().nothing();
}

#[test]
fn a_scan_on_the_state_of_a_service_tells_what_it_finds_and_nothing_that_the_service_told() {
    let scene = Scene::new(srv());
    scene.write("/srv/file", "1");
    let service = Service::start(&scene);
    service.baseline();
    service.end();
    scene.write("/srv/file", "22");
    scene.goes_on_with(&scene.path("records"));
    scene.scan().only("Modified /srv/file Content,Size");
}

#[test]
fn one_node_starts_anew_and_the_others_go_on() {
    let [one, other] = [(), ()].map(|()| Scene::with(srv(), &[("/srv/file", "1")]));
    one.forget_the_state();
    let write = |content: &str| [&one, &other].iter().for_each(|scene| scene.write("/srv/file", content));
    write("22");
    one.baseline();
    other.scan().only("Modified /srv/file Content,Size");
    write("333");
    for scene in [&one, &other] {
        scene.scan().only("Modified /srv/file Content,Size");
    }
}

#[test]
fn a_rule_that_comes_later_has_a_baseline_of_its_own() {
    let scene = Scene::with(srv(), &[("/srv/file", "1"), ("/opt/file", "1")]);
    scene.entries(json!([{"name": "srv", "path": "/srv"}, {"name": "opt", "path": "/opt"}]));
    scene.write("/srv/file", "22");
    let seen = scene.scan();
    seen.only("Modified /srv/file Content,Size");
    scene.write("/opt/file", "22");
    scene.write("/opt/new", "1");
    assert_eq!(scene.told(), ["Added /opt/new", "Modified /opt/file Content,Size"]);
}

#[test]
fn what_two_scans_wrote_on_two_hosts_differs_only_in_whose_it_is() {
    let [one, other] = [(), ()].map(|()| Scene::with(srv(), &[("/srv/file", "1")]));
    let seen = [&one, &other].map(|scene| {
        scene.write("/srv/file", "22");
        scene.scan()
    });
    let [one, other] = [&seen[0], &seen[1]].map(|seen| seen.changes()[0]);
    assert_ne!(one["journal"], other["journal"]);
    for member in ["sequence", "category", "changeType", "detection", "path", "fields", "rules", "severity"] {
        assert_eq!(one[member], other[member]);
    }
}
