//! Watches: reads rules, Nodes, NodeConfigs and agent pods from the API server, produces events in the server's order.
//! A watch that breaks is begun again, after a pause; it never ends by itself.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::apply::objects;
use crate::event::{Change, Event, Kind};
use crate::metrics::Metrics;
use crate::names::{AGENT_PODS, NODE_CONFIG, RULE};
use crate::observed::{self, SlimPod};
use crate::report;
use crate::tolerant::Tolerant;

/// What goes from the watches to the model.
#[derive(Clone)]
pub(crate) struct Watches {
    pub(crate) client: Client,
    /// Where the agents' pods are.
    pub(crate) namespace: String,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) metrics: Metrics,
}

impl Watches {
    /// Watches one kind until nobody takes its events any more.
    pub(crate) async fn run(self, kind: Kind) {
        let Self { client, namespace, .. } = &self;
        let everything = watcher::Config::default();
        match kind {
            Kind::Rule => {
                let read = |object| Some(Box::new(observed::rule(object)));
                self.follow(kind, objects(client.clone(), RULE), everything, read, Event::Rule).await;
            }
            Kind::Node => {
                let nodes: Api<Tolerant<PartialObjectMeta<Node>>> = Api::all(client.clone());
                self.follow(kind, nodes, everything, |object| Some(observed::node(object)), Event::Node).await;
            }
            Kind::Config => {
                let read = |object| Some(Box::new(observed::config(object)));
                self.follow(kind, objects(client.clone(), NODE_CONFIG), everything, read, Event::Config).await;
            }
            Kind::Pod => {
                let pods: Api<Tolerant<SlimPod>> =
                    Api::namespaced_with(client.clone(), namespace, &observed::pod_resource());
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
        let mut stream = watcher(api, config).default_backoff().boxed();
        while let Some(next) = stream.next().await {
            let change = match next {
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
                Err(error) => {
                    self.metrics.watch_broke(kind);
                    warn!(kind = kind.as_str(), "the watch broke: {}", report(&error));
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
