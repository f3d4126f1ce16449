//! Reads what statx does not give: access lists, capabilities and the other extended attributes of one object.
//!
//! Never follows a link, never writes, and holds at most the 64 KiB that the kernel allows for a list or a value.

use crate::attributes::{acl_text, capability_text};
use crate::host::Directory;
use crate::item::{Attribute, AttributeValue, Attributes};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Longer values are stored as their digest.
const LONG_VALUE: usize = 256;
/// The kernel's own limit for a list and for a value.
const KERNEL_LIMIT: usize = 64 * 1024;

/// The object whose attributes are read.
pub(crate) enum Of<'a> {
    /// An open file.
    Open(BorrowedFd<'a>),
    /// A name in a directory, for what is not opened.
    Name(&'a Directory, &'a [u8]),
}

/// Reads attributes into buffers that are used again.
#[derive(Debug)]
pub(crate) struct Reader {
    list: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { list: vec![0; 1024], value: vec![0; LONG_VALUE] }
    }

    /// All attributes of an object.
    ///
    /// # Errors
    /// When one of them cannot be read: then none is known.
    pub(crate) fn read(&mut self, of: &Of<'_>) -> Result<Attributes, Errno> {
        let path = match of {
            Of::Open(_) => Vec::new(),
            Of::Name(directory, name) => directory.through_proc(name),
        };
        let length = fill(&mut self.list, |list| match of {
            Of::Open(file) => rustix::fs::flistxattr(file, list),
            Of::Name(..) => rustix::fs::llistxattr(path.as_slice(), list),
        });
        let length = match length {
            // The file system has none.
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut attributes = Attributes::default();
        for name in self.list[..length].split(|byte| *byte == 0) {
            // The agent's own capabilities decide whether trusted.* is visible, so it never is part of a state.
            if name.is_empty() || name.starts_with(b"trusted.") {
                continue;
            }
            let length = fill(&mut self.value, |value| match of {
                Of::Open(file) => rustix::fs::fgetxattr(file, name, value),
                Of::Name(..) => rustix::fs::lgetxattr(path.as_slice(), name, value),
            });
            let value = match length {
                // Removed since it was listed.
                Err(Errno::NODATA) => continue,
                other => &self.value[..other?],
            };
            match name {
                b"system.posix_acl_access" => attributes.acl = Some(acl_text(value)),
                b"system.posix_acl_default" => attributes.default_acl = Some(acl_text(value)),
                b"security.capability" => attributes.capabilities = Some(capability_text(value)),
                _ => attributes.others.push(Attribute { name: name.to_vec(), value: stored(value) }),
            }
        }
        attributes.others.sort_unstable();
        Ok(attributes)
    }
}

fn stored(value: &[u8]) -> AttributeValue {
    if value.len() > LONG_VALUE {
        AttributeValue::Long(Sha256::digest(value).into())
    } else {
        AttributeValue::Short(value.to_vec())
    }
}

/// Fills the buffer, which grows when what is read does not fit.
fn fill(buffer: &mut Vec<u8>, mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match read(buffer) {
            Err(Errno::RANGE) if buffer.len() < KERNEL_LIMIT => buffer.resize(KERNEL_LIMIT, 0),
            other => return other,
        }
    }
}
