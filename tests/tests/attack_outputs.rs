//! Outputs that fail, vanish or are never read: an agent goes on, loses no record, and ends when it is told to.
#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use vedette_tests::{eventually, not_yet, products};

const SOON: Duration = Duration::from_secs(60);

/// An agent without a cluster, and the host that it watches.
struct Scene {
    folder: tempfile::TempDir,
    agent: PathBuf,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("host/etc")).unwrap();
        let rule = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: r}\n\
                    spec: {files: {interval: 10s, paths: [{name: etc, path: /etc}]}}\n";
        fs::write(folder.path().join("rule.yaml"), rule).unwrap();
        Self { folder, agent: products().await.unwrap().agent.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn touch(&self, count: usize, content: &str) {
        (0..count).for_each(|number| fs::write(self.path(&format!("host/etc/{number}")), content).unwrap());
    }

    fn command(&self, records: &Path) -> Command {
        let mut command = Command::new(&self.agent);
        command.arg("standalone").arg("--rule").arg(self.path("rule.yaml")).arg("--state-dir").arg(self.path("state"));
        command.arg("--host-root").arg(self.path("host")).arg("--records").arg(records).stdin(Stdio::null());
        command
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    async fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        eventually("the agent ends", Duration::from_secs(20), async || {
            self.0.try_wait().unwrap().ok_or_else(|| not_yet("it runs"))
        })
        .await
        .unwrap()
    }
}

async fn says(file: &Path, what: &str) {
    eventually(&format!("{} says {what}", file.display()), SOON, async || {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains(what) { Ok(()) } else { Err(not_yet(text)) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_agent_whose_log_cannot_be_written_goes_on() {
    let scene = Scene::new().await;
    let records = scene.path("records");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut agent = Running(scene.command(&records).stderr(full).spawn().unwrap());
    says(&records, "BaselineMade").await;
    assert!(agent.terminate().await.success());

    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = scene.command(scene.folder.path()).stderr(full).status().unwrap();
    assert_eq!(ended.code(), Some(2), "trouble is said by the exit code at least");
}

#[tokio::test]
async fn a_records_file_that_is_moved_away_is_made_again_and_nothing_is_lost() {
    let scene = Scene::new().await;
    let (records, rotated) = (scene.path("records"), scene.path("records.1"));
    let mut agent = Running(scene.command(&records).stderr(Stdio::null()).spawn().unwrap());
    says(&records, "BaselineMade").await;
    fs::rename(&records, &rotated).unwrap();
    scene.touch(1, "new");
    says(&records, "\"path\":\"/etc/0\"").await;
    assert!(!fs::read_to_string(&rotated).unwrap().contains("/etc/0"));
    assert!(agent.terminate().await.success());
}

#[tokio::test]
async fn a_reader_that_does_not_read_does_not_hold_up_the_end_and_gets_all_of_it_next_time() {
    let scene = Scene::new().await;
    let log = scene.path("log");
    let mut agent = scene.command(Path::new("stdout"));
    agent.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let mut agent = Running(agent.spawn().unwrap());
    says(&log, "compared").await;
    // More than a pipe holds.
    scene.touch(300, "new");
    says(&log, "records=30").await;
    assert!(agent.terminate().await.success());
    // A long compare is committed in parts: what the pipe had room for was delivered.
    let mut held = String::new();
    agent.0.stdout.take().unwrap().read_to_string(&mut held).unwrap();
    let rule = scene.path("rule.yaml");
    let mut scan = Command::new(&scene.agent);
    scan.arg("scan").arg("--rule").arg(rule).arg("--state-dir").arg(scene.path("state"));
    let output = scan.arg("--host-root").arg(scene.path("host")).output().unwrap();
    let text = held + &String::from_utf8(output.stdout).unwrap();
    assert!((0..300).all(|number| text.contains(&format!("\"path\":\"/etc/{number}\""))), "{text}");
}

/// Everything in these files, in their order, as `verify` finds it.
fn verified(scene: &Scene, files: &[PathBuf]) -> serde_json::Value {
    let together = scene.path("together");
    fs::write(&together, files.iter().flat_map(|file| fs::read(file).unwrap_or_default()).collect::<Vec<u8>>())
        .unwrap();
    let output = Command::new(&scene.agent).arg("verify").arg(&together).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_records_file_that_is_renamed_again_and_again_while_it_is_written_loses_no_line() {
    let scene = Scene::new().await;
    let (records, log) = (scene.path("records"), scene.path("log"));
    let mut agent = Running(scene.command(&records).stderr(File::create(&log).unwrap()).spawn().unwrap());
    says(&records, "BaselineMade").await;
    scene.touch(4000, "new");
    let mut files = Vec::new();
    eventually("all is written", SOON, async || {
        // As logrotate does: away with the old one, and an empty one with its name.
        if fs::metadata(&records).is_ok_and(|found| found.len() > 0) {
            let rotated = scene.path(&format!("records.{}", files.len()));
            fs::rename(&records, &rotated).unwrap();
            let _ = File::options().write(true).create_new(true).open(&records); // the agent may have been faster
            files.push(rotated);
        }
        let count =
            files.iter().map(|file| fs::read_to_string(file).unwrap().matches("\"Added\"").count()).sum::<usize>();
        if count >= 4000 { Ok(()) } else { Err(not_yet(count)) }
    })
    .await
    .unwrap();
    assert!(agent.terminate().await.success());
    files.push(records);
    let verdict = verified(&scene, &files);
    assert!(files.len() > 2 && verdict["from"] == 1 && verdict["lines"].as_u64() > Some(4000), "{verdict}");
}

#[tokio::test]
async fn a_records_file_that_is_copied_and_emptied_goes_on_at_its_beginning() {
    let scene = Scene::new().await;
    let (records, copy) = (scene.path("records"), scene.path("records.1"));
    let mut agent = Running(scene.command(&records).stderr(Stdio::null()).spawn().unwrap());
    says(&records, "BaselineMade").await;
    fs::copy(&records, &copy).unwrap();
    File::options().write(true).open(&records).unwrap().set_len(0).unwrap();
    scene.touch(1, "new");
    says(&records, "\"path\":\"/etc/0\"").await;
    fs::remove_file(&records).unwrap();
    scene.touch(2, "newer");
    says(&records, "\"path\":\"/etc/1\"").await;
    assert!(agent.terminate().await.success());
    assert!(fs::read(&records).unwrap().starts_with(b"{\"schema\""), "without a hole");
    let output = Command::new(&scene.agent).arg("verify").arg(&records).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "after a deletion too, what is written is whole");
    assert_eq!(verified(&scene, &[copy])["from"], 1);
}
