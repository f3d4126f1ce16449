//! Nodes come, change and go.
use crate::scene::{carried, operator, says, test, watch};

#[test]
fn a_node_that_comes_later_or_gets_the_label_is_configured_too() {
    test(async |scene| {
        scene.apply_rule("joining", watch("joining", &["/etc"])).await;
        scene.cluster.add_node("joining1", &[]).await.unwrap();
        scene.nodes("joining", 0).await;
        scene.cluster.add_node("joining2", &[("group", "joining")]).await.unwrap();
        scene.config_where("the labeled node", "joining2", |config| carried(config) == ["joining"]).await;
        assert!(scene.configs.get_opt("joining1").await.unwrap().is_none());
        scene.cluster.label_node("joining1", &[("group", Some("joining"))]).await.unwrap();
        scene.config_where("the other node", "joining1", |config| carried(config) == ["joining"]).await;
    });
}

#[test]
fn a_node_that_is_selected_no_more_is_emptied_first_and_deleted_only_when_its_agent_has_confirmed() {
    test(async |scene| {
        scene.nodes("leaving", 1).await;
        scene.apply_rule("leaving", watch("leaving", &["/etc"])).await;
        scene.config_where("the configuration", "leaving1", |config| carried(config) == ["leaving"]).await;
        let agent = scene.agent("leaving1").await;
        agent.confirm(5, 0, None).await;
        let deselected = operator().metrics().await.unwrap().sum("vedette_operator_nodes_deselected_total", &[]);
        scene.cluster.label_node("leaving1", &[("group", None)]).await.unwrap();
        let emptied = scene.config_where("no rules", "leaving1", |config| carried(config).is_empty()).await;
        // The rule's status is written after the configuration: what was to be done has been done.
        scene.rule_where("no node", "leaving", |status| status.nodes.is_some_and(|nodes| nodes.selected == 0)).await;
        let kept = scene.config_where("it is kept", "leaving1", |_| true).await;
        assert_eq!(kept.metadata.uid, emptied.metadata.uid);
        agent.confirm(0, 0, None).await;
        scene.no_config("leaving1").await;
        let after = operator().metrics().await.unwrap().sum("vedette_operator_nodes_deselected_total", &[]);
        assert!(after > deselected);
    });
}

#[test]
fn a_node_that_is_selected_again_in_time_keeps_its_configuration() {
    test(async |scene| {
        scene.nodes("wavering", 1).await;
        scene.apply_rule("wavering", watch("wavering", &["/etc"])).await;
        let first = scene.config_where("the configuration", "wavering1", |config| !carried(config).is_empty()).await;
        scene.cluster.label_node("wavering1", &[("group", None)]).await.unwrap();
        scene.config_where("no rules", "wavering1", |config| carried(config).is_empty()).await;
        scene.cluster.label_node("wavering1", &[("group", Some("wavering"))]).await.unwrap();
        let again = scene.config_where("the rule again", "wavering1", |config| !carried(config).is_empty()).await;
        assert_eq!(again.metadata.uid, first.metadata.uid);
        scene.agent("wavering1").await.confirm(5, 0, None).await;
        let ready = |config: &vedette_crds::node_config::NodeConfig| {
            config.status.as_ref().is_some_and(|status| says(&status.conditions, "Ready") == "True Ready")
        };
        let kept = scene.config_where("it is ready", "wavering1", ready).await;
        assert_eq!(kept.metadata.uid, first.metadata.uid);
    });
}

#[test]
fn a_node_that_is_gone_takes_its_configuration_along_and_gets_another_when_it_comes_back() {
    test(async |scene| {
        scene.nodes("vanishing", 2).await;
        scene.apply_rule("vanishing", watch("vanishing", &["/etc"])).await;
        let first = scene.config_where("the configuration", "vanishing1", |_| true).await;
        scene.cluster.remove_node("vanishing1").await.unwrap();
        scene.no_config("vanishing1").await;
        scene.rule_where("one node", "vanishing", |status| status.nodes.is_some_and(|nodes| nodes.selected == 1)).await;
        let node = scene.cluster.add_node("vanishing1", &[("group", "vanishing")]).await.unwrap();
        let again = scene.config_where("another one", "vanishing1", |config| !carried(config).is_empty()).await;
        assert_ne!(again.metadata.uid, first.metadata.uid);
        assert_eq!(Some(again.spec.node_uid), node.metadata.uid);
    });
}
