//! Rule files that cannot be used.
use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::scene::{RULE, Scene, ended};

rows! {
    a_rule_file_that_is_not_there: "2",
        "cannot read the rule file <file>: No such file or directory (os error 2)" =>
        async |scene: &Scene| scene.scan(&[("--rule", "/nonexistent/rule.yaml")]).await;

    a_rule_file_that_may_not_be_read: "2",
        "cannot read the rule file <file>: Permission denied (os error 13)" => async |scene: &Scene| {
            fs::set_permissions(scene.path("rule.yaml"), fs::Permissions::from_mode(0o600)).unwrap();
            scene.scan_as_nobody(&[]).await
        };

    a_directory_as_a_rule_file: "2",
        "cannot read the rule file <file>: Is a directory (os error 21)" =>
        async |scene: &Scene| scene.scan(&[("--rule", &scene.text("host"))]).await;

    a_rule_file_that_is_no_text: "2",
        "the rule file <file> is no text: byte <number> is not UTF-8" => async |scene: &Scene| {
            fs::write(scene.path("rule.yaml"), b"a: \xff\n").unwrap();
            scene.scan(&[]).await
        };

    a_rule_file_without_an_end: "2",
        "the rule file <file> is larger than 8 MiB: no rules are" =>
        async |scene: &Scene| scene.scan(&[("--rule", "/dev/zero")]).await;

    an_empty_rule_file: "2",
        "the rule file <file> holds no rule: write a DataCollectionRule into it" => async |scene: &Scene| {
            for empty in ["", "---\n", "# nothing\n"] {
                assert_eq!(scene.scan_rule(empty).await.exit, "2");
            }
            scene.scan_rule("---\n---\n").await
        };

    a_rule_file_that_is_no_yaml: "2",
        "the rule file <file>: the text is no YAML: <what> at line <number>, column <number>" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("/etc}", "[")).await;

    a_rule_file_that_grows_without_bounds: "2",
        "the rule file <file>: the text is no YAML: it is too large, too deeply nested, or repeats too much by aliases <where>" =>
        async |scene: &Scene| {
            let level = |name: char, of: char| format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(","));
            let levels: String = ('b'..='h').zip('a'..='g').map(|(name, of)| level(name, of)).collect();
            let bomb = scene.scan_rule(&format!("a: &a [x]\n{levels}")).await;
            assert!(bomb.exit == "2" && bomb.err.contains("it is too large"), "{bomb:?}");
            scene.scan_rule(&format!("a: {}1{}", "{a: ".repeat(5000), "}".repeat(5000))).await
        };

    a_rule_file_of_mere_words: "2",
        "the rule file <file>: document <number>: write a mapping that begins with apiVersion: vedette.dev/v1alpha1" =>
        async |scene: &Scene| scene.scan_rule("watch everything please\n").await;

    a_rule_of_another_api_version: "2",
        "the rule file <file>: document <number>, rule <name>: apiVersion: write vedette.dev/v1alpha1, not <value>" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("v1alpha1", "v1")).await;

    an_object_of_another_kind: "2",
        "the rule file <file>: document <number>, rule <name>: kind: write DataCollectionRule, not <value>" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("DataCollectionRule", "ConfigMap")).await;

    a_mistyped_field: "2",
        "the rule file <file>: document <number>, rule <name>: <field> (entry <name>): no such field: did you mean <field>? Known here are <fields>" =>
        async |scene: &Scene| {
            let said = scene.scan_rule(&RULE.replace("path:", "pth:")).await;
            assert!(said.err.contains("did you mean path?"), "{}", said.err);
            said
        };

    a_field_that_is_near_none: "2",
        "the rule file <file>: document <number>, rule <name>: <field>: no such field: known here are <fields>" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("spec: {", "spec: {schedule: daily, ")).await;

    a_mistyped_value: "2",
        "the rule file <file>: document <number>, rule <name>: <field> (entry <name>): did you mean <value>? Write one of <values>, not <value>" =>
        async |scene: &Scene| {
            for (hash, meant) in [("sha256", "Sha256"), ("MD5", "Md5"), ("Sha521", "Sha512")] {
                let said = scene.scan_rule(&RULE.replace("/etc}", &format!("/etc, hashes: [{hash}]}}"))).await;
                assert!(said.err.contains(&format!("did you mean {meant}?")), "{}", said.err);
            }
            scene.scan_rule(&RULE.replace("/etc}", "/etc, severity: high}")).await
        };

    a_rule_that_cannot_be_meant: "2",
        "the rule file <file>: document <number>, rule <name>: <field> (entry <name>): <what to write instead>" =>
        async |scene: &Scene| scene.scan_rule(&RULE.replace("/etc}", "etc}")).await;

    several_bad_documents_in_one_file: "2",
        "the rule file <file>: document <number>, rule <name>: <what is wrong>; document <number>, rule <name>: <what is wrong>" =>
        async |scene: &Scene| {
            let named = |name: &str| RULE.replace("name: web", &format!("name: {name}"));
            let file = [named("a"), named("b").replace("/etc}", "etc}"), named("c").replace("path:", "pth:")].join("---\n");
            let said = scene.scan_rule(&file).await;
            let err = &said.err;
            assert!(err.contains("document 2, rule \"b\": spec.files.paths[0].path"), "{err}");
            assert!(err.contains("document 3, rule \"c\": spec.files.paths[0].pth"), "{err}");
            assert!(!err.contains("document 1"), "{err}");
            let many: Vec<String> = (0..9).map(|at| named(&format!("r{at}")).replace("/etc}", "etc}")).collect();
            let many = scene.scan_rule(&many.join("---\n")).await;
            assert!(many.err.trim_end().ends_with("; and 4 more documents") && many.err.lines().count() == 1, "{many:?}");
            said
        };

    two_rules_of_one_name_in_two_files: "2",
        "two rules are named <name>, one in <file>, one in <file>: rename one" => async |scene: &Scene| {
            let (first, second) = (scene.text("rule.yaml"), scene.write("other.yaml", RULE));
            let mut scan = scene.agent("scan", &[]);
            scan.args(["--rule", &second]);
            let said = ended(scan).await;
            assert!(said.err.contains(&format!("one in {first}, one in {second}")), "{}", said.err);
            said
        };

    two_rules_of_one_name_in_one_file: "2",
        "two rules are named <name>, documents <number> and <number> of <file>: rename one" =>
        async |scene: &Scene| scene.scan_rule(&format!("{RULE}---\n{RULE}")).await;

    a_rule_file_given_twice: "2",
        "the rule file <file> is given twice: leave one out" => async |scene: &Scene| {
            let mut scan = scene.agent("scan", &[]);
            scan.args(["--rule", &scene.text("rule.yaml")]);
            ended(scan).await
        };

    a_rule_that_is_too_large: "2",
        "the rule file <file>: rule <name>: the rule takes <number> bytes of a node's configuration, at most <number> are allowed: split it" =>
        async |scene: &Scene| {
            let entries: Vec<String> =
                (0..256).map(|at| format!("{{name: e{at}, path: /{}}}", "x".repeat(240))).collect();
            scene.scan_rule(&RULE.replace("{name: etc, path: /etc}", &entries.join(", "))).await
        };
}
