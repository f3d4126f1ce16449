//! An engine on a scratch host, for unit tests of what needs the ground that a compare stands on.
#![allow(clippy::unwrap_used)]

use crate::clock::{Clock, Time};
use crate::commit::Identity;
use crate::engine::{Engine, Outcome as Ended, Settings};
use crate::lane::Task;
use crate::mounts::Mounts;
use crate::moves::{Candidate, Outcome};
use crate::path::HostPath;
use crate::plan::Due;
use crate::walk::Walk;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use vedette_crds::record::Detection;

/// A clock that stands where it was set, and does something each time it is asked for the time of a look.
#[derive(Default)]
pub(crate) struct SetClock {
    millis: AtomicU64,
    asked: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl SetClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.millis.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn when_asked(&self, what: Option<Box<dyn Fn() + Send>>) {
        *self.asked.lock().unwrap() = what;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Time {
        self.asked.lock().unwrap().iter().for_each(|what| what());
        Time { secs: 4_000_000_000, nanos: 0 }.after(self.since_boot())
    }

    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// A host whose one rule has an entry for all of it, and one thread to walk it.
pub(crate) struct Scratch {
    folder: TempDir,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) engine: Engine,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::<SetClock>::default());
        fs::create_dir(folder.path().join("host")).unwrap();
        let settings = Settings {
            state_dir: folder.path().join("state"),
            host_root: folder.path().join("host"),
            threads: 1,
            first_detection: Detection::Startup,
            answer_within: Duration::from_secs(3),
        };
        let mut engine = Engine::open(settings, clock.clone()).unwrap();
        let rule = json!({
            "name": "r", "uid": "u", "generation": 1, "hash": "h",
            "files": {
                "interval": "10s", "rehashInterval": "24h", "realtime": false,
                "defaults": {
                    "recurse": true, "links": "Record", "mounts": "Local", "severity": "Medium", "hashes": ["Sha256"],
                    "compare": ["Content"], "maxContentSize": 1u64 << 60,
                },
                "paths": [{"name": "all", "path": "/**"}],
            },
        });
        let identity = Identity { node: "n1".into(), ..Identity::default() };
        engine.configure(vec![serde_json::from_value(rule).unwrap()], identity, 1);
        Self { folder, clock, engine }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    /// Whether a compare came to its end.
    pub(crate) fn compare(&mut self, stop: &Arc<AtomicBool>) -> bool {
        matches!(self.engine.compare(&Due::All, stop, &mut |_| {}).unwrap(), Ended::Complete(_))
    }

    /// What the walkers of a compare that begins now would share.
    pub(crate) fn walk(&mut self) -> Walk {
        let mounts = Arc::new(Mounts::read(&self.engine.settings.host_root).unwrap());
        let (plan, _) = self.engine.adopt_plan(&mounts).unwrap();
        self.engine.to_walk(&mounts, &plan, &Due::All, &Arc::default()).unwrap()
    }
}

/// A file that is to be read, as a walk that met it says.
pub(crate) fn task(walk: &Walk, path: &str) -> Task {
    let Walk { host, mounts, volumes, plan, ground, .. } = walk;
    let path = Path::new("/").join(path);
    let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap());
    let directory = HostPath::from(directory.to_str().unwrap());
    let mount = host.directory(&directory).unwrap().stat(b"").unwrap().stx_mnt_id;
    let candidate = Candidate {
        volume: volumes.of(host, mounts, mount).unwrap().unwrap().number,
        directory,
        name: name.as_encoded_bytes().to_vec(),
        selecting: Arc::from([0]),
        ask: Arc::new(plan.ask(&[0]).unwrap()),
        under: None,
    };
    Task { outcome: Outcome::There(candidate), stored: None, inode: 0, size: 0, ground: ground.clone() }
}
