//! Why items are unknown, each reason as `scan` says it; a service says the same in its log.
use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _, chown, symlink},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use vedette_tests::mounts::{own_mounts, run};

use crate::{
    fuse::{Fault, FaultyMount, Operation},
    scene::{ENDS_WITHIN, RULE, Said, Scene, Service, ended},
};

/// A scan as a user who may do little, with something that only root may read.
async fn as_nobody(scene: &Scene, path: &str, mode: u32) -> Said {
    fs::create_dir(scene.path("open")).unwrap();
    chown(scene.path("open"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(scene.path(path), fs::Permissions::from_mode(mode)).unwrap();
    scene.scan_as_nobody(&[("--state-dir", &scene.text("open/state"))]).await
}

rows! {
    a_directory_that_may_not_be_listed: "3", "unknown: <path>: Permission denied (os error 13)" => async |scene: &Scene| {
        scene.write("host/etc/closed/a", "1");
        as_nobody(scene, "host/etc/closed", 0o700).await
    };

    a_file_that_may_not_be_read: "3", "unknown: <path>: its content cannot be read: <reason>" => async |scene: &Scene| {
        scene.write("host/etc/secret", "1");
        let said = as_nobody(scene, "host/etc/secret", 0o600).await;
        assert!(said.err.contains("unknown: /etc/secret: "), "{said:?}");
        said
    };

    a_file_that_is_always_written: "1", "unknown: <path>: its content changed whenever it was read" => async |scene: &Scene| {
        scene.write("host/etc/log", "");
        let log = fs::File::options().write(true).open(scene.path("host/etc/log")).unwrap();
        log.set_len(32 << 20).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut line = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    line += 1;
                    log.write_all_at(&line.to_be_bytes(), 0).unwrap();
                }
            });
            let said = scene.agent("scan", &[]).into_std().output();
            is_over.store(true, Ordering::Relaxed);
            Said::of(said.unwrap())
        })
    };

    a_tree_that_is_too_deep: "3",
        "unknown: <path>: it lies over <number> levels deep, or its path is over <number> bytes" => async |scene: &Scene| {
            let script = "cd \"$1\"; for level in $(seq 1030); do mkdir d && cd -P d || exit 1; done";
            run("bash", &["-c".as_ref(), script.as_ref(), "bash".as_ref(), scene.path("host/etc").as_os_str()]);
            let said = scene.scan(&[]).await;
            run("rm", &["-r".as_ref(), scene.path("host/etc/d").as_os_str()]);
            said
        };

    too_many_links_that_are_followed: "3",
        "unknown: <path>: what lies behind it: there is room for <number> places that links lead to, <number> links on the way, and <number> MiB of their paths" => async |scene: &Scene| {
            fs::create_dir(scene.path("host/etc/links")).unwrap();
            for link in 0..10_001 {
                let target = format!("/srv/{link}");
                symlink(target, scene.path(&format!("host/etc/links/{link}"))).unwrap();
            }
            scene.scan_rule(&RULE.replace("path: /etc}", "path: /etc, links: Follow}")).await
        };

    a_hard_link_to_the_database: "3", "unknown: <path>: the agent's own database or socket is in its place" => async |scene: &Scene| {
        scene.write("host/etc/passwd", "root");
        scene.scan(&[]).await;
        fs::remove_file(scene.path("host/etc/passwd")).unwrap();
        fs::hard_link(scene.path("state/vedette.redb"), scene.path("host/etc/passwd")).unwrap();
        assert_eq!(scene.scan(&[]).await.changes().len(), 1);
        scene.scan(&[]).await
    };

    a_mount_over_known_files: "3", "unknown: <path>: a mount of type <type> covers what is known there" =>
        async |scene: &Scene| {
            own_mounts();
            scene.write("host/etc/data/a", "1");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let told = scene.path("host/etc/data");
            run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "other".as_ref(), told.as_os_str()]);
            assert_eq!(scene.scan(&[]).await.changes(), ["Modified /etc/data"]);
            scene.scan(&[]).await
        };

    a_mount_that_only_the_host_sees: "3",
        "unknown: <path>: the host has a mount of type <type> there that is not seen here" => async |scene: &Scene| {
            own_mounts();
            ["proc", "dev/shm"].iter().for_each(|at| fs::create_dir_all(scene.path("host").join(at)).unwrap());
            // It says what this machine's first process sees: its own /dev and more, none of it below the scratch host.
            run("mount", &["-t".as_ref(), "proc".as_ref(), "proc".as_ref(), scene.path("host/proc").as_os_str()]);
            scene.scan_rule(&RULE.replace("path: /etc}", "path: /dev}")).await
        };

    a_mount_that_the_host_has_not: "3",
        "unknown: <path>: what the host has there is covered here by a mount that the host has not" => async |scene: &Scene| {
            own_mounts();
            ["proc", "srv/run"].iter().for_each(|at| fs::create_dir_all(scene.path("host").join(at)).unwrap());
            let mount = |kind: &str, at: &str| {
                run("mount", &["-t".as_ref(), kind.as_ref(), kind.as_ref(), scene.path(at).as_os_str()]);
            };
            mount("proc", "host/proc");
            mount("tmpfs", "host/srv/run");
            scene.scan_rule(&RULE.replace("path: /etc}", "path: /srv}")).await
        };

    a_table_of_mounts_that_is_hidden: "3",
        "unknown: /proc/1/mountinfo: it cannot be read, so mounts that the host has and the agent does not see go unnoticed: mount the host's /proc without hidepid, or give the agent the group that its option gid names (none with hidepid=4)" => async |scene: &Scene| {
            own_mounts();
            fs::create_dir(scene.path("host/proc")).unwrap();
            let proc = scene.path("host/proc");
            let options = ["-t", "proc", "-o", "hidepid=2", "proc"].map(AsRef::as_ref);
            run("mount", &[options.as_slice(), &[proc.as_os_str()]].concat());
            as_nobody(scene, "host/etc", 0o755).await
        };

    a_table_of_mounts_that_is_covered: "3",
        "unknown: /proc/1/mountinfo: something is mounted over it, so it is not believed, and mounts that the host has and the agent does not see go unnoticed: look who mounted it" => async |scene: &Scene| {
            own_mounts();
            fs::create_dir(scene.path("host/proc")).unwrap();
            run("mount", &["-t".as_ref(), "proc".as_ref(), "proc".as_ref(), scene.path("host/proc").as_os_str()]);
            // The same, but for what somebody would rather not have known.
            let forged = scene.write("forged/mountinfo", &fs::read_to_string("/proc/self/mountinfo").unwrap());
            let folder = Path::new(&forged).parent().unwrap();
            run("mount", &["--bind".as_ref(), folder.as_os_str(), scene.path("host/proc/1").as_os_str()]);
            scene.scan(&[]).await
        };

    a_file_system_that_hangs: "3",
        "unknown: <path>: the file system of type <type> there did not answer for <number> s" => async |scene: &Scene| {
            own_mounts();
            let files = scene.path("files");
            fs::create_dir(&files).unwrap();
            let Some(mount) = FaultyMount::new(&files, &scene.path("host/etc/net")) else {
                panic!("this row needs /dev/fuse");
            };
            mount.set(Operation::List, "", Fault::Hangs);
            scene.write("rule.yaml", &RULE.replace("path: /etc}", "path: /etc, mounts: All}"));
            let mut scan = scene.agent("scan", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(scan.stderr.take().unwrap()).lines();
            let mut err = String::new();
            while !err.contains("nothing is said of it") {
                let line = tokio::time::timeout(ENDS_WITHIN, lines.next_line()).await.expect("it goes on").unwrap();
                err += &(line.unwrap() + "\n");
            }
            assert!(err.contains("/etc/net: the file system of type fuse there did not answer for 30 s"), "{err}");
            // A process that waits for a FUSE server is ended by nobody else.
            mount.mend();
            let mut said = Said::of(scan.wait_with_output().await.unwrap());
            said.err = err;
            said
        };
}

#[tokio::test]
async fn a_service_says_once_what_is_unknown_and_an_agent_explains_it() {
    let scene = Scene::new().await;
    scene.write("host/etc/closed/a", "1");
    let state = scene.text("open/state");
    fs::create_dir(scene.path("open")).unwrap();
    chown(scene.path("open"), Some(65534), Some(65534)).unwrap();
    fs::set_permissions(scene.path("host/etc/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let options = [("--state-dir", state.as_str()), ("--records", "none"), ("--listen", "127.0.0.1:0")];
    let mut service = Service::start(&scene, scene.agent_as_nobody("standalone", &options).await);
    let is_said = |line: &str| line.ends_with("unknown: /etc/closed: Permission denied (os error 13)");
    service.says(is_said).await;
    let mut explain = scene.agent("explain", &[("--state-dir", &state), ("--rule", "")]);
    explain.arg("/etc/closed/a");
    let explained = ended(explain).await;
    let reason = "at the last compare /etc/closed was unknown: Permission denied (os error 13)";
    assert!(explained.out.contains(reason), "{explained:?}");
    service.compares_again().await;
    assert_eq!(service.log().lines().filter(|line| is_said(line)).count(), 1, "{}", service.log());
    service.end().await;
}
