//! One corpus of good and bad rules, read by `--rule`'s parser and by a real API server: the same verdict, field and sentence.
#![allow(clippy::unwrap_used)]

use http::{Request, header::CONTENT_TYPE};
use kube::Client;
use vedette_crds::corpus::corpus;
use vedette_tests::SharedCluster;

static CLUSTER: SharedCluster = SharedCluster::new();

#[test]
fn the_api_server_gives_every_rule_of_the_corpus_the_verdict_that_files_get() {
    CLUSTER.test(async |cluster| {
        let client = cluster.client();
        let mut wrong = Vec::new();
        for case in corpus() {
            let verdict = dry_run(&client, &case.rule).await;
            let as_wanted = match (&verdict, &case.refused) {
                (Ok(()), None) => true,
                (Err(message), Some(refused)) => {
                    message.contains(&refused.field)
                        && refused.sentence.as_ref().is_none_or(|sentence| message.contains(sentence))
                }
                _ => false,
            };
            if !as_wanted {
                wrong.push(format!("{}: wanted {:?}, got {verdict:?}", case.name, case.refused));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// What `kubectl apply --dry-run=server` would say.
async fn dry_run(client: &Client, rule: &str) -> Result<(), String> {
    let request = Request::post("/apis/vedette.dev/v1alpha1/datacollectionrules?dryRun=All&fieldValidation=Strict")
        .header(CONTENT_TYPE, "application/yaml")
        .body(rule.as_bytes().to_vec())
        .unwrap();
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}
