//! docs/guarantees.md names tests: each of them is there, and each test of the cases is named.
use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = include_str!("../../../docs/guarantees.md");

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What the page names, as `file::test`.
fn named() -> BTreeSet<(&'static str, &'static str)> {
    let quoted = PAGE.split('`').skip(1).step_by(2);
    quoted.filter_map(|quoted| quoted.split_once(".rs::")).collect()
}

#[test]
fn every_test_that_the_page_of_guarantees_names_is_there() {
    let missing: Vec<String> = named()
        .into_iter()
        .filter(|(file, test)| {
            let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            // A row of the bad input is a test too.
            !source.contains(&format!("fn {test}(")) && !source.contains(&format!("\n    {test}: \""))
        })
        .map(|(file, test)| format!("{file}.rs::{test}"))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named().len() > 100);
}

#[test]
fn every_case_is_on_the_page_of_guarantees() {
    let folder = "tests/tests/cases";
    let mut missing = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let source = fs::read_to_string(root().join(folder).join(&name)).unwrap();
        let tests =
            source.split("#[test]\nfn ").skip(1).filter_map(|after| after.split_once('(')).map(|(test, _)| test);
        let file = format!("{folder}/{}", name.trim_end_matches(".rs"));
        missing.extend(tests.filter(|test| name != "page.rs" && !named().contains(&(&file, test))).map(str::to_owned));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
