//! The token in a file, as a kubelet rotates it: read anew for each request, because it is small, lies in memory, and a
//! copy of it would be refused after its end for as long as it is kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;

use crate::small_file;

/// Where the token is, and the one that was read last.
#[derive(Clone)]
pub(crate) struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    last: Mutex<HeaderValue>,
}

impl TokenFile {
    /// # Errors
    /// When there is no token to begin with.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let last = Mutex::new(read(path)?);
        Ok(Self(Arc::new(Inner { path: path.to_owned(), last })))
    }

    /// What the header Authorization says. While the file cannot be read, the last token: the API server judges it.
    pub(crate) fn authorization(&self) -> HeaderValue {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(read) = read(&self.0.path) {
            *last = read;
        }
        last.clone()
    }
}

fn read(path: &Path) -> io::Result<HeaderValue> {
    let text = small_file::read(path)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    // The library's error would say nothing but that it is no header.
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| io::Error::other("what it holds is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_replaced_token_is_the_next_one_and_a_missing_file_leaves_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let tokens = TokenFile::open(&path).unwrap();
        assert_eq!(tokens.authorization(), "Bearer one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(tokens.authorization(), "Bearer two");
        for no_token in ["", "a\nb", &"a".repeat(100_000)] {
            std::fs::write(&path, no_token).unwrap();
            assert_eq!(tokens.authorization(), "Bearer two");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(tokens.authorization(), "Bearer two");
        assert!(TokenFile::open(&path).is_err());
        assert!(!format!("{:?}", tokens.authorization()).contains("two"), "it is never printed");
    }

    #[test]
    fn what_is_no_file_is_no_token_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let tokens = TokenFile::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(tokens.authorization(), "Bearer one");
        for none in [path.as_path(), folder.path(), Path::new("/dev/zero")] {
            let Err(error) = TokenFile::open(none) else { panic!("{} is a token", none.display()) };
            assert_eq!(error.to_string(), "it is no file");
        }
    }
}
