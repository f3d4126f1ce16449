#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::parse::parse_rules;
use crate::rule::DataCollectionRule;
use crate::selector::NodeSelector;

/// A rule of this name whose spec is this YAML, as the API server would hand it out.
fn rule(name: &str, spec: &str) -> DataCollectionRule {
    let text = format!(
        "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    );
    let mut rule = parse_rules(&text).unwrap().remove(0);
    rule.metadata.uid = Some(format!("uid-{name}"));
    rule.metadata.generation = Some(3);
    rule.metadata.creation_timestamp = Some(Time(Timestamp::from_second(1_000).unwrap()));
    rule
}

fn created(mut rule: DataCollectionRule, second: i64) -> DataCollectionRule {
    rule.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
    rule
}

/// A rule that only compilation refuses, of a later generation.
fn refused(name: &str) -> DataCollectionRule {
    let mut rule = rule(name, "{files: {paths: [{name: odd, path: '/etc/{a[}]b'}]}}");
    rule.metadata.generation = Some(4);
    rule
}

const ETC: &str = "{files: {paths: [{name: etc, path: /etc}]}}";

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn node(own: &[(&str, &str)]) -> NodeFacts {
    NodeFacts { name: "worker-1".into(), uid: "node-uid".into(), labels: labels(own) }
}

fn compile_for(node: &NodeFacts, rules: &[DataCollectionRule], previous: Option<&NodeConfigSpec>) -> Compiled {
    let prepared: Vec<_> = rules.iter().map(prepare).collect();
    compile(&prepared, previous, node, &Context::default())
}

fn outcomes(compiled: &Compiled) -> Vec<(&str, Outcome)> {
    compiled.verdicts.iter().map(|verdict| (verdict.name.as_str(), verdict.outcome)).collect()
}

#[test]
fn a_rule_without_a_selector_is_for_every_linux_node() {
    let rules = [rule("etc", ETC)];
    for own in [&[][..], &[("kubernetes.io/os", "linux")], &[("a", "b")]] {
        assert_eq!(outcomes(&compile_for(&node(own), &rules, None)), [("etc", Outcome::Included)]);
    }
    let windows = compile_for(&node(&[("kubernetes.io/os", "windows")]), &rules, None);
    assert_eq!(outcomes(&windows), [("etc", Outcome::NotSelected)]);
    assert!(windows.spec.rules.is_empty());
}

#[test]
fn a_selector_has_to_hold_whole() {
    let selects = |selector: &str, own: &[(&str, &str)]| {
        let spec = format!("{{nodeSelector: {selector}, files: {{paths: [{{name: etc, path: /etc}}]}}}}");
        prepare(&rule("etc", &spec)).selects(&labels(own))
    };
    assert!(selects("{matchLabels: {a: b}}", &[("a", "b"), ("c", "d")]));
    assert!(!selects("{matchLabels: {a: b, c: d}}", &[("a", "b")]));
    assert!(!selects("{matchLabels: {a: b}}", &[("a", "b"), ("kubernetes.io/os", "windows")]));
    let expression = |operator: &str| format!("{{matchExpressions: [{{key: a, {operator}}}]}}");
    assert!(selects(&expression("operator: In, values: [b, c]"), &[("a", "c")]));
    assert!(!selects(&expression("operator: In, values: [b, c]"), &[]));
    assert!(selects(&expression("operator: NotIn, values: [b]"), &[]));
    assert!(!selects(&expression("operator: NotIn, values: [b]"), &[("a", "b")]));
    assert!(selects(&expression("operator: Exists"), &[("a", "")]));
    assert!(!selects(&expression("operator: DoesNotExist"), &[("a", "")]));
}

#[test]
fn entries_carry_only_what_differs_from_the_commonest_setting() {
    let spec = "{tags: [pci], files: {interval: 60m, paths: [
        {name: a, path: /a, severity: High, hashes: [Sha256, Md5]},
        {name: b, path: /b, severity: High, exclude: ['*.swp'], maxDepth: 3},
        {name: c, path: /c, severity: Low, recurse: false, compare: [Mode, Content, Mode], maxContentSize: 1Mi},
        {name: d, path: /d, enabled: false}]}}";
    let compiled = compile_for(&node(&[]), &[rule("mixed", spec)], None);
    let form = serde_json::json!(compiled.spec.rules[0]);
    assert_eq!(
        form["files"],
        serde_json::json!({
            "interval": "1h",
            "rehashInterval": "24h",
            "realtime": true,
            "defaults": {"severity": "High"},
            "paths": [
                {"name": "a", "path": "/a"},
                {"name": "b", "path": "/b", "maxDepth": 3, "exclude": ["*.swp"]},
                {"name": "c", "path": "/c", "recurse": false, "compare": ["Content", "Mode"],
                    "maxContentSize": 1_048_576, "severity": "Low"}
            ]
        })
    );
    assert_eq!(form["hash"].as_str().map(str::len), Some(32));
    assert_eq!((&form["tags"][0], &form["generation"]), (&"pci".into(), &3.into()));
    let entries = crate::settings::resolve(&compiled.spec.rules).entries;
    assert_eq!(entries.iter().map(|entry| entry.max_depth).collect::<Vec<_>>(), [None, Some(3), Some(1)]);
}

#[test]
fn an_entry_that_says_nothing_is_resolved_to_the_defaults_of_the_api_without_carrying_them() {
    let said = "{files: {paths: [{name: etc, path: /etc, recurse: true, links: Record, mounts: Local,
        compare: [Content, Type, Mode, Owner, Acl, Xattrs, Flags, LinkTarget], hashes: [Md5, Sha256],
        maxContentSize: 4Gi, severity: Medium}]}}";
    let said = compile_for(&node(&[]), &[rule("etc", said)], None).spec.rules;
    let unsaid = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec.rules;
    assert_eq!(said[0].files, unsaid[0].files);
    let form = serde_json::json!(said[0]);
    assert_eq!(form["files"]["paths"], serde_json::json!([{"name": "etc", "path": "/etc"}]));
    assert_eq!(form["files"].get("defaults"), None);

    let spelled_out = serde_json::json!({
        "recurse": true, "links": "Record", "mounts": "Local", "hashes": ["Md5", "Sha256"], "severity": "Medium",
        "compare": ["Content", "Type", "Mode", "Owner", "Acl", "Xattrs", "Flags", "LinkTarget"],
        "maxContentSize": 4_294_967_296_u64
    });
    let mut explicit = said.clone();
    explicit[0].files.as_mut().unwrap().defaults = serde_json::from_value(spelled_out).unwrap();
    assert_eq!(crate::settings::resolve(&said), crate::settings::resolve(&explicit));
}

#[test]
fn a_suspended_rule_stays_and_says_so() {
    let spec = "{suspend: true, files: {paths: [{name: etc, path: /etc}]}}";
    let suspended = compile_for(&node(&[]), &[rule("etc", spec)], None).spec.rules.remove(0);
    let running = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec.rules.remove(0);
    assert!(suspended.suspend && suspended.files == running.files);
    assert_ne!(suspended.hash, running.hash);
}

#[test]
fn what_only_compilation_sees_refuses_the_rule_and_names_the_entry() {
    let prepared = prepare(&refused("odd"));
    let Err(Unusable::Refused(refusal)) = prepared.form() else { panic!("accepted") };
    assert_eq!(
        refusal.to_string(),
        "spec.files.paths[0].path (entry \"odd\"): a { is not closed within its segment, or is nested: close it, \
         or write [{] for the character itself"
    );
}

#[test]
fn a_refused_rule_keeps_its_form_where_a_node_has_one_even_when_labels_moved() {
    let before = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec;
    let mut edited = refused("etc");
    edited.spec.node_selector = Some(NodeSelector { match_labels: labels(&[("a", "b")]), ..NodeSelector::default() });
    let after = compile_for(&node(&[]), std::slice::from_ref(&edited), Some(&before));
    assert_eq!(outcomes(&after), [("etc", Outcome::Kept { generation: 3 })]);
    assert_eq!(after.spec, before);
    assert_eq!(
        outcomes(&compile_for(&node(&[]), std::slice::from_ref(&edited), None)),
        [("etc", Outcome::NotSelected)]
    );
    assert_eq!(outcomes(&compile_for(&node(&[("a", "b")]), &[edited], None)), [("etc", Outcome::Unusable)]);
}

#[test]
fn an_undecodable_rule_keeps_its_form_and_selects_nothing_anew() {
    let before = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec;
    let metadata = rule("etc", ETC).metadata;
    let newer = serde_json::json!({"spec": {"files": {"paths": [{"name": "e", "path": "/e", "links": "Sometimes"}]}}});
    let rules = [prepare_object(&metadata, &newer)];
    assert!(matches!(rules[0].form(), Err(Unusable::Undecodable { .. })));
    let kept = compile(&rules, Some(&before), &node(&[]), &Context::default());
    assert_eq!(kept.spec, before);
    let none = compile(&rules, None, &node(&[]), &Context::default());
    assert_eq!(outcomes(&none), [("etc", Outcome::NotSelected)]);
}

#[test]
fn a_rule_that_came_back_under_its_name_is_another_one() {
    let before = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec;
    let mut again = refused("etc");
    again.metadata.uid = Some("another".into());
    let after = compile_for(&node(&[]), &[again], Some(&before));
    assert_eq!(outcomes(&after), [("etc", Outcome::Unusable)]);
    assert!(after.spec.rules.is_empty());
}

#[test]
fn a_deleted_rule_is_gone() {
    let before = compile_for(&node(&[]), &[rule("etc", ETC)], None).spec;
    assert!(compile_for(&node(&[]), &[], Some(&before)).spec.rules.is_empty());
}

#[test]
fn of_too_many_rules_the_youngest_lose() {
    let rules: Vec<_> =
        (0..MAX_RULES + 2).map(|index| created(rule(&format!("rule-{index}"), ETC), 10_000 - index as i64)).collect();
    let compiled = compile_for(&node(&[]), &rules, None);
    assert_eq!(compiled.spec.rules.len(), MAX_RULES);
    let losers: Vec<_> = outcomes(&compiled).into_iter().filter(|(_, outcome)| *outcome != Outcome::Included).collect();
    assert_eq!(losers, [("rule-0", Outcome::TooMany), ("rule-1", Outcome::TooMany)]);
    assert!(compiled.spec.rules.is_sorted_by(|left, right| left.name < right.name));
}

fn large(name: &str, entries: usize) -> DataCollectionRule {
    let path = format!("/{}", "p".repeat(200));
    let entries: Vec<_> = (0..entries).map(|index| format!("{{name: e{index}, path: {path}}}")).collect();
    rule(name, &format!("{{files: {{paths: [{}]}}}}", entries.join(", ")))
}

#[test]
fn a_spec_never_exceeds_its_size_and_the_youngest_rule_loses() {
    let rules = [created(large("old", 200), 1), created(large("young", 100), 2), created(rule("youngest", ETC), 3)];
    let compiled = compile_for(&node(&[]), &rules, None);
    assert_eq!(
        outcomes(&compiled),
        [("old", Outcome::Included), ("young", Outcome::TooLarge), ("youngest", Outcome::TooLarge)]
    );
    assert!(serde_json::json!(compiled.spec).to_string().len() <= MAX_SPEC_BYTES);
}

#[test]
fn a_rule_that_no_node_has_room_for_is_said_to_be_too_large() {
    let large = large("large", 256);
    let mut larger = large.clone();
    for entry in &mut larger.spec.files.as_mut().unwrap().paths {
        entry.exclude = vec!["x".repeat(50)];
    }
    assert!(prepare(&large).form().is_ok());
    assert!(matches!(prepare(&larger).form(), Err(Unusable::TooLarge { bytes }) if *bytes > 64_512));
}

#[test]
fn without_a_cluster_every_rule_is_for_this_host() {
    let spec = "{nodeSelector: {matchLabels: {a: b}}, files: {paths: [{name: etc, path: /etc}]}}";
    let mut rules = vec![rule("b", spec), rule("a", ETC)];
    rules.iter_mut().for_each(|rule| (rule.metadata.uid, rule.metadata.generation) = (None, None));
    let forms = standalone(&rules).unwrap();
    assert_eq!(forms.iter().map(|form| form.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((forms[0].generation, forms[0].uid.len()), (1, 32));
    assert_ne!(forms[0].uid, forms[1].uid);
    rules.push(rule("a", spec));
    let refused = standalone(&rules).unwrap_err().to_string();
    assert_eq!(refused, "rule \"a\": metadata.name: another rule has this name already: rename one");
}

fn any_rule() -> impl Strategy<Value = DataCollectionRule> {
    let entry = (0..4_usize, "[a-z]{1,8}", any::<bool>(), any::<bool>(), prop::option::of(0..9_u32)).prop_map(
        |(severity, path, enabled, shallow, depth)| {
            let severity = ["Info", "Low", "Medium", "High"][severity];
            let depth = match depth {
                Some(depth) if !shallow => format!("maxDepth: {depth},"),
                _ => format!("recurse: {},", !shallow),
            };
            format!("path: /{path}, enabled: {enabled}, {depth} severity: {severity}")
        },
    );
    let selector = prop::sample::select(vec!["", "nodeSelector: {matchLabels: {zone: a}},"]);
    (prop::collection::vec(entry, 1..5), selector, any::<bool>(), 0..3_i64).prop_map(
        |(entries, selector, suspend, second)| {
            let entries: Vec<_> =
                entries.iter().enumerate().map(|(index, entry)| format!("{{name: e{index}, {entry}}}")).collect();
            let spec = format!("{{{selector} suspend: {suspend}, files: {{paths: [{}]}}}}", entries.join(", "));
            created(rule("rule", &spec), second)
        },
    )
}

/// Rules with names of their own, some of them refused.
fn any_rules(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<DataCollectionRule>> {
    prop::collection::vec((any_rule(), prop::bool::weighted(0.2)), count).prop_map(|rules| {
        let named = rules.into_iter().enumerate().map(|(index, (mut rule, broken))| {
            rule.metadata.name = Some(format!("rule-{index:02}"));
            rule.metadata.uid = Some(format!("uid-{index:02}"));
            if broken {
                rule.spec.files.as_mut().unwrap().paths[0].path = "/{a[}]b".into();
            }
            rule
        });
        named.collect()
    })
}

fn any_node() -> impl Strategy<Value = NodeFacts> {
    prop::sample::select(vec![node(&[]), node(&[("zone", "a")]), node(&[("kubernetes.io/os", "windows")])])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_rules_does_not_matter(
        (rules, shuffled) in any_rules(0..40).prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
        earlier in any_rules(0..10),
        node in any_node(),
    ) {
        let previous = compile_for(&node, &earlier, None).spec;
        prop_assert_eq!(
            compile_for(&node, &rules, Some(&previous)),
            compile_for(&node, &shuffled, Some(&previous))
        );
    }

    #[test]
    fn no_rule_changes_what_another_one_selects(rules in any_rules(1..10), node in any_node()) {
        let together = compile_for(&node, &rules, None);
        for rule in &rules {
            let alone = compile_for(&node, std::slice::from_ref(rule), None);
            let uid = rule.metadata.uid.as_deref().unwrap();
            let find = |compiled: &Compiled| compiled.spec.rules.iter().find(|form| form.uid == uid).cloned();
            prop_assert_eq!(find(&together), find(&alone));
            prop_assert_eq!(together.verdicts.iter().find(|verdict| verdict.uid == uid), alone.verdicts.first());
        }
    }

    #[test]
    fn a_refused_rule_keeps_its_form_whatever_else_is_there(
        rules in any_rules(1..10),
        broken in any::<prop::sample::Index>(),
        node in any_node(),
    ) {
        let before = compile_for(&node, &rules, None).spec;
        let mut edited = rules.clone();
        let index = broken.index(rules.len());
        edited[index].spec.files.as_mut().unwrap().paths[0].path = "/{a[}]b".into();
        let after = compile_for(&node, &edited, Some(&before));
        prop_assert_eq!(after.spec, before);
    }

    #[test]
    fn a_younger_rule_never_displaces_an_older_one(rules in any_rules(30..45), node in any_node()) {
        let mut rules = rules;
        rules.sort_by_key(|rule| (rule.metadata.creation_timestamp.clone(), rule.metadata.name.clone()));
        let all = compile_for(&node, &rules, None);
        rules.pop();
        let older = compile_for(&node, &rules, None);
        for form in &older.spec.rules {
            prop_assert!(all.spec.rules.contains(form));
        }
    }

    #[test]
    fn the_compact_form_says_what_the_rule_says(rule in any_rule()) {
        let form = prepare(&rule).form().unwrap().clone();
        let entries = crate::settings::resolve(&[form]).entries;
        let written = rule.spec.files.iter().flat_map(|files| &files.paths).filter(|entry| entry.enabled);
        for (resolved, written) in entries.iter().zip(written) {
            prop_assert_eq!(&resolved.name, &written.name);
            prop_assert_eq!(resolved.severity, written.severity);
            let depth = if written.recurse { written.max_depth } else { Some(1) };
            prop_assert_eq!(resolved.max_depth, depth);
        }
    }
}
