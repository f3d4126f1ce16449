//! Names, kinds and metadata: whatever lies on a host is an item, and each change of it is one record that says what.
#![allow(clippy::unwrap_used)]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};
use support::{Host, Lease, everything, is_root, run, tell};
use vedette_crds::record::ByteText;
use vedette_engine::Aspect;

/// The exact path of a record, from its text or its bytes.
fn path_of(change: &Value) -> Vec<u8> {
    ByteText(change["path"].as_str().unwrap().to_owned()).to_bytes(change["pathBytes"].as_str())
}

#[test]
fn names_of_any_bytes_are_reported_with_their_exact_bytes() {
    let names: Vec<Vec<u8>> = [
        "é",
        "檔案",
        "Δείγμα",
        "🗿",
        "-rf",
        " leading",
        "trailing ",
        "trailing.",
        ".hidden",
        "..twodots",
        "a, b",
        "*",
        "[x]",
        "tab\there",
        "new\nline",
        "\u{1b}[2J",
        "\u{202e}gpj",
        "\"quoted\"",
        "back\\slash",
        "$HOME",
        "~",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .chain([vec![0xff, 0xfe], b"half\xc3".to_vec(), vec![b'n'; 255], vec![0x80; 255]])
    .collect();
    let mut host = Host::new(everything());
    host.mkdir("/d");
    host.compare();
    for name in &names {
        fs::write(host.at("/d").join(OsStr::from_bytes(name)), "1").unwrap();
    }
    let seen = host.compare();
    let mut found: Vec<Vec<u8>> = seen.changes().into_iter().map(path_of).collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| [b"/d/", name.as_slice()].concat()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(host.compare().lines.is_empty(), "they are found again under the same names");
    fs::remove_dir_all(host.at("/d")).unwrap();
    assert_eq!(host.compare().changes().len(), names.len() + 1);
}

#[test]
fn every_byte_that_a_name_can_hold_survives() {
    let mut host = Host::new(json!([{"name": "all", "path": "/d/*"}]));
    host.mkdir("/d");
    let bytes = || (1..=255u8).filter(|byte| *byte != b'/' && *byte != b'.');
    for byte in bytes() {
        fs::write(host.at("/d").join(OsStr::from_bytes(&[byte])), [byte]).unwrap();
    }
    host.compare();
    assert_eq!(host.standing().totals.tracked, 253);
    assert!(host.compare().lines.is_empty());
    for byte in bytes() {
        fs::remove_file(host.at("/d").join(OsStr::from_bytes(&[byte]))).unwrap();
    }
    let mut gone: Vec<u8> = host.compare().changes().into_iter().map(|change| path_of(change)[3]).collect();
    gone.sort_unstable();
    assert_eq!(gone, bytes().collect::<Vec<_>>());
}

#[test]
fn a_target_of_any_bytes_keeps_them() {
    let mut host = Host::new(everything());
    host.compare();
    std::os::unix::fs::symlink(OsStr::from_bytes(b"/x\xff\n"), host.at("/link")).unwrap();
    let seen = host.compare();
    let after = &seen.only()["after"];
    assert_eq!(STANDARD.decode(after["linkTargetBytes"].as_str().unwrap()).unwrap(), b"/x\xff\n");
}

#[test]
fn a_fifo_a_socket_and_a_device_are_recorded_by_type_and_never_opened() {
    let mut host = Host::new(everything());
    mknodat(CWD, host.at("/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _listener = UnixListener::bind(host.at("/socket")).unwrap();
    host.compare();
    assert_eq!(host.standing().totals.tracked, 3);
    host.remove("/fifo");
    host.write("/fifo", "1");
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /fifo Content,Mode,Size,Type");
    assert_eq!(
        (&seen.only()["before"]["type"], &seen.only()["before"]["content"]),
        (&json!("Fifo"), &json!("NotRegular"))
    );
    host.chmod("/socket", 0o600);
    assert_eq!(host.compare().told(), ["Modified /socket Mode"]);
    if is_root("device nodes") {
        let device = |major, minor| {
            let mode = Mode::from_raw_mode(0o600);
            mknodat(CWD, host.at("/device"), FileType::CharacterDevice, mode, rustix::fs::makedev(major, minor))
                .unwrap();
        };
        device(1, 3);
        let seen = host.compare();
        assert_eq!(
            (&seen.only()["after"]["type"], &seen.only()["after"]["deviceNumber"]),
            (&json!("CharDevice"), &json!("1:3"))
        );
        host.remove("/device");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, host.at("/device"), FileType::CharacterDevice, mode, rustix::fs::makedev(1, 5)).unwrap();
        assert_eq!(host.compare().told(), ["Modified /device DeviceNumber"]);
    }
}

#[test]
fn an_empty_file_has_the_digests_of_nothing() {
    let mut host = Host::new(everything());
    host.compare();
    host.write("/empty", "");
    let seen = host.compare();
    let after = &seen.only()["after"];
    assert_eq!(after["md5"], "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!((&after["size"], &after["content"]), (&json!(0), &json!("Read")));
}

#[test]
fn a_file_that_grows_over_the_content_limit_says_that_it_is_not_read() {
    let mut host = Host::new(json!([{"name": "log", "path": "/log", "maxContentSize": 10}]));
    host.write("/log", "0123456789");
    host.compare();
    host.write("/log", "0123456789!");
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /log ContentState,ModifiedTime,Size");
    assert_eq!(seen.only()["after"]["content"], "TooLarge");
    assert!(seen.only()["after"].get("md5").is_none());
    host.write("/log", "0123456789");
    assert_eq!(host.compare().told(), ["Modified /log Size"], "read again, it has the content that it had before");
}

#[test]
fn chmod_and_chown_are_said_by_field_and_the_same_again_is_nothing() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.chmod("/a", 0o4755);
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /a Mode");
    assert_eq!((&seen.only()["before"]["mode"], &seen.only()["after"]["mode"]), (&json!("0644"), &json!("4755")));
    host.chmod("/a", 0o600);
    host.chmod("/a", 0o4755);
    assert!(host.compare().lines.is_empty());
    if is_root("chown") {
        chown(host.at("/a"), Some(0), Some(0)).unwrap();
        host.chmod("/a", 0o4755);
        assert!(host.compare().lines.is_empty(), "to the same owner");
        chown(host.at("/a"), Some(12), Some(34)).unwrap();
        host.chmod("/a", 0o4755);
        assert_eq!(host.compare().told(), ["Modified /a Group,Owner"]);
    }
}

#[test]
fn owners_have_the_names_of_the_hosts_own_files() {
    if !is_root("chown") {
        return;
    }
    let mut host = Host::new(json!([{"name": "a", "path": "/a"}]));
    host.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:4242:4343::/:/bin/false\n");
    host.write("/usr/lib/group", "hosters:x:4343:\n");
    host.link("../usr/lib/group", "/etc/group");
    host.write("/a", "1");
    host.compare();
    chown(host.at("/a"), Some(4242), Some(4343)).unwrap();
    let seen = host.compare();
    let (before, after) = (&seen.only()["before"], &seen.only()["after"]);
    assert_eq!(
        (&before["owner"], &after["owner"], &after["group"]),
        (&json!("root"), &json!("web"), &json!("hosters"))
    );
    assert!(before.get("group").is_none(), "a group without a name is a number");
}

#[test]
fn a_touch_alone_is_reported_only_where_time_is_compared() {
    let mut host = Host::new(json!([
        {"name": "plain", "path": "/plain"},
        {"name": "timed", "path": "/timed", "compare": ["ModifiedTime"]},
    ]));
    host.write("/plain", "1");
    host.write("/timed", "1");
    host.compare();
    for path in ["/plain", "/timed"] {
        let later = SystemTime::now() + Duration::from_secs(5);
        File::options().write(true).open(host.at(path)).unwrap().set_modified(later).unwrap();
    }
    assert_eq!(host.compare().told(), ["Modified /timed ModifiedTime"]);
}

#[test]
fn inode_link_count_and_birth_are_compared_when_asked_for() {
    let mut host = Host::new(json!([
        {"name": "all", "path": "/a", "compare": ["Inode", "LinkCount", "Created"]},
    ]));
    host.write("/a", "1");
    host.compare();
    fs::hard_link(host.at("/a"), host.at("/b")).unwrap();
    assert_eq!(host.compare().told(), ["Modified /a LinkCount"]);
    host.write("/c", "1");
    host.rename("/c", "/a");
    let told = host.compare().told();
    assert!(told[0].starts_with("Modified /a") && told[0].ends_with("Inode,LinkCount"), "{told:?}");
}

#[test]
fn access_lists_attributes_and_capabilities_are_said_by_field() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.mkdir("/d");
    host.compare();
    if setxattr(host.at("/a"), "user.origin", b"here", XattrFlags::empty()).is_err() {
        eprintln!("SKIPPED: the file system has no extended attributes");
        return;
    }
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /a Xattrs");
    assert_eq!(seen.only()["after"]["xattrs"], json!([{"name": "user.origin", "value": STANDARD.encode("here")}]));
    setxattr(host.at("/a"), "user.origin", &[7; 2000], XattrFlags::empty()).unwrap();
    let seen = host.compare();
    assert!(seen.only()["after"]["xattrs"][0]["value"].as_str().unwrap().starts_with("sha256:"));
    rustix::fs::removexattr(host.at("/a"), "user.origin").unwrap();
    assert_eq!(host.compare().told(), ["Modified /a Xattrs"]);

    let access = |entries: &[(u16, u16, u32)]| {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
            value.extend(id.to_le_bytes());
        }
        value
    };
    let none = u32::MAX;
    let list = access(&[(1, 6, none), (2, 4, 1000), (4, 4, none), (16, 4, none), (32, 4, none)]);
    setxattr(host.at("/a"), "system.posix_acl_access", &list, XattrFlags::empty()).unwrap();
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /a Acl");
    assert_eq!(seen.only()["after"]["acl"], "u::rw-,u:1000:r--,g::r--,m::r--,o::r--");
    assert!(seen.only()["after"].get("xattrs").is_none(), "not repeated there");
    let list = access(&[(1, 7, none), (4, 5, none), (32, 0, none)]);
    setxattr(host.at("/d"), "system.posix_acl_default", &list, XattrFlags::empty()).unwrap();
    let seen = host.compare();
    assert_eq!(
        (tell(seen.only()).as_str(), &seen.only()["after"]["defaultAcl"]),
        ("Modified /d Acl", &json!("u::rwx,g::r-x,o::---"))
    );
    if is_root("capabilities and trusted attributes") {
        let words = [0x0200_0001u32, 1 << 13, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        setxattr(host.at("/a"), "security.capability", &value, XattrFlags::empty()).unwrap();
        let seen = host.compare();
        assert_eq!(tell(seen.only()), "Modified /a Capabilities");
        assert_eq!(seen.only()["after"]["capabilities"], "cap_net_raw=ep");
        setxattr(host.at("/a"), "trusted.secret", b"1", XattrFlags::empty()).unwrap();
        assert!(
            host.compare().lines.is_empty(),
            "who may see trusted attributes depends on the agent, not on the host"
        );
    }
}

#[test]
fn flags_are_said_by_name() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    let path = host.at("/a");
    let chattr = |how: &str| {
        std::process::Command::new("chattr").arg(how).arg(&path).output().is_ok_and(|ran| ran.status.success())
    };
    if !chattr("+d") {
        eprintln!("SKIPPED: no chattr, or the file system has no flags");
        return;
    }
    let seen = host.compare();
    assert_eq!((tell(seen.only()).as_str(), &seen.only()["after"]["flags"]), ("Modified /a Flags", &json!(["NoDump"])));
    if is_root("the immutable flag") {
        assert!(chattr("+i"));
        let seen = host.compare();
        assert!(chattr("-i"));
        assert_eq!(seen.only()["after"]["flags"], json!(["Immutable", "NoDump"]));
    }
}

#[test]
fn a_file_under_a_write_lease_is_unreadable_and_its_last_good_digests_stay() {
    let mut host = Host::new(json!([{"name": "f", "path": "/f"}]));
    host.write("/f", "good");
    host.compare();
    host.write("/f", "evil");
    let Some(lease) = Lease::take(&host.at("/f")) else {
        eprintln!("SKIPPED: no leases here");
        return;
    };
    let seen = host.compare();
    assert_eq!(tell(seen.only()), "Modified /f ContentState,ModifiedTime");
    assert_eq!(seen.only()["after"]["content"], "Unreadable");
    assert_eq!(host.standing().unknowns.named()[0].aspect, Aspect::Content);
    assert!(host.compare().lines.is_empty(), "it is said once");
    assert_eq!(host.standing().unknowns.items(), 1);
    drop(lease);
    assert_eq!(host.compare().told(), ["Modified /f Content"], "the next good read is compared with the last one");
    assert_eq!(host.standing().unknowns.items(), 0);
}

#[test]
fn what_may_not_be_read_is_unknown_and_never_removed() {
    support::as_nobody("what_may_not_be_read_is_unknown_and_never_removed", || {
        let mut host = Host::new(json!([{"name": "conf", "path": "/srv/**/*.conf"}]));
        host.write("/srv/a.conf", "1");
        host.write("/srv/shut/b.conf", "1");
        host.write("/srv/shut/deep/c.conf", "1");
        host.compare();
        host.chmod("/srv/shut", 0);
        host.chmod("/srv/a.conf", 0);
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /srv/a.conf ContentState,Mode"]);
        let unknowns = host.standing().unknowns;
        assert_eq!(unknowns.items(), 3, "{unknowns:?}");
        assert!(unknowns.named().iter().any(|unknown| unknown.aspect == Aspect::Listing && unknown.items == 2));
        host.chmod("/srv/shut", 0o755);
        host.write("/srv/shut/b.conf", "22");
        host.chmod("/srv/a.conf", 0o644);
        let told = host.compare().told();
        assert_eq!(told, ["Modified /srv/a.conf Mode", "Modified /srv/shut/b.conf Content,Size"]);
        assert_eq!(host.standing().unknowns.items(), 0);
    });
}

#[test]
fn a_directory_that_could_not_be_read_at_first_is_baselined_when_it_can() {
    support::as_nobody("a_directory_that_could_not_be_read_at_first_is_baselined_when_it_can", || {
        let mut host = Host::new(json!([{"name": "conf", "path": "/srv/**/*.conf"}]));
        host.write("/srv/a.conf", "1");
        host.write("/srv/shut/deep/b.conf", "1");
        host.chmod("/srv/shut", 0);
        host.compare();
        assert_eq!(host.standing().unknowns.items(), 1);
        assert!(host.compare().lines.is_empty());
        host.stop();
        host.start();
        host.chmod("/srv/shut", 0o755);
        let seen = host.compare();
        assert!(seen.changes().is_empty(), "{:?}", seen.told());
        host.write("/srv/shut/deep/new.conf", "1");
        host.write("/srv/shut/new.conf", "1");
        assert_eq!(host.compare().told(), ["Added /srv/shut/deep/new.conf", "Added /srv/shut/new.conf"]);
    });
}

#[test]
fn the_agents_own_database_is_no_item_but_its_neighbors_are() {
    let mut host = Host::with_state_inside(everything());
    host.write("/state/other", "1");
    host.compare();
    assert!(host.compare().lines.is_empty() && host.compare().lines.is_empty());
    host.write("/state/other", "22");
    assert_eq!(host.compare().told(), ["Modified /state/other Content,Size"]);
}

#[test]
fn a_file_that_is_deleted_while_it_is_hashed_is_removed_not_an_error() {
    let mut host = Host::new(everything());
    host.write("/big", vec![1; 60 << 20]);
    host.compare();
    host.write("/big", vec![2; 60 << 20]);
    let path = host.at("/big");
    let changes = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30)); // whenever it falls, the records must be one of two truths
            fs::remove_file(&path).unwrap();
        });
        let mut told = host.compare().told();
        told.extend(host.compare().told());
        told
    });
    let mut told = changes;
    told.extend(host.compare().told());
    assert!(told.iter().filter(|told| *told == "Removed /big").count() == 1, "{told:?}");
    assert!(told.len() <= 2, "{told:?}");
}

#[test]
fn a_tree_of_a_thousand_levels_and_a_path_over_the_systems_limit_are_walked() {
    let mut host = Host::new(everything());
    let depth = 1000;
    let name = "d".repeat(20);
    support::deep(&host.root(), &name, depth, b"1");
    host.compare();
    assert_eq!(host.standing().totals.tracked, 1 + depth as u64 + 1);
    support::deep(&host.root(), &name, depth, b"22");
    let seen = host.compare();
    assert_eq!(seen.changes().len(), 1);
    assert_eq!(seen.only()["path"].as_str().unwrap().len(), depth * 21 + 2);
    assert_eq!(host.standing().unknowns.items(), 0);
    run("rm", &["-rf".as_ref(), host.at(&name).as_os_str()]);
    assert_eq!(host.compare().changes().len(), depth + 1);
}

#[test]
fn what_lies_over_1024_levels_deep_is_unknown() {
    let mut host = Host::new(everything());
    support::deep(&host.root(), "d", 1030, b"1");
    host.compare();
    assert_eq!(host.standing().unknowns.items(), 1);
    assert_eq!(host.standing().unknowns.named()[0].aspect, Aspect::Listing);
    assert_eq!(
        host.standing().totals.tracked,
        1026,
        "the root, and 1,025 directories of which the last is not entered"
    );
    run("rm", &["-rf".as_ref(), host.at("/d").as_os_str()]);
}

#[test]
fn hostile_attributes_are_kept_as_what_they_are() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    let name = format!("user.{}", "n".repeat(240));
    if setxattr(host.at("/a"), name.as_str(), b"\xff\x00\n", XattrFlags::empty()).is_err() {
        eprintln!("SKIPPED: the file system has no extended attributes");
        return;
    }
    for at in 0..40 {
        let _ = setxattr(host.at("/a"), format!("user.x{at}"), &[at; 60], XattrFlags::empty()); // as many as fit
    }
    assert_eq!(host.compare().told(), ["Modified /a Xattrs"]);
    assert!(host.compare().lines.is_empty());
}

#[test]
fn opening_leaves_no_access_time_behind() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    let long_ago = SystemTime::now() - Duration::from_secs(3 * 86_400);
    let times = fs::FileTimes::new().set_accessed(long_ago);
    File::options().write(true).open(host.at("/a")).unwrap().set_times(times).unwrap();
    let before = fs::metadata(host.at("/a")).unwrap().atime();
    host.compare();
    assert_eq!(fs::metadata(host.at("/a")).unwrap().atime(), before);
}
