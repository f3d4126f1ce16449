//! Limits that an agent refuses would end it on every node: the chart takes what the agent takes, and nothing else.

use crate::template;
use std::process::Command;
use vedette_tests::products;

const SIZES: [&str; 31] = [
    "1Mi",
    "1024Ki",
    "1048576",
    "2M",
    "1049k",
    "256Mi",
    "1Gi",
    "1Ti",
    "1G",
    "1T",
    "999999999999999",
    "1023Ki",
    "1048575",
    "1M",
    "1048k",
    "512Ki",
    "1Ki",
    "1",
    "0",
    "00",
    "0Mi",
    "01Mi",
    "-1Gi",
    "1.5Gi",
    "256MiB",
    "256 Mi",
    "Mi",
    "1mi",
    "1Pi",
    "1e9",
    "1000000000000000",
];

const CORES: [&str; 30] = [
    "10m",
    "500m",
    "0.5",
    "2",
    "1.5",
    ".5",
    "5.",
    "0.01",
    "0010m",
    "1000000",
    "1500.5m",
    "1000000000m",
    "100000",
    "9m",
    "1m",
    "0.001",
    "0.009",
    "0",
    "0m",
    "1000001",
    "1.2.3",
    "1.2.3xyz",
    "500M",
    "m",
    ".",
    "1e3",
    "-1",
    "1 ",
    "None",
    "inf",
];

/// Whether the agent takes it: a wrong value is told before the help.
fn agent_takes(agent: &std::path::Path, flag: &str, word: &str) -> bool {
    let said = Command::new(agent).args(["run", &format!("{flag}={word}"), "--help"]).output().unwrap();
    said.status.success()
}

#[tokio::test]
async fn the_chart_takes_those_that_an_agent_takes_and_names_the_others() {
    let agent = &products().await.unwrap().agent;
    let limits = [
        ("agent.journalMax", "--journal-max", &SIZES[..], false),
        ("agent.budget.readLimit", "--read-limit", &SIZES, true),
        ("agent.budget.cpuLimit", "--cpu-limit", &CORES, true),
    ];
    for (value, flag, words, may_be_none) in limits {
        assert_eq!(agent_takes(agent, flag, "none"), may_be_none);
        for word in words.iter().chain(&["none"]) {
            let rendered = template(&["--set-string", &format!("{value}={word}")]);
            assert_eq!(rendered.success, agent_takes(agent, flag, word), "{value}={word}: {}", rendered.errors);
            let name = value.replace('.', "/");
            let is_named = rendered.errors.contains(value) || rendered.errors.contains(&name);
            assert!(rendered.success || is_named, "{value}={word}: {}", rendered.errors);
        }
    }
    for (number, is_taken) in [("2", true), ("0.25", true), ("0.001", false), ("1000001", false)] {
        let rendered = template(&["--set-json", &format!("agent.budget.cpuLimit={number}")]);
        assert_eq!(rendered.success, is_taken, "{number}: {}", rendered.errors);
        assert_eq!(rendered.output.contains(&format!("value: \"{number}\"")), is_taken, "{number}");
    }
}
