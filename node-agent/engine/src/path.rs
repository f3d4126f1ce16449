//! A path on the host: bytes, absolute, free of `.`, `..`, empty segments and this process's own idea of a root.

use serde::{Deserialize, Serialize};
use std::fmt;
use vedette_crds::record::escape_controls;

/// An absolute host path. The root is the empty string inside and `/` when shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct HostPath(Vec<u8>);

impl HostPath {
    /// The host's `/`.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The path made of these components.
    pub fn from_components<C: AsRef<[u8]>>(components: impl IntoIterator<Item = C>) -> Self {
        components.into_iter().fold(Self::root(), |path, component| path.join(component.as_ref()))
    }

    /// The child with this name; the empty name is the path itself.
    pub fn join(&self, name: &[u8]) -> Self {
        if name.is_empty() {
            return self.clone();
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The components below the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.0.split(|byte| *byte == b'/').skip(1)
    }

    /// The directory and the name in it; the root stands in itself under the empty name.
    pub fn split(&self) -> (Self, &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (Self(self.0[..at].to_vec()), &self.0[at + 1..]),
            None => (Self::root(), &[]),
        }
    }

    /// The path and all above it, from the root down.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        ends.chain([self.0.len()]).map(|end| Self(self.0[..end].to_vec()))
    }

    /// Whether it is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(ancestor.0.as_slice()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }

    /// The path as a host process would write it.
    pub fn as_bytes(&self) -> &[u8] {
        if self.0.is_empty() { b"/" } else { &self.0 }
    }

    /// The path relative to the host's root; `.` for the root itself.
    pub fn relative(&self) -> &[u8] {
        self.0.strip_prefix(b"/").unwrap_or(b".")
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
    fn an_ancestor_ends_at_a_component() {
        assert!(HostPath::from("/etc/ssh").starts_with(&HostPath::from("/etc")));
        assert!(HostPath::from("/etc").starts_with(&HostPath::root()));
        assert!(!HostPath::from("/etcetera").starts_with(&HostPath::from("/etc")));
    }
}
