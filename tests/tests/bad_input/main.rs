//! Bad input, and the page on it: each row of docs/troubleshooting.md is a test that runs the real binary, and what the binary
//! says is what the page says.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)] // shared with others, who use other parts of it
#[path = "../../../node-agent/engine/tests/support/fuse.rs"]
mod fuse;
#[macro_use]
mod page;
mod answers;
mod cluster;
mod command_line;
mod conditions;
mod dry_run;
mod goes_on;
mod history;
mod host;
mod outputs;
mod rules;
mod scene;
mod state;
mod unknown;
mod verify;

use page::documented;
use vedette_tests::mounts::run;

#[test]
fn the_page_has_every_sentence_and_no_other() {
    assert_eq!(documented("Command line"), command_line::ROWS);
    assert_eq!(documented("Rules"), rules::ROWS);
    assert_eq!(documented("State directory"), state::ROWS);
    assert_eq!(documented("Host root"), host::ROWS);
    assert_eq!(documented("Records"), outputs::ROWS);
    assert_eq!(documented("Verification"), verify::ROWS);
    assert_eq!(documented("Questions"), answers::ROWS);
    assert_eq!(documented("It works, and says"), goes_on::ROWS);
    assert_eq!(documented("Items that are unknown"), unknown::ROWS);
    assert_eq!(documented("Cluster"), [cluster::ROWS, &[cluster::FORBIDDEN]].concat());
}
