//! NodeConfigs watched for ever: events in the server's order. What keeps them from coming is an answer as long as nothing was told,
//! and afterwards an outage: said now and then, tried again after a pause, and begun by a list of everything.

use crate::connect::{ANSWER_WITHIN, Cluster};
use crate::output::say;
use crate::trouble::{Trouble, why};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// An outage is spoken of this often while it lasts.
const AGAIN: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watched list comes in pages of some MiB at most.
const PAGE: u32 = 200;
/// The server ends a watch after this many seconds, and one that has heard nothing for a little longer is dead.
const WATCH_SECONDS: u32 = 30;
/// A version that is gone is the way of things once; when it is gone again so soon, a new list did not help.
const GONE_AGAIN: Duration = Duration::from_secs(60);

type Events = BoxStream<'static, watcher::Result<Event<DynamicObject>>>;

/// A watch of NodeConfigs.
pub(crate) struct Watching<'w> {
    cluster: &'w Cluster,
    config: watcher::Config,
    events: Events,
    /// Whether a list was whole.
    is_told: bool,
    is_listing: bool,
    /// When the version was last gone.
    gone: Option<Instant>,
    outage: Outage,
}

impl<'w> Watching<'w> {
    /// Of one node, or of all.
    pub(crate) fn new(cluster: &'w Cluster, node: Option<&str>) -> Self {
        let mut config = watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS);
        if let Some(node) = node {
            config = config.fields(&format!("metadata.name={node}"));
        }
        let events = watcher(cluster.node_configs(), config.clone()).boxed();
        Self { cluster, config, events, is_told: false, is_listing: true, gone: None, outage: Outage::default() }
    }

    /// The next event, however long it takes.
    ///
    /// # Errors
    /// When the first list does not come.
    pub(crate) async fn next(&mut self) -> Result<Event<DynamicObject>, Trouble> {
        loop {
            let next = if self.is_listing {
                timeout(ANSWER_WITHIN, self.events.next()).await
            } else {
                Ok(self.events.next().await)
            };
            let trouble = match next {
                Ok(Some(Ok(event))) => {
                    self.heard(&event);
                    return Ok(event);
                }
                Ok(Some(Err(error))) if is_expired(&error) && self.is_gone_once() => continue,
                Ok(Some(Err(error))) => cannot_watch(self.cluster, error),
                Ok(None) => Trouble::said("the watch of NodeConfigs ended"),
                Err(_) => {
                    let (what, url) = ("list NodeConfigs".to_owned(), self.cluster.url.clone());
                    Trouble::Silent { what, url, seconds: ANSWER_WITHIN.as_secs() }
                }
            };
            if !self.is_told {
                return Err(trouble);
            }
            self.outage.lasts(&trouble).await;
            self.events = watcher(self.cluster.node_configs(), self.config.clone()).boxed();
            self.is_listing = true;
        }
    }

    fn heard(&mut self, event: &Event<DynamicObject>) {
        match event {
            // It is said before the server is asked.
            Event::Init => self.is_listing = true,
            Event::InitApply(_) => {}
            Event::InitDone => {
                (self.is_listing, self.is_told) = (false, true);
                self.outage.is_over();
            }
            Event::Apply(_) | Event::Delete(_) => self.outage.is_over(),
        }
    }

    fn is_gone_once(&mut self) -> bool {
        let now = Instant::now();
        self.gone.replace(now).is_none_or(|last| now - last >= GONE_AGAIN)
    }
}

/// What comes back when the watch cannot be.
fn cannot_watch(cluster: &Cluster, error: watcher::Error) -> Trouble {
    let url = cluster.url.clone();
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => Box::new(source),
        watcher::Error::WatchError(status) => Box::new(kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => {
            return Trouble::said("the API server's list has no version to go on from");
        }
    };
    Trouble::Asked { what: "watch NodeConfigs".to_owned(), url, source }
}

/// The version that was watched from is gone: the watcher lists anew, and the ledger knows what was told.
fn is_expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// A time without answers.
#[derive(Default)]
struct Outage {
    failures: u32,
    spoken: Option<Instant>,
}

impl Outage {
    /// Says so now and then, and waits before the next try.
    async fn lasts(&mut self, trouble: &Trouble) {
        if self.spoken.is_none_or(|spoken| spoken.elapsed() >= AGAIN) {
            let why = match trouble {
                Trouble::Asked { what, url, source } => format!("cannot {what} at {url}: {}", why(source)),
                other => other.to_string(),
            };
            say(&format!("warning: {why}. Trying again; what changes meanwhile is told then"));
            self.spoken = Some(Instant::now());
        }
        let pause = Duration::from_secs(1).saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        sleep(pause).await;
    }

    fn is_over(&mut self) {
        if self.spoken.is_some() {
            say("watching again");
        }
        *self = Self::default();
    }
}
