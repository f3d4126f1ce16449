//! Writes the custom resource definitions to `crds/generated`.

use std::path::Path;
use std::{error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    fs::create_dir_all(&directory)?;
    for file in vedette_crds::definition::files()? {
        fs::write(directory.join(file.name), file.yaml)?;
    }
    Ok(())
}
