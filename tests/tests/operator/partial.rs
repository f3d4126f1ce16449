//! An operator that may not read everything, or not stand for election: it says which right it lacks, and touches nothing.
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use kube::{Api, api::PostParams};
use vedette_tests::{
    Cluster, Operator,
    cluster::{NAMESPACE, OPERATOR},
    eventually, not_yet,
};

use crate::scene::{SOON, Scene, carried, has_looked_at, has_said, leads, versions, watch, writes};

const ACCOUNT: &str = "system:serviceaccount:vedette-system:vedette-operator";

fn speaks_of(rule: &PolicyRule, resource: &str) -> bool {
    rule.resources.iter().flatten().any(|named| named == resource)
}

/// Waits until the authorizer knows whether the operator may do this: a role acts a moment after it is stored.
async fn right_is(cluster: &Cluster, right: ResourceAttributes, allowed: bool) {
    let operator = cluster.operator_identity().await.unwrap().client().await.unwrap();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(operator);
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(right), ..<_>::default() };
    let review = SelfSubjectAccessReview { spec, ..<_>::default() };
    eventually(&format!("the right is {allowed}"), SOON, async || {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap();
        if status.allowed == allowed { Ok(()) } else { Err(not_yet(format!("{status:?}"))) }
    })
    .await
    .unwrap();
}

fn right(verb: &str, group: &str, resource: &str) -> ResourceAttributes {
    let (verb, group, resource) = (Some(verb.into()), Some(group.into()), Some(resource.into()));
    ResourceAttributes { verb, group, resource, ..ResourceAttributes::default() }
}

async fn waits_for(operator: &Operator, kind: &str) {
    eventually("all others are listed", SOON, async || {
        let answer = operator.get("/readyz").await?;
        let expected = format!("waiting for the first list of {kind}\n");
        if (answer.status, &answer.body) == (503, &expected) { Ok(()) } else { Err(not_yet(answer.body)) }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_a_kind_nothing_is_written_or_deleted_and_with_it_work_goes_on() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    scene.nodes("blind", 2).await;
    let mut operator = cluster.start_operator().await.unwrap();
    scene.apply_rule("blind", watch("blind", &["/etc"])).await;
    let nodes = ["blind1".into(), "blind2".into()];
    scene.configs_where("the configurations", &nodes, SOON, |_| true).await;
    has_looked_at(&operator, 0.0).await;
    operator.terminate().await.unwrap();
    scene.delete_rule("blind").await;
    scene.apply_rule("later", watch("blind", &["/bin"])).await;
    cluster.remove_node("blind2").await.unwrap();
    let before = versions(&scene).await;

    let roles: Api<ClusterRole> = Api::all(cluster.client());
    let whole = roles.get(OPERATOR).await.unwrap();
    for (group, resource, kind) in [
        ("", "nodes", "Node"),
        ("vedette.dev", "nodeconfigs", "NodeConfig"),
        ("vedette.dev", "datacollectionrules", "DataCollectionRule"),
    ] {
        let mut role = roles.get(OPERATOR).await.unwrap();
        role.rules = whole.rules.clone();
        role.rules.iter_mut().flatten().filter(|rule| speaks_of(rule, resource)).for_each(|rule| {
            rule.verbs.retain(|verb| verb != "list");
        });
        roles.replace(OPERATOR, &PostParams::default(), &role).await.unwrap();
        right_is(&cluster, right("list", group, resource), false).await;
        let logged = operator.log().unwrap().len();
        operator.start().await.unwrap();
        waits_for(&operator, kind).await;
        eventually("it says what it lacks", SOON, async || {
            let log = operator.log()?.split_off(logged);
            let said = log.lines().any(|line| [resource, "list", ACCOUNT].iter().all(|part| line.contains(part)));
            if said { Ok(()) } else { Err(not_yet(log)) }
        })
        .await
        .unwrap();
        assert_eq!(versions(&scene).await, before, "without {resource}");
        assert_eq!(writes(&operator).await, 0.0);
        if resource != "datacollectionrules" {
            operator.terminate().await.unwrap();
        }
    }

    let mut role = roles.get(OPERATOR).await.unwrap();
    role.rules = whole.rules;
    roles.replace(OPERATOR, &PostParams::default(), &role).await.unwrap();
    scene.config_where("the rule of now", "blind1", |config| carried(config) == ["later"]).await;
    scene.no_config("blind2").await;
    assert_eq!(operator.ended().unwrap(), None, "it is the same process");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_the_lease_nobody_leads_and_it_says_so() {
    let cluster = Cluster::start().await.unwrap();
    let scene = Scene::new(&cluster);
    let roles: Api<Role> = Api::namespaced(cluster.client(), NAMESPACE);
    let whole = roles.get(OPERATOR).await.unwrap();
    let mut role = whole.clone();
    role.rules.as_mut().unwrap().retain(|rule| !speaks_of(rule, "leases"));
    roles.replace(OPERATOR, &PostParams::default(), &role).await.unwrap();
    let lease = ResourceAttributes {
        namespace: Some(NAMESPACE.into()),
        name: Some(OPERATOR.into()),
        ..right("get", "coordination.k8s.io", "leases")
    };
    right_is(&cluster, lease, false).await;
    let operator = cluster.start_operator().await.unwrap();
    scene.nodes("headless", 1).await;
    scene.apply_rule("headless", watch("headless", &["/etc"])).await;
    has_said(&operator, &["cannot get the Lease vedette-operator", ACCOUNT, "may not get leases.coordination.k8s.io"])
        .await;
    assert_eq!(writes(&operator).await, 0.0);
    let metrics = operator.metrics().await.unwrap();
    assert!(metrics.get("vedette_operator_lease_errors_total", &[("reason", "Forbidden")]).unwrap() >= 1.0);
    assert!(scene.configs.get_opt("headless1").await.unwrap().is_none());
    let mut role = roles.get(OPERATOR).await.unwrap();
    role.rules = whole.rules;
    roles.replace(OPERATOR, &PostParams::default(), &role).await.unwrap();
    leads(&operator).await;
    scene.config_where("the configuration", "headless1", |config| carried(config) == ["headless"]).await;
}
