//! A small fleet through `cargo bench-fleet`'s own phases: every node's status arrives, and nobody writes more often than allowed.
//! What the same costs with hundreds of agents is in docs/performance.md.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use vedette_tests::load::{self, Plan, Step};

const AGENTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_small_fleet_comes_changes_and_gets_another_operator_and_nobody_writes_more_often_than_allowed() {
    let plan = Plan {
        agents: AGENTS,
        interval: Duration::from_secs(10),
        // Longer than minInterval: agents write at once then, what they have to say.
        quiet: Duration::from_secs(15),
        storm: Duration::from_secs(2),
        rounds: 0,
        steps: vec![Step::Storm, Step::Quiet, Step::Edit, Step::Restart],
    };
    let report = load::run(&plan).await.unwrap();

    let phase = |name: &str| report.phases.iter().find(|phase| phase.name == name).unwrap();
    assert_eq!(report.min_interval, Duration::from_secs(10));
    assert!(report.closest >= report.min_interval, "an agent wrote again after {:?}", report.closest);
    // They are sent 10 s apart; what lies between here and there is the machine's. Without a pace they would come at once.
    let of_rule = report.closest_of_rule;
    assert!(of_rule >= Duration::from_secs(5), "a rule was written after {of_rule:?}");
    assert_eq!(report.refused, []);
    assert!(report.object_bytes < 10_000.0, "{} bytes", report.object_bytes);

    let storm = phase("storm");
    assert!(storm.agents.count >= AGENTS, "what is counted are not the statuses: {storm:?}");
    assert!(
        !storm.by_resource.contains_key("nodeconfigs"),
        "a change of a node is no change of what it is to do: {storm:?}"
    );
    // Once each, but for what a busy machine holds up.
    let edit = phase("edit");
    let most = AGENTS + AGENTS / 4;
    assert!((AGENTS..=most).contains(&edit.agents.count), "a plan is confirmed in one status: {edit:?}");
    let conditions = edit.by_resource["nodeconfigs/status"];
    assert!((AGENTS..=most).contains(&conditions), "Ready waits for the answer: {edit:?}");
    // One knows from the lists that all is as it should be.
    let restart = phase("restart");
    assert!(!restart.by_resource.contains_key("nodeconfigs"), "{restart:?}");
    assert!(!restart.by_resource.contains_key("nodeconfigs/status"), "{restart:?}");
}
