//! Host roots that cannot be used.
use crate::scene::{Scene, ended};

rows! {
    a_host_root_that_is_not_there: "2",
        "cannot open --host-root <dir>, which is where the host's / is mounted: No such file or directory (os error 2)" =>
        async |scene: &Scene| {
            let said = scene.scan(&[("--host-root", "/nonexistent")]).await;
            assert!(!scene.path("state").exists(), "no state is made for a host that is not there");
            said
        };

    a_file_as_the_host_root: "2",
        "cannot open --host-root <dir>, which is where the host's / is mounted: Not a directory (os error 20)" =>
        async |scene: &Scene| scene.scan(&[("--host-root", &scene.text("rule.yaml"))]).await;

    a_host_root_that_goes_away: "goes on",
        "cannot open --host-root <dir>, which is where the host's / is mounted: No such file or directory (os error 2) reason=\"HostRoot\"" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[]).await.exit, "0");
            std::fs::rename(scene.path("host"), scene.path("away")).unwrap();
            // Opened when it begins, gone when it compares: so it begins on a link to the folder.
            std::os::unix::fs::symlink("away", scene.path("host")).unwrap();
            let mut service = crate::scene::Service::start(scene, scene.agent("standalone", &[("--records", "none")]));
            service.says(|line| line.contains("compared")).await;
            std::fs::remove_file(scene.path("host")).unwrap();
            let err = service.says(|line| line.contains("HostRoot")).await;
            std::fs::rename(scene.path("away"), scene.path("host")).unwrap();
            service.end().await;
            assert_eq!(scene.scan(&[]).await.exit, "0", "nothing was taken for removed");
            crate::scene::Said { exit: "goes on".into(), out: String::new(), err }
        };

    a_host_without_a_mount_table: "2",
        "the compare did not come to its end: cannot read the mount table /proc/self/mountinfo: No such file or directory (os error 2)" =>
        async |scene: &Scene| {
            let scan = scene.agent("scan", &[]);
            let words: Vec<&str> = scan.as_std().get_args().map(|word| word.to_str().unwrap()).collect();
            let program = scan.as_std().get_program().to_str().unwrap();
            let script = "umount -l /proc && exec \"$@\"";
            let arguments = [&["--mount", "sh", "-c", script, "sh", program][..], &words].concat();
            ended(crate::scene::command("unshare".as_ref(), &arguments)).await
        };
}

#[tokio::test]
async fn a_relative_host_root_is_the_same_host() {
    let scene = Scene::new().await;
    assert_eq!(scene.scan(&[]).await.exit, "0");
    scene.write("host/etc/new", "1");
    let mut scan = scene.agent("scan", &[("--host-root", "host"), ("--state-dir", "state"), ("--rule", "rule.yaml")]);
    scan.current_dir(scene.path(""));
    let said = ended(scan).await;
    assert_eq!((said.exit.as_str(), said.changes()), ("1", vec!["Added /etc/new".to_owned()]), "{said:?}");
}
