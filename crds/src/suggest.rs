//! The word that somebody meant: reads what was written and the words that are known, produces the nearest one, or none.

/// The known word that was probably meant: the same but for case and separators, else one that few typing mistakes
/// lead to.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |word: &str| -> String {
        word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
    };
    // A mistake in every third letter: more is another word. And what is longer is nobody's typing mistake.
    let most = (written.chars().count() / 3).max(1);
    if written.len() > 64 {
        return None;
    }
    let written = plain(written);
    let distances = known.into_iter().map(|word| (strsim::damerau_levenshtein(&written, &plain(word)), word));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_separators_and_a_typing_mistake_are_seen_through_and_other_words_are_not() {
        let hashes = ["Md5", "Sha256", "Sha512", "Blake3"];
        for (written, meant) in [("sha256", "Sha256"), ("SHA-512", "Sha512"), ("Sha265", "Sha256"), ("blake", "Blake3")]
        {
            assert_eq!(nearest(written, hashes), Some(meant), "{written}");
        }
        assert_eq!(nearest("crc", hashes), None);
        assert_eq!(nearest("", hashes), None);
        assert_eq!(nearest("pth", ["path", "name"]), Some("path"));
        assert_eq!(nearest("excludes", ["exclude", "enabled"]), Some("exclude"));
        assert_eq!(nearest(&"a".repeat(100_000), ["path"]), None);
    }
}
