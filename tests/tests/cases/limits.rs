//! Limits: many changes at once, deep trees, long paths, huge and sparse files.
use std::{fs, io::Write as _};

use serde_json::json;

use crate::{
    scene::{Scene, srv},
    service::Service,
};

const BURST: usize = 10_000;

fn burst(scene: &Scene, content: &str) {
    for number in 0..BURST {
        let path = scene.at(&format!("/srv/d{}/f{number}", number % 100));
        fs::File::create(path).unwrap().write_all(content.as_bytes()).unwrap();
    }
}

#[test]
fn ten_thousand_changes_in_a_burst_are_all_in_the_journal_and_the_metrics_are_right() {
    let scene = Scene::new(srv());
    (0..100).for_each(|number| scene.mkdir(&format!("/srv/d{number}")));
    let service = Service::start(&scene);
    service.baseline();
    service.end();
    burst(&scene, "1");
    let service = Service::start(&scene);
    let added = service.changes(BURST);
    assert!(added.iter().all(|change| change["changeType"] == "Added"));
    let sum = |service: &Service, kind: &str| {
        service.metrics().sum("vedette_agent_changes_total", &[("rule", "web"), ("change_type", kind)])
    };
    assert_eq!((sum(&service, "Added"), sum(&service, "Modified")), (BURST as f64, 0.0));
    service.end();
    burst(&scene, "22");
    fs::remove_dir_all(scene.at("/srv/d7")).unwrap();
    let service = Service::start(&scene);
    let changes = service.changes(BURST + BURST + 1);
    let count = |kind: &str| changes.iter().filter(|change| change["changeType"] == kind).count();
    assert_eq!((count("Modified"), count("Removed")), (BURST - BURST / 100, BURST / 100 + 1));
    assert_eq!(sum(&service, "Removed"), (BURST / 100 + 1) as f64);
    assert_eq!(
        service.metrics().sum("vedette_agent_tracked_items", &[("rule", "web")]),
        (1 + 99 + BURST - BURST / 100) as f64
    );
    service.end();
}

#[test]
fn a_directory_with_many_names_is_compared_and_emptied() {
    let scene = Scene::new(srv());
    let name = |number: usize| scene.at(&format!("/srv/d/f{number:05}"));
    scene.mkdir("/srv/d");
    scene.baseline();
    (0..5000).for_each(|number| drop(fs::File::create(name(number)).unwrap()));
    assert_eq!(scene.told().len(), 5000);
    (0..5000).step_by(2).for_each(|number| fs::remove_file(name(number)).unwrap());
    let told = scene.told();
    assert_eq!(
        (told.len(), told[0].as_str(), told[2499].as_str()),
        (2500, "Removed /srv/d/f00000", "Removed /srv/d/f04998")
    );
    scene.remove("/srv/d");
    assert_eq!(scene.told().len(), 2501);
}

#[test]
fn a_path_over_the_systems_limit_is_walked() {
    let scene = Scene::new(srv());
    scene.mkdir("/srv/deep");
    // By steps, since no system call takes the whole path.
    let script = "cd \"$1\"; for level in $(seq 60); do mkdir -p \"$2\" && cd -P \"$2\" || exit 1; done; printf %s \"$3\" > file";
    let write = |content: &str| {
        let (root, name) = (scene.at("/srv/deep"), "d".repeat(100));
        crate::run(
            "bash",
            &["-c".as_ref(), script.as_ref(), "bash".as_ref(), root.as_os_str(), name.as_ref(), content.as_ref()],
        );
    };
    write("1");
    scene.baseline();
    write("22");
    let seen = scene.scan();
    assert_eq!(seen.changes().len(), 1);
    assert_eq!(seen.changes()[0]["path"].as_str().unwrap().len(), "/srv/deep".len() + 60 * 101 + "/file".len());
    crate::run("rm", &["-r".as_ref(), scene.at("/srv/deep").as_os_str()]);
    assert_eq!(scene.told().len(), 62);
}

#[test]
fn the_end_of_a_large_file_and_a_hole_count_as_much_as_its_beginning() {
    let scene = Scene::new(srv());
    scene.write("/srv/large", &"x".repeat((3 << 20) + 1));
    scene.write("/srv/sparse", "");
    let sparse = || fs::File::options().write(true).open(scene.at("/srv/sparse")).unwrap();
    sparse().set_len(4 << 20).unwrap();
    scene.baseline();
    for at in [0, 1 << 20, 3 << 20] {
        use std::os::unix::fs::FileExt as _;
        fs::File::options().write(true).open(scene.at("/srv/large")).unwrap().write_at(b"y", at).unwrap();
        scene.scan().only("Modified /srv/large Content");
    }
    sparse().set_len((4 << 20) + 1).unwrap();
    scene.scan().only("Modified /srv/sparse Content,Size");
    sparse().set_len(4 << 20).unwrap();
    let seen = scene.scan();
    let change = seen.only("Modified /srv/sparse Content,Size");
    assert_eq!(change["after"]["md5"], "b5cfa9d6c8febd618f91ac2843d50a1c", "of four mebibytes of zeros");
}

#[test]
fn only_the_hashes_that_are_asked_for_are_in_a_record() {
    for (hashes, members) in [
        (json!(["Md5"]), ["md5"].as_slice()),
        (json!(["Sha256"]), &["sha256"]),
        (json!(["Md5", "Sha256"]), &["md5", "sha256"]),
    ] {
        let scene = Scene::with(json!([{"name": "srv", "path": "/srv", "hashes": hashes}]), &[("/srv/file", "1")]);
        scene.write("/srv/file", "22");
        let seen = scene.scan();
        let change = seen.only("Modified /srv/file Content,Size");
        for side in ["before", "after"] {
            let found: Vec<&str> =
                ["md5", "sha256"].into_iter().filter(|hash| change[side].get(hash).is_some()).collect();
            assert_eq!(found, members);
        }
    }
}
