//! The bytes of access lists and file capabilities as text. Pure; any bytes in, never a panic.
//!
//! What does not have the kernel's form is kept as `invalid:` and its hex, so that a change of it is still a change.

use std::fmt::Write;

const ACL_VERSION: u32 = 2;
const CAPABILITY_REVISION_2: u32 = 0x0200_0000;
const CAPABILITY_REVISION_3: u32 = 0x0300_0000;

/// The names of capabilities, by bit.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `system.posix_acl_access` or `_default` in short text form: `u::rw-,u:1000:r--,g::r--,m::r--,o::---`.
pub fn acl_text(value: &[u8]) -> String {
    parse_acl(value).unwrap_or_else(|| invalid(value))
}

fn parse_acl(value: &[u8]) -> Option<String> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != ACL_VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut text = String::new();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let (letter, named) = match tag {
            0x01 => ('u', false),
            0x02 => ('u', true),
            0x04 => ('g', false),
            0x08 => ('g', true),
            0x10 => ('m', false),
            0x20 => ('o', false),
            _ => return None,
        };
        if permissions > 7 {
            return None;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push(letter);
        text.push(':');
        if named {
            let _ = write!(text, "{id}"); // writing to a String cannot fail
        }
        text.push(':');
        for (bit, permission) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if permissions & bit != 0 { permission } else { '-' });
        }
    }
    Some(text)
}

/// `security.capability` as text: `cap_net_raw=ep`; capabilities with the same sets stand together.
pub fn capability_text(value: &[u8]) -> String {
    parse_capability(value).unwrap_or_else(|| invalid(value))
}

fn parse_capability(value: &[u8]) -> Option<String> {
    let words: Vec<u32> =
        value.chunks(4).map(|word| word.try_into().map(u32::from_le_bytes)).collect::<Result<_, _>>().ok()?;
    let (head, root_id) = match words.as_slice() {
        [head, _, _, _, _] if head & 0xff00_0000 == CAPABILITY_REVISION_2 => (head, None),
        [head, _, _, _, _, root] if head & 0xff00_0000 == CAPABILITY_REVISION_3 => (head, Some(root)),
        _ => return None,
    };
    let permitted = u64::from(words[1]) | u64::from(words[3]) << 32;
    let inheritable = u64::from(words[2]) | u64::from(words[4]) << 32;
    let effective = if head & 1 != 0 { permitted | inheritable } else { 0 };
    let mut groups: Vec<(String, String)> = Vec::new();
    for bit in 0..64u32 {
        let sets: String = [(effective, 'e'), (inheritable, 'i'), (permitted, 'p')]
            .into_iter()
            .filter_map(|(set, letter)| (set >> bit & 1 == 1).then_some(letter))
            .collect();
        if sets.is_empty() {
            continue;
        }
        let name = CAPABILITIES.get(bit as usize).map_or_else(|| format!("cap_{bit}"), |name| format!("cap_{name}"));
        match groups.iter_mut().find(|(_, group)| *group == sets) {
            Some((names, _)) => {
                names.push(',');
                names.push_str(&name);
            }
            None => groups.push((name, sets)),
        }
    }
    let mut text = groups.iter().map(|(names, sets)| format!("{names}={sets}")).collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        text.push('=');
    }
    if let Some(root) = root_id {
        let _ = write!(text, " [rootid={root}]"); // writing to a String cannot fail
    }
    Some(text)
}

fn invalid(value: &[u8]) -> String {
    value.iter().take(64).fold(String::from("invalid:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_access_list_is_written_in_short_form_with_numeric_ids() {
        let mut value = ACL_VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in
            [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
        {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        assert_eq!(acl_text(&value), "u::rw-,u:1000:r--,g::r--,m::r--,o::---");
    }

    #[test]
    fn capabilities_with_the_same_sets_stand_together() {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(capability_text(&words(&[CAPABILITY_REVISION_2 | 1, 1 << 13, 0, 0, 0])), "cap_net_raw=ep");
        assert_eq!(
            capability_text(&words(&[CAPABILITY_REVISION_2, 1 << 12 | 1 << 13, 1, 0, 1])),
            "cap_chown,cap_mac_override=i cap_net_admin,cap_net_raw=p"
        );
        assert_eq!(
            capability_text(&words(&[CAPABILITY_REVISION_3 | 1, 1, 0, 0, 0, 1000])),
            "cap_chown=ep [rootid=1000]"
        );
    }

    #[test]
    fn bytes_of_another_form_are_kept_as_hex() {
        assert_eq!(acl_text(&[1, 2, 255]), "invalid:0102ff");
        assert_eq!(capability_text(&[]), "invalid:");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = acl_text(&value);
            let _ = capability_text(&value);
        }
    }
}
