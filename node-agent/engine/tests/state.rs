//! The state directory: one engine at a time, what is wrong with it is said, and nothing in it makes the engine panic.
#![allow(clippy::unwrap_used)]

mod support;

use redb::{Database, TableDefinition};
use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{Host, everything};
use vedette_engine::{EngineError, StoreError};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");

/// An error and its causes as a log shows them.
fn sentence(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

fn database(host: &Host) -> std::path::PathBuf {
    host.state_dir().join("vedette.redb")
}

#[test]
fn a_state_directory_in_use_is_refused_with_a_sentence() {
    let host = Host::new(everything());
    let refused = host.open().err().unwrap();
    assert!(matches!(&refused, EngineError::Store(StoreError::InUse { .. })), "{refused:?}");
    assert!(refused.to_string().contains("is in use by another vedette-agent"), "{refused}");
}

#[test]
fn a_state_of_another_format_is_refused_by_name() {
    let mut host = Host::new(everything());
    host.compare();
    host.stop();
    let database = Database::open(database(&host)).unwrap();
    let writer = database.begin_write().unwrap();
    let value = [9u8];
    let sealed = [&xxhash_rust::xxh3::xxh3_64(&value).to_le_bytes()[..], &value].concat();
    writer.open_table(META).unwrap().insert("format", sealed.as_slice()).unwrap();
    writer.commit().unwrap();
    drop(database);
    let refused = host.open().err().unwrap();
    assert!(matches!(&refused, EngineError::Store(StoreError::Format { found: 9, .. })), "{refused:?}");
}

#[test]
fn a_damaged_page_is_said_and_never_compared_with() {
    let mut host = Host::new(everything());
    host.write("/a", "1");
    host.compare();
    host.stop();
    let database = Database::open(database(&host)).unwrap();
    let writer = database.begin_write().unwrap();
    {
        let mut pages = writer.open_table(PAGES).unwrap();
        let (key, mut value) = {
            let first = redb::ReadableTable::first(&pages).unwrap().unwrap();
            (first.0.value().to_vec(), first.1.value().to_vec())
        };
        value[40] ^= 1;
        pages.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    writer.commit().unwrap();
    drop(database);
    host.start();
    let error = host.try_compare().err().unwrap();
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("the state is damaged: the page of /: its checksum does not match. Keep it"),
        "{sentence}"
    );
    assert!(host.lines().iter().all(|line| line["schema"] != "vedette.dev/change/v1"));
}

#[test]
fn a_file_that_is_no_database_is_refused_with_its_name() {
    for content in [&b"nonsense"[..], &[0; 5000], b"redb\x1A\x0A\xA9\x0D\x0A and no more"] {
        let mut host = Host::new(everything());
        host.stop();
        fs::write(database(&host), content).unwrap();
        let refused = host.open().err().unwrap();
        assert!(sentence(&refused).contains("vedette.redb"), "{}", sentence(&refused));
    }
}

#[test]
fn a_state_that_only_its_owner_may_read_is_made() {
    let host = Host::new(everything());
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(host.state_dir()), mode(database(&host))), (0o700, 0o600), "it holds digests of secrets");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_refused() {
    support::as_nobody("a_state_directory_that_cannot_be_written_is_refused", || {
        let mut host = Host::new(everything());
        host.compare();
        host.stop();
        fs::set_permissions(database(&host), fs::Permissions::from_mode(0o400)).unwrap();
        let refused = host.open().err().unwrap();
        assert!(sentence(&refused).contains("Permission denied"), "{}", sentence(&refused));
        fs::remove_file(database(&host)).unwrap();
        fs::set_permissions(host.state_dir(), fs::Permissions::from_mode(0o500)).unwrap();
        assert!(sentence(&host.open().err().unwrap()).contains("Permission denied"));
        fs::set_permissions(host.state_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    });
}

#[test]
fn a_missing_host_root_is_said() {
    let mut host = Host::new(everything());
    host.stop();
    fs::remove_dir(host.root()).unwrap();
    assert!(matches!(host.open().err().unwrap(), EngineError::HostRoot { .. }));
}
