//! The page's other promises: a chain that is checked by hand, and starting over.
use std::{fs, process::Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::{page::PAGE, scene::Scene};

/// The page's script, as it stands there.
fn script() -> &'static str {
    let (_, section) = PAGE.split_once("\n## Checking a chain by hand\n").expect("the page has the section");
    let (_, script) = section.split_once("```bash\n").expect("with a script");
    script.split_once("```").expect("that ends").0
}

async fn check(scene: &Scene, records: &str) -> (Option<i32>, String) {
    scene.write("records.jsonl", records);
    let mut bash = Command::new("bash");
    bash.args(["-c", script()]).current_dir(scene.path("")).stdin(Stdio::null());
    let output = bash.output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_chain_of_real_records_is_checked_by_the_pages_own_script() {
    let scene = Scene::new().await;
    let mut records = scene.scan(&[]).await.out;
    fs::write(scene.path("host/etc/caf\u{e9} \\u0041\t$(x) `y` %s"), "1").unwrap();
    use std::os::unix::ffi::OsStrExt as _;
    fs::write(scene.path("host/etc").join(std::ffi::OsStr::from_bytes(b"\xff\n")), "1").unwrap();
    scene.write("host/etc/a", "changed");
    records += &scene.scan(&[]).await.out;
    assert!(records.lines().count() >= 5, "{records}");
    let last: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    let (code, said) = check(&scene, &records).await;
    assert_eq!((code, said.trim()), (Some(0), last["chain"].as_str().unwrap()), "it ends with the journal's head");

    for (of, to) in [("\"path\":\"/etc/a\"", "\"path\":\"/etc/b\""), ("\"sequence\":2", "\"sequence\":3")] {
        assert!(records.contains(of));
        let (code, said) = check(&scene, &records.replacen(of, to, 1)).await;
        assert!(code == Some(1) && said.contains("the chain breaks at "), "{said}");
    }
    let without_second: Vec<&str> =
        records.lines().enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    let (code, said) = check(&scene, &(without_second.join("\n") + "\n")).await;
    assert!(code == Some(1) && said.contains("\"sequence\":3"), "{said}");
}

#[tokio::test]
async fn a_deleted_state_directory_starts_a_new_journal_with_a_new_baseline() {
    let scene = Scene::new().await;
    let of = |out: &str| -> Value { serde_json::from_str(out.lines().next().unwrap()).unwrap() };
    let first = of(&scene.scan(&[]).await.out);
    fs::remove_dir_all(scene.path("state")).unwrap();
    scene.write("host/etc/a", "changed meanwhile");
    let said = scene.scan(&[]).await;
    let second = of(&said.out);
    assert_ne!(first["journal"], second["journal"]);
    assert_eq!((&second["sequence"], said.exit.as_str(), said.changes()), (&Value::from(1), "0", vec![]));
}
