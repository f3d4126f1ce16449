//! Mounts: what they show is watched or not as an entry says, what they cover is removed by nobody, and none can hold up a scan.
use std::fs;

use serde_json::{Value, json};

use crate::{
    fuse::{Fault, FaultyMount, Operation},
    scene::{Scene, srv},
};

/// A host with a file at `/srv/data/file`, an own file system at `/disk` with another one, and what is watched.
fn scene(entries: Value) -> Scene {
    let scene = Scene::with_own_mounts(entries);
    scene.write("/srv/data/file", "1");
    scene.mount("/disk", &["-t", "tmpfs", "disk"]);
    scene.write("/disk/file", "disk");
    scene.baseline();
    scene
}

#[test]
fn a_bind_mount_inside_the_tree_is_watched_where_it_shows() {
    let scene = scene(json!([{"name": "srv", "path": "/srv"}, {"name": "disk", "path": "/disk"}]));
    scene.bind("/disk", "/srv/data");
    let seen = scene.scan();
    let change = seen.only("Modified /srv/data Mount");
    assert_eq!(change["after"]["mount"], json!({"source": "disk", "fileSystem": "tmpfs", "root": "/"}));
    scene.write("/disk/file", "changed");
    assert_eq!(scene.told(), ["Modified /disk/file Content,Size", "Modified /srv/data/file Content,Size"]);
    scene.unmount("/srv/data");
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Modified /srv/data Mount"], "what lay beneath has not changed");
    scene.scan().nothing();
}

#[test]
fn a_file_system_of_the_baseline_that_is_not_mounted_any_more_is_unknown_until_it_is_excluded() {
    let scene = Scene::with_own_mounts(srv());
    scene.write("/disk/file", "disk");
    scene.mkdir("/srv/data");
    scene.bind("/disk", "/srv/data");
    scene.baseline();
    scene.unmount("/srv/data");
    assert_eq!(scene.scan().told(), ["Modified /srv/data Mount"]);
    let seen = scene.scan();
    assert_eq!((seen.exit, seen.told()), (3, vec![]));
    let sentence = "/srv/data: the file system that its items lie on is not mounted there";
    assert!(seen.unknown()[0].starts_with(sentence), "{}", seen.err);
    scene.entries(json!([{"name": "srv", "path": "/srv", "exclude": ["/srv/data"]}]));
    scene.scan().nothing();
}

#[test]
fn a_bind_mount_over_a_file_is_one_change_and_its_end_another() {
    let scene = scene(srv());
    scene.write("/evil", "evil");
    scene.bind("/evil", "/srv/data/file");
    let seen = scene.scan();
    let change = seen.only("Modified /srv/data/file Mount");
    assert_eq!((change["before"].get("mount"), &change["after"]["size"]), (None, &json!(4)));
    scene.write("/evil", "worse than that");
    scene.scan().only("Modified /srv/data/file Content,Size");
    scene.unmount("/srv/data/file");
    assert_eq!(scene.scan().only("Modified /srv/data/file Mount")["after"]["size"], 1);
    scene.scan().nothing();
    scene.write("/srv/data/file", "22");
    scene.scan().only("Modified /srv/data/file Content,Size");
    scene.bind("/evil", "/srv/data/file");
    scene.scan().only("Modified /srv/data/file Mount");
}

#[test]
fn what_a_mount_covers_is_unknown_and_compared_when_it_shows_again() {
    let scene = scene(srv());
    scene.bind("/srv", "/beneath");
    scene.mount("/srv/data", &["-t", "tmpfs", "other"]);
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Modified /srv/data Mount"]);
    assert!(seen.err.contains("is unknown"), "{}", seen.err);
    scene.write("/beneath/data/file", "changed beneath");
    let seen = scene.scan();
    assert_eq!((seen.exit, seen.told()), (3, vec![]));
    scene.write("/srv/data/shown", "1");
    assert_eq!(scene.told(), ["Added /srv/data/shown"]);
    scene.unmount("/srv/data");
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Modified /srv/data Mount", "Modified /srv/data/file Content,Size"]);
    scene.scan().nothing();
}

#[test]
fn a_mount_that_was_there_at_the_baseline_is_no_news_and_its_end_removes_nothing() {
    let scene = Scene::with_own_mounts(srv());
    scene.mount("/srv/data", &["-t", "ramfs", "data"]);
    scene.mount("/srv/tmp", &["-t", "tmpfs", "data"]);
    scene.write("/srv/tmp/file", "1");
    scene.baseline();
    scene.scan().nothing();
    scene.unmount("/srv/tmp");
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Modified /srv/tmp Mount"]);
    scene.scan().nothing();
}

#[test]
fn one_file_system_after_another_at_one_place_is_told_each_time() {
    let scene = scene(srv());
    for source in ["first", "second", "third"] {
        scene.mount("/srv/data", &["-t", "tmpfs", source]);
        scene.write("/srv/data/file", source);
        let seen = scene.scan();
        assert_eq!(seen.only("Modified /srv/data Mount")["after"]["mount"]["source"], source);
        scene.unmount("/srv/data");
    }
    assert_eq!(scene.scan().only("Modified /srv/data Mount")["after"].get("mount"), None);
}

#[test]
fn where_an_entry_stays_on_its_file_system_what_is_mounted_there_is_not_entered() {
    let scene = scene(json!([{"name": "srv", "path": "/srv", "mounts": "Same"}]));
    scene.mkdir("/srv/mnt");
    scene.bind("/disk", "/srv/mnt");
    scene.scan();
    scene.write("/disk/file", "changed");
    scene.scan().nothing();
    scene.entries(srv());
    let seen = scene.scan();
    assert_eq!(seen.told(), Vec::<String>::new(), "what comes under watch with a rule is no change");
    scene.write("/disk/file", "changed again");
    scene.scan().only("Modified /srv/mnt/file Content,Size");
}

/// An overlay of `/lower` and `/upper` at this path.
fn overlay(scene: &Scene, path: &str) {
    ["/upper", "/work"].iter().for_each(|directory| scene.mkdir(directory));
    let at = |path: &str| scene.at(path).display().to_string();
    let options = format!("lowerdir={},upperdir={},workdir={}", at("/lower"), at("/upper"), at("/work"));
    scene.mount(path, &["-t", "overlay", "overlay", "-o", &options]);
}

#[test]
fn on_an_overlay_a_file_that_is_copied_up_is_modified_once_and_a_whiteout_removes() {
    let scene = Scene::with_own_mounts(json!([{"name": "merged", "path": "/merged"}]));
    for file in ["/lower/changed", "/lower/touched", "/lower/gone", "/lower/d/gone", "/lower/moved"] {
        scene.write(file, "1");
    }
    overlay(&scene, "/merged");
    scene.baseline();
    scene.scan().nothing();
    scene.write("/merged/changed", "22");
    scene.chmod("/merged/touched", 0o644);
    scene.remove("/merged/gone");
    scene.remove("/merged/d");
    scene.write("/merged/new", "1");
    let told = [
        "Added /merged/new",
        "Modified /merged/changed Content,Size",
        "Removed /merged/d",
        "Removed /merged/d/gone",
        "Removed /merged/gone",
    ];
    assert_eq!(scene.told(), told);
    scene.rename("/merged/moved", "/merged/here");
    let told = scene.told();
    assert!(told[0].starts_with("Added /merged/here") && told[1].starts_with("Removed /merged/moved"), "{told:?}");
    scene.scan().nothing();
}

#[test]
fn an_overlay_inside_the_tree_of_another_file_system_is_not_entered() {
    let scene = Scene::with_own_mounts(srv());
    scene.write("/lower/file", "1");
    scene.write("/srv/file", "1");
    overlay(&scene, "/srv/container");
    let seen = scene.baseline();
    assert!(seen.err.contains("baseline made: 2 items"), "/srv and its file: {}", seen.err);
    scene.write("/srv/container/file", "22");
    scene.write("/srv/file", "22");
    scene.scan().only("Modified /srv/file Content,Size");
}

/// A host with a mount of another kind at `/srv/net` that hangs at whatever it is asked, beside a local file. The mount is dropped first.
fn hanging(entries: Value) -> Option<(Scene, FaultyMount)> {
    let scene = Scene::with_own_mounts(entries);
    let files = scene.path("files");
    fs::create_dir(&files).unwrap();
    scene.write("/srv/local", "1");
    let mount = FaultyMount::new(&files, &scene.at("/srv/net"))?;
    for operation in [Operation::Look, Operation::Open, Operation::List] {
        mount.set(operation, "", Fault::Hangs);
    }
    Some((scene, mount))
}

#[test]
fn a_mount_that_hangs_is_skipped_and_never_holds_up_a_scan() {
    let entries = json!([
        {"name": "srv", "path": "/srv"},
        {"name": "glob", "path": "/srv/*/file"},
        {"name": "behind", "path": "/srv/net/d", "links": "Follow"},
    ]);
    let Some((scene, mount)) = hanging(entries) else { return };
    scene.link("/srv/link", "net/d");
    scene.scan();
    scene.write("/srv/local", "22");
    assert_eq!(scene.told(), ["Modified /srv/local Content,Size"]);
    assert!(mount.touched().is_empty(), "{:?}", mount.touched());
}

#[test]
fn an_excluded_mount_is_not_touched_even_where_all_are_entered() {
    let entries = json!([{"name": "srv", "path": "/srv", "mounts": "All", "exclude": ["/srv/net/**"]}]);
    let Some((scene, mount)) = hanging(entries) else { return };
    scene.baseline();
    scene.write("/srv/local", "22");
    scene.scan().only("Modified /srv/local Content,Size");
    assert!(mount.touched().is_empty(), "{:?}", mount.touched());
}

#[test]
fn pseudo_file_systems_are_never_read() {
    let scene = Scene::with_own_mounts(json!([{"name": "srv", "path": "/srv", "mounts": "All"}]));
    for kind in ["proc", "sysfs", "mqueue"] {
        scene.mount(&format!("/srv/{kind}"), &["-t", kind, kind]);
    }
    scene.write("/srv/file", "1");
    let seen = scene.baseline();
    assert!(seen.err.contains("baseline made: 2 items"), "/srv and its file: {}", seen.err);
}

#[test]
fn a_host_that_is_mounted_read_only_is_enough() {
    let scene = Scene::with_own_mounts(srv());
    scene.write("/srv/file", "1");
    scene.bind("/", "/");
    let root = scene.at("/").display().to_string();
    crate::run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), root.as_ref()]);
    assert!(fs::write(scene.at("/srv/file"), "no").is_err(), "nothing can be written");
    scene.baseline();
    crate::run("mount", &["-o".as_ref(), "remount,bind,rw".as_ref(), root.as_ref()]);
    scene.write("/srv/file", "22");
    crate::run("mount", &["-o".as_ref(), "remount,bind,ro".as_ref(), root.as_ref()]);
    scene.scan().only("Modified /srv/file Content,Size");
}
