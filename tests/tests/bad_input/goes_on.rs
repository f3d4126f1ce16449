//! What is said beside the records: nothing of it is an error, all of it is worth a look.
use std::fs;

use crate::scene::{RULE, Scene, SmallDisk, ended};

#[tokio::test]
async fn nothing_of_a_name_reaches_a_terminal_as_a_command_or_as_a_line_of_its_own() {
    let scene = Scene::new().await;
    fs::create_dir(scene.path("open")).unwrap();
    std::os::unix::fs::chown(scene.path("open"), Some(65534), Some(65534)).unwrap();
    let name = "x\u{1b}]0;title\u{7}\u{1b}[2J\r\n{\"schema\":\"vedette.dev/change/v1\"}\n\u{9b}31m\u{202e}";
    let path = format!("host/etc/{name}");
    scene.write(&path, "1");
    let state = scene.text("open/state");
    let scan = async || scene.scan_as_nobody(&[("--state-dir", &state)]).await;
    scan().await;
    fs::remove_file(scene.path(&path)).unwrap();
    let removed = scan().await;
    assert_eq!(removed.changes().len(), 1, "{removed:?}");
    scene.write(&path, "1");
    fs::set_permissions(scene.path(&path), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let unknown = scan().await;
    assert!(unknown.err.contains("unknown: /etc/x"), "{unknown:?}");
    for said in [&removed.out, &removed.err, &unknown.out, &unknown.err] {
        let strange = said.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert_eq!(strange, None, "{said:?}");
        assert!(!said.lines().any(|line| line == "{\"schema\":\"vedette.dev/change/v1\"}"), "{said:?}");
    }
}

rows! {
    items_that_cannot_be_seen: "3", "unknown: <path>: <reason>" => async |scene: &Scene| {
        fs::create_dir(scene.path("open")).unwrap();
        std::os::unix::fs::chown(scene.path("open"), Some(65534), Some(65534)).unwrap();
        scene.write("host/etc/secret", "1");
        fs::set_permissions(scene.path("host/etc/secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let state = scene.text("open/state");
        let said = scene.scan_as_nobody(&[("--state-dir", &state)]).await;
        assert!(said.err.contains("unknown: /etc/secret: its content cannot be read: Permission denied (os error 13)"), "{said:?}");
        assert!(said.err.contains("1 item is unknown: nothing is said of it"), "{said:?}");
        said
    };

    the_number_of_unknown_items: "3", "<number> items are unknown: nothing is said of them" => async |scene: &Scene| {
        let disk = with_data(scene).await;
        ended(disk.inside(&scene.agent("scan", &[]))).await
    };

    a_file_system_that_was_unmounted: "3",
        "unknown: <path>: the file system that its items lie on is not mounted there: mount it, or exclude this path in the rules" =>
        async |scene: &Scene| {
            let disk = with_data(scene).await;
            let said = ended(disk.inside(&scene.agent("scan", &[]))).await;
            // What the page says to do about it.
            let excluding = scene.write("excluding.yaml", &RULE.replace("/etc}", "/etc, exclude: [/etc/data]}"));
            let accepted = ended(disk.inside(&scene.agent("scan", &[("--rule", &excluding)]))).await;
            assert_eq!((accepted.exit.as_str(), accepted.changes()), ("0", vec![]), "{accepted:?}");
            let as_before = ended(disk.inside(&scene.agent("scan", &[]))).await;
            assert_eq!((as_before.exit.as_str(), as_before.changes()), ("3", vec![]), "kept for a week: {as_before:?}");
            said
        };

    an_entry_with_a_mistyped_path: "0", "rule <rule>, entry <entry>: <path> selects nothing on this host" =>
        async |scene: &Scene| {
            let rule = RULE.replace("{name: etc,", "{name: nginx, path: /etc/ngnix}, {name: etc,");
            let said = scene.scan_rule(&rule).await;
            assert!(said.err.contains("rule web, entry nginx: /etc/ngnix selects nothing"), "{said:?}");
            let again = scene.scan_rule(&rule).await;
            assert_eq!(again.err, "", "it is said once a plan");
            let mut service = crate::scene::Service::start(
                scene,
                scene.agent("standalone", &[("--rule", &scene.text("given.yaml")), ("--records", "none")]),
            );
            service.says(|line| line.contains("rule web, entry nginx: /etc/ngnix selects nothing on this host")).await;
            service.end().await;
            said
        };

    other_rules_than_last_time: "0",
        "the rules are not those of the last scan: <number> items came under watch, <number> left it" =>
        async |scene: &Scene| {
            scene.write("host/usr/b", "1");
            scene.write("host/usr/c", "1");
            assert_eq!(scene.scan(&[]).await.exit, "0");
            let said = scene.scan_rule(&RULE.replace("/etc}", "/usr}")).await;
            assert!(said.err.contains("3 items came under watch, 2 left it"), "{said:?}");
            let one = RULE.replace("/etc}", "/usr/c}");
            let fewer = scene.scan_rule(&one).await;
            assert!(fewer.err.contains("0 items came under watch, 2 left it"), "{fewer:?}");
            let other = scene.scan_rule(&one.replace("/usr/c}", "/etc/a}")).await;
            assert!(other.err.contains("1 item came under watch, 1 left it"), "{other:?}");
            scene.scan_rule(&RULE.replace("/etc}", "/usr}")).await;
            let again = scene.scan(&[("--rule", &scene.text("given.yaml"))]).await;
            assert_eq!(again.err, "", "it is said once");
            said
        };

    a_link_that_leads_elsewhere: "1",
        "links on the way of the rules' paths lead elsewhere than at the last scan: <number> items came under watch, <number> left it" =>
        async |scene: &Scene| {
            scene.write("host/v1/a", "1");
            scene.write("host/v2/a", "1");
            scene.write("host/v2/b", "1");
            let link = scene.path("host/etc/app");
            std::os::unix::fs::symlink("/v1", &link).unwrap();
            let rule = RULE.replace("path: /etc", "path: /etc/app");
            assert_eq!(scene.scan_rule(&rule).await.exit, "0");
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink("/v2", &link).unwrap();
            let said = scene.scan_rule(&rule).await;
            assert_eq!(said.changes(), ["Modified /etc/app"]);
            said
        };

    a_suspended_rule: "0", "rule <rule> is suspended: nothing of it is compared" => async |scene: &Scene| {
        let said = scene.scan_rule(&RULE.replace("spec: {", "spec: {suspend: true, ")).await;
        assert!(!said.err.contains("no path of the rules"), "{said:?}");
        said
    };

    a_rule_without_an_enabled_entry: "0", "rule <rule> has no entry that is enabled: nothing of it is compared" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("/etc}", "/etc, enabled: false}")).await;

    rules_for_another_host: "0", "baseline made, but nothing is there to watch: no path of the rules is on this host" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("/etc}", "/nothing}")).await;

    a_first_baseline: "0",
        "baseline made: <number> items, <number> MiB read in <number> s; run the same command again to see what changed since" =>
        async |scene: &Scene| scene.scan(&[]).await;

    a_long_scan_on_a_terminal: "goes on", "so far <number> items looked at, <number> MiB read" => async |scene: &Scene| {
        // Without an end, as far as this test is concerned.
        fs::File::create(scene.path("host/etc/large")).unwrap().set_len(1 << 40).unwrap();
        scene.write("rule.yaml", &RULE.replace("/etc}", "/etc, maxContentSize: 2Ti}"));
        let scan = scene.agent("scan", &[]);
        let words = std::iter::once(scan.as_std().get_program()).chain(scan.as_std().get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
        // It ends with its terminal even where somebody who started these tests had the end of terminals ignored.
        let scan = format!("exec setpriv --pdeathsig KILL {}", words.join(" "));
        let terminal = crate::scene::command("script".as_ref(), &["-qfec", &scan, "/dev/null"]);
        let mut terminal = crate::scene::Service::start(scene, terminal);
        let err = terminal.says(|line| line.contains("so far")).await.replace('\r', "");
        crate::scene::Said { exit: "goes on".into(), out: String::new(), err }
    };
}

/// A host on whose /etc/data something was mounted at the baseline that outlives its unmount, and is no more.
async fn with_data(scene: &Scene) -> SmallDisk {
    fs::create_dir(scene.path("host/etc/data")).unwrap();
    scene.write("disk/deep/a", "1");
    let disk = SmallDisk::mounted(scene, "elsewhere", "size=1m,mode=755").await;
    let (at, data) = (scene.text("disk"), scene.text("host/etc/data"));
    let told = async || ended(disk.inside(&scene.agent("scan", &[]))).await.changes();
    disk.shell(&format!("mount --bind {at} {data}")).await;
    assert!(told().await.is_empty());
    disk.shell(&format!("umount {data}")).await;
    assert_eq!(told().await, ["Modified /etc/data"]);
    disk
}
