//! What a watch of the API server shows, and when: as a person would see it who never looks away.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use tokio::{task::JoinHandle, time::Instant};
use vedette_crds::{
    node_config::NodeConfig,
    rule::{DataCollectionRule, DataCollectionRuleStatus},
};

use crate::{
    error::Result,
    wait::{eventually, not_yet},
};

type Holds = Box<dyn Fn(&NodeConfig) -> bool + Send>;

/// Watches NodeConfigs and rules until it is dropped.
pub(crate) struct Sights {
    seen: Arc<Mutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Default)]
struct Seen {
    configs: HashMap<String, NodeConfig>,
    /// Every status of every rule, in the order in which they came.
    rules: Vec<(Instant, String, DataCollectionRuleStatus)>,
    awaited: Option<Awaited>,
}

/// When each NodeConfig was first seen as it is awaited.
struct Awaited {
    holds: Holds,
    since: HashMap<String, Instant>,
}

impl Seen {
    fn config(&mut self, config: NodeConfig) {
        let name = config.name_any();
        if let Some(Awaited { holds, since }) = &mut self.awaited
            && holds(&config)
        {
            since.entry(name.clone()).or_insert_with(Instant::now);
        }
        self.configs.insert(name, config);
    }
}

impl Sights {
    /// Begins to watch, as whoever the client is.
    pub(crate) fn begin(client: Client) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let configs: Api<NodeConfig> = Api::all(client.clone());
        let rules: Api<DataCollectionRule> = Api::all(client);
        let config = Arc::clone(&seen);
        let rule = Arc::clone(&seen);
        let tasks = [
            tokio::spawn(follow(objects(configs), move |object| lock(&config).config(object))),
            tokio::spawn(follow(objects(rules), move |object: DataCollectionRule| {
                let name = object.name_any();
                lock(&rule).rules.push((Instant::now(), name, object.status.unwrap_or_default()));
            })),
        ];
        Self { seen, tasks }
    }

    /// From now on it is noted when each NodeConfig is first seen so; what was awaited before is forgotten.
    pub(crate) fn look_for(&self, holds: impl Fn(&NodeConfig) -> bool + Send + 'static) {
        lock(&self.seen).awaited = Some(Awaited { holds: Box::new(holds), since: HashMap::new() });
    }

    /// Waits until so many NodeConfigs were seen as awaited, and says when each was.
    pub(crate) async fn all(&self, what: &str, count: usize, within: Duration) -> Result<HashMap<String, Instant>> {
        eventually(what, within, async || {
            let seen = lock(&self.seen);
            let since = seen.awaited.as_ref().map(|awaited| &awaited.since);
            let since = since.ok_or_else(|| not_yet("nothing is awaited"))?;
            if since.len() >= count { Ok(since.clone()) } else { Err(not_yet(format!("{} of {count}", since.len()))) }
        })
        .await
    }

    /// Waits until a rule's latest status is as it should be.
    pub(crate) async fn rule(
        &self,
        what: &str,
        name: &str,
        within: Duration,
        holds: impl Fn(&DataCollectionRuleStatus) -> bool,
    ) -> Result<()> {
        eventually(what, within, async || {
            let seen = lock(&self.seen);
            let latest = seen.rules.iter().rev().find(|(_, rule, _)| rule == name);
            let (_, _, status) = latest.ok_or_else(|| not_yet("no status"))?;
            if holds(status) { Ok(()) } else { Err(not_yet(serde_json::json!(status))) }
        })
        .await
    }

    /// How many items a rule was seen to have added, each time.
    pub(crate) fn added(&self, name: &str) -> Vec<(Instant, u64)> {
        let seen = lock(&self.seen);
        let of_rule = seen.rules.iter().filter(|(_, rule, _)| rule == name);
        of_rule.map(|(at, _, status)| (*at, status.changes.unwrap_or_default().added)).collect()
    }

    /// What one NodeConfig says now.
    pub(crate) fn config(&self, node: &str) -> Option<NodeConfig> {
        lock(&self.seen).configs.get(node).cloned()
    }
}

impl Drop for Sights {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn objects<K>(api: Api<K>) -> BoxStream<'static, K>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let objects = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    objects.filter_map(|seen| std::future::ready(seen.ok())).boxed()
}

async fn follow<K>(mut objects: BoxStream<'static, K>, take: impl Fn(K)) {
    while let Some(object) = objects.next().await {
        take(object);
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
