//! Kinds: whatever lies on a host is an item, only regular files are opened, and what was not read is said to be so.
use std::{fs, os::unix::net::UnixListener};

use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    io::Errno,
};
use serde_json::json;

use crate::{
    fuse::{Fault, FaultyMount, Operation},
    scene::{NOBODY, Scene, srv},
};

/// Makes something that is no regular file.
fn node(scene: &Scene, path: &str, kind: FileType, device: (u32, u32)) {
    let mode = Mode::from_raw_mode(0o644);
    mknodat(CWD, scene.at(path), kind, mode, makedev(device.0, device.1)).unwrap();
}

fn make(scene: &Scene, path: &str, kind: &str) {
    match kind {
        "Fifo" => node(scene, path, FileType::Fifo, (0, 0)),
        "Socket" => drop(UnixListener::bind(scene.at(path)).unwrap()),
        "CharDevice" => node(scene, path, FileType::CharacterDevice, (1, 3)),
        "BlockDevice" => node(scene, path, FileType::BlockDevice, (7, 99)),
        "Symlink" => scene.link(path, "nowhere"),
        "Directory" => scene.mkdir(path),
        "Regular" => scene.write(path, "1"),
        other => panic!("{other}"),
    }
}

const KINDS: [&str; 7] = ["Fifo", "Socket", "CharDevice", "BlockDevice", "Symlink", "Directory", "Regular"];

#[test]
fn what_is_no_regular_file_is_recorded_by_its_type_and_never_opened() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    for kind in KINDS {
        let path = format!("/srv/{kind}");
        make(&scene, &path, kind);
        // Who opened the FIFO would wait for a writer for ever.
        let seen = scene.scan();
        let after = &seen.only(&format!("Added {path}"))["after"];
        assert_eq!(after["type"], kind);
        let content = if kind == "Regular" { "Read" } else { "NotRegular" };
        assert!(after.get("content").is_none_or(|said| said == content), "{after}");
        assert_eq!(after.get("sha256").is_some(), kind == "Regular");
        if kind.ends_with("Device") {
            assert_eq!(after["deviceNumber"], if kind == "CharDevice" { "1:3" } else { "7:99" });
        }
        if kind != "Symlink" {
            scene.chmod(&path, 0o700);
            scene.scan().only(&format!("Modified {path} Mode"));
        }
        scene.remove(&path);
        scene.scan().only(&format!("Removed {path}"));
    }
}

#[test]
fn each_kind_in_the_place_of_each_other_is_one_change_of_type() {
    let scene = Scene::with(srv(), &[("/srv/file", "1")]);
    make(&scene, "/srv/one", KINDS[0]);
    scene.scan();
    let mut before = KINDS[0];
    // Each beside each: along the differences of the list, modulo its length, which is prime.
    for step in 1..KINDS.len() {
        for _ in 0..KINDS.len() {
            let at = KINDS.iter().position(|kind| *kind == before).unwrap();
            let after = KINDS[(at + step) % KINDS.len()];
            scene.remove("/srv/one");
            make(&scene, "/srv/one", after);
            let seen = scene.scan();
            assert_eq!(seen.changes().len(), 1, "{before} to {after}: {:?}", seen.told());
            let change = seen.changes()[0];
            assert!(change["fields"].as_array().unwrap().contains(&"Type".into()), "{change}");
            assert_eq!((&change["before"]["type"], &change["after"]["type"]), (&json!(before), &json!(after)));
            before = after;
        }
    }
}

#[test]
fn a_device_node_of_another_device_is_a_change_of_its_number() {
    let scene = Scene::new(srv());
    scene.mkdir("/srv");
    make(&scene, "/srv/null", "CharDevice");
    scene.baseline();
    scene.remove("/srv/null");
    node(&scene, "/srv/null", FileType::CharacterDevice, (1, 5));
    let seen = scene.scan();
    let change = seen.only("Modified /srv/null DeviceNumber");
    let number = |side: &str| change[side]["deviceNumber"].clone();
    assert_eq!((number("before"), number("after")), (json!("1:3"), json!("1:5")));
}

#[test]
fn an_empty_file_has_the_hashes_of_nothing() {
    let scene = Scene::with(srv(), &[("/srv/full", "1")]);
    scene.write("/srv/empty", "");
    let seen = scene.scan();
    let after = &seen.only("Added /srv/empty")["after"];
    assert_eq!(after["md5"], "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(after["sha256"], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!((&after["size"], &after["content"]), (&json!(0), &json!("Read")));
    scene.write("/srv/full", "");
    let seen = scene.scan();
    let change = seen.only("Modified /srv/full Content,Size");
    assert_eq!(change["after"]["md5"], after["md5"], "emptied");
    assert_eq!(change["before"]["md5"], "c4ca4238a0b923820dcc509a6f75849b");
}

#[test]
fn a_file_over_the_content_limit_says_that_it_is_not_read_and_is_never_called_unchanged() {
    let scene = Scene::new(json!([{"name": "srv", "path": "/srv", "maxContentSize": 10}]));
    scene.write("/srv/log", "0123456789");
    scene.baseline();
    scene.write("/srv/log", "0123456789!");
    let seen = scene.scan();
    let after = &seen.only("Modified /srv/log ContentState,ModifiedTime,Size")["after"];
    assert_eq!((&after["content"], after.get("sha256")), (&json!("TooLarge"), None));
    scene.write("/srv/log", "!9876543210");
    let seen = scene.scan();
    let after = &seen.only("Modified /srv/log ModifiedTime")["after"];
    assert_eq!(after["content"], "TooLarge", "of the same size, it is told by its time");
    scene.chmod("/srv/log", 0o600);
    scene.scan().only("Modified /srv/log Mode");
    scene.write("/srv/log", "9876543210");
    let seen = scene.scan();
    let change = seen.changes()[0];
    assert_eq!(change["after"]["content"], "Read");
    assert!(change["fields"].as_array().unwrap().contains(&"Content".into()), "{:?}", seen.told());
    scene.remove("/srv/log");
    scene.scan().only("Removed /srv/log");
}

#[test]
fn a_file_that_is_deleted_while_it_is_hashed_is_removed_once() {
    let scene = Scene::with(srv(), &[("/srv/other", "1"), ("/srv/large", "1")]);
    fs::File::create(scene.at("/srv/large")).unwrap().set_len(400 << 20).unwrap();
    scene.write("/srv/other", "22");
    let scan = scene.begin(scene.agent("scan"));
    scan.reads("/srv/large");
    scene.remove("/srv/large");
    let mut told = scan.end().told();
    assert!(told.contains(&"Modified /srv/other Content,Size".to_owned()), "{told:?}");
    told.extend(scene.told());
    assert_eq!(told.iter().filter(|told| *told == "Removed /srv/large").count(), 1, "{told:?}");
    scene.scan().nothing();
}

#[test]
fn what_may_not_be_read_is_unknown_and_counted_and_keeps_its_state() {
    let scene = Scene::new(json!([{"name": "srv", "path": "/srv/**/*.conf"}]));
    for file in ["/srv/open/a.conf", "/srv/shut/b.conf", "/srv/shut/deep/c.conf", "/srv/d.conf"] {
        scene.write(file, "1");
    }
    scene.baseline();
    for path in ["/srv/shut", "/srv/d.conf"] {
        scene.chown(path, NOBODY, 0);
        scene.chmod(path, 0);
    }
    let seen = scene.scan_without_rights();
    assert_eq!(seen.told(), ["Modified /srv/d.conf ContentState,Mode,Owner"]);
    assert_eq!(seen.changes()[0]["after"]["content"], "Unreadable");
    let named = seen.unknown();
    assert!(named.iter().any(|named| named.starts_with("/srv/shut: ")), "{named:?}");
    assert!(named.iter().any(|named| named.starts_with("/srv/d.conf: ")), "{named:?}");
    assert!(seen.err.contains("3 items are unknown: nothing is said of them"), "{}", seen.err);
    let again = scene.scan_without_rights();
    assert_eq!((again.exit, again.told()), (3, vec![]), "told once, unknown for as long as it lasts");
    scene.write("/srv/shut/b.conf", "22");
    scene.remove("/srv/shut/deep");
    scene.write("/srv/d.conf", "22");
    let told = [
        "Modified /srv/d.conf Content,Size",
        "Modified /srv/shut/b.conf Content,Size",
        "Removed /srv/shut/deep/c.conf",
    ];
    let seen = scene.scan();
    assert_eq!(seen.told(), told, "what can be seen again is compared with what was known");
    scene.scan().nothing();
}

#[test]
fn a_directory_that_could_not_be_read_at_first_is_baselined_when_it_can() {
    let scene = Scene::new(srv());
    scene.write("/srv/shut/file", "1");
    scene.chown("/srv/shut", NOBODY, 0);
    scene.chmod("/srv/shut", 0o700);
    let seen = scene.scan_without_rights();
    assert_eq!((seen.exit, seen.unknown().len()), (3, 1), "{}", seen.err);
    scene.scan().nothing();
    scene.write("/srv/shut/file", "22");
    scene.write("/srv/shut/new", "1");
    assert_eq!(scene.told(), ["Added /srv/shut/new", "Modified /srv/shut/file Content,Size"]);
}

#[test]
fn what_a_faulty_disk_does_not_give_is_unknown_and_told_once_when_it_does() {
    let scene = Scene::with_own_mounts(json!([{"name": "srv", "path": "/srv", "mounts": "All"}]));
    let files = scene.path("disk");
    fs::create_dir_all(files.join("d")).unwrap();
    let write = |content: &str| ["d/a", "e"].map(|file| fs::write(files.join(file), content).unwrap());
    write("1");
    let Some(disk) = FaultyMount::new(&files, &scene.at("/srv/disk")) else { return };
    scene.baseline();
    let unreadable = "Modified /srv/disk/d/a ContentState,ModifiedTime,Size";
    let cases = [
        (Operation::List, "d", None, "Content,Size"),
        (Operation::Open, "d", None, "Content,Size"),
        (Operation::Look, "d/a", None, "Content,Size"),
        (Operation::Open, "d/a", Some(unreadable), "Content"),
        (Operation::Read, "d/a", Some(unreadable), "Content"),
    ];
    for (number, (operation, path, told_at_once, fields)) in cases.into_iter().enumerate() {
        write(&"1".repeat(2 + number));
        disk.set(operation, path, Fault::Fails(Errno::IO));
        let seen = scene.scan();
        let other = "Modified /srv/disk/e Content,Size";
        let told: Vec<&str> = told_at_once.into_iter().chain([other]).collect();
        assert_eq!(seen.told(), told, "{operation:?} {path}");
        assert!(seen.unknown()[0].starts_with(&format!("/srv/disk/{path}: ")), "{}", seen.err);
        let again = scene.scan();
        assert_eq!((again.exit, again.told()), (3, vec![]), "{operation:?} {path}");
        disk.mend();
        scene.scan().only(&format!("Modified /srv/disk/d/a {fields}"));
        scene.scan().nothing();
    }
}
