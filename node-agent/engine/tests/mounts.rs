//! Mounts inside the host: entered or not, and never a reason to call what they cover removed.
#![allow(clippy::unwrap_used)]

mod support;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Host, SetClock, everything, run, with_own_mounts};
use vedette_engine::{Aspect, EngineError};

fn mount(host: &Host, kind: &str, path: &str) {
    host.mkdir(path);
    run("mount", &["-t".as_ref(), kind.as_ref(), "test".as_ref(), host.at(path).as_os_str()]);
}

fn bind(host: &Host, from: &str, to: &str) {
    run("mount", &["--bind".as_ref(), host.at(from).as_os_str(), host.at(to).as_os_str()]);
}

fn unmount(host: &Host, path: &str) {
    run("umount", &[host.at(path).as_os_str()]);
}

#[test]
fn a_mount_over_tracked_files_baselines_what_it_shows_and_removes_nothing() {
    with_own_mounts("a_mount_over_tracked_files_baselines_what_it_shows_and_removes_nothing", || {
        let mut host = Host::new(json!([{"name": "files", "path": "/srv/**/*.conf"}]));
        host.write("/srv/data/deep/a.conf", "1");
        host.write("/srv/data/b.conf", "1");
        host.compare();
        mount(&host, "tmpfs", "/srv/data");
        host.write("/srv/data/deep/shown.conf", "1");
        host.write("/srv/data/b.conf", "other");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /srv/data Mount"], "tracked files lie below it");
        assert_eq!(seen.only()["before"], json!({"type": "Directory"}), "the pattern does not select the directory");
        let mount = json!({"source": "test", "fileSystem": "tmpfs", "root": "/"});
        assert_eq!(seen.only()["after"], json!({"type": "Directory", "mount": mount}));
        let unknowns = host.standing().unknowns;
        assert_eq!((unknowns.items(), unknowns.named()[0].aspect), (2, Aspect::Volume), "{unknowns:?}");
        host.write("/srv/data/b.conf", "changed");
        host.write("/srv/data/deep/new.conf", "1");
        let told = host.compare().told();
        assert_eq!(told, ["Added /srv/data/deep/new.conf", "Modified /srv/data/b.conf Content,Size"]);
        unmount(&host, "/srv/data");
        host.write("/srv/data/b.conf", "22");
        let seen = host.compare();
        let told = ["Modified /srv/data Mount", "Modified /srv/data/b.conf Content,Size"];
        assert_eq!(seen.told(), told, "what lay beneath is compared again");
        assert_eq!(host.standing().unknowns.items(), 0, "what the mount showed went with it");
        assert_eq!(host.standing().totals.tracked, 2);
    });
}

#[test]
fn a_mount_in_an_empty_directory_is_known_after_its_first_compare() {
    with_own_mounts("a_mount_in_an_empty_directory_is_known_after_its_first_compare", || {
        let mut host = Host::new(json!([{"name": "files", "path": "/srv/**/*.conf"}]));
        host.write("/srv/a.conf", "1");
        host.compare();
        mount(&host, "tmpfs", "/srv/empty");
        host.mkdir("/srv/empty/deep");
        assert!(host.compare().changes().is_empty());
        host.write("/srv/empty/deep/a.conf", "1");
        assert_eq!(host.compare().told(), ["Added /srv/empty/deep/a.conf"]);
    });
}

#[test]
fn a_pseudo_file_system_is_not_entered_and_what_it_covers_is_unknown() {
    with_own_mounts("a_pseudo_file_system_is_not_entered_and_what_it_covers_is_unknown", || {
        let mut host = Host::new(everything());
        host.write("/etc/ssh/key", "1");
        host.write("/etc/a", "1");
        host.compare();
        mount(&host, "proc", "/etc/ssh");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /etc/ssh Mount"]);
        let change = seen.only();
        assert_eq!((change["before"]["mode"].is_string(), change["after"]["mode"].is_string()), (true, false));
        assert_eq!(change["after"]["mount"]["fileSystem"], "proc", "what is not entered is not looked at");
        assert!(seen.summary.items < 10);
        let unknowns = host.standing().unknowns;
        assert_eq!((unknowns.items(), unknowns.named()[0].path.to_string().as_str()), (2, "/etc/ssh"));
        unmount(&host, "/etc/ssh");
        host.write("/etc/ssh/key", "22");
        assert_eq!(host.compare().told(), ["Modified /etc/ssh Mount", "Modified /etc/ssh/key Content,Size"]);
        assert_eq!(host.standing().unknowns.items(), 0);
    });
}

#[test]
fn an_entry_that_stays_on_its_file_system_does_not_enter_a_mount() {
    with_own_mounts("an_entry_that_stays_on_its_file_system_does_not_enter_a_mount", || {
        let same = json!([{"name": "all", "path": "/srv", "mounts": "Same"}]);
        let mut host = Host::new(same.clone());
        host.write("/srv/a", "1");
        mount(&host, "tmpfs", "/srv/other");
        host.write("/srv/other/b", "1");
        host.compare();
        assert_eq!(host.standing().totals.tracked, 2);
        host.set_entries(json!([{"name": "all", "path": "/srv"}]));
        let seen = host.compare();
        assert!(seen.changes().is_empty(), "{:?}", seen.told());
        assert_eq!(host.standing().totals.tracked, 4);
        host.write("/srv/other/b", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/other/b Content,Size"]);
        host.set_entries(same);
        let seen = host.compare();
        assert_eq!(seen.notices("ConfigurationApplied")[0]["itemsForgotten"], 2, "the mount point and the file");
        assert_eq!(host.standing().totals.tracked, 2);
    });
}

#[test]
fn an_entry_whose_root_is_a_mount_stays_on_that_one() {
    with_own_mounts("an_entry_whose_root_is_a_mount_stays_on_that_one", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/srv/data", "mounts": "Same"}]));
        mount(&host, "tmpfs", "/srv/data");
        host.write("/srv/data/a", "1");
        mount(&host, "tmpfs", "/srv/data/inner");
        host.write("/srv/data/inner/b", "1");
        host.compare();
        assert_eq!(host.standing().totals.tracked, 2);
        host.write("/srv/data/a", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/data/a Content,Size"]);
    });
}

#[test]
fn a_bind_mount_inside_the_tree_is_tracked_where_it_shows() {
    with_own_mounts("a_bind_mount_inside_the_tree_is_tracked_where_it_shows", || {
        let mut host = Host::new(json!([{"name": "b", "path": "/b"}]));
        host.write("/a/file", "1");
        host.mkdir("/b");
        bind(&host, "/a", "/b");
        host.compare();
        host.write("/a/file", "22");
        assert_eq!(host.compare().told(), ["Modified /b/file Content,Size"]);
    });
}

#[test]
fn a_bind_mount_over_a_tracked_file_is_one_change_of_its_mount() {
    with_own_mounts("a_bind_mount_over_a_tracked_file_is_one_change_of_its_mount", || {
        let mut host = Host::new(json!([{"name": "etc", "path": "/etc"}]));
        host.write("/etc/passwd", "good");
        host.write("/evil", "evil!");
        host.compare();
        bind(&host, "/evil", "/etc/passwd");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /etc/passwd Mount"]);
        let (before, after) = (&seen.only()["before"], &seen.only()["after"]);
        assert_eq!((&before["mount"], &before["size"]), (&json!(null), &json!(4)));
        assert_eq!((after["mount"]["root"].as_str().unwrap().ends_with("/evil"), &after["size"]), (true, &json!(5)));
        assert_ne!(before["sha256"], after["sha256"]);
        host.write("/evil", "worse!");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /etc/passwd Content,Size"], "what shows is tracked");
        assert_eq!(seen.only()["before"]["mount"], seen.only()["after"]["mount"]);
        assert!(seen.only()["after"]["mount"].is_object());
        unmount(&host, "/etc/passwd");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /etc/passwd Mount"]);
        assert_eq!(seen.only()["after"]["size"], 4);
        assert!(host.compare().lines.is_empty());
    });
}

#[test]
fn a_fifo_that_is_mounted_over_a_file_is_not_opened_though_it_is_listed_as_one() {
    with_own_mounts("a_fifo_that_is_mounted_over_a_file_is_not_opened_though_it_is_listed_as_one", || {
        let mut host = Host::new(json!([{"name": "srv", "path": "/srv"}]));
        let fifo = host.at("/fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        host.write("/srv/file", "1");
        bind(&host, "/fifo", "/srv/file");
        let was_opened = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Whoever opens it to read lets this one go on.
            let writer = scope.spawn(|| {
                File::options().write(true).open(&fifo).unwrap();
                was_opened.store(true, Ordering::SeqCst);
            });
            host.compare();
            host.compare();
            assert!(!was_opened.load(Ordering::SeqCst));
            File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(&fifo).unwrap();
            writer.join().unwrap();
        });
        host.chmod("/fifo", 0o640);
        assert_eq!(host.compare().only()["after"]["type"], "Fifo");
    });
}

#[test]
fn a_file_that_changes_while_a_mount_covers_it_is_told_when_it_shows_again() {
    with_own_mounts("a_file_that_changes_while_a_mount_covers_it_is_told_when_it_shows_again", || {
        let mut host = Host::new(json!([{"name": "etc", "path": "/etc"}]));
        host.write("/etc/passwd", "good");
        host.write("/evil", "evil!");
        host.mkdir("/also");
        host.compare();
        bind(&host, "/etc", "/also");
        bind(&host, "/evil", "/etc/passwd");
        assert_eq!(host.compare().told(), ["Modified /etc/passwd Mount"]);
        host.write("/also/passwd", "changed");
        assert!(host.compare().lines.is_empty());
        unmount(&host, "/etc/passwd");
        let seen = host.compare();
        let changes = seen.changes();
        let told: Vec<String> = changes.iter().map(|change| support::tell(change)).collect();
        assert_eq!(told, ["Modified /etc/passwd Mount", "Modified /etc/passwd Content,Size"]);
        assert_eq!(changes[0]["after"]["sha256"], changes[1]["before"]["sha256"], "one state follows the other");
    });
}

#[test]
fn another_file_system_at_the_same_place_is_told_and_the_first_ones_files_are_not_removed() {
    with_own_mounts("another_file_system_at_the_same_place_is_told_and_the_first_ones_files_are_not_removed", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/srv/data"}]));
        mount(&host, "tmpfs", "/srv/data");
        host.write("/srv/data/a", "1");
        host.compare();
        assert!(host.compare().lines.is_empty(), "what was mounted at the baseline is no news");
        unmount(&host, "/srv/data");
        mount(&host, "tmpfs", "/srv/data");
        host.write("/srv/data/b", "1");
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount"]);
        assert_eq!((host.standing().totals.tracked, host.standing().unknowns.items()), (2, 0));
        host.write("/srv/data/b", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/data/b Content,Size"]);
    });
}

#[test]
fn a_mount_on_a_directory_that_was_made_for_it_is_an_addition_and_its_end_a_removal() {
    with_own_mounts("a_mount_on_a_directory_that_was_made_for_it_is_an_addition_and_its_end_a_removal", || {
        let mut host = Host::new(json!([{"name": "pods", "path": "/pods"}]));
        host.write("/pods/one/file", "1");
        host.compare();
        mount(&host, "tmpfs", "/pods/two");
        host.write("/pods/two/token", "secret");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Added /pods/two"]);
        assert_eq!(seen.only()["after"]["mount"]["fileSystem"], "tmpfs");
        unmount(&host, "/pods/two");
        host.remove("/pods/two");
        let seen = host.compare();
        assert_eq!(seen.told(), ["Removed /pods/two"]);
        assert_eq!(seen.only()["before"]["mount"]["fileSystem"], "tmpfs");
        assert_eq!((host.standing().totals.tracked, host.standing().unknowns.items()), (3, 0));
        assert!(host.compare().lines.is_empty());
    });
}

#[test]
fn a_mount_that_changes_while_no_agent_runs_is_told_at_the_start() {
    with_own_mounts("a_mount_that_changes_while_no_agent_runs_is_told_at_the_start", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/srv/data"}]));
        host.write("/srv/data/a", "1");
        host.write("/disk/a", "1");
        host.compare();
        host.stop();
        bind(&host, "/disk", "/srv/data");
        host.start();
        let seen = host.compare();
        assert_eq!(seen.told(), ["Modified /srv/data Mount"]);
        assert_eq!(seen.only()["detection"], "Startup");
        unmount(&host, "/srv/data");
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount"]);
        assert_eq!(host.standing().unknowns.items(), 0, "that it came and went was said");
    });
}

#[test]
fn an_unmounted_volume_is_unknown_and_compared_when_it_is_back() {
    with_own_mounts("an_unmounted_volume_is_unknown_and_compared_when_it_is_back", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/srv/data/**/*.conf"}]));
        host.write("/disk/deep/a.conf", "1");
        host.mkdir("/srv/data");
        bind(&host, "/disk", "/srv/data");
        host.compare();
        unmount(&host, "/srv/data");
        host.write("/disk/deep/a.conf", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount"]);
        assert_eq!(host.standing().unknowns.items(), 1);
        bind(&host, "/disk", "/srv/data");
        let told = host.compare().told();
        assert_eq!(told, ["Modified /srv/data Mount", "Modified /srv/data/deep/a.conf Content,Size"]);
        assert_eq!(host.standing().unknowns.items(), 0);
    });
}

#[test]
fn a_mount_that_came_and_went_is_no_unknown_and_is_compared_when_it_comes_again() {
    with_own_mounts("a_mount_that_came_and_went_is_no_unknown_and_is_compared_when_it_comes_again", || {
        let clock = Arc::new(SetClock::now());
        let mut host = Host::with_clock(json!([{"name": "srv", "path": "/srv"}]), clock.clone());
        host.write("/srv/data/file", "1");
        host.write("/disk/file", "disk");
        host.write("/inner/file", "inner");
        host.mkdir("/disk/inner");
        host.compare();
        let come = |host: &Host| {
            bind(host, "/disk", "/srv/data");
            bind(host, "/inner", "/srv/data/inner");
        };
        let go = |host: &Host| {
            unmount(host, "/srv/data/inner");
            unmount(host, "/srv/data");
        };
        come(&host);
        assert_eq!(
            host.compare().told(),
            ["Modified /srv/data Mount"],
            "what it shows, and what is mounted there, came with it"
        );
        go(&host);
        host.write("/disk/file", "changed while it was away");
        host.write("/inner/file", "changed while it was away");
        host.write("/srv/data/file", "22");
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount", "Modified /srv/data/file Content,Size"]);
        assert_eq!(host.standing().unknowns.items(), 0);
        let before = host.compare();
        assert!(before.lines.is_empty(), "{:?}", before.lines);
        clock.advance(Duration::from_secs(86_400));
        host.compare();
        come(&host);
        let seen = host.compare();
        let told = [
            "Modified /srv/data Mount",
            "Modified /srv/data/file Content,Size",
            "Modified /srv/data/inner/file Content,Size",
        ];
        assert_eq!(seen.told(), told);
        let of = |path: &str| *seen.changes().iter().find(|change| change["path"] == path).unwrap();
        let last = of("/srv/data")["since"].as_str().unwrap();
        assert!(of("/srv/data/file")["since"].as_str().unwrap() < last, "what was away was not looked at");
        go(&host);
        host.compare();
        clock.advance(Duration::from_secs(8 * 86_400));
        host.compare();
        host.compare();
        assert_eq!(host.standing().totals.tracked, 3, "after a week it is forgotten");
        come(&host);
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount"]);
    });
}

#[test]
fn a_mount_is_removed_from_watch_with_its_entry_even_while_it_is_not_there() {
    with_own_mounts("a_mount_is_removed_from_watch_with_its_entry_even_while_it_is_not_there", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/srv/data"}]));
        host.mkdir("/srv/data");
        host.write("/disk/a", "1");
        bind(&host, "/disk", "/srv/data");
        host.compare();
        unmount(&host, "/srv/data");
        host.compare();
        assert_eq!(host.standing().unknowns.items(), 2);
        host.set_entries(json!([{"name": "etc", "path": "/etc"}]));
        host.compare();
        assert_eq!((host.standing().unknowns.items(), host.standing().totals.tracked), (0, 0));
    });
}

#[test]
fn a_mount_that_will_not_come_back_is_accepted_by_excluding_it_and_forgotten_after_a_week() {
    with_own_mounts("a_mount_that_will_not_come_back_is_accepted_by_excluding_it_and_forgotten_after_a_week", || {
        let all = || json!([{"name": "all", "path": "/srv"}]);
        let without = || json!([{"name": "all", "path": "/srv", "exclude": ["/srv/data"]}]);
        let clock = Arc::new(SetClock::now());
        let mut host = Host::with_clock(all(), clock.clone());
        host.mkdir("/srv/data");
        host.write("/disk/deep/a", "1");
        bind(&host, "/disk", "/srv/data");
        host.compare();
        unmount(&host, "/srv/data");
        assert_eq!(host.compare().told(), ["Modified /srv/data Mount"]);
        assert!(host.standing().unknowns.items() > 0);

        host.set_entries(without());
        assert!(host.compare().changes().is_empty());
        assert_eq!(host.standing().unknowns.items(), 0);
        host.set_entries(all());
        assert!(host.compare().changes().is_empty());
        assert!(host.standing().unknowns.items() > 0, "it is kept for a week, and is still not there");

        host.set_entries(without());
        host.compare();
        clock.advance(Duration::from_secs(8 * 86_400));
        host.set_entries(all());
        assert!(host.compare().changes().is_empty());
        assert_eq!(host.standing().unknowns.items(), 0);
        host.write("/srv/data/new", "1");
        assert_eq!(host.compare().told(), ["Added /srv/data/new"], "what lies under the mount point is watched again");
    });
}

#[test]
fn an_entry_whose_root_lies_on_a_file_system_that_is_not_entered_is_unknown() {
    with_own_mounts("an_entry_whose_root_lies_on_a_file_system_that_is_not_entered_is_unknown", || {
        let mut host = Host::new(json!([{"name": "p", "path": "/p/sys/kernel"}, {"name": "a", "path": "/a"}]));
        mount(&host, "proc", "/p");
        host.write("/a", "1");
        host.compare();
        assert_eq!(host.standing().totals.tracked, 1);
        assert_eq!(host.standing().unknowns.items(), 1);
    });
}

#[test]
fn a_mount_that_only_the_hosts_first_process_sees_makes_what_lies_there_unknown() {
    with_own_mounts("a_mount_that_only_the_hosts_first_process_sees_makes_what_lies_there_unknown", || {
        let mut host = Host::new(json!([{"name": "dev", "path": "/dev"}, {"name": "etc", "path": "/etc"}]));
        host.write("/dev/file", "1");
        host.write("/etc/file", "1");
        host.compare();
        assert_eq!(host.standing().totals.tracked, 4);
        // This machine's own table: it has a mount at /dev, which the scratch host has not.
        mount(&host, "proc", "/proc");
        host.write("/dev/file", "what the agent sees is not what the host sees");
        host.write("/etc/file", "22");
        assert_eq!(host.compare().told(), ["Modified /dev Mount", "Modified /etc/file Content,Size"]);
        let unknowns = host.standing().unknowns;
        let dev = unknowns.named().iter().find(|unknown| unknown.path.to_string() == "/dev").unwrap();
        assert_eq!((dev.aspect, dev.items), (Aspect::HiddenMount, 2), "{unknowns:?}");
    });
}

#[test]
fn what_a_mount_of_the_agent_alone_covers_is_unknown_and_never_removed() {
    with_own_mounts("what_a_mount_of_the_agent_alone_covers_is_unknown_and_never_removed", || {
        // As the pod lays an empty folder over the host's /run, where that is a directory of the host's `/`.
        let mut host =
            Host::new(json!([{"name": "covered", "path": "/covered"}, {"name": "too", "path": "/too/file"}]));
        mount(&host, "proc", "/proc");
        host.write("/covered/file", "1");
        host.write("/too/file", "1");
        mount(&host, "tmpfs", "/too");
        host.compare();
        assert_eq!(hidden(&mut host), [("/too".to_owned(), 1)]);
        mount(&host, "tmpfs", "/covered");
        assert_eq!(host.compare().told(), ["Modified /covered Mount"]);
        assert_eq!(hidden(&mut host), [("/covered".to_owned(), 2), ("/too".to_owned(), 1)]);
        assert_eq!(host.standing().totals.tracked, 2);
        unmount(&host, "/covered");
        host.write("/covered/file", "22");
        assert_eq!(host.compare().told(), ["Modified /covered Mount", "Modified /covered/file Content,Size"]);
        assert_eq!(hidden(&mut host), [("/too".to_owned(), 1)]);
    });
}

#[test]
fn a_table_of_the_host_that_is_hidden_from_the_agent_is_unknown_until_it_can_be_read() {
    with_own_mounts("a_table_of_the_host_that_is_hidden_from_the_agent_is_unknown_until_it_can_be_read", || {
        let mut host = Host::new(json!([{"name": "watched", "path": "/watched"}]));
        host.write("/watched/file", "1");
        mount(&host, "proc", "/proc");
        let proc = host.at("/proc");
        let remount = |option: &str| run("mount", &["-o".as_ref(), option.as_ref(), proc.as_os_str()]);
        // Else the group of root is let in.
        remount("remount,hidepid=2,gid=4711");
        // As the agent's pod, which has few capabilities, and not this one.
        let mut had = capabilities(None).unwrap();
        had.effective.remove(CapabilitySet::SYS_PTRACE);
        had.permitted.remove(CapabilitySet::SYS_PTRACE);
        set_capabilities(None, had).unwrap();
        host.compare();
        assert_eq!(hidden(&mut host), [("/proc/1/mountinfo".to_owned(), 1)]);
        host.write("/watched/file", "22");
        assert_eq!(host.compare().told(), ["Modified /watched/file Content,Size"], "all else goes on");
        remount("remount,hidepid=2,gid=0");
        assert!(host.compare().changes().is_empty());
        assert!(hidden(&mut host).is_empty());
    });
}

/// Where the host's mounts are not this process's, and how many items are unknown for that.
fn hidden(host: &mut Host) -> Vec<(String, u64)> {
    let unknowns = host.standing().unknowns;
    let hidden = unknowns.named().iter().filter(|unknown| unknown.aspect == Aspect::HiddenMount);
    let mut hidden: Vec<_> = hidden.map(|unknown| (unknown.path.to_string(), unknown.items)).collect();
    hidden.sort();
    hidden
}

#[test]
fn another_directory_in_the_host_roots_place_is_refused_and_nothing_is_removed() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    std::fs::rename(host.root(), host.root().with_extension("old")).unwrap();
    std::fs::create_dir(host.root()).unwrap();
    assert!(matches!(host.try_compare(), Err(EngineError::HostRootChanged { .. })));
    assert!(host.lines().is_empty() || host.standing().totals.tracked == 2);
    host.stop();
    host.start();
    assert!(matches!(host.try_compare(), Err(EngineError::HostRootChanged { .. })), "after a restart too");
    std::fs::remove_dir(host.root()).unwrap();
    std::fs::rename(host.root().with_extension("old"), host.root()).unwrap();
    assert!(host.compare().changes().is_empty());
}

#[test]
fn an_empty_host_root_is_a_host_without_files() {
    let mut host = Host::new(everything());
    host.compare();
    assert_eq!(host.standing().totals.tracked, 1);
    host.write("/a", "1");
    assert_eq!(host.compare().told(), ["Added /a"]);
}

#[test]
fn a_mount_at_the_top_of_the_host_comes_and_goes_like_any_other() {
    with_own_mounts("a_mount_at_the_top_of_the_host_comes_and_goes_like_any_other", || {
        let mut host = Host::new(everything());
        host.write("/m/beneath", "1");
        host.compare();
        for _ in 0..2 {
            mount(&host, "tmpfs", "/m");
            assert_eq!(host.compare().told(), ["Modified /m Mount"]);
            unmount(&host, "/m");
            assert_eq!(host.compare().told(), ["Modified /m Mount"]);
        }
        assert_eq!(host.standing().totals.tracked, 3);
    });
}

#[test]
fn what_lay_beneath_a_mount_of_the_baseline_and_was_never_seen_is_no_addition_when_it_shows() {
    with_own_mounts("what_lay_beneath_a_mount_of_the_baseline_and_was_never_seen_is_no_addition_when_it_shows", || {
        let mut host = Host::new(json!([{"name": "data", "path": "/data"}]));
        host.write("/data/dir/deep/beneath", "1");
        host.write("/data/conf", "beneath");
        host.write("/disk/file", "1");
        host.write("/over", "over");
        bind(&host, "/disk", "/data/dir");
        bind(&host, "/over", "/data/conf");
        host.compare();
        unmount(&host, "/data/dir");
        unmount(&host, "/data/conf");
        assert_eq!(host.compare().told(), ["Modified /data/conf Mount", "Modified /data/dir Mount"]);
        host.write("/data/dir/deep/new", "1");
        host.write("/data/conf", "22");
        assert_eq!(host.compare().told(), ["Added /data/dir/deep/new", "Modified /data/conf Content,Size"]);
    });
}

#[test]
fn what_was_put_beneath_a_mount_while_it_visited_is_an_addition_when_it_shows() {
    with_own_mounts("what_was_put_beneath_a_mount_while_it_visited_is_an_addition_when_it_shows", || {
        let mut host = Host::new(json!([{"name": "confs", "path": "/data/**/*.conf"}]));
        host.mkdir("/data/dir");
        host.write("/data/a.conf", "1");
        host.write("/disk/b.conf", "1");
        host.mkdir("/beneath");
        bind(&host, "/data", "/beneath");
        host.compare();
        bind(&host, "/disk", "/data/dir");
        host.compare();
        host.write("/beneath/dir/evil.conf", "1");
        unmount(&host, "/data/dir");
        assert_eq!(host.compare().told(), ["Added /data/dir/evil.conf", "Modified /data/dir Mount"]);
    });
}

#[test]
fn a_mount_that_goes_with_its_directory_is_a_removal_and_leaves_nothing_unknown() {
    with_own_mounts("a_mount_that_goes_with_its_directory_is_a_removal_and_leaves_nothing_unknown", || {
        for kind in ["tmpfs", "bind"] {
            let mut host = Host::new(json!([{"name": "pods", "path": "/pods"}]));
            host.mkdir("/pods");
            host.write("/disk/token", "secret");
            host.compare();
            host.mkdir("/pods/uid/volumes/token");
            match kind {
                "tmpfs" => mount(&host, "tmpfs", "/pods/uid/volumes/token"),
                _ => bind(&host, "/disk", "/pods/uid/volumes/token"),
            }
            host.write("/pods/uid/volumes/token/token", "secret");
            let told = ["Added /pods/uid", "Added /pods/uid/volumes", "Added /pods/uid/volumes/token"];
            assert_eq!(host.compare().told(), told, "{kind}");
            unmount(&host, "/pods/uid/volumes/token");
            host.remove("/pods/uid");
            let told = ["Removed /pods/uid", "Removed /pods/uid/volumes", "Removed /pods/uid/volumes/token"];
            assert_eq!(host.compare().told(), told, "{kind}");
            assert!(host.compare().lines.is_empty());
            assert_eq!(host.standing().unknowns.items(), 0, "{kind}");
        }
    });
}

#[test]
fn a_file_system_in_memory_that_was_moved_and_then_ended_leaves_nothing_unknown() {
    with_own_mounts("a_file_system_in_memory_that_was_moved_and_then_ended_leaves_nothing_unknown", || {
        let mut host = Host::new(json!([{"name": "srv", "path": "/srv"}]));
        mount(&host, "tmpfs", "/srv/a");
        host.write("/srv/a/file", "1");
        host.mkdir("/elsewhere");
        host.compare();
        let (from, to) = (host.at("/srv/a"), host.at("/elsewhere"));
        run("mount", &["--move".as_ref(), from.as_os_str(), to.as_os_str()]);
        assert_eq!(host.compare().told(), ["Modified /srv/a Mount"]);
        assert_eq!(host.standing().unknowns.items(), 2, "it may come back: {:?}", host.standing().unknowns);
        unmount(&host, "/elsewhere");
        assert!(host.compare().changes().is_empty());
        assert_eq!(host.standing().unknowns.items(), 0);
    });
}
