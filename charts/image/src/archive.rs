//! An image as a file: an OCI image layout in a tar, as `ctr images import`, kind, k3s, Podman, skopeo and Docker take it. Reads
//! an image; writes the archive, sorted, without times or owners. Never compresses: another version of a compressor would
//! give other bytes.

use crate::error::{Doing as _, Result};
use crate::image::{Image, append};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What containerd calls an image whose name has no registry: kubelets ask for it under this name.
const REGISTRY: &str = "docker.io/library";

/// Writes the archive of `image` under the name `name:version`, complete or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(image: &Image, name: &str, version: &str, path: &Path) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    File::create(&unfinished)
        .and_then(|file| entries(image, name, version, file)?.sync_all())
        .doing(|| format!("write {}", unfinished.display()))?;
    fs::rename(&unfinished, path).doing(|| format!("put the archive at {}", path.display()))
}

/// The archive's bytes.
///
/// # Errors
/// When they cannot be written, which needs memory alone.
pub fn bytes(image: &Image, name: &str, version: &str) -> Result<Vec<u8>> {
    entries(image, name, version, Vec::new()).doing(|| format!("write the archive of {name}"))
}

fn entries<W: io::Write>(image: &Image, name: &str, version: &str, out: W) -> io::Result<W> {
    let mut blobs: Vec<_> = image.parts.iter().chain([&image.manifest]).collect();
    blobs.sort_by(|one, other| one.descriptor.digest.cmp(&other.descriptor.digest));
    let mut archive = tar::Builder::new(out);
    for blob in blobs {
        let path = format!("blobs/{}", blob.descriptor.digest.replace(':', "/"));
        append(&mut archive, &path, 0o644, &blob.bytes)?;
    }
    append(&mut archive, "index.json", 0o644, index(image, name, version).to_string().as_bytes())?;
    append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    archive.into_inner()
}

fn index(image: &Image, name: &str, version: &str) -> Value {
    let mut manifest = image.manifest.descriptor.clone();
    manifest.annotations.extend([
        ("io.containerd.image.name".to_owned(), format!("{REGISTRY}/{name}:{version}")),
        ("org.opencontainers.image.ref.name".to_owned(), version.to_owned()),
    ]);
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    })
}
