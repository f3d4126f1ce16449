//! The rules that are shipped: as YAML to apply as they are, or to begin one's own with.

/// A rule that is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The rule's name, and the file's without `.yaml`.
    pub name: &'static str,
    /// The rule as `kubectl apply` and `--rule` take it.
    pub yaml: &'static str,
}

/// All rules that are shipped.
pub fn presets() -> [Preset; 3] {
    [
        Preset { name: "linux-baseline", yaml: include_str!("../presets/linux-baseline.yaml") },
        Preset { name: "kubernetes-node", yaml: include_str!("../presets/kubernetes-node.yaml") },
        Preset { name: "etc", yaml: include_str!("../presets/etc.yaml") },
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::compile::{Context, NodeFacts, PreparedRule, compile, prepare};
    use crate::node_config::ClusterRef;
    use crate::parse::parse_rules;
    use crate::settings::{Severity, resolve};

    const UID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn prepared() -> Vec<PreparedRule> {
        let rules = presets().map(|preset| {
            let mut rule = parse_rules(preset.yaml).unwrap().remove(0);
            assert_eq!(rule.metadata.name.as_deref(), Some(preset.name));
            rule.metadata.uid = Some(UID.into());
            rule.metadata.generation = Some(1);
            prepare(&rule)
        });
        rules.to_vec()
    }

    #[test]
    fn the_presets_are_good_rules() {
        for rule in prepared() {
            assert_eq!(rule.form().err(), None);
            assert_eq!(resolve(&[rule.form().unwrap().clone()]).unknown, Vec::<String>::new());
        }
    }

    #[test]
    fn who_may_become_root_is_critical() {
        let forms: Vec<_> = prepared().iter().map(|rule| rule.form().unwrap().clone()).collect();
        let entries = resolve(&forms).entries;
        let critical = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap().severity;
        for name in ["sudoers", "pam", "ssh-root", "ssh-home", "ld-so"] {
            assert_eq!(critical(name), Severity::Critical, "{name}");
        }
    }

    #[test]
    fn the_node_preset_names_every_check_of_the_benchmark_on_files() {
        let yaml = presets().into_iter().find(|preset| preset.name == "kubernetes-node").unwrap().yaml;
        // "CIS 1.1.1 to 1.1.8, 4.1.7 and 4.1.8: …" in comments.
        let mut named = std::collections::BTreeSet::new();
        for comment in yaml.lines().filter_map(|line| line.trim().strip_prefix('#')) {
            let words: Vec<&str> = comment.split([' ', ',', ':', ')', '(']).filter(|word| !word.is_empty()).collect();
            let number = |word: &str| {
                let (section, check) = word.trim_end_matches('.').rsplit_once('.')?;
                Some((section.to_owned(), check.parse::<u32>().ok()?))
            };
            for (at, word) in words.iter().enumerate() {
                let Some((section, first)) = number(word) else { continue };
                let last = match (words.get(at + 1), words.get(at + 2).and_then(|word| number(word))) {
                    (Some(&"to"), Some((_, last))) => last,
                    _ => first,
                };
                named.extend((first..=last).map(|check| (section.clone(), check)));
            }
        }
        let all =
            (1..=21).map(|check| ("1.1".to_owned(), check)).chain((1..=10).map(|check| ("4.1".to_owned(), check)));
        let missing: Vec<_> = all.filter(|check| !named.contains(check)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    /// An object is to stay under 10 kB; status, metadata and managed fields were seen to take 5.45 kB of it.
    #[test]
    fn the_presets_together_leave_a_node_config_its_room() {
        let cluster = ClusterRef { name: "production-europe-west".into(), uid: UID.into() };
        let context = Context { cluster: Some(cluster), ..Context::default() };
        let node = NodeFacts { uid: UID.into(), ..NodeFacts::default() };
        let bytes = serde_json::json!(compile(&prepared(), None, &node, &context).spec).to_string().len();
        assert!(bytes < 4_500, "{bytes}");
    }
}
