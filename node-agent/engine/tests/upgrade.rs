//! A state that an older version wrote: it opens, nothing is reported that did not change, and what changed since is.
//!
//! `fixtures/state-v1.redb.gz` is what the version with page format 1 left after three compares of the tree below: with
//! `/etc` alone as its baseline, after `/etc/empty` had lost what stood in it, and with all entries. It is of another
//! host root: the test gives it the identities of its own before it is opened. `state-v2.redb.gz` is the same state with its
//! pages in format 2.
#![allow(clippy::unwrap_used)]

mod support;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use support::Host;
use xxhash_rust::xxh3::xxh3_64;

fn entries() -> Value {
    json!([{"name": "etc", "path": "/etc"}, {"name": "bin", "path": "/usr/bin/*", "hashes": ["Md5"]}])
}

/// The host as that version last saw it.
fn tree(host: &Host) {
    use rustix::fs::{FileType, Mode, XattrFlags, mknodat, setxattr};
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for at in 0..150 {
        host.write(&format!("/etc/conf.d/{at:03}.conf"), format!("setting = {at}\n"));
    }
    host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    host.write("/etc/empty", "");
    host.write("/usr/bin/tool", vec![7; 300_000]);
    host.chmod("/usr/bin/tool", 0o4755);
    host.link("../usr/bin/tool", "/etc/link");
    mknodat(rustix::fs::CWD, host.at("/etc/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let short = setxattr(host.at("/etc/passwd"), "user.short", b"value", XattrFlags::empty());
    let long = setxattr(host.at("/etc/passwd"), "user.long", &[3; 300], XattrFlags::empty());
    assert!(short.is_ok() && long.is_ok(), "the fixture has them: this file system must");
}

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const VOLUMES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("volumes");
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");

fn seal(value: &[u8]) -> Vec<u8> {
    [&xxh3_64(value).to_le_bytes()[..], value].concat()
}

fn open(state: &Path) -> Database {
    Database::open(state.join("vedette.redb")).unwrap()
}

/// How its host root and the file system there are known to a state.
fn identities(database: &Database) -> (Value, Vec<u8>) {
    let reader = database.begin_read().unwrap();
    let meta = reader.open_table(META).unwrap().get("state").unwrap().unwrap().value()[8..].to_vec();
    let volume = reader.open_table(VOLUMES).unwrap().get(1).unwrap().unwrap().value().to_vec();
    (serde_json::from_slice(&meta).unwrap(), volume)
}

/// The formats of the pages in it.
fn formats(database: &Database) -> Vec<u8> {
    let pages = database.begin_read().unwrap().open_table(PAGES).unwrap();
    pages.iter().unwrap().map(|page| page.unwrap().1.value()[8]).collect()
}

/// The state that a version left, as one of this host root.
fn unpack(host: &Host, state: &Path, format: u8) {
    let (own, volume) = identities(&open(&host.state_dir()));
    std::fs::create_dir(state).unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/state-v{format}.redb.gz"));
    let unpacked = Command::new("gzip").arg("-dc").arg(packed).output().unwrap();
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    std::fs::write(state.join("vedette.redb"), unpacked.stdout).unwrap();
    let database = open(state);
    let (mut meta, _) = identities(&database);
    meta["host_root"] = own["host_root"].clone();
    let meta = seal(&serde_json::to_vec(&meta).unwrap());
    let writer = database.begin_write().unwrap();
    writer.open_table(META).unwrap().insert("state", meta.as_slice()).unwrap();
    writer.open_table(VOLUMES).unwrap().insert(1, volume.as_slice()).unwrap();
    writer.commit().unwrap();
    assert!(formats(&database).iter().all(|found| *found == format));
}

#[test]
fn a_state_of_format_1_goes_on_without_a_word_and_finds_what_changed_since() {
    goes_on(1);
}

#[test]
fn a_state_of_format_2_goes_on_without_a_word_and_finds_what_changed_since() {
    goes_on(2);
}

fn goes_on(format: u8) {
    let mut host = Host::new(entries());
    host.compare();
    host.stop();
    let state = host.root().with_file_name("older");
    unpack(&host, &state, format);
    tree(&host);
    host.set_state_dir(state.clone());
    host.start();
    let told = host.lines();
    assert_eq!(told.len(), 4, "its own lines, whose chain holds: {told:?}");
    assert!(host.standing().baseline_ready, "an upgrade takes no baseline back");
    let seen = host.compare();
    assert!(seen.lines.is_empty(), "{:?}", seen.told());
    assert_eq!(host.standing().totals.tracked, 157);

    host.write("/etc/conf.d/007.conf", "setting = bond\n");
    host.remove("/etc/passwd");
    host.write("/usr/bin/new", "");
    host.chmod("/usr/bin/tool", 0o755);
    let told = ["Added /usr/bin/new", "Modified /etc/conf.d/007.conf Content,Size"];
    let seen = host.compare();
    assert_eq!(seen.told(), [&told[..], &["Modified /usr/bin/tool Mode", "Removed /etc/passwd"]].concat());
    let passwd = seen.changes().into_iter().find(|change| change["path"] == "/etc/passwd").unwrap();
    assert_eq!(passwd["before"]["sha256"], "79492b90d473e2387338ef1518dfbceb9e3392ae5740235a6696621e42218efa");
    assert_eq!(passwd["before"]["xattrs"].as_array().map(Vec::len), Some(2));
    host.stop();
    assert!(formats(&open(&state)).contains(&3), "a page is written in today's format with the first change in it");
}
