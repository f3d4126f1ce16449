//! `verify` on lines and states that are not as they were written, and on what is neither.
use std::{fs, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{Said, Scene, Service, command, ended};

rows! {
    a_file_of_lines_that_is_not_there: "2",
        "cannot read <file>: No such file or directory (os error 2)" => async |scene: &Scene| {
            verify(scene, &[&scene.text("none")]).await
        };

    a_file_without_lines: "2",
        "<file> holds no line of a journal: nothing was checked" => async |scene: &Scene| {
            assert_eq!(verify(scene, &[&scene.write("empty", "")]).await.exit, "2");
            verify(scene, &[&scene.text("rule.yaml")]).await
        };

    a_state_directory_without_a_state: "2",
        "there is no state in <dir>: give the directory that vedette-agent was given as --state-dir" =>
        async |scene: &Scene| {
            let said = verify(scene, &["--state-dir", &scene.text("none")]).await;
            assert!(!scene.path("none").exists());
            said
        };

    a_state_in_use: "2",
        "the state in <dir> is in use by <process>: verify the lines that it writes, for example with --records FILE, or stop it first" =>
        async |scene: &Scene| {
            let mut service = Service::start(scene, scene.agent("standalone", &[("--records", "none")]));
            service.says(|line| line.contains("compared")).await;
            let said = verify(scene, &["--state-dir", &scene.text("state")]).await;
            service.end().await;
            said
        };

    a_head_that_is_none: "2",
        "error: invalid value <value> for <flag>: write sha256: and 64 hex digits, as in a NodeConfig's status.journal.head" =>
        async |scene: &Scene| verify(scene, &["--head", "sha256:12", &scene.text("none")]).await;

    a_line_that_was_changed: "1",
        "journal <id>, line <number>, sequence <number>: it does not follow from line <number>: it was changed, or what is before it was rewritten" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            verify(scene, &[&scene.write("lines", &lines.replacen("\"High\"", "\"Info\"", 1))]).await
        };

    lines_that_are_missing: "1",
        "journal <id>, line <number>, sequence <number>: <which> missing before it" => async |scene: &Scene| {
            let lines = lines(scene).await;
            let some: Vec<&str> = lines.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
            let said = verify(scene, &[&scene.write("lines", &(some.join("\n") + "\n"))]).await;
            assert_eq!(answer(&said)["broken"][0]["reason"], "Missing");
            said
        };

    a_line_that_is_out_of_its_place: "1",
        "journal <id>, line <number>, sequence <number>: it stands behind line <number>, which has sequence <number>" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            let mut lines: Vec<&str> = lines.lines().collect();
            lines.swap(1, 2);
            verify(scene, &[&scene.write("lines", &(lines.join("\n") + "\n"))]).await
        };

    two_lines_for_one: "1",
        "journal <id>, line <number>, sequence <number>: another line of this sequence stands in line <number>" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            let changed = lines.replacen("\"High\"", "\"Info\"", 1);
            verify(scene, &[&scene.write("lines", &(lines + &changed))]).await
        };

    half_a_line: "1", "in no journal, line <number>: it is cut, and does not come again whole" => async |scene: &Scene| {
        let lines = lines(scene).await;
        verify(scene, &[&scene.write("lines", &lines[..lines.len() - 20])]).await
    };

    something_between_the_lines: "1", "in no journal, line <number>: it is no JSON: <what>" => async |scene: &Scene| {
        let lines = lines(scene).await;
        verify(scene, &[&scene.write("lines", &format!("{lines}nonsense\n"))]).await
    };

    json_between_the_lines: "1",
        "in no journal, line <number>: it is JSON, but no record or notice with journal, sequence and chain" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            verify(scene, &[&scene.write("lines", &format!("{lines}{{}}\n"))]).await
        };

    lines_of_a_dry_run: "1",
        "in no journal, line <number>: it has no chain: what scan --dry-run prints is in no journal, and cannot be checked" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            scene.write("host/etc/a", "3");
            let mut dry = scene.agent("scan", &[]);
            let printed = ended({ dry.arg("--dry-run"); dry }).await;
            assert_eq!((printed.exit.as_str(), printed.out.lines().count()), ("1", 1));
            let among = verify(scene, &[&scene.write("lines", &(lines + &printed.out))]).await;
            assert_eq!(among.exit, "1", "{among:?}");
            verify(scene, &[&scene.write("lines", &printed.out)]).await
        };

    a_head_that_is_not_there: "1",
        "journal <id><...>: no line has the head sha256:<digits>: lines are missing at the end, or the journal is another one or was rewritten" =>
        async |scene: &Scene| {
            let lines = lines(scene).await;
            let whole = verify(scene, &[&scene.write("lines", &lines)]).await;
            let head = answer(&whole)["head"].as_str().unwrap().to_owned();
            let anchored = verify(scene, &["--head", &head, &scene.text("lines")]).await;
            assert_eq!(anchored.exit, "0", "{anchored:?}");
            let (short, _) = lines.trim_end().rsplit_once('\n').unwrap();
            verify(scene, &["--head", &head, &scene.write("short", short)]).await
        };

    a_damaged_state: "1", "in no journal: the state in <file> is damaged: <what>" => async |scene: &Scene| {
        lines(scene).await;
        let state = scene.path("state/vedette.redb");
        let whole = fs::read(&state).unwrap();
        fs::write(&state, &whole[..5000]).unwrap();
        let said = verify(scene, &["--state-dir", &scene.text("state")]).await;
        assert_eq!(fs::read(&state).unwrap(), &whole[..5000], "it is left for examination");
        said
    };
}

/// The lines of a journal with a change of high severity.
async fn lines(scene: &Scene) -> String {
    let rule = crate::scene::RULE.replace("path: /etc}", "path: /etc, severity: High}");
    let baseline = scene.scan_rule(&rule).await;
    scene.write("host/etc/a", "2");
    let rule = scene.text("given.yaml");
    let change = scene.scan(&[("--rule", &rule)]).await;
    assert_eq!((baseline.exit.as_str(), change.exit.as_str()), ("0", "1"));
    baseline.out + &change.out
}

async fn verify(scene: &Scene, arguments: &[&str]) -> Said {
    ended(command(&scene.products.agent, &[&["verify"], arguments].concat())).await
}

fn answer(said: &Said) -> Value {
    serde_json::from_str(said.out.lines().next().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_whole_is_said_in_words_and_as_json() {
    let scene = Scene::new().await;
    let written = lines(&scene).await;
    let file = verify(&scene, &[&scene.write("lines", &written)]).await;
    let state = verify(&scene, &["--state-dir", &scene.text("state")]).await;
    assert_eq!((file.exit.as_str(), state.exit.as_str()), ("0", "0"), "{file:?} {state:?}");
    let (of_file, of_state) = (answer(&file), answer(&state));
    assert_eq!((&of_file["journal"], &of_file["head"]), (&of_state["journal"], &of_state["head"]));
    assert_eq!(
        (of_file["lines"].as_u64(), of_state["items"].as_u64()),
        (Some(written.lines().count() as u64), Some(2))
    );
    assert!(file.err.contains("each follows from the one before it; head sha256:"), "{file:?}");
}

#[tokio::test]
async fn standard_input_is_checked_where_a_dash_stands() {
    let scene = Scene::new().await;
    let lines = lines(&scene).await;
    let (_, later) = lines.split_once('\n').unwrap();
    let mut verify: Command = command(&scene.products.agent, &["verify", "-"]);
    verify.stdin(Stdio::from(fs::File::open(scene.write("later", later)).unwrap()));
    let said = ended(verify).await;
    assert_eq!(said.exit, "0", "{said:?}");
    assert!(said.err.contains("it begins at sequence 2: what was before it is not here"), "{said:?}");
}
