//! Writes the custom resource definitions to `crds/generated`, the same and the presets as templates to the chart, and the JSON
//! Schemas of lines and of rules to `crds/schemas`.
//!
//! Two folders, because `kubectl apply -f crds/generated/` takes every JSON file that it finds for an object.

use std::path::Path;
use std::{error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR"));
    let write = |folder: &str, name: &str, content: &str| {
        let folder = crds.join(folder);
        let path = folder.join(name);
        // A file that is only written anew has all crates that hold it built again.
        if fs::read_to_string(&path).is_ok_and(|written| written == content) {
            return Ok(());
        }
        fs::create_dir_all(&folder).and_then(|()| fs::write(path, content))
    };
    let definitions = vedette_crds::definition::files()?;
    for file in &definitions {
        write("generated", file.name, &file.yaml)?;
    }
    for template in vedette_crds::templates::templates(&definitions) {
        write("../charts/vedette/templates", &template.path, &template.text)?;
    }
    write("schemas", vedette_crds::definition::RULE_SCHEMA_FILE, &vedette_crds::definition::rule_schema())?;
    for file in vedette_crds::record::schema::files() {
        write("schemas", file.name, &file.json)?;
    }
    Ok(())
}
