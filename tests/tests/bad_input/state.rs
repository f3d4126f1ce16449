//! State directories that cannot be used: each is refused, and left as it is.
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use redb::{Database, ReadableTable as _, TableDefinition};
use xxhash_rust::xxh3::xxh3_64;

use crate::scene::{Said, Scene, Service, SmallDisk, ended};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");

rows! {
    a_file_as_the_state_directory: "2",
        "the state directory <dir> is no directory: give --state-dir a directory, which is made if it is not there" =>
        async |scene: &Scene| scene.scan(&[("--state-dir", &scene.text("rule.yaml"))]).await;

    a_state_directory_that_cannot_be_made: "2",
        "cannot create the state directory <dir>: <reason>" => async |scene: &Scene| {
            let below = scene.text("rule.yaml/state");
            assert!(scene.scan(&[("--state-dir", &below)]).await.err.contains("Not a directory"));
            let said = scene.scan_as_nobody(&[]).await;
            assert!(said.err.contains("Permission denied"), "{said:?}");
            said
        };

    a_state_directory_that_may_not_be_written: "2",
        "cannot open the state in <file>: Permission denied (os error 13)" => async |scene: &Scene| {
            baseline(scene).await;
            fs::set_permissions(scene.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
            let there = scene.scan_as_nobody(&[]).await;
            assert!(there.exit == "2" && there.err.contains("Permission denied"), "{there:?}");
            fs::create_dir(scene.path("empty")).unwrap();
            scene.scan_as_nobody(&[("--state-dir", &scene.text("empty"))]).await
        };

    a_state_directory_on_a_read_only_file_system: "2",
        "cannot open the state in <file>: Read-only file system (os error 30)" => async |scene: &Scene| {
            let disk = SmallDisk::mounted(scene, "state", "size=16m").await;
            let scan = || ended(disk.inside(&scene.agent("scan", &[])));
            disk.shell(&format!("mount -o remount,ro {}", scene.text("state"))).await;
            assert!(scan().await.err.contains("Read-only"), "a first run has nothing to open");
            disk.shell(&format!("mount -o remount,rw {}", scene.text("state"))).await;
            assert_eq!(scan().await.exit, "0");
            disk.shell(&format!("mount -o remount,ro {}", scene.text("state"))).await;
            scan().await
        };

    a_state_directory_in_use: "2",
        "the state directory <dir> is in use by process <number> (<name>): stop that one, or give this one another --state-dir" =>
        async |scene: &Scene| {
            let mut service = Service::start(scene, scene.agent("standalone", &[("--records", "none")]));
            service.says(|line| line.contains("compared")).await;
            let said = scene.scan(&[]).await;
            assert!(said.err.contains(&format!("process {} (vedette-agent)", service.pid())), "{said:?}");
            service.end().await;
            assert_eq!(scene.scan(&[]).await.exit, "0", "it is free again");
            said
        };

    a_state_of_another_version: "2",
        "the state in <file> is of <a newer or an older> version of vedette-agent (format <number>, this one reads <number>): run that version, or start over with another --state-dir, which makes a new baseline" =>
        async |scene: &Scene| {
            baseline(scene).await;
            set_format(&database(scene), 0);
            assert!(scene.scan(&[]).await.err.contains("is of an older version of vedette-agent (format 0,"));
            set_format(&database(scene), 9);
            let said = scene.scan(&[]).await;
            assert!(said.err.contains("is of a newer version of vedette-agent (format 9,"), "{said:?}");
            said
        };

    a_state_file_that_is_damaged: "2",
        "the state in <file> is damaged: keep the file for examination, and start over with another --state-dir, which makes a new baseline: <what>" =>
        async |scene: &Scene| {
            baseline(scene).await;
            let whole = fs::read(database(scene)).unwrap();
            for damaged in [&b""[..], b"nonsense", &whole[..100], &whole[..5000], &whole[..whole.len() - 1], &[0; 5000]] {
                fs::write(database(scene), damaged).unwrap();
                let said = scene.scan(&[]).await;
                assert!(said.exit == "2" && said.err.contains("is damaged"), "{said:?}");
                assert_eq!(fs::read(database(scene)).unwrap(), damaged, "it is left for examination");
            }
            scene.scan(&[]).await
        };

    something_else_in_the_place_of_the_state_file: "2",
        "the state <file> is no file: look what put something else there, and start over with another --state-dir, which makes a new baseline" =>
        async |scene: &Scene| {
            baseline(scene).await;
            let elsewhere = scene.path("elsewhere");
            fs::rename(database(scene), &elsewhere).unwrap();
            let whole = fs::read(&elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, database(scene)).unwrap();
            let link = scene.scan(&[]).await;
            assert!(link.exit == "2" && fs::read(&elsewhere).unwrap() == whole, "{link:?}");
            fs::remove_file(database(scene)).unwrap();
            fs::create_dir(database(scene)).unwrap();
            assert_eq!(scene.scan(&[]).await.err, link.err);
            fs::remove_dir(database(scene)).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(database(scene)).status().unwrap().success());
            scene.scan(&[]).await
        };

    a_state_with_a_damaged_page: "2",
        "the compare did not come to its end: the state is damaged: <what>. Keep it for examination, and start over with another --state-dir, which makes a new baseline" =>
        async |scene: &Scene| {
            baseline(scene).await;
            flip_a_bit(&database(scene));
            scene.write("host/etc/a", "changed");
            scene.scan(&[]).await
        };

    a_state_of_which_only_a_copy_is_left: "1",
        "the state is not the one that was in this directory: a new journal begins with a new baseline reason=StateMissing" =>
        async |scene: &Scene| {
            baseline(scene).await;
            fs::rename(database(scene), scene.path(&format!("state/vedette.redb.{}-2", "0".repeat(32)))).unwrap();
            fs::remove_file(scene.path("state/vedette.journal")).unwrap();
            let mut dry = scene.agent("scan", &[]);
            dry.arg("--dry-run");
            let dry = ended(dry).await;
            assert!(dry.exit == "1" && !database(scene).exists(), "{dry:?}");
            let said = scene.scan(&[]).await;
            let reset = &said.lines()[0];
            assert_eq!((&reset["reason"], reset.get("expectedJournal")), (&"StateMissing".into(), None));
            let next = scene.scan(&[]).await;
            assert_eq!((next.exit.as_str(), next.out.as_str()), ("0", ""), "it is said once");
            said
        };

    a_state_file_that_was_deleted: "1",
        "the state is not the one that journal <id> was in: a new journal begins with a new baseline reason=StateMissing" =>
        async |scene: &Scene| {
            let first = scene.scan(&[]).await;
            fs::remove_file(database(scene)).unwrap();
            fs::write(scene.path("state/vedette.redb.new"), "left by a crash").unwrap();
            let said = scene.scan(&[]).await;
            let reset = &said.lines()[0];
            assert_eq!((&reset["kind"], &reset["reason"]), (&"BaselineReset".into(), &"StateMissing".into()));
            assert_eq!(reset["expectedJournal"], first.lines()[0]["journal"]);
            assert!(scene.scan(&[]).await.out.is_empty(), "it is said once");
            said
        };

    a_state_that_was_rolled_back: "goes on",
        "the state is not the one that journal <id> was in at line <number>: a new journal begins, and the host is compared with this state; as it was found it is kept in <file> reason=<reason>" =>
        async |scene: &Scene| {
            let records = scene.text("records.jsonl");
            let standalone = || scene.agent("standalone", &[("--records", records.as_str())]);
            let watched = async || {
                // Not by what is said of the state before anything is compared.
                let has_compared = |line: &str| line.contains("compared") && !line.contains("is compared with this state");
                let said = scene.goes_on(standalone(), has_compared).await;
                Said { out: fs::read_to_string(&records).unwrap(), ..said }
            };
            watched().await;
            let old = fs::read(database(scene)).unwrap();
            scene.write("host/etc/a", "changed");
            let last = watched().await.lines().pop().unwrap();
            fs::write(database(scene), &old).unwrap();
            let said = watched().await;
            let new = said.lines().split_off(last["sequence"].as_u64().unwrap() as usize);
            assert_eq!((&new[0]["kind"], &new[0]["reason"]), (&"BaselineReset".into(), &"StateRolledBack".into()));
            assert_eq!((&new[0]["expectedJournal"], &new[0]["expectedSequence"]), (&last["journal"], &last["sequence"]));
            assert_eq!(new[0]["expectedHead"], last["chain"]);
            assert_eq!((&new[1]["kind"], &new[2]["path"]), (&"Started".into(), &"/etc/a".into()), "and what it hid is told");
            let found = &new[0];
            let kept = format!("state/vedette.redb.{}-{}", found["foundJournal"].as_str().unwrap(), found["foundSequence"]);
            assert!(scene.path(&kept).is_file(), "{kept} is kept");
            assert!(!watched().await.err.contains("a new journal begins"), "it is said once");
            said
        };

    a_full_disk_under_the_state: "2",
        "no room is left for the state in <dir>: make room, what was not committed is found by the next scan: cannot <read or write> the state: No space left on device (os error 28)" =>
        async |scene: &Scene| {
            let disk = SmallDisk::mounted(scene, "state", "size=4m").await;
            let scan = || ended(disk.inside(&scene.agent("scan", &[])));
            assert_eq!(scan().await.exit, "0");
            disk.fill();
            let changes = change_much(scene);
            let said = scan().await;
            assert_eq!(scan().await.exit, "2", "again");
            disk.make_room();
            let after = scan().await;
            assert_eq!((after.exit.as_str(), sorted(after.changes())), ("1", changes), "all, and each once");
            assert_eq!(scan().await.exit, "0");
            said
        };

    a_full_disk_under_the_state_of_a_service: "goes on",
        "cannot <read or write> the state: No space left on device (os error 28) reason=\"StoreFull\"" =>
        async |scene: &Scene| {
            let disk = SmallDisk::mounted(scene, "state", "size=4m").await;
            assert_eq!(ended(disk.inside(&scene.agent("scan", &[]))).await.exit, "0");
            disk.fill();
            let changes = change_much(scene);
            let records = scene.text("records.jsonl");
            let options = [("--records", records.as_str()), ("--listen", "127.0.0.1:0")];
            let mut service = Service::start(scene, disk.inside(&scene.agent("standalone", &options)));
            let err = service.says(|line| line.contains("StoreFull")).await;
            let metrics = service.metrics().await;
            assert!(metrics.sum("vedette_agent_scan_errors_total", &[("reason", "StoreFull")]) >= 1.0);
            disk.make_room();
            service.says(|line| line.contains("compared")).await;
            service.end().await;
            let out = fs::read_to_string(&records).unwrap();
            let said = Said { exit: "goes on".into(), out, err };
            assert_eq!(sorted(said.changes()), changes, "all, and each once");
            said
        };

    another_host_under_the_same_state: "2",
        "the compare did not come to its end: the host root <dir> is not the one that the state in <dir> is of: all of it is unknown. Mount the host's / there again, or give the new host another --state-dir" =>
        async |scene: &Scene| {
            baseline(scene).await;
            scene.write("other/etc/b", "1");
            let said = scene.scan(&[("--host-root", &scene.text("other"))]).await;
            assert_eq!(scene.scan(&[]).await.exit, "0", "nothing was lost by it");
            said
        };
}

async fn baseline(scene: &Scene) {
    let said = scene.scan(&[]).await;
    assert_eq!(said.exit, "0", "{said:?}");
}

fn database(scene: &Scene) -> std::path::PathBuf {
    scene.path("state/vedette.redb")
}

/// More than a full disk has room for in what the database has reserved.
fn change_much(scene: &Scene) -> Vec<String> {
    scene.write("host/etc/a", "changed");
    let new = (0..1000).map(|number| {
        scene.write(&format!("host/etc/{number:0>200}"), "new");
        format!("Added /etc/{number:0>200}")
    });
    sorted(new.chain(["Modified /etc/a".to_owned()]).collect())
}

fn sorted(mut changes: Vec<String>) -> Vec<String> {
    changes.sort_unstable();
    changes
}

/// What the agent of another version would have written: the format, behind its checksum.
fn set_format(database: &Path, format: u8) {
    let database = Database::open(database).unwrap();
    let writer = database.begin_write().unwrap();
    let sealed = [&xxh3_64(&[format]).to_le_bytes()[..], &[format]].concat();
    writer.open_table(META).unwrap().insert("format", sealed.as_slice()).unwrap();
    writer.commit().unwrap();
}

/// A value that is not what was written, in a database that is whole.
fn flip_a_bit(database: &Path) {
    let database = Database::open(database).unwrap();
    let writer = database.begin_write().unwrap();
    {
        let mut pages = writer.open_table(PAGES).unwrap();
        let found = pages.iter().unwrap().map(|page| page.unwrap());
        let (key, mut value) = found
            .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
            .find(|(_, value)| value.len() > 40)
            .unwrap();
        value[40] ^= 1;
        pages.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    writer.commit().unwrap();
}
