//! A folder for what one control plane writes: data, keys, logs. Removed when dropped; what killed processes left behind is
//! swept when the next one starts. Never touches a folder that is still held.
use std::{
    env,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    error::{Doing as _, Result},
    go_build::cache_folder,
};

const PREFIX: &str = "vedette-run-";
const HELD: &str = "held";

#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TempDir,
    _held: File,
}

impl RunFolder {
    pub(crate) fn new() -> Result<Self> {
        let cache = cache_folder(|name| env::var_os(name))?;
        fs::create_dir_all(&cache).doing(|| format!("make {}", cache.display()))?;
        Self::new_in(&env::temp_dir(), &cache.join("run.lock"))
    }

    fn new_in(parent: &Path, lock: &Path) -> Result<Self> {
        // Without it a sweep could come between the making of a folder and its holding.
        let alone = File::create(lock).doing(|| format!("open {}", lock.display()))?;
        alone.lock().doing(|| format!("lock {}", lock.display()))?;
        sweep(parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            // Its owner's alone: keys and an administrator's kubeconfig are in it.
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .doing(|| format!("make a folder in {}", parent.display()))?;
        let path = folder.path().join(HELD);
        let held = File::create(&path).doing(|| format!("open {}", path.display()))?;
        held.lock().doing(|| format!("lock {}", path.display()))?;
        Ok(Self { folder, _held: held })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder in it.
    pub(crate) fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::create_dir_all(&path).doing(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file in it.
    pub(crate) fn file(&self, name: impl AsRef<Path>, content: &str) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content).doing(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// Leftovers cost only disk: what cannot be removed now is tried again by the next start.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let abandoned = File::open(entry.path().join(HELD)).is_ok_and(|held| held.try_lock().is_ok());
            if abandoned && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::debug!("cannot sweep {}: {error}", entry.path().display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_in_use_survives_the_sweep_and_an_abandoned_one_does_not() {
        let parent = tempfile::tempdir().unwrap();
        let lock = parent.path().join("lock");
        let used = RunFolder::new_in(parent.path(), &lock).unwrap();
        let abandoned = parent.path().join("vedette-run-abandoned");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(HELD), "").unwrap();
        let next = RunFolder::new_in(parent.path(), &lock).unwrap();
        assert!(used.path().exists());
        assert!(next.path().exists());
        assert!(!abandoned.exists());
    }

    #[test]
    fn a_folder_goes_with_its_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::new_in(parent.path(), &parent.path().join("lock")).unwrap();
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
