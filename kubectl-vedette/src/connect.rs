//! The cluster that is asked: reads a kubeconfig as kubectl does, makes a client, asks it nothing yet.

use crate::cli::ClusterOptions;
use crate::trouble::Trouble;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use std::future::Future;
use std::time::Duration;
use tower::timeout::TimeoutLayer;
use vedette_crds::node_config::NodeConfig;
use vedette_crds::rule::DataCollectionRule;

/// A machine that is gone does not refuse a connection: it says nothing.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// One answer takes no longer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A cluster.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Where its API server is.
    pub(crate) url: String,
    /// Where operator and agents are.
    pub(crate) namespace: String,
}

impl Cluster {
    /// By the flags, else as kubectl would.
    pub(crate) async fn connect(options: &ClusterOptions) -> Result<Self, Trouble> {
        let mut config = configuration(options).await?;
        config.connect_timeout = Some(CONNECT_WITHIN);
        if let Some(user) = &options.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(options.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
        }
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let builder = ClientBuilder::try_from(config).map_err(|source| Trouble::Asked {
            what: "make a client of the API server".to_owned(),
            url: url.clone(),
            source: Box::new(source),
        })?;
        // Also for what is asked again and again by a watch, on a connection that may be dead.
        let client = builder.with_layer(&TimeoutLayer::new(ANSWER_WITHIN)).build();
        Ok(Self { client, url, namespace: options.namespace.clone() })
    }

    /// The rules, as they come.
    pub(crate) fn rules(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<DataCollectionRule>(&()))
    }

    /// The NodeConfigs, as they come: one that this version cannot read does not hide the others.
    pub(crate) fn node_configs(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<NodeConfig>(&()))
    }

    /// The Leases beside the operator.
    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pods of operator and agents.
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An answer in time, or what to do without it.
    pub(crate) async fn ask<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Trouble> {
        let (what, url) = (what.to_owned(), self.url.clone());
        match tokio::time::timeout(ANSWER_WITHIN, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Trouble::Asked { what, url, source: Box::new(source) }),
            Err(_) => Err(Trouble::Silent { what, url, seconds: ANSWER_WITHIN.as_secs() }),
        }
    }
}

async fn configuration(options: &ClusterOptions) -> Result<Config, Trouble> {
    let path = options.kubeconfig.as_ref();
    let chosen = KubeConfigOptions {
        context: options.context.clone(),
        cluster: options.cluster.clone(),
        user: options.user.clone(),
    };
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        // kubectl too takes a pod's account where there is no file; not for another cluster than was asked for.
        Err(error) if path.is_none() && is_missing(&error) => {
            if let Some((flag, name)) = chosen_in_file(options) {
                return Err(Trouble::said(format!(
                    "{flag} {name} is one of a kubeconfig, and there is none: give one with --kubeconfig"
                )));
            }
            return Config::incluster().map_err(|_| Trouble::kubeconfig(None, &error));
        }
        Err(error) => return Err(Trouble::kubeconfig(path, &error)),
    };
    Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(|error| Trouble::kubeconfig(path, &error))
}

/// What is asked for of a kubeconfig, and is nowhere else.
fn chosen_in_file(options: &ClusterOptions) -> Option<(&'static str, &str)> {
    let ClusterOptions { context, cluster, user, .. } = options;
    let flags = [("--context", context), ("--cluster", cluster), ("--user", user)];
    flags.into_iter().find_map(|(flag, value)| Some((flag, value.as_deref()?)))
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::ReadConfig(source, _) => source.kind() == std::io::ErrorKind::NotFound,
        KubeconfigError::FindPath => true,
        _ => false,
    }
}
