//! Watching objects for ever. Reads one kind from the API server, produces events in the server's order; a watch that breaks
//! is begun again, after a pause, by a list of everything: so what was missed is there, and it is known that it is back.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::refusal::{Refusal, reason, refusal};
use crate::retry::{Failed, Retry, lasting, rough};
use crate::{ApiServer, report};

/// After a failure the next try is made at most this much later.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The server ends a watch after this many seconds, and a watch that has heard nothing for longer is dead. Each is drawn
/// from the range, so that a fleet that began in step does not go on so.
const WATCH_SECONDS: std::ops::Range<u32> = 240..290;
/// A version that is gone is the way of things once; when it is gone again so soon, a new list did not help.
const GONE_AGAIN: Duration = Duration::from_secs(60);
/// One page of a list takes no longer.
const PAGE_WITHIN: Duration = Duration::from_secs(60);

/// The watch broke and is begun again at the next [`Watch::next`]; it was said in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

/// A watch of one kind.
pub struct Watch<K> {
    url: String,
    api: Api<K>,
    config: watcher::Config,
    what: String,
    meanwhile: Box<dyn Fn() -> String + Send>,
    retry: Retry,
    stage: Stage<K>,
    /// When the version was last gone.
    gone: Option<Instant>,
}

enum Stage<K> {
    /// Begins after this pause.
    Waiting(Duration),
    Listing(BoxStream<'static, watcher::Result<Event<K>>>),
    Following(BoxStream<'static, watcher::Result<Event<K>>>),
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// A watch that has not begun. In the log it is a watch of `what`, and `meanwhile` says what is done while it cannot be.
    pub fn new(
        server: &ApiServer,
        api: Api<K>,
        config: watcher::Config,
        what: impl Into<String>,
        meanwhile: impl Fn() -> String + Send + 'static,
    ) -> Self {
        Self {
            url: server.url().to_owned(),
            api,
            config,
            what: what.into(),
            meanwhile: Box::new(meanwhile),
            retry: Retry::new(LONGEST_PAUSE),
            stage: Stage::Waiting(Duration::ZERO),
            gone: None,
        }
    }

    /// The next event, however long it takes.
    ///
    /// # Errors
    /// When the watch broke; the next call begins it again, after a pause.
    pub async fn next(&mut self) -> Result<Event<K>, Broken> {
        loop {
            let next = match &mut self.stage {
                Stage::Waiting(pause) => {
                    sleep(*pause).await;
                    let config = self.config.clone().timeout(fastrand::u32(WATCH_SECONDS));
                    self.stage = Stage::Listing(watcher(self.api.clone(), config).boxed());
                    continue;
                }
                Stage::Listing(stream) => match timeout(PAGE_WITHIN, stream.next()).await {
                    Ok(next) => next,
                    Err(_) => return Err(self.broke(&format!("no list within {}s", PAGE_WITHIN.as_secs()))),
                },
                Stage::Following(stream) => stream.next().await,
            };
            match next {
                Some(Ok(event)) => {
                    self.advance(&event);
                    return Ok(event);
                }
                Some(Err(error)) if is_expired(&error) && self.is_gone_once() => {
                    debug!("the version of {} is gone: listing anew", self.what);
                    self.stage = Stage::Waiting(Duration::from_secs_f64(fastrand::f64()));
                }
                Some(Err(error)) => return Err(self.broke(&why(&error))),
                None => return Err(self.broke("it ended")),
            }
        }
    }

    fn is_gone_once(&mut self) -> bool {
        let now = Instant::now();
        self.gone.replace(now).is_none_or(|last| now - last >= GONE_AGAIN)
    }

    fn advance(&mut self, event: &Event<K>) {
        if let Event::InitDone = event
            && let Stage::Listing(stream) = &mut self.stage
        {
            self.stage = Stage::Following(std::mem::replace(stream, futures::stream::empty().boxed()));
            if let Some(lasted) = self.retry.succeeded(Instant::now()) {
                info!("{} can be watched again at {}, after {}", self.what, self.url, rough(lasted));
            }
        }
    }

    fn broke(&mut self, why: &str) -> Broken {
        let Failed { pause, say } = self.retry.failed(Instant::now());
        if let Some(lasted) = say {
            let (what, url, lasting) = (&self.what, &self.url, lasting(lasted));
            warn!("cannot watch {what} at {url}{lasting}: {why}; {}", (self.meanwhile)());
        }
        self.stage = Stage::Waiting(pause);
        Broken
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == 410,
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => refusal(error) == Refusal::Expired,
        watcher::Error::NoResourceVersion => false,
    }
}

fn why(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => reason(error),
        watcher::Error::WatchError(status) => reason(&kube::Error::Api(status.clone())),
        watcher::Error::NoResourceVersion => report(error),
    }
}
