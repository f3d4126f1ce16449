//! What is scanned fails or hangs: unknown by aspect and named, never removed, and told once when it can be seen again.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::io::Errno;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::fuse::{Fault, FaultyMount, Operation};
use support::{Host, everything, run, with_own_mounts};
use vedette_engine::Aspect;
use vedette_engine::clock::{Clock, SystemClock, Time};

const ERRORS: [Errno; 3] = [Errno::IO, Errno::STALE, Errno::ACCESS];

/// A host with a faulty mount at `/srv/net` that shows a directory beside the host.
struct Scene {
    mount: FaultyMount,
    host: Host,
    files: PathBuf,
}

/// The same with its baseline made; `None` where there is no FUSE.
fn scene(entries: Value) -> Option<Scene> {
    let mut host = Host::new(entries);
    let files = host.root().with_file_name("files");
    for (path, content) in [("top", "1"), ("d/a", "1"), ("d/b", "2"), ("d/deep/c", "3"), ("e/x", "4")] {
        let path = files.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    host.write("/srv/local", "1");
    let mount = FaultyMount::new(&files, &host.at("/srv/net"))?;
    host.compare();
    Some(Scene { mount, host, files })
}

#[test]
fn a_fuse_mount_is_not_entered_under_local_and_nothing_of_it_is_touched() {
    with_own_mounts("a_fuse_mount_is_not_entered_under_local_and_nothing_of_it_is_touched", || {
        let Some(mut scene) = scene(everything()) else { return };
        assert_eq!(scene.mount.touched(), Vec::<PathBuf>::new());
        assert_eq!(scene.host.standing().totals.tracked, 3, "/, /srv and /srv/local");
    });
}

#[test]
fn a_mount_that_is_one_file_is_tracked_where_it_shows() {
    with_own_mounts("a_mount_that_is_one_file_is_tracked_where_it_shows", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, files }) = scene(all) else { return };
        host.write("/srv/one", "covered");
        host.compare();
        run("mount", &["--bind".as_ref(), host.at("/srv/net/top").as_ref(), host.at("/srv/one").as_ref()]);
        assert_eq!(host.compare().told(), ["Modified /srv/one Mount"]);
        fs::write(files.join("top"), "changed").unwrap();
        let mut told = host.compare().told();
        told.sort();
        assert_eq!(told, ["Modified /srv/net/top Content,Size", "Modified /srv/one Content,Size"]);
        run("umount", &[host.at("/srv/one").as_ref()]);
        drop(mount);
    });
}

#[test]
fn a_mount_that_hangs_holds_up_nothing_under_local() {
    with_own_mounts("a_mount_that_hangs_holds_up_nothing_under_local", || {
        let Some(mut scene) = scene(everything()) else { return };
        for operation in [Operation::Look, Operation::Open, Operation::List] {
            scene.mount.set(operation, "", Fault::Hangs);
        }
        scene.host.write("/srv/local", "changed");
        assert_eq!(scene.host.compare().told(), ["Modified /srv/local Content,Size"]);
        scene.mount.mend();
    });
}

/// A baseline, then a fault, under which these items are unknown by this aspect; then it ends, and what changed
/// meanwhile is told.
fn fails_and_is_mended(operation: Operation, path: &str, aspect: Aspect, unknown: u64) {
    let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
    let Some(Scene { mount, mut host, files }) = scene(all) else { return };
    let tracked = host.standing().totals.tracked;
    assert_eq!(tracked, 12);
    for error in ERRORS {
        fs::write(files.join("d/a"), format!("changed before {error}")).unwrap();
        mount.set(operation, path, Fault::Fails(error));
        let during = host.compare().told();
        assert!(during.iter().all(|told| told == "Modified /srv/net/d/a Content,Size"), "{error}: {during:?}");
        let unknowns = host.standing().unknowns;
        let named = unknowns.named().first().unwrap_or_else(|| panic!("{error}: nothing is unknown"));
        assert_eq!((named.aspect, unknowns.items()), (aspect, unknown), "{error}: {named:?}");
        assert!(named.path.to_string().starts_with("/srv/net"), "{named:?}");
        assert_eq!(host.standing().totals.tracked, tracked, "{error}: nothing is forgotten");
        assert!(host.compare().lines.is_empty(), "{error}: it is said once");
        mount.mend();
        let after = host.compare().told();
        assert_eq!([during, after].concat(), ["Modified /srv/net/d/a Content,Size"], "{error}");
        assert_eq!(host.standing().unknowns.items(), 0, "{error}");
        assert!(host.compare().lines.is_empty(), "{error}");
    }
}

#[test]
fn a_directory_that_cannot_be_listed_is_unknown_with_all_below_it() {
    with_own_mounts("a_directory_that_cannot_be_listed_is_unknown_with_all_below_it", || {
        fails_and_is_mended(Operation::List, "d", Aspect::Listing, 4);
    });
}

#[test]
fn a_directory_that_cannot_be_opened_is_unknown_with_all_below_it() {
    with_own_mounts("a_directory_that_cannot_be_opened_is_unknown_with_all_below_it", || {
        fails_and_is_mended(Operation::Open, "d", Aspect::Listing, 4);
    });
}

#[test]
fn a_name_that_cannot_be_looked_up_is_unknown_and_never_removed() {
    with_own_mounts("a_name_that_cannot_be_looked_up_is_unknown_and_never_removed", || {
        fails_and_is_mended(Operation::Look, "d/a", Aspect::Metadata, 1);
    });
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_digests_until_it_can() {
    with_own_mounts("a_file_that_cannot_be_read_keeps_its_digests_until_it_can", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, files }) = scene(all) else { return };
        for (operation, error) in
            [Operation::Open, Operation::Read].into_iter().flat_map(|on| ERRORS.map(|error| (on, error)))
        {
            fs::write(files.join("d/a"), format!("changed before {operation:?} {error}")).unwrap();
            mount.set(operation, "d/a", Fault::Fails(error));
            let seen = host.compare();
            assert_eq!(seen.only()["after"]["content"], "Unreadable", "{operation:?} {error}: {:?}", seen.told());
            let unknowns = host.standing().unknowns;
            assert_eq!((unknowns.named()[0].aspect, unknowns.items()), (Aspect::Content, 1), "{operation:?} {error}");
            assert!(host.compare().lines.is_empty(), "{operation:?} {error}: it is said once");
            mount.mend();
            let seen = host.compare();
            let change = seen.only();
            assert!(
                change["fields"].as_array().unwrap().contains(&"Content".into()),
                "{operation:?} {error}: {change}"
            );
            assert_eq!(change["after"]["content"], "Read", "{operation:?} {error}");
            assert!(host.compare().lines.is_empty(), "{operation:?} {error}");
        }
    });
}

#[test]
fn a_mount_that_hangs_holds_up_no_other_and_is_unknown_until_it_answers() {
    with_own_mounts("a_mount_that_hangs_holds_up_no_other_and_is_unknown_until_it_answers", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, files }) = scene(all) else { return };
        fs::write(files.join("d/a"), "changed").unwrap();
        host.write("/srv/local", "changed");
        mount.set(Operation::List, "d", Fault::Hangs);
        assert_eq!(host.compare().told(), ["Modified /srv/local Content,Size"]);
        assert!(host.standing().unknowns.items() > 0);
        mount.mend();
        assert_eq!(told_until_all_is_known(&mut host), ["Modified /srv/net/d/a Content,Size"]);
    });
}

/// Compares until the look that hung has come back, and nothing is unknown.
fn told_until_all_is_known(host: &mut Host) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut told = Vec::new();
    loop {
        told.extend(host.compare().told());
        if host.standing().unknowns.items() == 0 {
            return told;
        }
        assert!(Instant::now() < deadline, "{:?}", host.standing().unknowns);
    }
}

#[test]
fn a_mount_that_comes_and_hangs_at_once_is_told_from_the_mount_table_alone() {
    with_own_mounts("a_mount_that_comes_and_hangs_at_once_is_told_from_the_mount_table_alone", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount: other, mut host, files }) = scene(all) else { return };
        host.write("/etc/ssh/config", "1");
        host.compare();
        let Some(mount) = FaultyMount::new(&files, &host.at("/etc/ssh")) else { return };
        for operation in [Operation::Look, Operation::Open, Operation::List] {
            mount.set(operation, "", Fault::Hangs);
        }
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /etc/ssh Mount"]);
        assert_eq!(seen.only()["after"]["mount"]["source"], "faulty");
        let named = host.standing().unknowns.named().to_vec();
        assert!(named.iter().any(|unknown| unknown.reason.contains("did not answer for")), "{named:?}");
        assert!(host.compare().lines.is_empty());
        let named = host.standing().unknowns.named().to_vec();
        assert!(named.iter().any(|unknown| unknown.reason.contains("still does not answer")), "{named:?}");
        drop(mount);
        assert_eq!(told_until_all_is_known(&mut host), ["Modified /etc/ssh Mount"]);
        drop(other);
    });
}

#[test]
fn what_the_kernel_makes_up_is_not_entered_whatever_a_rule_says() {
    with_own_mounts("what_the_kernel_makes_up_is_not_entered_whatever_a_rule_says", || {
        let mut host = Host::new(json!([{"name": "all", "path": "/**", "mounts": "All"}]));
        for kind in ["proc", "sysfs", "tmpfs"] {
            let at = format!("/srv/{kind}");
            host.mkdir(&at);
            run("mount", &["-t".as_ref(), kind.as_ref(), "test".as_ref(), host.at(&at).as_os_str()]);
        }
        host.write("/srv/tmpfs/file", "1");
        host.compare();
        assert_eq!(host.standing().totals.tracked, 4, "/, /srv, /srv/tmpfs and its file");
    });
}

#[test]
fn what_changes_comes_and_goes_on_a_mount_of_another_kind_is_told_like_anywhere() {
    with_own_mounts("what_changes_comes_and_goes_on_a_mount_of_another_kind_is_told_like_anywhere", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, files }) = scene(all) else { return };
        fs::write(files.join("new"), "1").unwrap();
        fs::remove_file(files.join("e/x")).unwrap();
        fs::remove_dir_all(files.join("d/deep")).unwrap();
        fs::write(files.join("top"), "22").unwrap();
        let told = [
            "Added /srv/net/new",
            "Modified /srv/net/top Content,Size",
            "Removed /srv/net/d/deep",
            "Removed /srv/net/d/deep/c",
            "Removed /srv/net/e/x",
        ];
        assert_eq!(host.compare().told(), told);
        assert!(host.compare().lines.is_empty());
        drop(mount);
        assert_eq!(host.compare().told(), ["Modified /srv/net Mount"]);
    });
}

#[test]
fn a_file_system_that_got_the_device_number_of_one_that_ended_is_not_asked_about_it() {
    with_own_mounts("a_file_system_that_got_the_device_number_of_one_that_ended_is_not_asked_about_it", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/data"}]));
        host.mkdir("/data/t");
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "test".as_ref(), host.at("/data/t").as_os_str()]);
        host.write("/data/t/file", "1");
        host.compare();
        run("umount", &[host.at("/data/t").as_os_str()]);
        let files = host.root().with_file_name("files");
        fs::create_dir(&files).unwrap();
        // The kernel gives the lowest number that is free: that of the tmpfs.
        let Some(mount) = FaultyMount::new(&files, &host.at("/other")) else { return };
        mount.set(Operation::Look, "", Fault::Fails(Errno::IO));
        assert_eq!(host.compare().told(), ["Modified /data/t Mount"]);
        assert_eq!(host.standing().unknowns.items(), 0, "who cannot be asked may be it, were it asked");
    });
}

#[test]
fn a_directory_that_is_removed_between_its_opening_and_its_listing_is_gone_and_not_unknown() {
    let test = "a_directory_that_is_removed_between_its_opening_and_its_listing_is_gone_and_not_unknown";
    with_own_mounts(test, || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, .. }) = scene(all) else { return };
        mount.set(Operation::List, "e", Fault::Goes);
        let seen = host.compare();
        assert_eq!((seen.told(), host.standing().unknowns.items()), (vec![], 0));
        assert_eq!(host.compare().told(), ["Removed /srv/net/e", "Removed /srv/net/e/x"]);
    });
}

#[test]
fn a_directory_that_stands_and_says_that_it_does_not_is_unknown() {
    with_own_mounts("a_directory_that_stands_and_says_that_it_does_not_is_unknown", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, .. }) = scene(all) else { return };
        mount.set(Operation::List, "e", Fault::Fails(Errno::NOENT));
        let seen = host.compare();
        assert_eq!((seen.told(), host.standing().unknowns.items()), (vec![], 1));
    });
}

#[test]
fn a_file_whose_attributes_cannot_be_read_is_unknown_and_its_content_is_read_once() {
    with_own_mounts("a_file_whose_attributes_cannot_be_read_is_unknown_and_its_content_is_read_once", || {
        let all = json!([{"name": "all", "path": "/**", "mounts": "All"}]);
        let Some(Scene { mount, mut host, files }) = scene(all) else { return };
        mount.stop_time_at(1);
        mount.set(Operation::Attributes, "d/new", Fault::Fails(Errno::IO));
        fs::write(files.join("d/new"), "1").unwrap();
        host.compare();
        for _ in 0..2 {
            let seen = host.compare();
            assert!(seen.lines.is_empty());
            assert_eq!(seen.summary.hashed, 0, "only its attributes are tried again");
            let unknowns = host.standing().unknowns;
            assert_eq!((unknowns.named()[0].aspect, unknowns.items()), (Aspect::Attributes, 1));
        }
        fs::write(files.join("d/new"), "22").unwrap();
        assert_eq!(host.compare().told(), ["Modified /srv/net/d/new Content,Size"]);
        mount.mend();
        assert!(host.compare().lines.is_empty());
        assert_eq!(host.standing().unknowns.items(), 0);
    });
}

/// A clock that does something once, when a walker first asks it.
struct Ambush(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Clock for Ambush {
    fn now(&self) -> Time {
        if std::thread::current().name() == Some("walker")
            && let Some(spring) = self.0.lock().unwrap().take()
        {
            spring();
        }
        SystemClock.now()
    }

    fn since_boot(&self) -> Duration {
        SystemClock.since_boot()
    }
}

#[test]
fn a_file_system_that_hangs_and_comes_while_its_directory_is_walked_holds_up_nothing() {
    with_own_mounts("a_file_system_that_hangs_and_comes_while_its_directory_is_walked_holds_up_nothing", || {
        let clock = Arc::new(Ambush(Mutex::default()));
        let mut host = Host::with_clock(json!([{"name": "srv", "path": "/srv"}]), clock.clone());
        for file in ["/srv/a", "/srv/d/deep/b", "/srv/z"] {
            host.write(file, "1");
        }
        host.compare();
        let files = host.root().with_file_name("files");
        fs::create_dir(&files).unwrap();
        let (sender, mounted) = channel();
        let at = host.at("/srv/d");
        let spring = move || {
            let mount = FaultyMount::new(&files, &at);
            if let Some(mount) = &mount {
                for operation in [Operation::Look, Operation::Open, Operation::List] {
                    mount.set(operation, "", Fault::Hangs);
                }
            }
            sender.send(mount).unwrap();
        };
        *clock.0.lock().unwrap() = Some(Box::new(spring));
        host.write("/srv/z", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/z Content,Size"]);
        let Some(mount) = mounted.recv().unwrap() else { return };
        let unknowns = host.standing().unknowns;
        let told: Vec<String> = unknowns.named().iter().map(|unknown| unknown.path.to_string()).collect();
        assert_eq!(told, ["/srv/d"], "{unknowns:?}");
        assert_eq!(mount.touched(), Vec::<PathBuf>::new());
        assert_eq!(host.compare().told(), ["Modified /srv/d Mount"], "the next compare knows it");
        drop(mount);
        host.write("/srv/d/deep/b", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/d Mount", "Modified /srv/d/deep/b Content,Size"]);
    });
}
