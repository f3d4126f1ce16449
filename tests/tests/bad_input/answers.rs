//! `inventory` and `explain`: of a state that nobody holds and of a running agent, and what they refuse.
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

use crate::scene::{RULE, Said, Scene, Service, SmallDisk, command, ended};

rows! {
    an_explanation_by_no_rules: "2",
        "by which rules? Give --rule FILE, or --state-dir DIR for the rules in force there" =>
        async |scene: &Scene| explain(scene, "/etc/a", &[]).await;

    a_relative_path: "2",
        "the path <path> is relative: write it from the host's /, for example /etc/passwd" =>
        async |scene: &Scene| explain(scene, "etc/a", &["--rule", &scene.text("rule.yaml")]).await;

    a_path_with_dots: "2", "the path <path> has . or .. in it: write it without" => async |scene: &Scene| {
        for path in ["/etc/./a", "/etc/..", "/../etc/a"] {
            assert_eq!(explain(scene, path, &["--rule", &scene.text("rule.yaml")]).await.exit, "2", "{path}");
        }
        explain(scene, "/etc/../a", &["--rule", &scene.text("rule.yaml")]).await
    };

    a_state_held_by_what_does_not_answer: "2",
        "the state directory <dir> is in use by <process>, which does not answer at its socket agent.sock: a scan does not, an agent does: <reason>" =>
        async |scene: &Scene| {
            let mut service = Service::start(scene, scene.agent("standalone", &[("--records", "none")]));
            service.says(|line| line.contains("compared")).await;
            fs::remove_file(scene.path("state/agent.sock")).unwrap();
            let inventory = inventory(scene).await;
            assert_eq!(inventory.exit, "2", "{inventory:?}");
            let said = explain(scene, "/etc/a", &["--state-dir", &scene.text("state")]).await;
            service.end().await;
            said
        };

    a_question_that_the_agent_refuses: "2", "<process> says: <what>" => async |scene: &Scene| {
        let mut service = Service::start(scene, scene.agent("standalone", &[("--records", "none")]));
        service.says(|line| line.contains("compared")).await;
        fs::rename(scene.path("host"), scene.path("away")).unwrap();
        let said = explain(scene, "/etc/a", &["--state-dir", &scene.text("state")]).await;
        assert!(said.err.contains("says: cannot open --host-root"), "{said:?}");
        fs::rename(scene.path("away"), scene.path("host")).unwrap();
        service.end().await;
        said
    };

    a_place_for_no_socket: "goes on",
        "cannot make a socket in <dir>: inventory and explain have to wait until this agent ends: <reason>" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            // A directory in its place cannot be replaced.
            fs::create_dir_all(scene.path("state/agent.sock/x")).unwrap();
            let service = scene.agent("standalone", &[("--records", "none")]);
            scene.goes_on(service, |line| line.contains("cannot make a socket")).await
        };
}

async fn explain(scene: &Scene, path: &str, options: &[&str]) -> Said {
    let host = scene.text("host");
    ended(command(&scene.products.agent, &[&["explain", path, "--host-root", &host], options].concat())).await
}

fn ask_inventory(scene: &Scene, state: &str) -> Command {
    command(&scene.products.agent, &["inventory", "--host-root", &scene.text("host"), "--state-dir", state])
}

async fn inventory(scene: &Scene) -> Said {
    ended(ask_inventory(scene, &scene.text("state"))).await
}

/// Paths in an inventory.
fn paths(said: &Said) -> Vec<String> {
    let items = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    items.map(|item| item["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_running_agent_answers_as_its_state_does_once_it_has_ended() {
    let scene = Scene::new().await;
    (0..3000).for_each(|at| drop(scene.write(&format!("host/etc/d{}/f{at}", at % 40), "1")));
    let mut service = Service::start(&scene, scene.agent("standalone", &[("--records", "none")]));
    service.says(|line| line.contains("compared")).await;
    let mode = |name: &str| fs::metadata(scene.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/agent.sock")), (0o700, 0o600));
    let running = inventory(&scene).await;
    let state = scene.text("state");
    let asked = explain(&scene, "/etc/a", &["--state-dir", &state, "--output", "json"]).await;
    let by_file = explain(&scene, "/etc/a", &["--state-dir", &state, "--rule", &scene.text("rule.yaml")]).await;
    service.end().await;
    assert!(!scene.path("state/agent.sock").exists(), "it is gone with the agent");
    let ended = inventory(&scene).await;
    assert_eq!((running.exit.as_str(), ended.exit.as_str()), ("0", "0"), "{running:?}");
    assert!(paths(&running).len() == 3042 && paths(&running) == paths(&ended), "/etc, a, 40 directories and the files");
    let explanation: Value = serde_json::from_str(&asked.out).unwrap();
    assert_eq!((&explanation["isSelected"], &explanation["entries"][0]["entry"]), (&true.into(), &"web/etc".into()));
    assert!(explanation["tracked"]["lastRead"].is_string());
    for words in
        ["/etc/a is tracked", "web/etc: /etc selects it", "compared every 10s: Content", "last looked at", "last read"]
    {
        assert!(by_file.out.contains(words), "{words}: {by_file:?}");
    }
}

#[tokio::test]
async fn who_asks_and_hangs_or_talks_nonsense_holds_up_neither_compares_nor_others() {
    let scene = Scene::new().await;
    let mut service = Service::start(&scene, scene.agent("standalone", &[("--listen", "127.0.0.1:0")]));
    service.says(|line| line.contains("compared")).await;
    let socket = scene.path("state/agent.sock");
    let hanging: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let mut half = UnixStream::connect(&socket).unwrap();
    half.write_all(b"{\"explain\":").unwrap();
    scene.write("host/etc/new", "1");
    service.says(|line| line.contains("records=1")).await;
    let answered = inventory(&scene).await;
    assert_eq!(answered.exit, "0", "{answered:?}");
    for nonsense in ["\n", "nonsense\n", "{\"shutdown\":{}}\n", "{\"inventory\":{\"from\":[1,2,3]}}\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with('{'), "{nonsense}: {answer}");
    }
    drop((hanging, half));
    service.end().await;
}

#[tokio::test]
async fn a_socket_that_a_killed_agent_left_is_replaced_and_no_one_is_asked_where_none_runs() {
    let scene = Scene::new().await;
    let mut first = Service::start(&scene, scene.agent("standalone", &[("--records", "none")]));
    first.says(|line| line.contains("compared")).await;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(first.pid()).unwrap()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    drop(first);
    assert!(scene.path("state/agent.sock").exists());
    assert_eq!(inventory(&scene).await.exit, "0", "the state is free");
    let mut second = Service::start(&scene, scene.agent("standalone", &[("--records", "none")]));
    second.says(|line| line.contains("compared")).await;
    assert_eq!(inventory(&scene).await.exit, "0");
    second.end().await;
}

#[tokio::test]
async fn a_state_directory_with_a_long_name_takes_a_socket_too() {
    let scene = Scene::new().await;
    let state = scene.text(&"long".repeat(50));
    let mut service =
        Service::start(&scene, scene.agent("standalone", &[("--state-dir", &state), ("--records", "none")]));
    service.says(|line| line.contains("compared")).await;
    let said = ended(ask_inventory(&scene, &state)).await;
    assert_eq!((said.exit.as_str(), paths(&said)), ("0", vec!["/etc".to_owned(), "/etc/a".to_owned()]));
    service.end().await;
}

#[tokio::test]
async fn an_agent_that_tracks_its_own_state_directory_does_not_report_its_socket() {
    let scene = Scene::new().await;
    let (rule, state) = (scene.write("rule.yaml", &RULE.replace("/etc", "/var")), scene.text("host/var/state"));
    fs::create_dir_all(scene.path("host/var")).unwrap();
    let options = [("--rule", rule.as_str()), ("--state-dir", &state)];
    assert_eq!(scene.scan(&options).await.exit, "0");
    let mut service = Service::start(&scene, scene.agent("standalone", &options));
    service.says(|line| line.contains("compared")).await;
    let asked = ended(ask_inventory(&scene, &state)).await;
    assert!(paths(&asked).contains(&"/var/state".to_owned()) && !asked.out.contains("agent.sock"), "{asked:?}");
    service.end().await;
    let said = scene.scan(&options).await;
    assert!(said.exit == "0" && !said.out.contains("agent.sock"), "{said:?}");
}

#[tokio::test]
async fn a_disabled_entry_is_named_as_what_would_select_the_path() {
    let scene = Scene::new().await;
    let rule = RULE.replace("path: /etc}", "path: /etc, enabled: false}, {name: usr, path: /usr}");
    let said = explain(&scene, "/etc/a", &["--rule", &scene.write("rule.yaml", &rule)]).await;
    assert_eq!(said.exit, "0");
    assert!(said.out.starts_with("/etc/a is not tracked\n"), "{said:?}");
    assert!(said.out.contains("web/etc: it would select it, but says enabled: false"), "{said:?}");
    assert!(said.out.contains("web/usr: /usr does not match: it leads to /, but not on to etc"), "{said:?}");
}

#[tokio::test]
async fn an_inventory_that_nobody_takes_in_is_trouble() {
    let scene = Scene::new().await;
    assert_eq!(scene.scan(&[]).await.exit, "0");
    let asking = ask_inventory(&scene, &scene.text("state"));
    let mut full = command(Path::new("sh"), &["-c", "exec \"$@\" > /dev/full", "sh"]);
    full.arg(asking.as_std().get_program()).args(asking.as_std().get_args());
    let said = ended(full).await;
    assert_eq!(said.exit, "2");
    assert!(said.err.contains("cannot write to standard output: No space left on device"), "{said:?}");
}

#[tokio::test]
async fn a_state_on_a_read_only_file_system_can_be_asked_and_verified() {
    let scene = Scene::new().await;
    let disk = SmallDisk::mounted(&scene, "state", "size=16m").await;
    assert_eq!(ended(disk.inside(&scene.agent("scan", &[]))).await.exit, "0");
    disk.shell(&format!("mount -o remount,ro {}", scene.text("state"))).await;
    let asked = ended(disk.inside(&ask_inventory(&scene, &scene.text("state")))).await;
    assert_eq!((asked.exit.as_str(), paths(&asked).len()), ("0", 2), "{asked:?}");
    let verify = command(&scene.products.agent, &["verify", "--state-dir", &scene.text("state")]);
    assert_eq!(ended(disk.inside(&verify)).await.exit, "0");
}

#[tokio::test]
async fn a_path_with_a_line_break_forges_no_line_of_an_explanation() {
    let scene = Scene::new().await;
    let forged = "/zz\n/etc/x is not tracked\u{9b}2J";
    let said = explain(&scene, forged, &["--rule", &scene.text("rule.yaml")]).await;
    assert_eq!(said.exit, "0");
    assert!(said.out.starts_with("/zz\\u{a}/etc/x is not tracked\\u{9b}2J is not tracked\n"), "{said:?}");
    assert!(said.out.lines().skip(1).all(|line| line.starts_with("  ") || line == "not by"), "{said:?}");
    let json = explain(&scene, forged, &["--rule", &scene.text("rule.yaml"), "--output", "json"]).await;
    assert!(json.out.lines().count() == 1 && !json.out.contains('\u{9b}'), "{json:?}");
}

#[tokio::test]
async fn an_explanation_says_when_content_is_not_read_and_what_each_entry_asks_for() {
    let scene = Scene::new().await;
    let state = scene.text("state");
    let small = RULE.replace("path: /etc}", "path: /etc, maxContentSize: 4}");
    assert_eq!(scene.scan_rule(&small).await.exit, "0");
    scene.write("host/etc/a", "too large now");
    assert_eq!(scene.scan(&[("--rule", &scene.text("given.yaml"))]).await.exit, "1");
    let said = explain(&scene, "/etc/a", &["--state-dir", &state]).await;
    assert!(said.out.contains("  content is not read: it is larger than 4 bytes\n"), "{said:?}");
    assert!(!said.out.contains("content is read") && said.out.contains(": its digests are of then\n"), "{said:?}");
    let directory = explain(&scene, "/etc", &["--state-dir", &state]).await;
    assert!(!directory.out.contains("content is"), "{directory:?}");

    let two = RULE.replace("path: /etc}", "path: /etc}, {name: mode, path: /etc, compare: [Mode]}");
    let said = explain(&scene, "/etc/a", &["--rule", &scene.write("two.yaml", &two)]).await;
    assert!(said.out.contains("  web/mode: /etc selects it\n    it compares Mode, every 10s\n"), "{said:?}");
    assert!(said.out.contains("  compared every 10s, each time for all of these entries\n"), "{said:?}");
}

#[tokio::test]
async fn a_name_with_control_characters_is_escaped_in_an_inventory_too() {
    let scene = Scene::new().await;
    scene.write("host/etc/x\u{9b}31m\n\u{202e}", "1");
    assert_eq!(scene.scan(&[]).await.exit, "0");
    let said = inventory(&scene).await;
    assert!(said.out.contains("/etc/x\\u009b31m\\n\\u202e"), "{said:?}");
    assert_eq!(paths(&said).len(), 3, "{said:?}");
}

#[tokio::test]
async fn what_is_not_there_would_be_tracked() {
    let scene = Scene::new().await;
    for path in ["/etc/a/x", "/etc/none"] {
        let said = explain(&scene, path, &["--rule", &scene.text("rule.yaml")]).await;
        assert!(
            said.out.starts_with(&format!("{path} would be tracked\n  there is no such file on the host\n")),
            "{said:?}"
        );
    }
}
