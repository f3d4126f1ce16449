//! Who may read `/metrics`, as the API server says it: a TokenReview tells who a bearer is, a SubjectAccessReview whether they
//! may get that path.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::api_server::ApiServer;
use crate::refusal::reason;
use crate::retry::{Retry, lasting, rough};

/// Whoever was let in is not asked about again for this long.
const WELCOME: Duration = Duration::from_secs(60);
/// While the API server cannot say, whoever it let in goes on reading for as long as a pod's token lives: its outage is when
/// metrics are needed.
const WITHOUT_ANSWER: Duration = Duration::from_secs(3600);
/// Whoever it let in waits for its answer no longer than this: scrapes end in time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Readers are few. More of them are asked about each time.
const MOST: usize = 64;
/// Of tokens that were not seen before, so many are looked at at once, and then one each second: whoever sends such to a whole
/// fleet does not have all of it ask the API server.
const BURST: u32 = 5;
const BETWEEN_NEW: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

type Token = [u8; 32];

/// What is known of those who ask.
pub(super) struct Readers {
    server: ApiServer,
    audience: Option<String>,
    /// When they were let in last.
    welcome: Mutex<HashMap<Token, Instant>>,
    outage: Mutex<Outage>,
    /// When the last of a burst of new tokens may be followed by another.
    new: Mutex<Instant>,
    /// One at a time of those who were let in before: none of them waits for a stranger.
    renewing: tokio::sync::Mutex<()>,
}

/// How the API server has answered.
struct Outage {
    retry: Retry,
    /// Until when it is left alone after it gave no answer.
    pause: Option<Instant>,
}

/// What the API server says of a bearer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome,
    /// It does not know the token.
    Unknown,
    /// This user may not.
    Forbidden(String),
    /// It could not be asked.
    NoAnswer,
    /// It was not asked.
    TooMany,
}

impl Readers {
    pub(super) fn new(server: ApiServer, audience: Option<String>) -> Self {
        Self {
            server,
            audience,
            welcome: Mutex::default(),
            outage: Mutex::new(Outage { retry: Retry::new(LONGEST_PAUSE), pause: None }),
            new: Mutex::new(Instant::now()),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the bearer was let in not too long ago.
    pub(super) fn knows(&self, token: &str) -> bool {
        self.was_let_in(&digest(token), WITHOUT_ANSWER)
    }

    /// Whether the bearer of this token may read `path`.
    pub(super) async fn may_read(self: Arc<Self>, token: &str, path: &str) -> Verdict {
        let key = digest(token);
        if self.was_let_in(&key, WELCOME) {
            return Verdict::Welcome;
        }
        if self.was_let_in(&key, WITHOUT_ANSWER) {
            // It goes on when its reader has left: the next one has its end.
            let (readers, token, path) = (Arc::clone(&self), token.to_owned(), path.to_owned());
            let renewed = tokio::spawn(async move { readers.renew(key, &token, &path).await });
            return match timeout(PATIENCE, renewed).await {
                Ok(Ok(Verdict::NoAnswer)) | Ok(Err(_)) | Err(_) => Verdict::Welcome,
                Ok(Ok(verdict)) => verdict,
            };
        }
        if !self.takes_new() {
            return Verdict::TooMany;
        }
        self.ask(key, token, path).await
    }

    async fn renew(&self, key: Token, token: &str, path: &str) -> Verdict {
        let _turn = self.renewing.lock().await;
        // Another connection may have asked meanwhile.
        if self.was_let_in(&key, WELCOME) { Verdict::Welcome } else { self.ask(key, token, path).await }
    }

    /// Whether one more token that was not seen before is looked at now.
    fn takes_new(&self) -> bool {
        let now = Instant::now();
        let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = (*new).max(now);
        let takes = earliest - now <= BETWEEN_NEW * (BURST - 1);
        if takes {
            *new = earliest + BETWEEN_NEW;
        }
        takes
    }

    async fn ask(&self, key: Token, token: &str, path: &str) -> Verdict {
        if self.outage.lock().unwrap_or_else(PoisonError::into_inner).pause.is_some_and(|until| until > Instant::now())
        {
            return Verdict::NoAnswer;
        }
        let why = match timeout(ANSWER_WITHIN, self.review(token, path)).await {
            Ok(Ok(verdict)) => {
                let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
                outage.pause = None;
                if let Some(lasted) = outage.retry.succeeded(Instant::now()) {
                    info!("tokens are reviewed at {} again, after {}", self.server.url(), rough(lasted));
                }
                self.note(key, verdict == Verdict::Welcome);
                return verdict;
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("it does not answer within {}s", ANSWER_WITHIN.as_secs()),
        };
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = outage.retry.failed(Instant::now());
        outage.pause = Some(Instant::now() + failed.pause);
        if let Some(lasted) = failed.say {
            warn!("cannot have a reader reviewed at {}{}: {why}", self.server.url(), lasting(lasted));
        }
        Verdict::NoAnswer
    }

    fn was_let_in(&self, token: &Token, within: Duration) -> bool {
        let welcome = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        welcome.get(token).is_some_and(|last| last.elapsed() < within)
    }

    fn note(&self, token: Token, is_welcome: bool) {
        let mut welcome = self.welcome.lock().unwrap_or_else(PoisonError::into_inner);
        welcome.remove(&token);
        welcome.retain(|_, last| last.elapsed() < WITHOUT_ANSWER);
        if is_welcome {
            if welcome.len() >= MOST
                && let Some(oldest) = welcome.iter().min_by_key(|(_, last)| **last).map(|(token, _)| *token)
            {
                welcome.remove(&oldest);
            }
            welcome.insert(token, Instant::now());
        }
    }

    async fn review(&self, token: &str, path: &str) -> kube::Result<Verdict> {
        let audiences = self.audience.clone().map(|audience| vec![audience]);
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: audiences.clone() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.server.client());
        let status = reviews.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
        // An API server that knows no audiences names none.
        let is_for_us = audiences.is_none_or(|asked| status.audiences.is_some_and(|named| named.contains(&asked[0])));
        let Some(user) = status.user.filter(|_| status.authenticated == Some(true) && is_for_us) else {
            return Ok(Verdict::Unknown);
        };
        let name = user.username.clone().unwrap_or_default();
        let reviews: Api<SubjectAccessReview> = Api::all(self.server.client());
        let answer = reviews.create(&PostParams::default(), &access(user, path)).await?;
        let is_allowed = answer.status.is_some_and(|status| status.allowed && status.denied != Some(true));
        Ok(if is_allowed { Verdict::Welcome } else { Verdict::Forbidden(name) })
    }
}

fn digest(token: &str) -> Token {
    Sha256::digest(token.as_bytes()).into()
}

fn access(user: UserInfo, path: &str) -> SubjectAccessReview {
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
    let spec = SubjectAccessReviewSpec {
        user: user.username,
        groups: user.groups,
        uid: user.uid,
        extra: user.extra,
        non_resource_attributes: Some(attributes),
        resource_attributes: None,
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// The name of who is never told.
    const HANGS: &str = "hangs";

    /// Answers reviews as this one says: of a token, who it is; of a user, whether they may. Counts reviews of tokens.
    fn readers(
        user: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
        may: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> (Arc<Readers>, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, judge) = (Arc::clone(&asked), Arc::new((user, may)));
        let service = service_fn(move |request: http::Request<Body>| {
            let (counted, judge) = (Arc::clone(&counted), Arc::clone(&judge));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut review: Value = serde_json::from_slice(&body).unwrap();
                if let Some(token) = review["spec"]["token"].as_str() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    review["status"] = match judge.0(token) {
                        Some(HANGS) => std::future::pending().await,
                        Some(name) => json!({"authenticated": true, "user": {"username": name, "groups": ["g"]}}),
                        None => json!({"error": "invalid"}),
                    };
                } else {
                    let spec = &review["spec"];
                    assert_eq!(spec["nonResourceAttributes"], json!({"path": "/metrics", "verb": "get"}));
                    assert_eq!(spec["groups"], json!(["g"]));
                    review["status"] = json!({"allowed": judge.1(spec["user"].as_str().unwrap())});
                }
                Ok::<_, Infallible>(http::Response::new(Body::from(review.to_string().into_bytes())))
            }
        });
        (Arc::new(Readers::new(ApiServer::of(Client::new(service, "default")), None)), asked)
    }

    async fn ask(readers: &Arc<Readers>, token: &str) -> Verdict {
        Arc::clone(readers).may_read(token, "/metrics").await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_may_is_asked_about_once_a_minute_and_whoever_may_not_each_time() {
        let user =
            |token: &str| if token == "nobody" { None } else { Some(if token == "p" { "prometheus" } else { "eve" }) };
        let (readers, asked) = readers(user, |name| name == "prometheus");
        for _ in 0..5 {
            assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        tokio::time::advance(WELCOME).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(ask(&readers, "e").await, Verdict::Forbidden("eve".into()));
        assert_eq!(ask(&readers, "nobody").await, Verdict::Unknown);
        assert_eq!(ask(&readers, "nobody").await, Verdict::Unknown);
        assert_eq!(asked.load(Ordering::Relaxed), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_reads_on_while_the_api_server_hangs_and_not_for_ever() {
        let hangs = Arc::new(AtomicBool::new(false));
        let is_away = Arc::clone(&hangs);
        let (readers, asked) =
            readers(move |_| Some(if is_away.load(Ordering::Relaxed) { HANGS } else { "u" }), |_| true);
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        hangs.store(true, Ordering::Relaxed);
        tokio::time::advance(WELCOME).await;
        let began = Instant::now();
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(began.elapsed(), PATIENCE, "a scrape does not end for it");
        // A reader that has left leaves the review behind.
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        // Of the paused clock: to just after the first review was given up, and before the pause that follows ends.
        tokio::time::sleep(ANSWER_WITHIN - PATIENCE * 2 + Duration::from_millis(100)).await;
        let before = (Instant::now(), asked.load(Ordering::Relaxed));
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(ask(&readers, "new").await, Verdict::NoAnswer);
        assert_eq!((Instant::now(), asked.load(Ordering::Relaxed)), before, "it is left alone for a while");
        tokio::time::advance(WITHOUT_ANSWER).await;
        assert_eq!(ask(&readers, "p").await, Verdict::NoAnswer);
        hangs.store(false, Ordering::Relaxed);
        tokio::time::advance(LONGEST_PAUSE).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome, "it answers again");
    }

    #[tokio::test(start_paused = true)]
    async fn whose_right_was_taken_is_out_within_a_minute_and_stays_out_in_an_outage() {
        let (may, hangs) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let (says, is_away) = (Arc::clone(&may), Arc::clone(&hangs));
        let user = move |_: &str| Some(if is_away.load(Ordering::Relaxed) { HANGS } else { "u" });
        let (readers, _) = readers(user, move |_| says.load(Ordering::Relaxed));
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        may.store(false, Ordering::Relaxed);
        tokio::time::advance(WELCOME).await;
        assert_eq!(ask(&readers, "p").await, Verdict::Forbidden("u".into()));
        hangs.store(true, Ordering::Relaxed);
        assert_eq!(ask(&readers, "p").await, Verdict::NoAnswer, "they were let in once, and then not");
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_hold_up_nobody_who_was_let_in_and_are_looked_at_one_a_second() {
        let (readers, asked) = readers(|token| Some(if token == "p" { "u" } else { HANGS }), |_| true);
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        tokio::time::advance(WELCOME).await;
        let strangers: Vec<_> = (0..100)
            .map(|number| {
                let readers = Arc::clone(&readers);
                tokio::spawn(async move { ask(&readers, &number.to_string()).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let began = Instant::now();
        assert_eq!(ask(&readers, "p").await, Verdict::Welcome);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let mut refused = 0;
        for stranger in strangers {
            refused += usize::from(stranger.await.unwrap() == Verdict::TooMany);
        }
        let burst = BURST as usize;
        assert_eq!((refused, asked.load(Ordering::Relaxed)), (100 - burst, 2 + burst));
        tokio::time::advance(LONGEST_PAUSE + BETWEEN_NEW * BURST).await;
        assert_ne!(ask(&readers, "q").await, Verdict::TooMany);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_readers_are_remembered_than_there_is_room_for() {
        let (readers, _) = readers(|_| Some("u"), |_| true);
        for number in 0..2 * MOST {
            assert_eq!(ask(&readers, &number.to_string()).await, Verdict::Welcome);
            tokio::time::advance(BETWEEN_NEW).await;
        }
        assert_eq!(readers.welcome.lock().unwrap().len(), MOST);
        assert!(!readers.knows("0") && readers.knows(&(2 * MOST - 1).to_string()));
    }
}
