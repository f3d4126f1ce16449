//! Watches: reads rules, Nodes, NodeConfigs and agent pods from the API server, produces events in the server's order.
//! A watch that breaks is begun again, after a pause; it never ends by itself.

use std::collections::HashSet;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::debug;
use vedette_service::{ApiServer, Broken, Watch};

use crate::apply::objects;
use crate::event::{Change, Event, Kind};
use crate::metrics::Metrics;
use crate::names::{AGENT_PODS, NODE_CONFIG, RULE};
use crate::observed::{self, SlimPod};
use crate::tolerant::Tolerant;

/// What goes from the watches to the model.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) server: ApiServer,
    /// Where the agents' pods are.
    pub(crate) namespace: String,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) metrics: Metrics,
}

impl Watches {
    /// Watches one kind until nobody takes its events any more.
    pub(crate) async fn run(self, kind: Kind) {
        let (client, namespace) = (self.server.client(), &self.namespace);
        let everything = watcher::Config::default();
        match kind {
            Kind::Rule => {
                let read = |object| Some(Box::new(observed::rule(object)));
                self.follow(kind, objects(client, RULE), everything, read, Event::Rule).await;
            }
            Kind::Node => {
                let nodes: Api<Tolerant<PartialObjectMeta<Node>>> = Api::all(client);
                self.follow(kind, nodes, everything, |object| Some(observed::node(object)), Event::Node).await;
            }
            Kind::Config => {
                let read = |object| Some(Box::new(observed::config(object)));
                self.follow(kind, objects(client, NODE_CONFIG), everything, read, Event::Config).await;
            }
            Kind::Pod => {
                let pods: Api<Tolerant<SlimPod>> = Api::namespaced_with(client, namespace, &observed::pod_resource());
                self.follow(kind, pods, everything.labels(AGENT_PODS), observed::pod, Event::Pod).await;
            }
        }
    }

    async fn follow<K, T>(
        &self,
        kind: Kind,
        api: Api<Tolerant<K>>,
        config: watcher::Config,
        read: impl Fn(K) -> Option<T>,
        event: impl Fn(Change<T>) -> Event,
    ) where
        K: Clone + DeserializeOwned + Debug + Send + 'static,
        Tolerant<K>: Resource,
    {
        let mut listed = HashSet::new();
        let what = format!("objects of kind {}", kind.as_str());
        let mut watch = Watch::new(&self.server, api, config, what, || "trying again".to_owned());
        loop {
            let change = match watch.next().await {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    None
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listed.insert(object.name_any());
                    read(object.0).map(Change::Applied)
                }
                Ok(watcher::Event::InitDone) => {
                    debug!(kind = kind.as_str(), objects = listed.len(), "listed");
                    Some(Change::Listed(std::mem::take(&mut listed)))
                }
                Ok(watcher::Event::Apply(object)) => read(object.0).map(Change::Applied),
                Ok(watcher::Event::Delete(object)) => read(object.0).map(Change::Deleted),
                Err(Broken) => {
                    self.metrics.watch_broke(kind);
                    None
                }
            };
            if let Some(change) = change
                && self.events.send(event(change)).await.is_err()
            {
                return;
            }
        }
    }
}
