//! What an archive holds, as an importer reads it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use vedette_image::archive;
use vedette_image::image::{AGENT, Image, Kind, OPERATOR};
use vedette_image::program::Program;

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;

/// The head of an ELF program, and something behind it.
fn elf(machine: u16, segments: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
    for segment in segments {
        bytes.extend(segment.to_le_bytes());
        bytes.extend([0; 52]);
    }
    bytes.extend(b"the program");
    bytes
}

fn read(bytes: &[u8]) -> Result<Program, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    fs::write(&path, bytes).unwrap();
    Program::read(&path).map_err(|error| error.to_string().replace(path.to_str().unwrap(), "program"))
}

struct Archive {
    bytes: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    fn of(kind: Kind, machine: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.tar");
        let program = read(&elf(machine, &[LOAD])).unwrap();
        let image = Image::of(kind, &program, "1.2.3", Some("c0ffee")).unwrap();
        archive::write(&image, kind.name, "1.2.3", &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the archive");
        let files = files(&bytes).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
        Self { bytes, files }
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.files[name]).unwrap()
    }

    /// What a descriptor finds, after a look at whether it is that.
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &self.files[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(digest, digest_of(bytes));
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    /// The manifest and the configuration.
    fn manifest(&self) -> (Value, Value) {
        let index = self.json("index.json");
        let manifest: Value = serde_json::from_slice(self.blob(&index["manifests"][0])).unwrap();
        let config = serde_json::from_slice(self.blob(&manifest["config"])).unwrap();
        (manifest, config)
    }
}

fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Name, mode and content of each file, in the archive's order; none has a time or an owner.
fn files(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        assert_eq!(header.username_bytes().unwrap_or_default(), b"");
        let (name, mode) = (entry.path().unwrap().display().to_string(), header.mode().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, mode, bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn the_same_program_gives_the_same_bytes_whenever_it_is_packed() {
    let first = Archive::of(AGENT, X86_64);
    assert!(first.bytes == Archive::of(AGENT, X86_64).bytes);
    assert!(first.bytes != Archive::of(AGENT, AARCH64).bytes);
    assert!(first.bytes != Archive::of(OPERATOR, X86_64).bytes);
}

#[test]
fn every_digest_is_that_of_what_it_finds_and_nothing_else_is_there() {
    let archive = Archive::of(OPERATOR, X86_64);
    assert_eq!(archive.json("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
    let (manifest, config) = archive.manifest();
    let layer = archive.blob(&manifest["layers"][0]);
    assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": [digest_of(layer)]}));
    assert_eq!(archive.files.len(), 5, "{:?}", archive.files.keys());
}

#[test]
fn the_only_file_is_the_program_and_anybody_may_run_it() {
    let archive = Archive::of(AGENT, X86_64);
    let (manifest, config) = archive.manifest();
    let layer = files(archive.blob(&manifest["layers"][0]));
    assert_eq!(layer, [("vedette-agent".to_owned(), 0o755, elf(X86_64, &[LOAD]))]);
    assert_eq!(config["config"]["Entrypoint"], json!(["/vedette-agent"]));
}

#[test]
fn the_operator_is_nobody_and_the_agent_can_have_its_capability() {
    let user = |kind| Archive::of(kind, X86_64).manifest().1["config"]["User"].clone();
    assert_eq!(user(OPERATOR), "65532:65532");
    assert_eq!(user(AGENT), "0:0");
}

#[test]
fn the_agents_allocator_is_told_to_keep_little() {
    let environment = Archive::of(AGENT, X86_64).manifest().1["config"]["Env"].clone();
    assert_eq!(environment, json!(["MIMALLOC_ARENA_EAGER_COMMIT=0", "MIMALLOC_PURGE_DELAY=0"]));
}

#[test]
fn containerd_names_it_as_a_kubelet_asks_for_it() {
    let index = Archive::of(AGENT, AARCH64).json("index.json");
    let manifest = &index["manifests"][0];
    assert_eq!(manifest["annotations"]["io.containerd.image.name"], "docker.io/library/vedette-agent:1.2.3");
    assert_eq!(manifest["platform"], json!({"architecture": "arm64", "os": "linux"}));
}

#[test]
fn labels_say_what_it_is_and_what_it_was_built_from() {
    for kind in [OPERATOR, AGENT] {
        let labels = Archive::of(kind, X86_64).manifest().1["config"]["Labels"].clone();
        let expected = json!({
            "org.opencontainers.image.title": kind.title,
            "org.opencontainers.image.description": kind.description,
            "org.opencontainers.image.version": "1.2.3",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.revision": "c0ffee",
        });
        assert_eq!(labels, expected);
    }
}

#[test]
fn a_program_that_could_not_run_alone_is_refused() {
    let refused = |bytes: &[u8]| read(bytes).err().unwrap();
    let dynamic = refused(&elf(X86_64, &[LOAD, INTERPRETER]));
    assert_eq!(
        dynamic,
        "program: it is linked dynamically, and its image would hold no loader: build it for a musl target"
    );
    assert!(refused(b"#!/bin/sh\n").contains("no 64-bit little-endian ELF program"));
    assert!(refused(&elf(8, &[LOAD])).contains("ELF machine 8"));
    let whole = elf(X86_64, &[LOAD; 3]);
    for length in 6..whole.len() - b"the program".len() - 52 {
        assert!(refused(&whole[..length]).contains("ends within its headers"), "{length}");
    }
    assert_eq!(read(&elf(AARCH64, &[LOAD])).unwrap().architecture, "arm64");
}

/// What a user runs, with programs that are there. The tests themselves are linked dynamically.
#[test]
fn the_command_names_the_archives_and_their_digests_and_refuses_a_dynamic_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("static");
    fs::write(&program, elf(X86_64, &[LOAD])).unwrap();
    let run = |agent: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vedette-image"));
        command
            .arg("--operator")
            .arg(&program)
            .arg("--agent")
            .arg(agent)
            .arg("--output")
            .arg(folder.path().join("out"));
        command.output().unwrap()
    };
    let made = run(&program);
    assert!(made.status.success(), "{made:?}");
    let lines = String::from_utf8(made.stdout).unwrap();
    let names: Vec<&str> = lines.lines().filter_map(|line| line.rsplit('/').next()?.split(' ').next()).collect();
    let version = env!("CARGO_PKG_VERSION");
    let expected = ["operator", "agent"].map(|name| format!("vedette-{name}-{version}-linux-amd64.tar"));
    assert_eq!(names, expected);
    for line in lines.lines() {
        let (path, digest) = line.split_once(' ').unwrap();
        let files: BTreeMap<_, _> =
            files(&fs::read(path).unwrap()).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], digest);
    }
    let refused = run(&std::env::current_exe().unwrap());
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.trim_end()
            .ends_with("it is linked dynamically, and its image would hold no loader: build it for a musl target"),
        "{said}"
    );
}

/// Nobody builds it in a test, which would need an engine and a registry: it says word for word what the archives say.
#[test]
fn the_containerfile_says_of_each_image_what_the_archive_says() {
    let file = include_str!("../Containerfile");
    let stages: BTreeMap<&str, &str> =
        file.split("\nFROM scratch AS ").skip(1).map(|stage| stage.split_once('\n').unwrap()).collect();
    assert_eq!(stages.len(), 2);
    for kind in [OPERATOR, AGENT] {
        let stage = stages[kind.name];
        let label = |name: &str, value: &str| format!("org.opencontainers.image.{name}=\"{value}\"");
        for line in [
            format!("COPY --from=build /vedette/target/image/{0} /{0}", kind.name),
            label("title", kind.title),
            label("description", kind.description),
            label("version", env!("CARGO_PKG_VERSION")),
            label("licenses", env!("CARGO_PKG_LICENSE")),
            "WORKDIR /".to_owned(),
            format!("USER {}", kind.user),
            format!("ENTRYPOINT [\"/{}\"]", kind.name),
        ] {
            assert!(stage.contains(&line), "{}: no {line}", kind.name);
        }
        let variables: Vec<&str> = stage.split_whitespace().filter(|word| word.starts_with("MIMALLOC_")).collect();
        assert_eq!(variables, kind.environment, "{}", kind.name);
        let tag = format!("--target {0} --tag {0}:{1}", kind.name, env!("CARGO_PKG_VERSION"));
        assert!(file.split_whitespace().collect::<Vec<_>>().join(" ").contains(&tag), "{tag}");
    }
}
