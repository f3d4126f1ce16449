//! The shipped definitions are the ones that the types make.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

#[test]
fn the_generated_crds_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    for file in vedette_crds::definition::files().unwrap() {
        let shipped = fs::read_to_string(directory.join(file.name)).unwrap_or_default();
        assert!(shipped == file.yaml, "{} is not what the types say: run `cargo crdgen`", file.name);
    }
}
