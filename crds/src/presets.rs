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
pub fn presets() -> [Preset; 2] {
    [
        Preset { name: "linux-baseline", yaml: include_str!("../presets/linux-baseline.yaml") },
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

    /// An object is to stay under 10 kB; status, metadata and managed fields were seen to take 5.3 kB of it.
    #[test]
    fn the_presets_together_leave_a_node_config_its_room() {
        let cluster = ClusterRef { name: "production-europe-west".into(), uid: UID.into() };
        let context = Context { cluster: Some(cluster), ..Context::default() };
        let node = NodeFacts { uid: UID.into(), ..NodeFacts::default() };
        let bytes = serde_json::json!(compile(&prepared(), None, &node, &context).spec).to_string().len();
        assert!(bytes < 4_500, "{bytes}");
    }
}
