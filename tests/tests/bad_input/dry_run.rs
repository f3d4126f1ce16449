//! `scan --dry-run` says what a scan would and changes nothing; and which exit code goes over which.
use std::fs;

use serde_json::Value;

use crate::scene::{Scene, ended};

#[tokio::test]
async fn a_dry_run_says_what_the_scan_says_and_leaves_the_state_as_it_is() {
    let scene = Scene::new().await;
    assert_eq!(scene.scan(&[]).await.exit, "0");
    scene.write("host/etc/a", "22");
    scene.write("host/etc/b", "1");
    let before = fs::read(scene.path("state/vedette.redb")).unwrap();
    let dry = dry(&scene).await;
    assert_eq!(dry.exit, "1");
    assert_eq!(self::dry(&scene).await.changes(), dry.changes(), "again");
    assert_eq!(fs::read(scene.path("state/vedette.redb")).unwrap(), before);
    assert_eq!(fs::read_dir(scene.path("state")).unwrap().count(), 1, "nothing beside it either");
    let said = scene.scan(&[]).await;
    assert_eq!((said.exit.as_str(), said.changes()), ("1", dry.changes()), "the change is still to be reported");
    let bare = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut()
            .unwrap()
            .retain(|name, _| !["sequence", "chain", "time", "since"].contains(&name.as_str()));
        line
    };
    let lines = |text: &str| text.lines().map(bare).collect::<Vec<_>>();
    assert_eq!(lines(&dry.out), lines(&said.out), "but for its place in the journal");
    assert!(!dry.out.contains("\"sequence\"") && !dry.out.contains("\"chain\""));
    assert_eq!(self::dry(&scene).await.exit, "0");
}

#[tokio::test]
async fn a_dry_run_without_a_state_says_what_a_baseline_would_hold_and_makes_none() {
    let scene = Scene::new().await;
    let said = dry(&scene).await;
    assert_eq!((said.exit.as_str(), said.out.as_str()), ("0", ""));
    assert!(said.err.contains("a baseline would be made: 2 items, "), "{said:?}");
    assert!(said.err.ends_with("nothing was written; run it without --dry-run to make it\n"), "{said:?}");
    assert!(!scene.path("state").exists());
}

#[tokio::test]
async fn a_dry_run_leaves_what_was_not_delivered_to_the_next_scan() {
    let scene = Scene::new().await;
    assert_eq!(scene.scan(&[]).await.exit, "0");
    scene.write("host/etc/b", "1");
    let full = scene.agent("scan", &[]);
    let mut sh = crate::scene::command("sh".as_ref(), &["-c", "exec \"$@\" > /dev/full", "sh"]);
    sh.arg(full.as_std().get_program()).args(full.as_std().get_args());
    assert_eq!(ended(sh).await.exit, "2");
    scene.write("host/etc/c", "1");
    assert_eq!(dry(&scene).await.changes(), ["Added /etc/c"], "what is in the journal is no news");
    assert_eq!(scene.scan(&[]).await.changes(), ["Added /etc/b", "Added /etc/c"]);
}

#[tokio::test]
async fn trouble_goes_over_changes_and_changes_over_what_is_unknown() {
    let scene = Scene::new().await;
    fs::create_dir(scene.path("open")).unwrap();
    std::os::unix::fs::chown(scene.path("open"), Some(65534), Some(65534)).unwrap();
    scene.write("host/etc/secret", "1");
    fs::set_permissions(scene.path("host/etc/secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let state = scene.text("open/state");
    let options = [("--state-dir", state.as_str())];
    assert_eq!(scene.scan_as_nobody(&options).await.exit, "3");
    scene.write("host/etc/a", "22");
    let mut dry = scene.agent_as_nobody("scan", &options).await;
    dry.arg("--dry-run");
    assert_eq!(ended(dry).await.exit, "1");
    let full = scene.agent_as_nobody("scan", &options).await;
    let mut sh = crate::scene::command("sh".as_ref(), &["-c", "exec \"$@\" > /dev/full", "sh"]);
    sh.arg(full.as_std().get_program()).args(full.as_std().get_args()).uid(65534).gid(65534).current_dir("/");
    assert_eq!(ended(sh).await.exit, "2");
    assert_eq!(scene.scan_as_nobody(&options).await.exit, "1", "what was not written");
    assert_eq!(scene.scan_as_nobody(&options).await.exit, "3");
}

async fn dry(scene: &Scene) -> crate::scene::Said {
    let mut scan = scene.agent("scan", &[]);
    scan.arg("--dry-run");
    ended(scan).await
}
