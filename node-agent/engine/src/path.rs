//! A path on the host: bytes, absolute, free of `.`, `..`, empty segments and this process's own idea of a root.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use vedette_crds::record::escape_controls;

/// An absolute host path. The root is the empty string inside and `/` when shown.
///
/// Clones share their bytes: what lies in one directory needs its path once, however long that is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostPath(Option<Arc<[u8]>>); // never empty

impl HostPath {
    /// The host's `/`.
    pub const fn root() -> Self {
        Self(None)
    }

    /// The path made of these components.
    pub fn from_components<C: AsRef<[u8]>>(components: impl IntoIterator<Item = C>) -> Self {
        let mut bytes = Vec::new();
        for component in components.into_iter().filter(|component| !component.as_ref().is_empty()) {
            bytes.push(b'/');
            bytes.extend_from_slice(component.as_ref());
        }
        Self::of(&bytes)
    }

    /// The child with this name; the empty name is the path itself.
    pub fn join(&self, name: &[u8]) -> Self {
        if name.is_empty() {
            return self.clone();
        }
        Self(Some([self.inner(), b"/", name].concat().into()))
    }

    /// The components below the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.inner().split(|byte| *byte == b'/').skip(1)
    }

    /// The directory and the name in it; the root stands in itself under the empty name.
    pub fn split(&self) -> (Self, &[u8]) {
        let bytes = self.inner();
        match bytes.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (Self::of(&bytes[..at]), &bytes[at + 1..]),
            None => (Self::root(), &[]),
        }
    }

    /// The path and all above it, from the root down.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        let bytes = self.inner();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([bytes.len()]).map(|end| Self::of(&bytes[..end]))
    }

    /// Whether it is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.inner().strip_prefix(ancestor.inner()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }

    /// The path as a host process would write it.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_none() { b"/" } else { self.inner() }
    }

    /// What tells bytes that clones share from others, for as long as one of them is held.
    pub(crate) fn shared(&self) -> usize {
        self.inner().as_ptr().addr()
    }

    fn of(bytes: &[u8]) -> Self {
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }

    fn inner(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The path relative to the host's root; `.` for the root itself.
    pub fn relative(&self) -> &[u8] {
        self.inner().strip_prefix(b"/").unwrap_or(b".")
    }
}

impl Serialize for HostPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HostPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| Self::of(&bytes))
    }
}

impl fmt::Display for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_controls(&String::from_utf8_lossy(self.as_bytes())))
    }
}

impl fmt::Debug for HostPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<&str> for HostPath {
    fn from(text: &str) -> Self {
        Self::from_components(text.split('/').filter(|component| !component.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_split_and_joined_without_loss() {
        let path = HostPath::from("/etc/ssh/sshd_config");
        let (directory, name) = path.split();
        assert_eq!(directory, HostPath::from("/etc/ssh"));
        assert_eq!(directory.join(name), path);
        assert_eq!(HostPath::root().split(), (HostPath::root(), &b""[..]));
        assert_eq!(HostPath::root().as_bytes(), b"/");
        assert_eq!(HostPath::root().components().count(), 0);
        let above: Vec<_> = path.ancestors().collect();
        assert_eq!(above, ["/", "/etc", "/etc/ssh", "/etc/ssh/sshd_config"].map(HostPath::from));
        assert_eq!(HostPath::root().ancestors().collect::<Vec<_>>(), [HostPath::root()]);
    }

    #[test]
    fn a_path_is_stored_as_its_bytes_and_clones_share_them() {
        for path in ["/", "/etc/ssh"].map(HostPath::from) {
            let stored = postcard::to_stdvec(&path).unwrap();
            assert_eq!(stored, postcard::to_stdvec(&path.inner().to_vec()).unwrap());
            assert_eq!(postcard::from_bytes::<HostPath>(&stored).unwrap(), path);
            assert_eq!(path.clone().shared(), path.shared());
        }
    }

    #[test]
    fn an_ancestor_ends_at_a_component() {
        assert!(HostPath::from("/etc/ssh").starts_with(&HostPath::from("/etc")));
        assert!(HostPath::from("/etc").starts_with(&HostPath::root()));
        assert!(!HostPath::from("/etcetera").starts_with(&HostPath::from("/etc")));
    }
}
