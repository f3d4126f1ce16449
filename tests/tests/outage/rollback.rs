//! A state that was rolled back or deleted, of which only the NodeConfig's status tells another story.

use std::fs;

use serde_json::{Value, json};

use vedette_tests::{eventually, not_yet};

use crate::scene::{SOON, Scene, Watched};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_rolled_back_or_deleted_is_told_by_the_status_and_begins_another_journal() {
    let scene = Scene::new().await;
    let mut watched = scene.watched("rolled-back").await;
    watched.terminate().await;
    let database = watched.agent.state_dir().join("vedette.redb");
    let old = fs::read(&database).unwrap();
    watched.start().await;
    watched.host.write("/etc/a.conf", "22").unwrap();
    watched.counts(1).await;
    scene.agree(&watched).await;
    let first = stands_at(&scene, &watched).await;
    watched.terminate().await;

    fs::write(&database, old).unwrap();
    forget_records(&watched);
    watched.start().await;
    let reset = reset(&scene, &watched, &first).await;
    assert_eq!(reset["reason"], "StateRolledBack");
    let expected = json!({"id": reset["expectedJournal"], "sequence": reset["expectedSequence"],
        "head": format!("sha256:{}", reset["expectedHead"].as_str().unwrap())});
    assert_eq!(expected, first);
    assert_eq!(reset["foundJournal"], first["id"]);
    watched.counts(1).await;
    scene.agree(&watched).await;
    assert_eq!(watched.agent.changes().unwrap()[0]["path"], "/etc/a.conf", "what the lost lines told is told again");
    let second = stands_at(&scene, &watched).await;
    watched.terminate().await;

    fs::remove_dir_all(watched.agent.state_dir()).unwrap();
    forget_records(&watched);
    watched.start().await;
    let reset = self::reset(&scene, &watched, &second).await;
    assert_eq!((&reset["reason"], &reset["expectedJournal"]), (&json!("StateMissing"), &second["id"]));
    watched.host.write("/etc/a.conf", "333").unwrap();
    watched.counts(1).await;
    let third = stands_at(&scene, &watched).await;
    watched.terminate().await;
    watched.start().await;
    watched.host.write("/etc/a.conf", "4444").unwrap();
    watched.counts(2).await;
    scene.agree(&watched).await;
    assert_eq!(stands_at(&scene, &watched).await["id"], third["id"], "it is said once");
}

/// Leaves the status as the only anchor.
fn forget_records(watched: &Watched) {
    fs::remove_file(watched.agent.state_dir().with_file_name("records.jsonl")).unwrap();
}

/// The journal as the status shows it.
async fn stands_at(scene: &Scene, watched: &Watched) -> Value {
    scene.status(watched, "shows its journal", |status| status["journal"]["id"].is_string()).await["journal"].clone()
}

/// The notice that another journal than this one begins with, once the status shows that one.
async fn reset(scene: &Scene, watched: &Watched, expected: &Value) -> Value {
    let status = scene
        .status(watched, "shows another journal", |status| {
            status["journal"]["id"].is_string() && status["journal"]["id"] != expected["id"]
        })
        .await;
    let first = eventually("its first line is written", SOON, async || {
        let lines = watched.agent.lines()?;
        lines.into_iter().find(|line| line["journal"] == status["journal"]["id"]).ok_or_else(|| not_yet("not yet"))
    });
    let first = first.await.unwrap();
    assert_eq!((&first["kind"], &first["sequence"]), (&json!("BaselineReset"), &json!(1)), "{first}");
    first
}
