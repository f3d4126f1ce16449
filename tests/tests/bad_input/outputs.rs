//! Outputs that fail: what could not be written comes later.
use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use vedette_tests::{eventually, not_yet};

use crate::scene::{ENDS_WITHIN, Said, Scene, Service, SmallDisk, ended};

/// More than a pipe holds.
const MANY: usize = 400;

rows! {
    a_closed_standard_output: "2",
        "standard output is closed, and records would be lost: open it, for example with > FILE" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            change(scene, 3);
            let said = redirected(scene, "scan", ">&-").await;
            for service in ["standalone", "run"] {
                let records = [("--records", "stdout"), ("--listen", "127.0.0.1:0")];
                let mut closed = scene.agent(service, &records);
                assert_eq!(shell(&mut closed, ">&-").await.exit, "2", "{service}");
            }
            // Somebody who wants none of them says so.
            let silent = redirected(scene, "scan", "<&- >/dev/null").await;
            assert_eq!(silent.exit, "1", "{silent:?}");
            said
        };

    a_full_standard_output: "2",
        "cannot write records to standard output: No space left on device (os error 28)" => async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let changes = change(scene, 3);
            let said = redirected(scene, "scan", ">/dev/full").await;
            let next = scene.scan(&[]).await;
            assert_eq!((next.exit.as_str(), next.changes()), ("1", changes), "they come next time, each once");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            said
        };

    a_standard_output_for_reading_only: "2",
        "cannot write records to standard output: Bad file descriptor (os error 9)" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let changes = change(scene, 3);
            let said = redirected(scene, "scan", "1</dev/null").await;
            assert_eq!(scene.scan(&[]).await.changes(), changes);
            said
        };

    a_reader_that_goes_away: "2",
        "cannot write records to standard output: Broken pipe (os error 32)" => async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let changes = change(scene, MANY);
            let script = "set -o pipefail; { \"$@\"; echo $? >&3; } | head -1 | tail -0";
            let codes = scene.path("code");
            let scan = scene.agent("scan", &[]);
            let mut bash = crate::scene::command("bash".as_ref(), &["-c", &format!("exec 3>{}; {script}", codes.display()), "bash"]);
            bash.arg(scan.as_std().get_program()).args(scan.as_std().get_args());
            let err = ended(bash).await.err;
            let exit = fs::read_to_string(codes).unwrap().trim().to_owned();
            let next = scene.scan(&[]).await;
            let mut told = next.changes();
            told.sort_unstable();
            assert_eq!((next.exit.as_str(), told), ("1", changes), "all that was not read comes next time");
            Said { exit, out: String::new(), err }
        };

    a_records_file_that_cannot_be_opened: "2",
        "cannot open the records file <file>: <reason>" => async |scene: &Scene| {
            let no_folder = ended(scene.agent("standalone", &[("--records", &scene.text("no/records"))])).await;
            assert!(no_folder.err.contains("No such file or directory"), "{no_folder:?}");
            ended(scene.agent("standalone", &[("--records", &scene.text("host"))])).await
        };

    a_records_file_that_is_something_else: "2",
        "the records file <file> holds something else than records: give another, which is made" => async |scene: &Scene| {
            let before = fs::read(scene.path("rule.yaml")).unwrap();
            let said = ended(scene.agent("standalone", &[("--records", &scene.text("rule.yaml"))])).await;
            assert_eq!(fs::read(scene.path("rule.yaml")).unwrap(), before, "it is not touched");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let own = ended(scene.agent("standalone", &[("--records", &scene.text("state/vedette.redb"))])).await;
            assert!(own.exit == "2" && own.err.contains("something else than records"), "{own:?}");
            let state = scene.text("state");
            let verify = crate::scene::command(&scene.products.agent, &["verify", "--state-dir", &state]);
            assert_eq!(ended(verify).await.exit, "0", "the state is whole");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            said
        };

    a_journal_that_holds_less_than_one_scan_finds: "2",
        "<number> records left the journal before they could be written: give --journal-max more" => async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let changes = change(scene, 3000);
            let said = scene.scan(&[("--journal-max", "1Mi")]).await;
            let lines: Vec<serde_json::Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let lost: u64 = said.err.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
            let gap = lines.iter().find(|line| line["kind"] == "Gap").expect("a notice says so");
            assert_eq!(gap["to"].as_u64().unwrap() - gap["from"].as_u64().unwrap() + 1, lost);
            assert_eq!(said.changes().len() as u64 + lost, changes.len() as u64, "what is there was written");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            Said { out: String::new(), ..said }
        };

    a_journal_that_holds_less_than_a_sink_lags: "goes on",
        "<number> records left the journal before they could be written: give --journal-max more <...>" =>
        async |scene: &Scene| {
            let disk = SmallDisk::mounted(scene, "records", "size=64k").await;
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let records = scene.text("records/records.jsonl");
            let options = [("--records", records.as_str()), ("--journal-max", "1Mi"), ("--listen", "127.0.0.1:0")];
            let mut service = Service::start(scene, disk.inside(&scene.agent("standalone", &options)));
            service.says(|line| line.contains("compared")).await;
            disk.fill();
            change(scene, 3000);
            service.says(|line| line.contains("records are kept")).await;
            // A long compare is committed in parts: the file could be written again before the journal lets one go.
            eventually("the journal holds the last of them", ENDS_WITHIN, async || {
                let committed = service.metrics().await.sum("vedette_agent_changes_total", &[]);
                if committed >= 3000.0 { Ok(()) } else { Err(not_yet(committed)) }
            })
            .await
            .unwrap();
            disk.shell(&format!("mount -o remount,size=16m {}", scene.text("records"))).await;
            let err = service.says(|line| line.contains("records left the journal")).await;
            let metrics = service.metrics().await;
            let dropped = metrics.sum("vedette_agent_records_dropped_total", &[("sink", "File")]);
            assert!(dropped > 0.0);
            let of_journal = |name: &str| metrics.get(&format!("vedette_agent_journal_{name}"), &[]).unwrap();
            assert_eq!(of_journal("limit_bytes"), f64::from(1 << 20));
            assert!(of_journal("bytes") <= of_journal("limit_bytes"));
            let gone = of_journal("sequence") - of_journal("records");
            assert!(gone >= dropped && of_journal("records") > 0.0, "{metrics}");
            service.end().await;
            assert!(fs::read_to_string(disk.path("records.jsonl")).unwrap().contains("\"Gap\""));
            Said { exit: "goes on".into(), out: String::new(), err }
        };

    a_full_disk_under_the_records: "goes on",
        "cannot write records to <file>: No space left on device (os error 28); records are kept, and written once that works <...>" =>
        async |scene: &Scene| {
            let disk = SmallDisk::mounted(scene, "records", "size=64k").await;
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let records = scene.text("records/records.jsonl");
            // New to this journal, the file begins at its end: from here on it gets all of it.
            let mut service = Service::start(scene, disk.inside(&scene.agent("standalone", &[("--records", &records)])));
            service.says(|line| line.contains("compared")).await;
            disk.fill();
            let changes = change(scene, MANY);
            let err = service.says(|line| line.contains("records are kept")).await;
            disk.make_room();
            disk.shell(&format!("mount -o remount,size=16m {}", scene.text("records"))).await;
            service.says(|line| line.contains("records are written again, none is lost")).await;
            // A compare that began before the last change leaves the others to the next one.
            let said = eventually("every change is written", ENDS_WITHIN, async || {
                let out = fs::read_to_string(disk.path("records.jsonl"))?;
                let written = out.matches("\"Added\"").count();
                if written >= MANY { Ok(out) } else { Err(not_yet(written)) }
            })
            .await
            .map(|out| Said { exit: "goes on".into(), out, err })
            .unwrap();
            service.end().await;
            let mut written = said.changes();
            written.sort();
            assert_eq!(written, changes, "all, and each once");
            said
        };
}

#[tokio::test]
async fn a_records_file_that_may_not_be_written_is_named() {
    let scene = Scene::new().await;
    fs::create_dir(scene.path("closed")).unwrap();
    fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(scene.path("open")).unwrap();
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let records = scene.text("closed/records");
    let options = [("--state-dir", &*scene.text("open/state")), ("--records", &*records)];
    let said = ended(scene.agent_as_nobody("standalone", &options).await).await;
    assert_eq!(said.exit, "2");
    assert!(said.err.contains(&format!("cannot open the records file {records}: Permission denied")), "{said:?}");
}

#[tokio::test]
async fn a_closed_standard_output_loses_nothing_for_the_next_scan() {
    let scene = Scene::new().await;
    assert_eq!(scene.scan(&[]).await.exit, "0");
    let changes = change(&scene, 3);
    assert_eq!(redirected(&scene, "scan", ">&-").await.exit, "2");
    let next = scene.scan(&[]).await;
    assert_eq!((next.exit.as_str(), next.changes()), ("1", changes));
}

/// New files on the host, and the changes that they are. Each comes whole: a compare may be going on.
fn change(scene: &Scene, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            scene.write("new", "new");
            fs::rename(scene.path("new"), scene.path(&format!("host/etc/new{number:04}"))).unwrap();
            format!("Added /etc/new{number:04}")
        })
        .collect()
}

async fn redirected(scene: &Scene, subcommand: &str, redirection: &str) -> Said {
    shell(&mut scene.agent(subcommand, &[]), redirection).await
}

async fn shell(command: &mut tokio::process::Command, redirection: &str) -> Said {
    let command = command.as_std();
    let mut sh = crate::scene::command("sh".as_ref(), &["-c", &format!("exec \"$@\" {redirection}"), "sh"]);
    sh.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    ended(sh).await
}
