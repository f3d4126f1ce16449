//! One pass over a file's bytes, every digest that was asked for.

use crate::item::Digests;
use md5::Md5;
use sha2::{Digest, Sha256};
use vedette_crds::settings::{Hash, HashSet};

/// What is being hashed, as far as it was read.
pub(crate) struct Hasher {
    md5: Option<Md5>,
    sha256: Option<Sha256>,
}

impl Hasher {
    /// Digests of these kinds.
    pub(crate) fn new(kinds: HashSet) -> Self {
        Self { md5: kinds.contains(Hash::Md5).then(Md5::new), sha256: kinds.contains(Hash::Sha256).then(Sha256::new) }
    }

    /// Takes in the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// The digests of all that was taken in.
    pub(crate) fn finish(self) -> Digests {
        Digests {
            md5: self.md5.map(|md5| md5.finalize().into()),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
        }
    }
}

/// The kinds that a state's digests hold.
pub(crate) fn kinds(digests: &Digests) -> HashSet {
    let mut kinds = HashSet::empty();
    if digests.md5.is_some() {
        kinds.insert(Hash::Md5);
    }
    if digests.sha256.is_some() {
        kinds.insert(Hash::Sha256);
    }
    kinds
}

/// The digests without those of other kinds.
pub(crate) fn restrict(digests: Digests, kinds: HashSet) -> Digests {
    Digests {
        md5: digests.md5.filter(|_| kinds.contains(Hash::Md5)),
        sha256: digests.sha256.filter(|_| kinds.contains(Hash::Sha256)),
    }
}
