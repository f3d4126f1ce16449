//! Files that are hashed together: each has the digests of its own content, whatever lies beside it.
#![allow(clippy::unwrap_used)]

mod support;

use md5::{Digest, Md5};
use serde_json::Value;
use sha2::Sha256;
use support::{Host, everything, run, with_own_mounts};

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a file holds: its size is one of many, and no two are alike.
fn content(round: usize, file: usize) -> Vec<u8> {
    let size = match file % 50 {
        0 => 300_000 + file * 97,
        1 => 0,
        _ => file * 131 % 9_000,
    };
    let head = format!("{round} {file}\n").into_bytes();
    head.iter().copied().chain((0..size).map(|at| (at * 7 + file) as u8)).take(size.max(head.len())).collect()
}

fn is_of(item: &Value, content: &[u8]) -> bool {
    item["md5"] == hex(&Md5::digest(content)) && item["sha256"] == hex(&Sha256::digest(content))
}

/// Each file of the host is Modified from what it held in one round to what it holds in the next.
fn all_change(
    host: &mut Host,
    files: usize,
    path: impl Fn(usize) -> String,
    mut write: impl FnMut(&Host, usize, usize),
) {
    (0..files).for_each(|file| write(host, 0, file));
    host.compare();
    (0..files).for_each(|file| write(host, 1, file));
    let seen = host.compare();
    let changes = seen.changes();
    for file in 0..files {
        let path = path(file);
        let change = changes.iter().find(|change| change["path"] == path.as_str());
        let change = change.unwrap_or_else(|| panic!("no record of {path}"));
        assert!(is_of(&change["before"], &content(0, file)), "{path} before: {change}");
        assert!(is_of(&change["after"], &content(1, file)), "{path} after: {change}");
    }
}

#[test]
fn files_of_all_sizes_in_many_directories() {
    let mut host = Host::new(everything());
    let path = |file: usize| format!("/d{}/e{}/f{file}", file % 7, file % 31);
    all_change(&mut host, 1500, path, |host, round, file| host.write(&path(file), content(round, file)));
}

#[test]
fn more_files_in_one_directory_than_are_hashed_together_beside_one_of_another_volume() {
    with_own_mounts("more_files_in_one_directory_than_are_hashed_together_beside_one_of_another_volume", || {
        let mut host = Host::new(everything());
        let (files, mounted) = (2300, 1900);
        let path = |file: usize| format!("/d/f{file:04}");
        let other = host.root().with_file_name("other");
        std::fs::create_dir(&other).unwrap();
        run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "test".as_ref(), other.as_os_str()]);
        std::fs::write(other.join("file"), "").unwrap();
        host.write(&path(mounted), "beneath");
        let at = host.at(&path(mounted));
        run("mount", &["--bind".as_ref(), other.join("file").as_os_str(), at.as_os_str()]);
        all_change(&mut host, files, path, |host, round, file| host.write(&path(file), content(round, file)));
    });
}

#[test]
fn names_of_one_file_in_many_directories_have_its_digests() {
    let mut host = Host::new(everything());
    let path = |file: usize| format!("/d{}/f{file}", file % 3);
    all_change(&mut host, 60, path, |host, round, file| {
        host.write(&path(file), content(round, file));
        if round == 0 {
            host.mkdir("/links");
            std::fs::hard_link(host.at(&path(file)), host.at(&format!("/links/f{file}"))).unwrap();
        }
    });
}
