//! Metrics that are only for whom the API server lets read them, by the roles that the chart makes.

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, PostParams},
    client::Body,
};
use serde_json::{Value, json};
use vedette_tests::{
    Daemon,
    cluster::{AGENT, NAMESPACE, OPERATOR},
    eventually,
    helm::{Helm, chart},
    not_yet,
};

use crate::scene::{SOON, Scene};

/// Whose tokens the operator asks for; the agent takes those of the API server's own audience.
const AUDIENCE: &str = "vedette-metrics";

/// The account of a Prometheus, which is bound to nothing at first.
const READER: &str = "prometheus";

/// What the chart renders with the switch, of this kind.
fn rendered<T: serde::de::DeserializeOwned>(helm: &Helm, kind: &str) -> Vec<T> {
    let readers = format!(r#"metrics.readers=[{{"namespace":"{NAMESPACE}","name":"{READER}"}}]"#);
    let ran = helm.run([
        "template",
        "vedette",
        chart().to_str().unwrap(),
        "--namespace",
        NAMESPACE,
        "--show-only=templates/metrics/access.yaml",
        "--set=metrics.secure=true",
        "--set-json",
        &readers,
    ]);
    let ran = ran.unwrap();
    assert!(ran.success, "{}", ran.errors);
    let objects: Vec<Value> = serde_saphyr::from_multiple(&ran.output).unwrap();
    let of_kind = objects.into_iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| serde_json::from_value(object).unwrap()).collect()
}

async fn token_of(accounts: &Api<ServiceAccount>, name: &str, audience: Option<&str>) -> String {
    let mut request = TokenRequest::default();
    request.spec.audiences = audience.into_iter().map(str::to_owned).collect();
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

/// Status and body of a page over TLS; nobody can verify who answers.
async fn get(daemon: &Daemon, path: &str, token: Option<&str>) -> (u16, String) {
    let mut config = Config::new(format!("https://{}", daemon.address().unwrap()).parse().unwrap());
    config.accept_invalid_certs = true;
    config.default_retry = false;
    let mut request = http::Request::get(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let client = Client::try_from(config).unwrap();
    let answer = client.send(request.body(Body::empty()).unwrap()).await.unwrap();
    (answer.status().as_u16(), String::from_utf8(answer.into_body().collect_bytes().await.unwrap().to_vec()).unwrap())
}

/// Waits until `/metrics` answers this status, and gives what it says: the API server's own caches live for some seconds, and
/// of new tokens one a second is looked at.
async fn answers(daemon: &Daemon, token: &str, status: u16) -> String {
    eventually(&format!("/metrics answers {status}"), SOON, async || {
        let (answered, body) = get(daemon, "/metrics", Some(token)).await;
        if answered == status { Ok(body) } else { Err(not_yet(format!("{answered} {body}"))) }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_over_tls_are_for_accounts_that_may_get_them_and_for_nobody_else() {
    let scene = Scene::new().await;
    let helm = Helm::find_or_build().unwrap();
    let client = scene.cluster.client();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let account = serde_json::from_value(json!({"metadata": {"name": READER}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let token = async |name, audience| token_of(&accounts, name, audience).await;
    let tokens = [token(READER, None).await, token(READER, Some(AUDIENCE)).await];

    let mut watched = scene.node("secured").await;
    watched.agent.argument("--secure-metrics");
    scene.configure(&watched, "rule-1", "/etc").await;
    watched.agent.start().await.unwrap();
    let mut operator = scene.cluster.replica("secured-operator").await.unwrap();
    operator.argument("--secure-metrics").option("--metrics-audience", AUDIENCE);
    operator.start().await.unwrap();
    let daemons: [&Daemon; 2] = [&watched.agent, &operator];

    for (daemon, token) in daemons.into_iter().zip(&tokens) {
        assert_eq!(get(daemon, "/healthz", None).await.0, 200, "a kubelet has no token");
        assert_eq!(get(daemon, "/metrics", None).await.0, 401);
        answers(daemon, token, 503).await;
        daemon.get("/metrics").await.expect_err("without TLS there is no page");
    }
    watched
        .says("may not create tokenreviews.authentication.k8s.io at the cluster scope: has the release metrics.secure?")
        .await;

    let roles: Api<ClusterRole> = Api::all(client.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(client);
    for role in rendered::<ClusterRole>(&helm, "ClusterRole") {
        roles.create(&PostParams::default(), &role).await.unwrap();
    }
    let (reads, reviews): (Vec<_>, Vec<_>) = rendered::<ClusterRoleBinding>(&helm, "ClusterRoleBinding")
        .into_iter()
        .partition(|binding| binding.name_any() == "vedette-metrics-reader");
    bindings.create(&PostParams::default(), &reviews[0]).await.unwrap();
    for (daemon, token) in daemons.into_iter().zip(&tokens) {
        let said = answers(daemon, token, 403).await;
        let who = format!("system:serviceaccount:{NAMESPACE}:{READER} may not get /metrics");
        assert!(said.starts_with(&who), "{said}");
        let said = answers(daemon, "eyJhbGciOiJub25lIn0.e30.", 401).await;
        assert!(said.contains("does not know this token"), "{said}");
    }
    answers(&operator, &tokens[0], 401).await;
    answers(&watched.agent, &tokens[1], 401).await;
    watched.says("tokens are reviewed at").await;
    bindings.create(&PostParams::default(), &reads[0]).await.unwrap();
    for (daemon, known) in daemons.into_iter().zip(&tokens) {
        let metrics = answers(daemon, known, 200).await;
        assert!(metrics.contains("_build_info"), "{metrics}");
    }
    // Who writes the metrics may not read those of others by that.
    answers(&watched.agent, &token(AGENT, None).await, 403).await;
    answers(&operator, &token(OPERATOR, Some(AUDIENCE)).await, 403).await;

    scene.cluster.stop_apiserver().await.unwrap();
    let failed = watched.lines_with("cannot have a reader reviewed at");
    eventually("nobody reviews the reader any more", SOON, async || {
        let (status, said) = get(&watched.agent, "/metrics", Some(&tokens[0])).await;
        assert_eq!(status, 200, "{said}");
        let now = watched.lines_with("cannot have a reader reviewed at");
        if now > failed { Ok(()) } else { Err(not_yet(now)) }
    })
    .await
    .unwrap();
    assert_eq!(get(&watched.agent, "/metrics", Some(&tokens[0])).await.0, 200);
    answers(&watched.agent, "new", 503).await;
    scene.cluster.start_apiserver().await.unwrap();
    bindings.delete("vedette-metrics-reader", &DeleteParams::default()).await.unwrap();
    for (daemon, token) in daemons.into_iter().zip(&tokens) {
        answers(daemon, token, 403).await;
    }
}
