//! Who may write what in a NodeConfig, asked of a real API server under the identities that write in production.
#![allow(clippy::unwrap_used)]
use vedette_tests::SharedCluster;

static CLUSTER: SharedCluster = SharedCluster::new();

#[test]
fn it_starts() {
    CLUSTER.test(async |cluster| {
        cluster.add_node("n1", &[]).await.unwrap();
    });
}
