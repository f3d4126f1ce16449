//! Moves: told as what they are for those who watch, in the records of both ends where both are watched.
use std::fs;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::run;
use crate::scene::{NOBODY, Scene, srv};

/// Two trees that are watched, `/srv` and `/opt`, and the rest of the host, which is not.
fn scene() -> Scene {
    let entries = json!([{"name": "srv", "path": "/srv"}, {"name": "opt", "path": "/opt"}]);
    let files = [
        ("/srv/file", "1"),
        ("/srv/other", "2"),
        ("/srv/d/a", "3"),
        ("/srv/d/b", "4"),
        ("/opt/tool", "5"),
        ("/tmp/file", "6"),
        ("/tmp/d/c", "7"),
    ];
    Scene::with(entries, &files)
}

#[test]
fn what_is_moved_in_is_added() {
    let scene = scene();
    scene.rename("/tmp/file", "/srv/in");
    scene.scan().only("Added /srv/in");
    scene.rename("/tmp/d", "/srv/e");
    assert_eq!(scene.told(), ["Added /srv/e", "Added /srv/e/c"]);
    scene.scan().nothing();
}

#[test]
fn what_is_moved_out_is_removed() {
    let scene = scene();
    scene.rename("/srv/file", "/tmp/out");
    scene.scan().only("Removed /srv/file");
    scene.rename("/srv/d", "/tmp/e");
    assert_eq!(scene.told(), ["Removed /srv/d", "Removed /srv/d/a", "Removed /srv/d/b"]);
    scene.rename("/tmp/e", "/srv/d");
    assert_eq!(scene.told(), ["Added /srv/d", "Added /srv/d/a", "Added /srv/d/b"]);
}

#[test]
fn what_is_moved_out_and_back_between_two_scans_is_nothing() {
    let scene = scene();
    for path in ["/srv/file", "/srv/d"] {
        scene.rename(path, "/tmp/out");
        scene.rename("/tmp/out", path);
    }
    scene.scan().nothing();
}

#[test]
fn a_move_within_a_tree_is_told_at_both_ends() {
    let scene = scene();
    scene.rename("/srv/file", "/srv/d/renamed");
    assert_eq!(scene.told(), ["Added /srv/d/renamed <- /srv/file", "Removed /srv/file -> /srv/d/renamed"]);
    scene.rename("/srv/d", "/srv/e");
    let told = [
        "Added /srv/e",
        "Added /srv/e/a <- /srv/d/a",
        "Added /srv/e/b <- /srv/d/b",
        "Added /srv/e/renamed <- /srv/d/renamed",
        "Removed /srv/d",
        "Removed /srv/d/a -> /srv/e/a",
        "Removed /srv/d/b -> /srv/e/b",
        "Removed /srv/d/renamed -> /srv/e/renamed",
    ];
    assert_eq!(scene.told(), told);
    scene.scan().nothing();
}

#[test]
fn a_move_between_two_watched_trees_is_told_by_each_for_its_own_end() {
    let scene = scene();
    scene.rename("/srv/file", "/opt/file");
    let seen = scene.scan();
    assert_eq!(seen.told(), ["Added /opt/file <- /srv/file", "Removed /srv/file -> /opt/file"]);
    let rules = |change_type: &str| -> Value {
        let of = |change: &&&Value| change["changeType"] == change_type;
        seen.changes().iter().find(of).unwrap()["rules"].clone()
    };
    assert_eq!((rules("Added"), rules("Removed")), (json!(["web/opt"]), json!(["web/srv"])));
}

#[test]
fn a_file_that_is_moved_and_changed_is_another_one() {
    let scene = scene();
    scene.rename("/srv/file", "/srv/renamed");
    scene.write("/srv/renamed", "22");
    assert_eq!(scene.told(), ["Added /srv/renamed", "Removed /srv/file"]);
    scene.rename("/srv/renamed", "/srv/again");
    scene.chmod("/srv/again", 0o600);
    assert_eq!(scene.told(), ["Added /srv/again <- /srv/renamed", "Removed /srv/renamed -> /srv/again"]);
}

#[test]
fn a_file_that_is_renamed_over_another_is_one_modified() {
    let scene = scene();
    scene.rename("/tmp/file", "/srv/other");
    scene.scan().only("Modified /srv/other Content");
    scene.rename("/srv/file", "/srv/other");
    assert_eq!(scene.told(), ["Modified /srv/other Content", "Removed /srv/file"]);
    scene.scan().nothing();
}

#[test]
fn two_files_that_change_places_are_modified_both() {
    let scene = scene();
    renameat_with(CWD, scene.at("/srv/file"), CWD, scene.at("/opt/tool"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!(scene.told(), ["Modified /opt/tool Content", "Modified /srv/file Content"]);
}

#[test]
fn an_editors_save_is_one_modified() {
    let scene = scene();
    let saves: [(&str, &dyn Fn()); 4] = [
        ("a swap file, a backup and a rename, as vim does", &|| {
            scene.write("/srv/.file.swp", "swap");
            scene.write("/srv/4913", "");
            scene.remove("/srv/4913");
            scene.rename("/srv/file", "/srv/file~");
            scene.write("/srv/file", "edited by vim");
            scene.remove("/srv/file~");
            scene.remove("/srv/.file.swp");
        }),
        ("a temporary file that takes its place", &|| {
            scene.write("/srv/.file.tmp", "edited by rename");
            scene.rename("/srv/.file.tmp", "/srv/file");
        }),
        ("sed -i", &|| run("sed", &["-i".as_ref(), "s/rename/sed/".as_ref(), scene.at("/srv/file").as_os_str()])),
        ("in place", &|| scene.host.append("/srv/file", " and in place").unwrap()),
    ];
    for (how, save) in saves {
        save();
        let told = scene.told();
        assert!(told.len() == 1 && told[0].starts_with("Modified /srv/file Content"), "{how}: {told:?}");
    }
}

#[test]
fn a_save_that_leaves_its_backup_is_one_modified_and_one_added() {
    let scene = scene();
    scene.rename("/srv/file", "/srv/file~");
    scene.write("/srv/file", "edited");
    assert_eq!(scene.told(), ["Added /srv/file~", "Modified /srv/file Content,Size"]);
}

#[test]
fn a_file_that_is_deleted_and_made_again_with_the_same_content_is_nothing() {
    let scene = scene();
    scene.remove("/srv/file");
    scene.write("/srv/file", "1");
    scene.remove("/srv/d");
    scene.write("/srv/d/a", "3");
    scene.write("/srv/d/b", "4");
    scene.scan().nothing();
    scene.remove("/srv/file");
    scene.write("/srv/file", "1");
    scene.chown("/srv/file", NOBODY, 0);
    scene.scan().only("Modified /srv/file Owner");
}

#[test]
fn a_file_that_is_deleted_and_made_again_under_another_name_is_two() {
    let scene = scene();
    scene.remove("/srv/file");
    scene.write("/srv/like-it", "1");
    assert_eq!(scene.told(), ["Added /srv/like-it", "Removed /srv/file"]);
}

#[test]
fn a_chain_of_moves_is_told_by_what_each_name_holds_now() {
    let scene = scene();
    for (path, content) in [("/srv/log.1", "old"), ("/srv/log", "newest!")] {
        scene.write(path, content);
    }
    scene.scan();
    scene.rename("/srv/log.1", "/srv/log.2");
    scene.rename("/srv/log", "/srv/log.1");
    scene.write("/srv/log", "");
    let told = ["Added /srv/log.2", "Modified /srv/log Content,Size", "Modified /srv/log.1 Content,Size"];
    assert_eq!(scene.told(), told);
}

#[test]
fn a_move_to_another_file_system_is_a_copy() {
    let scene = Scene::with_own_mounts(srv());
    scene.write("/srv/file", "1");
    scene.mount("/srv/disk", &["-t", "tmpfs", "disk"]);
    scene.baseline();
    fs::copy(scene.at("/srv/file"), scene.at("/srv/disk/file")).unwrap();
    scene.remove("/srv/file");
    assert_eq!(scene.told(), ["Added /srv/disk/file", "Removed /srv/file"]);
}

#[test]
fn directories_links_and_fifos_that_are_moved_are_told_unpaired() {
    let scene = scene();
    scene.link("/srv/link", "x");
    scene.mkdir("/srv/empty");
    scene.scan();
    scene.rename("/srv/link", "/opt/link");
    scene.rename("/srv/empty", "/opt/empty");
    assert_eq!(scene.told(), ["Added /opt/empty", "Added /opt/link", "Removed /srv/empty", "Removed /srv/link"]);
}
