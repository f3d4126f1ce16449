//! Metadata: each change of it is one record that says what, and what changes nothing is none.
use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use rustix::fs::{XattrFlags, removexattr, setxattr};
use serde_json::{Value, json};

use crate::run;
use crate::scene::{NOBODY, Scene, srv};

/// Files, directories and links are changed alike.
fn scene() -> Scene {
    let scene = Scene::new(srv());
    scene.write("/srv/file", "1");
    scene.mkdir("/srv/dir");
    scene.link("/srv/link", "file");
    scene.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:4242:4343::/:/bin/false\n");
    scene.write("/etc/group", "root:x:0:\nhosters:x:4343:\n");
    scene.baseline();
    scene
}

fn attribute(scene: &Scene, path: &str, name: &str, value: &[u8]) {
    setxattr(scene.at(path), name, value, XattrFlags::empty()).unwrap();
}

fn touch(scene: &Scene, path: &str) {
    let later = SystemTime::now() + Duration::from_secs(5);
    File::open(scene.at(path)).unwrap().set_modified(later).unwrap();
}

/// An access list as the kernel takes it: tag, permissions, id.
fn access(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        value.extend(id.to_le_bytes());
    }
    value
}

const NO_ID: u32 = u32::MAX;

#[test]
fn chmod_is_told_with_both_modes_and_all_bits() {
    let scene = scene();
    for (path, modes) in
        [("/srv/file", ["0644", "4755", "2755", "0000"]), ("/srv/dir", ["0755", "1777", "2755", "0700"])]
    {
        scene.chmod(path, u32::from_str_radix(modes[0], 8).unwrap());
        scene.scan();
        for (before, after) in modes.iter().zip(&modes[1..]) {
            scene.chmod(path, u32::from_str_radix(after, 8).unwrap());
            let seen = scene.scan();
            let change = seen.only(&format!("Modified {path} Mode"));
            assert_eq!((&change["before"]["mode"], &change["after"]["mode"]), (&json!(before), &json!(after)));
        }
    }
}

#[test]
fn chmod_and_back_between_two_scans_is_nothing() {
    let scene = scene();
    for path in ["/srv/file", "/srv/dir"] {
        scene.chmod(path, 0o4777);
        scene.chmod(path, if path == "/srv/dir" { 0o755 } else { 0o644 });
    }
    scene.scan().nothing();
}

#[test]
fn chown_is_told_with_ids_and_the_hosts_own_names() {
    let scene = scene();
    for path in ["/srv/file", "/srv/dir"] {
        scene.chown(path, 4242, 4343);
        let seen = scene.scan();
        let change = seen.only(&format!("Modified {path} Group,Owner"));
        let of = |side: &str| ["uid", "gid", "owner", "group"].map(|member| change[side][member].clone());
        assert_eq!(of("before"), [json!(0), json!(0), json!("root"), json!("root")]);
        assert_eq!(of("after"), [json!(4242), json!(4343), json!("web"), json!("hosters")]);
        scene.chown(path, 4242, 77);
        let seen = scene.scan();
        let change = seen.only(&format!("Modified {path} Group"));
        assert_eq!(change["after"].get("group"), None, "a group without a name is a number");
    }
    let link = scene.at("/srv/link");
    std::os::unix::fs::lchown(link, Some(NOBODY), None).unwrap();
    scene.scan().only("Modified /srv/link Owner");
}

#[test]
fn chown_to_the_same_owner_is_nothing() {
    let scene = scene();
    ["/srv/file", "/srv/dir"].iter().for_each(|path| scene.chown(path, 0, 0));
    scene.scan().nothing();
    scene.chown("/srv/file", 4242, 0);
    scene.chown("/srv/file", 0, 0);
    scene.scan().nothing();
}

#[test]
fn chown_that_takes_away_the_setuid_bit_tells_of_both() {
    let scene = scene();
    scene.chmod("/srv/file", 0o4755);
    scene.scan();
    scene.chown("/srv/file", 4242, 0);
    scene.scan().only("Modified /srv/file Mode,Owner");
}

#[test]
fn an_owner_that_gets_another_name_is_no_change_of_the_file() {
    let scene = scene();
    scene.write("/etc/passwd", "toor:x:0:0::/root:/bin/sh\n");
    scene.scan().nothing();
}

#[test]
fn an_access_list_that_comes_changes_and_goes_is_told() {
    let scene = scene();
    let list = |user| access(&[(1, 6, NO_ID), (2, user, 1000), (4, 4, NO_ID), (16, 6, NO_ID), (32, 4, NO_ID)]);
    let said = |scene: &Scene, fields: &str| -> Value {
        scene.scan().only(&format!("Modified /srv/file {fields}"))["after"].clone()
    };
    attribute(&scene, "/srv/file", "system.posix_acl_access", &list(4));
    // The mask shows as the mode's group bits.
    let after = said(&scene, "Acl,Mode");
    assert_eq!(after["acl"], "u::rw-,u:1000:r--,g::r--,m::rw-,o::r--");
    assert_eq!(after.get("xattrs"), None, "an access list is no attribute beside");
    attribute(&scene, "/srv/file", "system.posix_acl_access", &list(6));
    assert_eq!(said(&scene, "Acl")["acl"], "u::rw-,u:1000:rw-,g::r--,m::rw-,o::r--");
    removexattr(scene.at("/srv/file"), "system.posix_acl_access").unwrap();
    assert_eq!(said(&scene, "Acl").get("acl"), None);
    let default = access(&[(1, 7, NO_ID), (4, 5, NO_ID), (32, 0, NO_ID)]);
    attribute(&scene, "/srv/dir", "system.posix_acl_default", &default);
    assert_eq!(scene.scan().only("Modified /srv/dir Acl")["after"]["defaultAcl"], "u::rwx,g::r-x,o::---");
}

#[test]
fn an_attribute_that_comes_changes_and_goes_is_told() {
    let scene = scene();
    for path in ["/srv/file", "/srv/dir"] {
        let told = format!("Modified {path} Xattrs");
        attribute(&scene, path, "user.origin", b"here");
        let after = scene.scan().only(&told)["after"].clone();
        assert_eq!(after["xattrs"], json!([{"name": "user.origin", "value": "aGVyZQ=="}]));
        attribute(&scene, path, "user.origin", &[7; 300]);
        let after = scene.scan().only(&told)["after"].clone();
        assert!(after["xattrs"][0]["value"].as_str().unwrap().starts_with("sha256:"), "{after}");
        attribute(&scene, path, "user.origin", &[7; 300]);
        scene.scan().nothing();
        removexattr(scene.at(path), "user.origin").unwrap();
        assert_eq!(scene.scan().only(&told)["after"].get("xattrs"), None);
    }
}

#[test]
fn a_security_label_is_told_like_an_attribute() {
    let scene = scene();
    for label in ["system_u:object_r:etc_t:s0", "system_u:object_r:shadow_t:s0"] {
        attribute(&scene, "/srv/file", "security.selinux", label.as_bytes());
        let seen = scene.scan();
        let after = &seen.only("Modified /srv/file Xattrs")["after"];
        assert_eq!(after["xattrs"][0]["name"], "security.selinux");
    }
}

#[test]
fn a_capability_of_a_program_is_told_by_its_name() {
    let scene = scene();
    let words = [0x0200_0001u32, 1 << 13, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    attribute(&scene, "/srv/file", "security.capability", &value);
    let seen = scene.scan();
    let after = &seen.only("Modified /srv/file Capabilities")["after"];
    assert_eq!((&after["capabilities"], after.get("xattrs")), (&json!("cap_net_raw=ep"), None));
    scene.write("/srv/file", "22");
    scene.scan().only("Modified /srv/file Capabilities,Content,Size");
}

#[test]
fn what_only_a_mightier_agent_could_see_is_not_told() {
    let scene = scene();
    attribute(&scene, "/srv/file", "trusted.secret", b"1");
    scene.scan().nothing();
}

#[test]
fn a_flag_is_told_by_its_name() {
    let scene = scene();
    let chattr = |how: &str| run("chattr", &[how.as_ref(), scene.at("/srv/file").as_os_str()]);
    for (how, flags) in [("+d", json!(["NoDump"])), ("+a", json!(["Append", "NoDump"])), ("-a", json!(["NoDump"]))] {
        chattr(how);
        assert_eq!(scene.scan().only("Modified /srv/file Flags")["after"]["flags"], flags);
    }
    chattr("+i");
    let seen = scene.scan();
    chattr("-i");
    assert_eq!(seen.only("Modified /srv/file Flags")["after"]["flags"], json!(["Immutable", "NoDump"]));
}

#[test]
fn a_touch_alone_is_told_only_where_time_is_compared() {
    let scene = scene();
    touch(&scene, "/srv/file");
    touch(&scene, "/srv/dir");
    scene.scan().nothing();
    scene.entries(json!([{"name": "srv", "path": "/srv", "compare": ["ModifiedTime"]}]));
    scene.scan().nothing();
    touch(&scene, "/srv/file");
    touch(&scene, "/srv/dir");
    let told = ["Modified /srv/dir ModifiedTime", "Modified /srv/file ModifiedTime"];
    assert_eq!(scene.told(), told);
}

#[test]
fn the_same_content_written_again_is_nothing() {
    let scene = scene();
    scene.write("/srv/file", "1");
    scene.scan().nothing();
    scene.write("/srv/file", "2");
    scene.write("/srv/file", "1");
    scene.scan().nothing();
}

#[test]
fn content_of_the_same_size_with_its_time_put_back_is_told() {
    let scene = scene();
    let modified = fs::metadata(scene.at("/srv/file")).unwrap().modified().unwrap();
    scene.write("/srv/file", "2");
    File::options().write(true).open(scene.at("/srv/file")).unwrap().set_modified(modified).unwrap();
    let seen = scene.scan();
    let change = seen.only("Modified /srv/file Content");
    assert_eq!(change["before"]["modified"], change["after"]["modified"]);
}

#[test]
fn all_that_changed_of_a_file_is_one_record() {
    let scene = scene();
    scene.write("/srv/file", "22");
    scene.chown("/srv/file", 4242, 4343);
    scene.chmod("/srv/file", 0o600);
    attribute(&scene, "/srv/file", "user.origin", b"here");
    scene.scan().only("Modified /srv/file Content,Group,Mode,Owner,Size,Xattrs");
}

#[test]
fn only_what_an_entry_compares_is_told() {
    let scene = scene();
    let only = |compare: &str| scene.entries(json!([{"name": "srv", "path": "/srv", "compare": [compare]}]));
    for (compare, told) in [
        ("Mode", "Modified /srv/file Mode"),
        ("Owner", "Modified /srv/file Owner"),
        ("Xattrs", "Modified /srv/file Xattrs"),
        ("Content", "Modified /srv/file Content,Size"),
        ("Inode", "Modified /srv/file Inode"),
        ("LinkCount", "Modified /srv/file LinkCount"),
    ] {
        scene.remove("/srv/file");
        scene.write("/srv/file", "1");
        only(compare);
        scene.scan();
        // Another inode, of two names, with another mode, owner, attribute and content.
        scene.write("/srv.new", "22");
        scene.chmod("/srv.new", 0o600);
        scene.chown("/srv.new", 4242, 0);
        attribute(&scene, "/srv.new", "user.origin", b"here");
        scene.hard_link("/srv.new", &format!("/srv.{compare}"));
        scene.rename("/srv.new", "/srv/file");
        scene.scan().only(told);
    }
}
