//! A stored state as a record shows it: names beside numbers, digits beside bits.

use crate::host::HostRoot;
use crate::item::{AttributeValue, FLAGS, ItemState};
use crate::mounts::Mounts;
use crate::path::HostPath;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::HashMap;
use std::fmt::Write;
use vedette_crds::record::{ByteText, Item, ItemType, Nanos, Xattr};

/// The host's own passwd and group files are small; a hostile one is not read beyond this.
const LIMIT: usize = 4 * 1024 * 1024;

/// Names of users and groups, from the host's own files.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads the host's passwd and group; a host without them has numbers only.
    pub(crate) fn read(host: &HostRoot, mounts: &Mounts) -> Self {
        let names = |path: &str| {
            host.read_text(&HostPath::from(path), LIMIT, mounts).map(|text| parse(&text)).unwrap_or_default()
        };
        Self { users: names("/etc/passwd"), groups: names("/etc/group") }
    }
}

/// `name:password:id:…` lines; the first name of an id counts, as for getpwuid.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// The state as `before` or `after` of a record.
pub(crate) fn item(state: &ItemState, owners: &Owners) -> Item {
    let is_regular = state.kind == ItemType::Regular;
    let attributes = state.attributes.clone().unwrap_or_default();
    let (link_target, link_target_bytes) = match &state.target {
        Some(target) => {
            let (text, exact) = ByteText::exact(target);
            (Some(text), exact)
        }
        None => (None, None),
    };
    let xattrs = attributes.others.iter().map(|attribute| {
        let (name, name_bytes) = ByteText::exact(&attribute.name);
        let value = match &attribute.value {
            AttributeValue::Short(value) => STANDARD.encode(value),
            AttributeValue::Long(digest) => format!("sha256:{}", hex(digest)),
        };
        Xattr { name, name_bytes, value }
    });
    let digests = if state.is_read() { state.digests } else { Default::default() };
    Item {
        item_type: state.kind,
        size: is_regular.then_some(state.size),
        mode: Some(format!("{:04o}", state.mode)),
        uid: Some(state.uid),
        gid: Some(state.gid),
        owner: owners.users.get(&state.uid).cloned(),
        group: owners.groups.get(&state.gid).cloned(),
        modified: Some(Nanos(state.modified.timestamp())),
        changed: Some(Nanos(state.changed.timestamp())),
        created: state.created.map(|created| Nanos(created.timestamp())),
        inode: Some(state.inode),
        device: Some(format!("{}:{}", state.device.0, state.device.1)),
        link_count: Some(state.links),
        link_target,
        link_target_bytes,
        device_number: state.device_number.map(|(major, minor)| format!("{major}:{minor}")),
        acl: attributes.acl,
        default_acl: attributes.default_acl,
        capabilities: attributes.capabilities,
        xattrs: xattrs.collect(),
        flags: FLAGS.iter().filter(|(_, bit)| state.flags & bit != 0).map(|(flag, _)| *flag).collect(),
        mount: None,
        content: state.content,
        md5: digests.md5.map(|digest| hex(&digest)),
        sha256: digests.sha256.map(|digest| hex(&digest)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_first_line_of_an_id_and_nonsense_is_passed_over() {
        let names =
            parse("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n\nbad\nsvc:x:notanumber\napp:x:1000\n");
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&1000).map(String::as_str), Some("app"));
        assert_eq!(names.len(), 2);
    }
}
