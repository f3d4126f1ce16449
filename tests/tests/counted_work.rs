//! What a compare does, counted and not timed: a guard that holds on a busy machine. Seconds are in docs/performance.md.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use vedette_tests::products;

/// System calls on the tree, an item of it; what is measured, and a twentieth. Who makes it better makes it smaller.
const FIRST_BASELINE: f64 = 7.4;
const UNCHANGED: f64 = 1.15;
const EVERYTHING_AGAIN: f64 = 7.4;
/// Of the whole process, whatever the size of the tree.
const SYNCS_UNCHANGED: u64 = 9;

const FOLDERS: usize = 25;
const FILES: usize = 100;
/// Such a file is read apart from the small ones.
const LARGE: usize = 3 << 20;
const ITEMS: usize = 1 + FOLDERS * (1 + FILES) + 2;

/// A tree, a rule and a state.
struct Scene {
    folder: tempfile::TempDir,
    agent: &'static Path,
}

/// What one scan did.
#[derive(Debug)]
struct Work {
    /// Calls that name the tree or something in it.
    calls: BTreeMap<String, u64>,
    /// Bytes that were read of each file.
    read: BTreeMap<String, u64>,
    syncs: u64,
}

impl Work {
    fn an_item(&self) -> f64 {
        self.calls.values().sum::<u64>() as f64 / ITEMS as f64
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scene = Self { folder, agent: &products().await.unwrap().agent };
        for directory in 0..FOLDERS {
            let directory = scene.path(&format!("tree/d{directory}"));
            fs::create_dir_all(&directory).unwrap();
            (0..FILES).for_each(|file| fs::write(directory.join(format!("f{file}")), vec![1; 1000 + file]).unwrap());
        }
        ["tree/large-1", "tree/large-2"].iter().for_each(|large| fs::write(scene.path(large), vec![1; LARGE]).unwrap());
        let rule = format!(
            "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {{name: r}}\n\
             spec: {{files: {{rehashInterval: 720h, paths: [{{name: tree, path: {}}}]}}}}\n",
            scene.path("tree").display()
        );
        fs::write(scene.path("rule.yaml"), rule).unwrap();
        scene.grows_old();
        scene
    }

    /// A file that changed a moment before it was looked at is read again at the next look.
    fn grows_old(&self) {
        let (last, newest) = (self.path("tree/large-2"), self.path("newest"));
        let changed = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        loop {
            fs::write(&newest, "1").unwrap();
            if changed(&newest) > changed(&last) + Duration::from_millis(50) {
                break;
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A scan that finds nothing, under strace.
    fn scan(&self, flags: &[&str]) -> Work {
        let traces = tempfile::tempdir().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-ff", "-y", "-s", "0", "-o"]).arg(traces.path().join("of")).arg(self.agent).arg("scan");
        strace.arg("--rule").arg(self.path("rule.yaml")).arg("--state-dir").arg(self.path("state")).args(flags);
        let ended = strace.output().expect("strace is missing: see Prerequisites in README.md");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        let mut work = Work { calls: BTreeMap::new(), read: BTreeMap::new(), syncs: 0 };
        let tree = format!("<{}", self.path("tree").display());
        // A file a thread, so that no call is cut in two.
        for trace in fs::read_dir(traces.path()).unwrap() {
            let text = String::from_utf8_lossy(&fs::read(trace.unwrap().path()).unwrap()).into_owned();
            text.lines().for_each(|line| work.add(line, &tree));
        }
        work
    }

    /// The same, in which nothing is read: at times a file's own moment of the re-hash interval falls between two scans.
    fn scan_without_reading(&self) -> Work {
        let scans: Vec<Work> = (0..3).map(|_| self.scan(&[])).collect();
        let read: Vec<_> = scans.iter().map(|scan| scan.read.clone()).collect();
        let quiet = scans.into_iter().find(|scan| scan.read.is_empty());
        quiet.unwrap_or_else(|| panic!("each of three scans has read: {read:?}"))
    }

    fn contents(&self) -> BTreeMap<String, u64> {
        let mut contents = BTreeMap::new();
        let mut folders = vec![self.path("tree")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match fs::metadata(&path).unwrap() {
                    metadata if metadata.is_dir() => folders.push(path),
                    metadata => drop(contents.insert(path.display().to_string(), metadata.len())),
                }
            }
        }
        contents
    }
}

impl Work {
    /// From a line such as `preadv2(9</tree/d8/f0>, [...], 1, 0, 0x80) = 1024`.
    fn add(&mut self, line: &str, tree: &str) {
        let Some((call, rest)) = line.split_once('(') else { return };
        if matches!(call, "fsync" | "fdatasync" | "sync_file_range" | "msync") {
            self.syncs += 1;
        }
        // A debug build's standard library asks whether a descriptor is open before it closes it.
        if !rest.contains(tree) || call == "fcntl" {
            return;
        }
        *self.calls.entry(call.to_owned()).or_default() += 1;
        let is_read = matches!(call, "read" | "readv" | "pread64" | "preadv" | "preadv2");
        let bytes = rest.rsplit_once(" = ").and_then(|(_, result)| result.trim().parse::<u64>().ok());
        let path = rest.split_once('<').and_then(|(_, path)| path.split_once('>')).map(|(path, _)| path.to_owned());
        if let (true, Some(bytes), Some(path)) = (is_read, bytes, path) {
            *self.read.entry(path).or_default() += bytes;
        }
    }
}

#[tokio::test]
async fn each_byte_is_read_once_in_a_baseline_and_none_when_nothing_has_changed() {
    let scene = Scene::new().await;
    let contents = scene.contents();
    let first = scene.scan(&[]);
    assert_eq!(first.read, contents);
    assert!(first.an_item() <= FIRST_BASELINE, "{:.3} calls an item: {:?}", first.an_item(), first.calls);
    let again = scene.scan_without_reading();
    assert!(again.an_item() <= UNCHANGED, "{:.3} calls an item: {:?}", again.an_item(), again.calls);
    assert!(again.syncs <= SYNCS_UNCHANGED, "{} syncs", again.syncs);
    let reread = scene.scan(&["--reread"]);
    assert_eq!(reread.read, contents, "--reread reads what metadata says is the same");
    assert!(reread.an_item() <= EVERYTHING_AGAIN, "{:.3} calls an item: {:?}", reread.an_item(), reread.calls);
    // Once, not from then on.
    scene.scan_without_reading();
}
