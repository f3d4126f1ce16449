//! The regular expressions on paths and excludes, by hand. Each function says what its expression finds, no less
//! and no more: whether a pattern can be used in the end is [`crate::pattern`]'s to say.

/// `(^|[^\[])[$]`
pub(super) fn has_variable(text: &str) -> bool {
    outside_a_class(text, '$').next().is_some()
}

/// `/[.]{0,2}(/|$)`
pub(super) fn has_dots_or_empty_segment(text: &str) -> bool {
    text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."))
}

/// `[^/][*][*]|[*][*][^/]`
pub(super) fn has_two_stars_beside_others(text: &str) -> bool {
    text.split('/').any(|segment| segment.len() > 2 && segment.contains("**"))
}

/// `(^|[^\[])\[[!^]?]?[^]/]*(/|$)`
pub(super) fn has_unclosed_class(text: &str) -> bool {
    outside_a_class(text, '[').any(|class| {
        let class = class.strip_prefix(['!', '^']).unwrap_or(class);
        let class = class.strip_prefix(']').unwrap_or(class);
        !matches!(class.find([']', '/']), Some(end) if class[end..].starts_with(']'))
    })
}

/// `(^|[^\[])\{[^}/]*(\{|/|$)`
pub(super) fn has_unclosed_braces(text: &str) -> bool {
    outside_a_class(text, '{').any(|braces| match braces.find(['}', '/']) {
        Some(end) if braces[end..].starts_with('}') => braces[..end].contains('{'),
        _ => true,
    })
}

/// What follows each place where the character stands and no `[` before it.
fn outside_a_class(text: &str, wanted: char) -> impl Iterator<Item = &str> {
    text.match_indices(wanted)
        .filter(|(at, _)| !text[..*at].ends_with('['))
        .map(|(at, found)| &text[at + found.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_closed_within_its_segment() {
        for text in ["[", "a[b", "[]", "[!]", "[^]", "[a/b]", "[a[]", "/a/[", "[!/]"] {
            assert!(has_unclosed_class(text), "{text}");
        }
        for text in ["", "]", "[a]", "[]]", "[!]]", "[[]", "[[a]", "a[b]c[d]", "{[,]}"] {
            assert!(!has_unclosed_class(text), "{text}");
        }
    }

    #[test]
    fn braces_are_closed_within_their_segment_and_do_not_nest() {
        for text in ["{", "{a", "{a/b}", "{a,{b}", "{a,{b}}", "[a{]", "{[{]}"] {
            assert!(has_unclosed_braces(text), "{text}");
        }
        for text in ["", "}", "{a}", "[{]", "{a,b}{c}", "{a[}]b", "[{a]"] {
            assert!(!has_unclosed_braces(text), "{text}");
        }
    }

    #[test]
    fn two_stars_are_a_whole_segment() {
        for text in ["a**", "**a", "/a**/b", "***", "/***", "{**,a}"] {
            assert!(has_two_stars_beside_others(text), "{text}");
        }
        for text in ["", "*", "**", "/**", "/**/a", "*a*", "/a/**"] {
            assert!(!has_two_stars_beside_others(text), "{text}");
        }
    }

    #[test]
    fn segments_are_neither_dots_nor_empty() {
        for text in ["/", "/a/", "//", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "a/"] {
            assert!(has_dots_or_empty_segment(text), "{text}");
        }
        for text in ["", "a", "/a", "/...", "/a/.b", "/a/b..", ".."] {
            assert!(!has_dots_or_empty_segment(text), "{text}");
        }
    }

    #[test]
    fn a_dollar_is_written_as_a_class() {
        assert!(has_variable("$HOME/a") && has_variable("/a/$b") && has_variable("[!$]") && has_variable("[$$]"));
        assert!(!has_variable("/a/[$]b") && !has_variable(""));
    }
}
