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
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(vedette_crds::definition::RULE_SCHEMA_FILE);
    let is_so = fs::read_to_string(&schema).unwrap_or_default() == vedette_crds::definition::rule_schema();
    assert!(is_so, "{} is not what the types say: run `cargo crdgen`", schema.display());
}

#[test]
fn the_charts_templates_of_definitions_and_presets_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vedette/templates");
    let templates = vedette_crds::templates::templates(&vedette_crds::definition::files().unwrap());
    for folder in ["crds", "presets"] {
        let there = fs::read_dir(directory.join(folder)).unwrap().count();
        let made = templates.iter().filter(|template| template.path.starts_with(folder)).count();
        assert_eq!(there, made, "{folder}: a file there is made by nobody");
    }
    for template in templates {
        let shipped = fs::read_to_string(directory.join(&template.path)).unwrap_or_default();
        assert!(shipped == template.text, "{} has drifted: run `cargo crdgen`", template.path);
    }
}
