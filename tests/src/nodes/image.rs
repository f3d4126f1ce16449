//! A container image with one program in it: an OCI layout in a tar, as `ctr images import` takes it. Pure: bytes from bytes.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const BLOCK: usize = 512;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const FILE: u8 = b'0';
const FOLDER: u8 = b'5';

/// The image `name` (with its tag), whose command is `/{program}` with these bytes.
pub(crate) fn with_program(name: &str, program: &str, bytes: &[u8]) -> Vec<u8> {
    let mut layer = Tar::default();
    layer.add(program, FILE, 0o755, bytes);
    let mut blobs = BTreeMap::new();
    let layer = blob(&mut blobs, "application/vnd.oci.image.layer.v1.tar", layer.end());
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": [format!("/{program}")] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(&mut blobs, "application/vnd.oci.image.config.v1+json", config.to_string().into_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = blob(&mut blobs, MANIFEST, manifest.to_string().into_bytes());
    manifest["platform"] = json!({ "architecture": architecture, "os": "linux" });
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });

    let mut layout = Tar::default();
    layout.add("oci-layout", FILE, 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
    layout.add("index.json", FILE, 0o644, index.to_string().as_bytes());
    layout.add("blobs/", FOLDER, 0o755, b"");
    layout.add("blobs/sha256/", FOLDER, 0o755, b"");
    for (digest, content) in &blobs {
        layout.add(&format!("blobs/sha256/{digest}"), FILE, 0o644, content);
    }
    layout.end()
}

/// Keeps the content under its digest; produces what refers to it.
fn blob(blobs: &mut BTreeMap<String, Vec<u8>>, kind: &str, content: Vec<u8>) -> Value {
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let descriptor = json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len() });
    blobs.insert(digest, content);
    descriptor
}

#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// An entry of root's, from 1970, in the POSIX format. Names are short: 100 bytes at most.
    fn add(&mut self, name: &str, kind: u8, mode: u32, content: &[u8]) {
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The sum counts its own field as blanks.
        put(148, "        ");
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn tar_reads_the_layout_and_every_digest_is_that_of_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image.tar");
        fs::write(&image, with_program("localhost/x:1", "x", &[7; 700])).unwrap();
        let tar = |archive: &str| {
            let ran = Command::new("tar").args(["-xf", archive]).current_dir(folder.path()).output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        };
        tar("image.tar");
        let read = |path: &str| fs::read(folder.path().join(path)).unwrap();
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = read(&format!("blobs/sha256/{digest}"));
            let found: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((found.as_str(), json!(content.len())), (digest, descriptor["size"].clone()));
            content
        };
        let index: Value = serde_json::from_slice(&read("index.json")).unwrap();
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/x:1");
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/x"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        fs::write(folder.path().join("layer.tar"), blob(&manifest["layers"][0])).unwrap();
        tar("layer.tar");
        assert_eq!(read("x"), [7; 700]);
    }
}
