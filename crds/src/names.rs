//! Names as Kubernetes checks them: DNS labels and subdomains, label keys and values.

/// A DNS label: at most 63 lower-case letters, digits and `-`, with a letter or digit at both ends.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && has_alphanumeric_ends(text)
}

/// Whether a node, or any object that is named like one, may have this name: a DNS subdomain.
pub fn is_node_name(text: &str) -> bool {
    is_dns_subdomain(text)
}

/// A DNS subdomain, as object names are: DNS labels of any length joined by dots, 253 characters in all.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')) && has_alphanumeric_ends(label)
        })
}

/// A label's key: a name of at most 63 characters, perhaps with a DNS subdomain and a slash before it.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// A label's value: at most 63 letters, digits, `-`, `_` and `.` with a letter or digit at both ends, or nothing.
pub(crate) fn is_label_value(text: &str) -> bool {
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && (text.is_empty() || has_alphanumeric_ends(text))
}

fn has_alphanumeric_ends(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_api_server_does() {
        assert!(is_dns_label("etc-conf") && is_dns_label("0") && is_dns_label(&"a".repeat(63)));
        for text in ["", "Etc", "-a", "a-", "a.b", "a_b", "é", &"a".repeat(64)] {
            assert!(!is_dns_label(text), "{text}");
        }
        assert!(is_dns_subdomain("linux-baseline.v2") && !is_dns_subdomain("a..b") && !is_dns_subdomain("a."));
        assert!(is_label_key("kubernetes.io/os") && is_label_key("A_b.c") && is_label_key("zone"));
        for text in ["", "/os", "kubernetes.io/", "a/b/c", "Kubernetes.io/os", "kubernetes.io/-os", "a b"] {
            assert!(!is_label_key(text), "{text}");
        }
        assert!(is_label_value("") && is_label_value("a.b_c-D") && !is_label_value("a-") && !is_label_value("a/b"));
    }
}
