//! What the command line cannot mean.
use std::process::Stdio;

use crate::scene::{Scene, ended};

rows! {
    an_unknown_flag: "2", "error: unexpected argument <flag> found" => async |scene: &Scene| {
        let said = scene.scan(&[("--rule", ""), ("--rul", "rule.yaml")]).await;
        assert!(said.err.contains("a similar argument exists: '--rule'"), "{}", said.err);
        said
    };

    a_missing_flag: "2", "error: the following required arguments were not provided:" => async |scene: &Scene| {
        let said = scene.scan(&[("--rule", "")]).await;
        assert!(said.err.contains("--rule <FILE>"), "{}", said.err);
        said
    };

    a_flag_without_its_value: "2", "error: a value is required for <flag> but none was supplied" =>
        async |scene: &Scene| {
            let mut scan = scene.agent("scan", &[("--state-dir", "")]);
            scan.arg("--state-dir=");
            ended(scan).await
        };

    a_node_name_that_no_node_has: "2",
        "error: invalid value <value> for <flag>: write a name as Kubernetes gives nodes: at most 253 lower-case letters, digits, '-' and '.', each part between dots beginning and ending with a letter or digit, for example worker-3" =>
        async |scene: &Scene| {
            for name in ["Worker", "a_b", "-a", "a..b", "é", "a/b", &"a".repeat(254)] {
                let said = scene.scan(&[("--node", name)]).await;
                assert_eq!(said.exit, "2", "{name}: {said:?}");
            }
            let allowed = ["worker-3", "ip-10-0-0-1.ec2.internal", &["a".repeat(63).as_str(); 4].join(".")[..253]];
            for (at, name) in allowed.into_iter().enumerate() {
                let state = scene.text(&format!("state-{at}"));
                let said = scene.scan(&[("--node", name), ("--state-dir", &state)]).await;
                assert!(said.exit == "0" && said.out.contains(&format!("\"node\":\"{name}\"")), "{said:?}");
            }
            let mut run = scene.agent("run", &[("--node", "")]);
            run.env("NODE_NAME", "Worker");
            assert_eq!(ended(run).await.exit, "2");
            scene.scan(&[("--node", "Bad Node")]).await
        };

    an_address_that_is_none: "2",
        "error: invalid value <value> for <flag>: write an IP address and a port, for example 127.0.0.1:8080" =>
        async |scene: &Scene| ended(scene.agent("standalone", &[("--listen", "localhost")])).await;

    a_journal_too_small: "2",
        "error: invalid value <value> for <flag>: write a size of at least 1Mi, for example 256Mi: about 1 KiB for each record" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[("--journal-max", "1Mi")]).await.exit, "0");
            for size in ["0", "1023Ki", "many"] {
                assert_eq!(scene.scan(&[("--journal-max", size)]).await.exit, "2", "{size}");
            }
            ended(scene.agent("standalone", &[("--journal-max", "1MB")])).await
        };

    cores_that_are_none: "2",
        "error: invalid value <value> for <flag>: write cores as Kubernetes does, at least 10m, for example 500m or 0.5, or none" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[("--cpu-limit", "1.5")]).await.exit, "0");
            for cores in ["0", "9m", "-1", "500M", "half"] {
                assert_eq!(scene.scan(&[("--cpu-limit", cores)]).await.exit, "2", "{cores}");
            }
            let mut standalone = scene.agent("standalone", &[]);
            standalone.env("VEDETTE_CPU_LIMIT", "0");
            assert_eq!(ended(standalone).await.exit, "2");
            ended(scene.agent("standalone", &[("--cpu-limit", "all")])).await
        };

    a_rate_of_reading_that_is_none: "2",
        "error: invalid value <value> for <flag>: write the bytes of a second as a size of at least 1Mi, for example 50Mi, or none" =>
        async |scene: &Scene| {
            assert_eq!(scene.scan(&[("--read-limit", "none")]).await.exit, "0");
            for rate in ["0", "1023Ki", "50MB", "50Mi/s"] {
                assert_eq!(scene.scan(&[("--read-limit", rate)]).await.exit, "2", "{rate}");
            }
            ended(scene.agent("run", &[("--read-limit", "fast")])).await
        };

    a_number_of_threads_that_is_none: "2",
        "error: invalid value <value> for <flag>: write a number of threads from 1 to 64" => async |scene: &Scene| {
            assert_eq!(scene.scan(&[("--threads", "64")]).await.exit, "0");
            ended(scene.agent("scan", &[("--threads", "0")])).await
        };

    records_to_nothing: "2",
        "error: invalid value <value> for <flag>: write stdout, none, or the path of a file" =>
        async |scene: &Scene| {
            let mut standalone = scene.agent("standalone", &[]);
            standalone.arg("--records=");
            ended(standalone).await
        };

    records_to_a_dash: "2",
        "error: invalid value <value> for <flag>: write stdout for standard output, or ./- for a file of this name" =>
        async |scene: &Scene| ended(scene.agent("standalone", &[("--records", "-")])).await;

    records_to_a_word_in_capitals: "2",
        "error: invalid value <value> for <flag>: write <word> in lower case, or <file> for a file of this name" =>
        async |scene: &Scene| ended(scene.agent("standalone", &[("--records", "STDOUT")])).await;
}

#[tokio::test]
async fn trouble_is_told_by_the_exit_code_where_standard_error_is_closed_or_full() {
    let scene = Scene::new().await;
    for redirection in ["2>&-", "2>/dev/full", "2>&- <&-"] {
        for (arguments, code) in
            [("scan --frobnicate", 2), ("scan --rule /nonexistent --state-dir /nonexistent", 2), ("--help", 0)]
        {
            let script = format!("exec {} {arguments} {redirection}", scene.products.agent.display());
            let status = tokio::process::Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().await;
            assert_eq!(status.unwrap().code(), Some(code), "{script}");
        }
    }
    // What it works on is not harmed by it either.
    let script = format!(
        "exec {} scan --rule {} --state-dir {} --host-root {} 2>&-",
        scene.products.agent.display(),
        scene.text("rule.yaml"),
        scene.text("state"),
        scene.text("host")
    );
    let output = tokio::process::Command::new("sh").args(["-c", &script]).output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("BaselineMade").count(), 1);
}
