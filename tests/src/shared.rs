//! One cluster for all tests of a file: started by the first, used by all, gone with the process.
use std::sync::OnceLock;

use tokio::{runtime::Runtime, sync::OnceCell};

use crate::{cluster::Cluster, error::Error};

/// A cluster and the runtime that its clients belong to, for a `static`. Every test of the file runs on that runtime: a client
/// that outlived its test's own runtime would hang.
pub struct SharedCluster {
    runtime: OnceLock<Runtime>,
    cluster: OnceCell<Result<Cluster, Error>>,
}

impl SharedCluster {
    /// Nothing starts before the first test asks.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is made for a static")]
    pub const fn new() -> Self {
        Self { runtime: OnceLock::new(), cluster: OnceCell::const_new() }
    }

    /// Runs one test with the cluster, beside others.
    ///
    /// # Panics
    /// When the cluster did not start: then every test of the file says why.
    pub fn test<T>(&'static self, test: impl AsyncFnOnce(&'static Cluster) -> T) -> T {
        let runtime = self.runtime.get_or_init(|| Runtime::new().expect("a runtime can be made"));
        runtime.block_on(async {
            match self.cluster.get_or_init(Cluster::start).await {
                Ok(cluster) => test(cluster).await,
                Err(error) => panic!("no cluster: {error:?}"),
            }
        })
    }
}
