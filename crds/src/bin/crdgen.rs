//! Writes the custom resource definitions to `crds/generated`, and the JSON Schemas of lines and of rules to `crds/schemas`.
//!
//! Two folders, because `kubectl apply -f crds/generated/` takes every JSON file that it finds for an object.

use std::path::Path;
use std::{error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |folder: &str, name: &str, content: &str| {
        let folder = crds.join(folder);
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), content))
    };
    for file in vedette_crds::definition::files()? {
        write("generated", file.name, &file.yaml)?;
    }
    write("schemas", vedette_crds::definition::RULE_SCHEMA_FILE, &vedette_crds::definition::rule_schema())?;
    for file in vedette_crds::record::schema::files() {
        write("schemas", file.name, &file.json)?;
    }
    Ok(())
}
